//! The same story told to the engine and to the fake: whoever is tested with the fake must not be
//! surprised by the engine.

use std::time::Duration;

use runner::{FakeRun, FakeSandboxes, RunnerError, Sandboxes as _};
use serde_json::json;
use spec::{ByteSize, LeftBehind, OutputStream, RunOutcome, RunReport};

use crate::env::{Env, subagent};

/// Runs the program on the engine, and the script in memory.
async fn both<F, R>(env: &Env, source: &str, script: F) -> [RunReport; 2]
where
    F: Fn(FakeRun) -> R + Send + Sync + 'static,
    R: Future<Output = FakeRun> + Send + 'static,
{
    let program = subagent(&[("main.py", source)], "ping");
    let spec = env.spec(program.clone());
    let fake = FakeSandboxes::new(script);
    let fake = fake.run(spec, env.host(), env.cancel.clone());
    [env.run(program).await, fake.await.unwrap()]
}

/// What the two must agree on; the rest are measurements.
fn told(report: &RunReport) -> RunReport {
    RunReport {
        usage: spec::RunUsage::default(),
        timings: spec::PhaseTimings::default(),
        place: spec::Place::default(),
        ..report.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_output_and_result_agree() {
    let Some(env) = Env::open().await else { return };
    let env = env.file("in", b"text").file("old", b"x").file("same", b"s");
    let source = "\
        import os, sys\nfrom tools import web_search\n\
        def main(query):\n    \
            print('out')\n    \
            print('err', file=sys.stderr)\n    \
            open('same', 'w').write('s')\n    \
            open('in', 'a').write('!')\n    \
            os.remove('old')\n    \
            open('new', 'w').close()\n    \
            os.symlink('in', 'link')\n    \
            return {'answer': query, 'summary': web_search('x')[0]['error']}\n";
    let [engine, fake] = both(&env, source, async |run| {
        let answer = run
            .ask("web_search", json!({"query": "x", "topk": 10}))
            .await;
        let text = [run.read("in").unwrap(), b"!".to_vec()].concat();
        run.print(OutputStream::Stdout, "out\n")
            .print(OutputStream::Stderr, "err\n")
            .write("same", b"s")
            .write("in", &text)
            .remove("old")
            .write("new", b"")
            .leave("link", "symbolic link")
            .complete("ping", answer["error"].as_str().unwrap())
    })
    .await;
    assert_eq!(told(&engine), told(&fake));
    let left = LeftBehind {
        path: "link".to_owned(),
        why: "symbolic link".to_owned(),
    };
    assert_eq!(fake.left_behind, [left]);
    assert_eq!((fake.changed.len(), fake.removed.len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_agree() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.output = ByteSize::bytes(4);
    let source = "import os\ndef main(q): os.write(1, b'12345')";
    let [engine, fake] = both(&env, source, async |run| {
        run.print(OutputStream::Stdout, "12345").complete("", "")
    })
    .await;
    assert_eq!(told(&engine), told(&fake));

    env.limits.wall = Duration::from_millis(200);
    let source = "import time\ndef main(q): time.sleep(60)";
    let [engine, fake] = both(&env, source, |_| std::future::pending()).await;
    assert_eq!(told(&engine), told(&fake));

    env.cancel.cancel();
    let [engine, fake] = both(&env, source, |_| std::future::pending()).await;
    assert_eq!(told(&engine), told(&fake));

    env.limits.pids = 1;
    let spec = env.spec(subagent(&[("main.py", "")], ""));
    let fake = FakeSandboxes::scripted([]);
    for run in [
        fake.run(spec.clone(), env.host(), env.cancel.clone()),
        env.sandboxes.run(spec, env.host(), env.cancel.clone()),
    ] {
        let error = run.await.unwrap_err();
        assert!(matches!(error, RunnerError::Limits(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_script_gives_its_outcomes_in_order() {
    let Some(env) = Env::open().await else { return };
    let fake = FakeSandboxes::scripted([RunOutcome::Exited { status: 1 }, RunOutcome::Cancelled]);
    for expected in ["exited", "cancelled"] {
        let spec = env.spec(subagent(&[("main.py", "")], ""));
        let report = fake
            .run(spec, env.host(), env.cancel.clone())
            .await
            .unwrap();
        assert_eq!(report.outcome.kind(), expected);
    }
    assert_eq!(fake.specs().len(), 2);
}
