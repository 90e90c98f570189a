//! The shims: a subagent's way to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use runner::{Broker, ToolRequest};
use serde_json::{Value, json};
use spec::RunOutcome;

use crate::env::{Env, answer, stdout};

/// Answers the model's calls with what they asked, the later the sooner, and lets commands run.
#[derive(Debug, Default)]
struct Echo {
    asked: AtomicU32,
    together: tokio::sync::Notify,
}

impl Broker for Echo {
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, Value> {
        async move {
            match request.tool.as_str() {
                "llm" => {
                    // The first of ten waits for the tenth: replies come in another order.
                    let asked = self.asked.fetch_add(1, Ordering::SeqCst);
                    match asked {
                        0 => self.together.notified().await,
                        9 => self.together.notify_one(),
                        _ => {}
                    }
                    let text = &request.arguments["messages"][0]["content"];
                    json!({"ok": format!("{}:{}", request.arguments["system"], text)})
                }
                "shell_command" => json!({"execute": true}),
                "long" => json!({"ok": "x".repeat(5 << 20)}),
                "panic" => panic!("a broker's bug"),
                tool => json!({"error": format!("{tool} is not granted")}),
            }
        }
        .boxed()
    }
}

async fn open() -> Option<Env> {
    let mut env = Env::open().await?;
    env.broker = Arc::new(Echo::default());
    Some(env)
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_get_their_own_replies() {
    let Some(env) = open().await else { return };
    let report = env
        .python(
            "from concurrent.futures import ThreadPoolExecutor\n\
             from llm import call_llm\n\
             def ask(n): return call_llm('s', [{'role': 'user', 'content': str(n)}]) == f'\"s\":\"{n}\"'\n\
             def main(q):\n    \
                 with ThreadPoolExecutor(40) as pool:\n        \
                     return {'answer': sum(pool.map(ask, range(200)))}\n",
        )
        .await;
    assert_eq!(answer(&report), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_readable_in_each_tool_s_own_shape() {
    let Some(mut env) = open().await else { return };
    env.broker = Arc::new(crate::env::NoTools);
    let report = env
        .python(
            "import json, llm, tools\n\
             def main(q):\n    \
                 return {'answer': [llm.call_llm('s', 'hello'), tools.web_search('q'), \
                 tools.jina_reader('u'), tools.shell_command('id'), tools.__file__ > '']}\n",
        )
        .await;
    let expected = json!([
        "Error: llm is not granted",
        [{"error": "web_search is not granted"}],
        "Error: web_reading is not granted",
        "Error: shell_command is not granted",
        true
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(answer(&report)).unwrap(),
        expected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_command_runs_in_the_workspace_and_its_output_is_cut() {
    let Some(env) = open().await else { return };
    let report = env
        .python(
            "import json, os\nfrom tools import execute_shell_command as sh\n\
             def main(q):\n    \
                 os.chdir('/tmp')\n    \
                 return {'answer': [sh('pwd; echo oops >&2'), sh('true'), sh('exit 3'), \
                 len(sh('yes | head -c 10000000')), sh('sleep 100 & echo started'), \
                 sh('printf \"\\\\xff\"')]}\n",
        )
        .await;
    let answer: Value = serde_json::from_str(answer(&report)).unwrap();
    assert_eq!(answer[0], "/workspace\n\n[Stderr]:\noops\n");
    assert_eq!(answer[1], "[The command succeeded without output]");
    assert_eq!(
        answer[2],
        "[The command ended with status 3 without output]"
    );
    let length = answer[3].as_u64().unwrap();
    assert!((5_000..5_100).contains(&length), "{length}");
    assert_eq!(answer[4], "started\n");
    assert_eq!(answer[5], "\u{fffd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_process_that_runs_main_may_ask() {
    let Some(env) = open().await else { return };
    let report = env
        .python(
            "import os\nfrom llm import call_llm\n\
             def main(q):\n    \
                 pid = os.fork()\n    \
                 if pid == 0:\n        \
                     print(call_llm('s', 'x'), flush=True)\n        \
                     return {'answer': 'from the fork'}\n    \
                 os.waitpid(pid, 0)\n    \
                 return {'answer': 'from main'}\n",
        )
        .await;
    assert_eq!(answer(&report), "from main");
    assert!(stdout(&report).starts_with("Error: tools answer only in the process"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_or_answered_is_said() {
    let Some(env) = open().await else { return };
    let report = env
        .python(
            "import _agentfactory\n\
             def ask(tool, arguments): return _agentfactory.request(tool, arguments)['error']\n\
             def main(q):\n    \
                 return {'answer': [ask('llm', {1, 2}), ask('llm', 'x' * (5 << 20)), \
                 ask('long', 1), ask('panic', 1)]}\n",
        )
        .await;
    let answer: Vec<String> = serde_json::from_str(answer(&report)).unwrap();
    let parts = [
        "not JSON",
        "too long: 5242",
        "too long for a sandbox",
        "the tool failed",
    ];
    for (text, part) in answer.iter().zip(parts) {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_bounded() {
    let Some(env) = open().await else { return };
    let report = env
        .python(
            "from tools import web_search\n\
             def main(q):\n    \
                 for n in range(1100): last = web_search('q')[0]['error']\n    \
                 return {'answer': last}\n",
        )
        .await;
    assert_eq!(answer(&report), "a run may ask for tools 1000 times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_an_answer_can_time_out() {
    let Some(mut env) = open().await else { return };
    env.limits.wall = Duration::from_millis(500);
    let report = env
        .python("from llm import call_llm\ndef main(q): call_llm('s', 'x')")
        .await;
    let limit = env.limits.wall;
    assert_eq!(
        report.outcome,
        RunOutcome::TimedOut {
            clock: spec::Clock::Wall,
            limit
        }
    );
}

/// Answers everything with as much as an answer may hold.
#[derive(Debug)]
pub(crate) struct Large;

impl Broker for Large {
    fn answer(&self, _: ToolRequest) -> BoxFuture<'_, Value> {
        async { json!({"ok": "x".repeat(4_000_000)}) }.boxed()
    }
}
