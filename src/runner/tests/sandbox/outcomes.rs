//! Each way in which a run can end.

use std::time::Duration;

use spec::{ByteSize, DiskScope, OutputStream, RunOutcome, RunResult};

use crate::env::{Env, answer, stderr, stdout, subagent};

#[tokio::test(flavor = "multi_thread")]
async fn main_is_called_and_its_result_comes_back() {
    let Some(env) = Env::open().await else { return };
    let report = env
        .python("print('hello')\ndef main(query):\n    return {'answer': query * 2, 'summary': 'ok', 'more': 1}")
        .await;
    let result = RunResult {
        answer: "pingping".to_owned(),
        summary: "ok".to_owned(),
    };
    assert_eq!(
        report.outcome,
        RunOutcome::Completed { result },
        "{}",
        stderr(&report)
    );
    assert_eq!(stdout(&report), "hello\n");
    assert_eq!(*env.observer.shown.lock().unwrap(), b"hello\n");
    eprintln!("{:#?} {:#?}", report.usage, report.timings);
}
