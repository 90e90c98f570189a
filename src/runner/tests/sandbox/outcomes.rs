//! Each way in which a run can end.

use std::time::{Duration, Instant};

use runner::{Program, RunnerError, Sandboxes as _};
use spec::{ByteSize, DiskScope, Limits, OutputStream, RunOutcome, RunReport, RunResult, limits};

use crate::env::{Env, answer, exists, stderr, stdout, subagent};

fn raised(report: &RunReport) -> (&str, &str, &str) {
    match &report.outcome {
        RunOutcome::Raised {
            exception,
            message,
            traceback,
        } => (exception, message, traceback),
        _ => panic!("{report:#?}"),
    }
}

fn bad(report: &RunReport) -> &str {
    match &report.outcome {
        RunOutcome::BadResult { why } => why,
        _ => panic!("{report:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_is_called_and_its_result_comes_back() {
    let Some(env) = Env::open().await else { return };
    let report = env
        .python(
            "print('hello')\n\
             def main(query):\n    return {'answer': query * 2, 'summary': 'ok', 'more': 1}",
        )
        .await;
    let result = RunResult {
        answer: "pingping".to_owned(),
        summary: "ok".to_owned(),
    };
    assert_eq!(report.outcome, RunOutcome::Completed { result });
    assert_eq!(stdout(&report), "hello\n");
    assert_eq!(*env.observer.shown.lock().unwrap(), b"hello\n");
    assert!(report.usage.memory_peak_bytes > 1 << 20, "{report:#?}");
    assert!(report.usage.cpu > Duration::from_millis(5), "{report:#?}");
    assert!(report.timings.lease > Duration::ZERO, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_become_text() {
    let Some(env) = Env::open().await else { return };
    let check = async |value: &str, expected: &str| {
        let source = format!("def main(query):\n    return {{'answer': {value}}}");
        assert_eq!(answer(&env.python(&source).await), expected, "{value}");
    };
    check("'ä\\n'", "ä\n").await;
    check("None", "").await;
    check("True", "true").await;
    check(
        "{'b': [1, 2.5], 'a': 'ä'}",
        "{\"b\": [1, 2.5], \"a\": \"ä\"}",
    )
    .await;
    check("type('Text', (str,), {'__str__': lambda s: 'x'})('y')", "y").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_main_returns_must_be_a_dict_that_json_can_express() {
    let Some(env) = Env::open().await else { return };
    let check = async |source: &str, expected: &str| {
        let report = env.python(source).await;
        assert!(bad(&report).contains(expected), "{}", bad(&report));
    };
    check("def main(q): return 'text'", "returned a str, not a dict").await;
    check("def main(q): pass", "returned None, not a dict").await;
    check("async def main(q): return {}", "returned a coroutine").await;
    check("def main(q): yield {}", "returned a generator").await;
    check("x = 1", "defines no main").await;
    check("main = 3", "not a function but an int").await;
    check(
        "def main(q): return {'answer': float('nan')}",
        "answer cannot be written",
    )
    .await;
    check(
        "def main(q): return {'answer': {1, 2}}",
        "answer cannot be written",
    )
    .await;
    check(
        "def main(q): return {'summary': '\\ud800'}",
        "summary is not valid Unicode",
    )
    .await;
    check(
        "def main(q): return {'answer': 'a' * (1 << 20)}",
        "at most 1048576",
    )
    .await;
    check(
        "def main(q): return {'answer': 'a' * (1 << 26)}",
        "at most 1048576",
    )
    .await;
    check(
        "def main(q):\n    x = []\n    for _ in range(100000): x = [x]\n    return {'answer': x}",
        "answer is nested too deep",
    )
    .await;
    check(
        "def main(q):\n    x = []\n    x.append(x)\n    return {'answer': x}",
        "Circular",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_comes_back_with_its_source_lines() {
    let Some(env) = Env::open().await else { return };
    let helper = "def divide(a, b):\n    return a / b\n";
    let main = "from helper import divide\n\ndef main(query):\n    return divide(1, 0)\n";
    let report = env
        .run(subagent(&[("main.py", main), ("helper.py", helper)], ""))
        .await;
    assert_eq!(
        raised(&report),
        (
            "ZeroDivisionError",
            "division by zero",
            "Traceback (most recent call last):\n  \
             File \"/code/main.py\", line 4, in main\n    return divide(1, 0)\n  \
             File \"/code/helper.py\", line 2, in divide\n    return a / b\n           ~~^~~\n\
             ZeroDivisionError: division by zero\n"
        )
    );
    let check = async |source: &str, exception: &str, part: &str| {
        let report = env.python(source).await;
        let (name, _, traceback) = raised(&report);
        assert_eq!(name, exception);
        assert!(traceback.contains(part), "{traceback}");
        assert!(!traceback.contains("harness"), "{traceback}");
    };
    check(
        "def main(q) return 1",
        "SyntaxError",
        "def main(q) return 1",
    )
    .await;
    check(
        "import nothing_such",
        "ModuleNotFoundError",
        "line 1, in <module>",
    )
    .await;
    check(
        "def main(q): raise KeyboardInterrupt",
        "KeyboardInterrupt",
        "in main",
    )
    .await;
    check(
        "def main(q): return main(q)",
        "RecursionError",
        "Previous line repeated",
    )
    .await;
    check(
        "import json\ndef main(q): json.loads('{')",
        "json.decoder.JSONDecodeError",
        "Expecting",
    )
    .await;
    check(
        "def main(q): raise ValueError('\\ud800')",
        "ValueError",
        "\\ud800",
    )
    .await;
    check(
        "class E(Exception):\n    def __str__(self): raise SystemExit(3)\ndef main(q): raise E",
        "main.E",
        "exception str() failed",
    )
    .await;
    let report = env
        .python("def main(q): raise ValueError('x' * 1000000)")
        .await;
    let (_, message, traceback) = raised(&report);
    let limit = usize::try_from(limits::TRACEBACK.get()).unwrap();
    assert!(message.len() <= limit && traceback.len() <= limit);
    assert!(traceback.starts_with("Traceback") && traceback.ends_with("xxx\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_exits_has_no_result() {
    let Some(env) = Env::open().await else { return };
    let check = async |source: &str, status: u8, error: &str| {
        let report = env.python(source).await;
        assert_eq!(report.outcome, RunOutcome::Exited { status }, "{source}");
        assert_eq!(stderr(&report), error);
    };
    check("import sys\ndef main(q): sys.exit(3)", 3, "").await;
    check("import sys\nsys.exit()", 0, "").await;
    check("def main(q): raise SystemExit('goodbye')", 1, "goodbye\n").await;
    check("import os\ndef main(q): os._exit(7)", 7, "").await;
    // A claim is worth nothing without an end that agrees with it.
    check(
        "import atexit, os\ndef main(q):\n    atexit.register(os._exit, 9)\n    return {'answer': 'x'}",
        9,
        "",
    )
    .await;
    let report = env
        .python("import os\ndef main(q):\n    print('{\"answer\": \"x\"}', flush=True)\n    os._exit(0)")
        .await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 0 });
    assert_eq!(stdout(&report), "{\"answer\": \"x\"}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_the_signal_that_ended_it() {
    let Some(env) = Env::open().await else { return };
    let check = async |source: &str, signal: u8| {
        let report = env.python(source).await;
        assert_eq!(report.outcome, RunOutcome::Signalled { signal }, "{source}");
    };
    check("import ctypes\ndef main(q): ctypes.string_at(0)", 11).await;
    check(
        "import os, signal\ndef main(q): os.kill(os.getpid(), signal.SIGKILL)",
        9,
    )
    .await;
    check("import os\ndef main(q): os.abort()", 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wall_time_ends_a_run_that_ignores_everything() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.wall = Duration::from_millis(700);
    let limit = env.limits.wall;
    let source = "import signal\n\
        for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n\
        print('begun')\n\
        def main(q):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n";
    let report = env.python(source).await;
    assert_eq!(
        report.outcome,
        RunOutcome::TimedOut {
            clock: spec::Clock::Wall,
            limit
        }
    );
    assert_eq!(stdout(&report), "begun\n");
    assert!(
        report.usage.wall >= limit && report.usage.wall < 3 * limit,
        "{report:#?}"
    );
    assert!(report.usage.cpu > Duration::from_millis(100), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_ends_it() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.memory = ByteSize::mib(128);
    env.limits.workspace = ByteSize::mib(16);
    let limit = env.limits.memory;
    let report = env
        .python("def main(q):\n    x = []\n    while True: x.append(bytearray(1 << 20))")
        .await;
    assert_eq!(report.outcome, RunOutcome::OutOfMemory { limit });
    let report = env
        .shell("python3 -c 'x = bytearray(1 << 30)'; exit $?")
        .await;
    assert_eq!(report.outcome, RunOutcome::OutOfMemory { limit });
    let report = env.python("def main(q): return {'answer': 1}").await;
    assert_eq!(answer(&report), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_output_ends_it() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.output = ByteSize::kib(64);
    let limit = env.limits.output;
    let check = async |source: &str, stream| {
        let report = env.python(source).await;
        assert_eq!(
            report.outcome,
            RunOutcome::OutputLimit { stream, limit },
            "{source}"
        );
        let captured = match stream {
            OutputStream::Stdout => &report.stdout,
            OutputStream::Stderr => &report.stderr,
        };
        assert_eq!(captured.content.len() as u64, limit.get());
        assert!(captured.is_truncated());
    };
    check(
        "def main(q):\n    while True: print('x' * 1000)",
        OutputStream::Stdout,
    )
    .await;
    let flood = "import sys\ndef main(q):\n    while True: sys.stderr.write('x')";
    check(flood, OutputStream::Stderr).await;
    // The same whether the program is still there or not.
    for _ in 0..5 {
        let once = "import os\ndef main(q):\n    os.write(1, b'x' * 65537)\n    return {}";
        check(once, OutputStream::Stdout).await;
    }
    let report = env
        .python("import os\ndef main(q):\n    os.write(1, b'x' * 65536)\n    return {}")
        .await;
    assert_eq!(answer(&report), "");
    assert_eq!(report.stdout.bytes, limit.get());
    assert!(!report.stdout.is_truncated());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_it_unless_the_run_copes() {
    let Some(mut env) = Env::open().await else {
        return;
    };
    env.limits.workspace = ByteSize::mib(8);
    let (workspace, tmp) = (env.limits.workspace, env.limits.tmp());
    let filling = |path: &str| {
        format!(
            "def main(q):\n    with open('{path}', 'wb') as file:\n        \
             while True: file.write(bytes(1 << 20))\n"
        )
    };
    let full = |scope, limit| RunOutcome::DiskLimit {
        scope,
        limit,
        files: None,
    };
    let report = env.python(&filling("big")).await;
    assert_eq!(report.outcome, full(DiskScope::Workspace, workspace));
    let report = env.python(&filling("/tmp/big")).await;
    assert_eq!(report.outcome, full(DiskScope::Tmp, tmp));
    let many = "def main(q):\n    for n in range(100000): open(str(n), 'w').close()";
    let report = env.python(many).await;
    let full_of_files = RunOutcome::DiskLimit {
        scope: DiskScope::Workspace,
        limit: workspace,
        files: Some(env.limits.workspace_files),
    };
    assert_eq!(report.outcome, full_of_files);
    let cleaned = "import os\ndef main(q):\n    try:\n        \
        open('big', 'wb').write(bytes(1 << 24))\n    finally:\n        os.remove('big')\n";
    assert_eq!(
        env.python(cleaned).await.outcome,
        full(DiskScope::Workspace, workspace)
    );
    let copes = "def main(q):\n    try:\n        open('big', 'wb').write(bytes(1 << 24))\n    \
        except OSError as error:\n        return {'answer': error.errno}\n";
    assert_eq!(answer(&env.python(copes).await), "28");
    let report = env.shell("cat /dev/zero > big").await;
    assert_eq!(report.outcome, full(DiskScope::Workspace, workspace));
    let report = env.shell("cat /dev/zero > big; true").await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_it_gently() {
    let Some(env) = Env::open().await else { return };
    let program = subagent(
        &[(
            "main.py",
            "import time\nprint('begun')\ndef main(q): time.sleep(600)",
        )],
        "",
    );
    let begun = Instant::now();
    let (report, ()) = tokio::join!(env.run(program), async {
        env.observer.first.notified().await;
        env.cancel.cancel();
    });
    assert_eq!(report.outcome, RunOutcome::Cancelled);
    assert!(
        report.usage.memory_peak_bytes > 0,
        "the harness reported: {report:#?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    // One that is cancelled before it begins.
    let report = env.python("def main(q): return {}").await;
    assert_eq!(report.outcome, RunOutcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_run_leaves_no_sandbox() {
    let Some(env) = Env::open().await else { return };
    let spec = env.spec(subagent(
        &[(
            "main.py",
            "import time\nprint('begun')\ndef main(q): time.sleep(600)",
        )],
        "",
    ));
    let run = spec.run;
    tokio::select! {
        _ = env.sandboxes.run(spec, env.host(), env.cancel.clone()) => panic!("it never ends"),
        () = env.observer.first.notified() => {}
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while exists(&run).await {
        assert!(
            Instant::now() < deadline,
            "the end of its stream ends the sandbox"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_vanishes_is_lost() {
    let Some(env) = Env::open().await else { return };
    let spec = env.spec(subagent(
        &[(
            "main.py",
            "import time\nprint('begun')\ndef main(q): time.sleep(600)",
        )],
        "",
    ));
    let name = format!("agentfactory-{}", spec.run);
    let run = env.sandboxes.run(spec, env.host(), env.cancel.clone());
    let (report, ()) = tokio::join!(run, async {
        env.observer.first.notified().await;
        let kill = tokio::process::Command::new("docker")
            .args(["kill", &name])
            .output();
        assert!(kill.await.unwrap().status.success());
    });
    let report = report.unwrap();
    let RunOutcome::SandboxLost { why } = &report.outcome else {
        panic!("{report:#?}");
    };
    assert_eq!(
        why,
        "it ended without a report; PID 1 ended with status 137"
    );
    assert_eq!(stdout(&report), "begun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_command_ends_with_its_status() {
    let Some(env) = Env::open().await else { return };
    let env = env.file("a.txt", b"text");
    let report = env
        .shell("cat a.txt; echo oops >&2; echo b > b; exit 4")
        .await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 4 });
    assert_eq!(
        (stdout(&report).as_str(), stderr(&report).as_str()),
        ("text", "oops\n")
    );
    assert_eq!(env.changed(&report)["b"], b"b\n");
    let report = env.shell("true").await;
    assert_eq!(report.outcome, RunOutcome::Exited { status: 0 });
    let report = env.shell("kill -SEGV $$").await;
    assert_eq!(report.outcome, RunOutcome::Signalled { signal: 11 });
    let report = env.shell("[[ a == a ]] && echo bash; echo $0").await;
    assert_eq!(stdout(&report), "bash\nbash\n");
    let long = format!("echo {} | wc -c", "x".repeat(200_000));
    assert_eq!(stdout(&env.shell(&long).await), "200001\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_an_error() {
    let Some(env) = Env::open().await else { return };
    let run = async |env: &Env, program: Program| {
        let spec = env.spec(program);
        env.sandboxes
            .run(spec, env.host(), env.cancel.clone())
            .await
            .unwrap_err()
    };
    let nothing = || subagent(&[("main.py", "def main(q): return {}")], "");
    let big = "x".repeat(usize::try_from(limits::QUERY.get()).unwrap() + 1);
    let error = run(&env, subagent(&[("main.py", "")], &big)).await;
    assert!(
        matches!(error, RunnerError::TooLarge { what: "query", .. }),
        "{error:?}"
    );
    let mut none = Env::open().await.unwrap();
    none.image.0 = spec::Digest::of(b"no image");
    let error = run(&none, nothing()).await;
    assert!(matches!(error, RunnerError::ImageMissing(_)), "{error:?}");
    let mut small = Env::open().await.unwrap();
    small.limits = Limits {
        memory: ByteSize::mib(16),
        ..Limits::default()
    };
    let error = run(&small, nothing()).await;
    assert!(matches!(error, RunnerError::Limits(_)), "{error:?}");
    // More than any engine's machine has.
    let mut large = Env::open().await.unwrap();
    large.limits.cpu_millis = 8_192_000;
    let hint = run(&large, nothing()).await.hint();
    assert!(
        hint.as_ref().is_some_and(|hint| hint.contains("--cpus")),
        "{hint:?}"
    );
    let mut gone = env.file("a", b"text");
    gone.blobs = runner::MemoryBlobs::default();
    let error = run(&gone, nothing()).await;
    assert!(matches!(error, RunnerError::Blobs(_)), "{error:?}");
}
