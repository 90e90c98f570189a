//! Programs that are unusual, and not wrong.

use runner::Program;
use serde_json::{Value, json};
use spec::{ByteSize, RunOutcome};

use crate::env::{Env, answer, stderr, stdout, subagent};

#[tokio::test(flavor = "multi_thread")]
async fn any_text_can_be_asked() {
    let Some(env) = Env::open().await else { return };
    let echo = "def main(query): return {'answer': query, 'summary': repr(len(query))}";
    let long = "ä\u{1f980}\0\"\\\n\r\u{2028}".repeat(20_000);
    for query in ["", "ä\u{1f980}\0\"\\\n\r\u{2028}", &long] {
        let report = env.run(subagent(&[("main.py", echo)], query)).await;
        assert!(answer(&report) == query, "{:?}", report.outcome.kind());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_file_can_be_anywhere_and_have_any_name() {
    let Some(env) = Env::open().await else { return };
    let entry = "import sibling, root\n\
        def main(query): return {'answer': sibling.WHO + root.WHO + __name__ + __file__}";
    let check = async |path: &str, folder: &str, name: &str| {
        let sibling = format!("{folder}sibling.py");
        let files = [
            (path, entry),
            (sibling.as_str(), "WHO = 's'"),
            ("root.py", "WHO = 'r'"),
        ];
        let report = env.run(subagent(&files, "")).await;
        assert_eq!(answer(&report), format!("sr{name}/code/{path}"));
    };
    check("main.py", "", "main").await;
    check("a/b/agent.py", "a/b/", "agent").await;
    check("my-agent.py", "", "subagent").await;
    check("json.py", "", "subagent").await;
    check("harness.py", "", "harness").await;
    check("sibling/x.py", "sibling/", "x").await;
    check("script", "", "script").await;
    check("naïve ü.py", "", "subagent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_may_have_the_names_of_modules() {
    let Some(env) = Env::open().await else { return };
    let broken = "raise RuntimeError('mine')";
    let names = [
        "traceback",
        "json",
        "linecache",
        "importlib",
        "types",
        "os",
        "signal",
        "atexit",
        "gc",
        "threading",
        "struct",
        "select",
        "ctypes",
        "site",
        "_agentfactory",
        "codecs",
    ];
    let names = names.map(|name| format!("{name}.py"));
    let mut files = vec![("main.py", "def main(q):\n    raise ValueError('as usual')")];
    files.extend(names.iter().map(|name| (name.as_str(), broken)));
    let report = env.run(subagent(&files, "")).await;
    let RunOutcome::Raised { traceback, .. } = &report.outcome else {
        panic!("{report:#?}");
    };
    assert!(
        traceback.contains("raise ValueError('as usual')"),
        "{traceback}"
    );
    // One's own `tools` comes before ours.
    let files = [
        (
            "main.py",
            "import tools\ndef main(q): return {'answer': tools.MINE}",
        ),
        ("tools.py", "MINE = True"),
    ];
    assert_eq!(answer(&env.run(subagent(&files, "")).await), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_do_strange_things_to_its_own_process() {
    let Some(env) = Env::open().await else { return };
    let check = async |source: &str, expected: &str| {
        let report = env.python(source).await;
        assert_eq!(answer(&report), expected, "{source}\n{}", stderr(&report));
    };
    check(
        "import sys\ndef main(q):\n    sys.stdout.close(); sys.stderr.close()\n    return {}",
        "",
    )
    .await;
    check(
        "import sys\ndef main(q): return {'answer': sys.stdin.read()}",
        "",
    )
    .await;
    check(
        "import os\ndef main(q):\n    os._exit = None\n    return {}",
        "",
    )
    .await;
    check(
        "import os\ndef main(q):\n    os.closerange(0, 3)\n    return {}",
        "",
    )
    .await;
    check(
        "import sys\ndef main(q):\n    sys.modules.clear()\n    return {}",
        "",
    )
    .await;
    check(
        "import builtins\ndef main(q):\n    builtins.print = None\n    return {}",
        "",
    )
    .await;
    check(
        "import os\ndef main(q):\n    os.environ.clear(); os.chdir('/')\n    return {}",
        "",
    )
    .await;
    check("import gc, sys\ndef main(q):\n    sys.setrecursionlimit(10**6); gc.disable()\n    return {}", "").await;
    check("import threading, time\ndef main(q):\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n    return {}", "").await;
    check("class D(dict):\n    def get(self, *a): raise ValueError\ndef main(q): return D(answer='d')", "d").await;
    let exec = "import os\ndef main(q): os.execv('/bin/sh', ['sh', '-c', 'echo other; exit 5'])";
    let report = env.python(exec).await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 5 });
    assert_eq!(stdout(&report), "other\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_limits_still_run() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.workspace = ByteSize::kib(4);
    env.limits.memory = ByteSize::mib(44);
    env.limits.cpu_millis = 100;
    env.limits.pids = spec::limits::PIDS_MIN;
    env.limits.output = ByteSize::bytes(1);
    env.limits.check().unwrap();
    let report = env
        .python("def main(q):\n    open('a', 'w').write('x')\n    return {'answer': q}")
        .await;
    assert_eq!(answer(&report), "ping");
    assert_eq!(env.changed(&report)["a"], b"x");
    let command = "ls >/dev/null".to_owned();
    let report = env.run(Program::Shell { command }).await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_sees_the_same_each_time() {
    // Not its own process number: the engine's runtime takes as many before it as it likes.
    let Some(env) = Env::open().await else { return };
    let source = "import os, socket, sys, time\n\
        def main(q):\n    \
            return {'answer': [hash('x'), sorted(os.environ.items()), os.getcwd(), sys.argv, \
            os.getppid(), socket.gethostname(), time.tzname, sys.path, \
            sorted(os.listdir('/')), os.umask(0)]}";
    let one: Value = serde_json::from_str(answer(&env.python(source).await)).unwrap();
    let two: Value = serde_json::from_str(answer(&env.python(source).await)).unwrap();
    assert_eq!(one, two);
    assert_eq!(one[2], json!("/workspace"));
    assert_eq!(one[9], json!(0o022));
}
