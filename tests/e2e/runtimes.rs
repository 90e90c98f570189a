//! Runtimes by name and by rule, and what is refused at the start.

use testkit::TestEnv;

const HELLO: &str = "def main(q):\n    return {'answer': q}\n";

#[test]
fn a_runtime_that_the_engine_does_not_have_is_refused_with_those_it_has() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let file = env.write("a.py", HELLO);
    let rule = env.write(
        "rule.toml",
        "[sandbox]\nruntime_for = { egress = \"kata\" }\n",
    );
    let (file, rule) = (file.to_str().unwrap(), rule.to_str().unwrap());
    for arguments in [
        vec!["exec", file, "", "--runtime", "kata"],
        vec!["shell", "true", "--runtime", "kata"],
        // Whether this run would need it or not.
        vec!["exec", file, "", "--config", rule],
    ] {
        let finished = env.agentfactory(&arguments).expect_status(5);
        let said = &finished.stderr;
        assert!(said.contains("no runtime `kata`"), "{said}");
        let hint = said.lines().find(|line| line.starts_with("hint:")).unwrap();
        assert!(hint.contains("runc"), "{said}");
    }
}

#[test]
fn a_flag_goes_over_the_environment_and_the_rules_and_records_say_which_ran() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let env = env.set("AGENTFACTORY_RUNTIME", "kata");
    let file = env.write("a.py", HELLO);
    let file = file.to_str().unwrap();
    env.agentfactory(["exec", file, "x"]).expect_status(5);
    let ran = env
        .agentfactory(["exec", file, "x", "--runtime", "runc", "--json"])
        .expect_status(0)
        .json();
    assert_eq!(ran["answer"], "x");
    let run = ran["run"].as_str().unwrap();
    let record = env.agentfactory(["runs", "show", run, "--json"]).json();
    let engine = record["engine"].as_str().unwrap();
    assert!(engine.ends_with("runc runtime"), "{engine}");
}

#[test]
fn limits_beyond_the_machine_are_refused_with_what_it_has() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let file = env.write("a.py", HELLO);
    let file = file.to_str().unwrap();
    for (flag, value) in [("--memory", "1000G"), ("--cpus", "4000")] {
        let finished = env.agentfactory(["exec", file, "", flag, value]);
        assert_ne!(finished.status, 0);
        let said = &finished.stderr;
        assert!(said.contains("machine has"), "{said}");
        assert!(said.contains(&format!("hint: lower `{flag}`")), "{said}");
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "tests are configured by their environment"
)]
fn what_only_the_machine_sees_of_gvisor_s_memory_is_limited_too() {
    // Only an engine of the tests' own has this runtime.
    if std::env::var("AGENTFACTORY_TEST_RUNTIME").as_deref() != Ok("runsc") {
        return;
    }
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    // Bytes in pipes are on the heap of gVisor's kernel, which the harness cannot count.
    let file = env.write(
        "pipes.py",
        "import fcntl, os, time\n\
         def main(q):\n    keep = []\n    try:\n        while True:\n            \
         r, w = os.pipe()\n            keep += [r, w]\n            os.set_blocking(w, False)\n            \
         fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 1 << 20)\n            try:\n                \
         while True: os.write(w, bytes(65536))\n            except BlockingIOError: pass\n    \
         except OSError: pass\n    time.sleep(600)\n",
    );
    let file = file.to_str().unwrap();
    let flags = [
        "--memory",
        "64M",
        "--workspace-size",
        "8M",
        "--timeout",
        "60s",
    ];
    let arguments = ["exec", file, "q", "--json", "--runtime", "runsc"];
    let ended = env.agentfactory(arguments.into_iter().chain(flags));
    let ended = ended.expect_status(1).json();
    assert_eq!(ended["outcome"]["kind"], "out_of_memory", "{ended:#}");
}
