//! Code that means well and uses the standard library hard: the wall must not be in its way.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::{Finished, TestEnv, repository};

use crate::hostile::{holds, skip, variable};

/// Flags that choose the runtime that the tests are to run under.
fn runtime(env: &TestEnv) -> Vec<String> {
    let Some(runtime) = variable("AGENTFACTORY_TEST_RUNTIME") else {
        return Vec::new();
    };
    let text = format!("[engine]\nruntime = \"{runtime}\"\n");
    let config = env.write("runtime.toml", &text);
    vec!["--config".to_owned(), config.to_str().unwrap().to_owned()]
}

fn exec(env: &TestEnv, file: &str, flags: &[&str]) -> Finished {
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    let arguments = ["exec", file, "", "--json", "--timeout", "60s"].map(str::to_owned);
    env.agentfactory(arguments.into_iter().chain(flags).chain(runtime(env)))
}

/// What a file says that the JSON of its run must hold.
fn expected(text: &str) -> Value {
    let line = text.lines().find_map(|line| line.strip_prefix("Expect: "));
    serde_json::from_str(line.expect("each file says what must come of it")).unwrap()
}

macro_rules! works {
    ($($name:ident)*) => {
        /// All of them, so that none is forgotten here.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                let Some(env) = TestEnv::with_engine() else { return };
                let file = repository().join(format!("tests/e2e/benign/{}.py", stringify!($name)));
                let expected = expected(&std::fs::read_to_string(&file).unwrap());
                let finished = exec(&env, file.to_str().unwrap(), &[]).expect_status(0);
                let json = finished.json();
                assert!(holds(&json, &expected), "expected {expected:#}, got {json:#}");
            }
        )*
    };
}

works! {
    archives databases documents files_and_folders loopback_services many_processes numbers_and_dates
    pipelines program_of_parts signals_and_timers threads_and_locks web_on_loopback
}

#[test]
fn every_file_is_run() {
    let files = std::fs::read_dir(repository().join("tests/e2e/benign")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, NAMES);
}

/// Fetches wheels for the sandbox's Python; whatever keeps pip from it is the answer.
fn fetch(folder: &Path, python: &str) -> Result<(), String> {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"])
        .args(["--python-version", python, "--implementation", "cp"])
        .args([
            "--platform",
            "manylinux_2_28_x86_64",
            "--platform",
            "manylinux2014_x86_64",
        ])
        .args(["--retries", "1", "--timeout", "20", "--target"])
        .arg(folder)
        .args(["numpy", "matplotlib"])
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn arrays_and_plots() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let python = env.write(
        "python.py",
        "import sys\ndef main(query): return {'answer': '%d.%d' % sys.version_info[:2]}\n",
    );
    let python = exec(&env, python.to_str().unwrap(), &[]).expect_status(0);
    let python = python.json()["answer"].as_str().unwrap().to_owned();
    let wheels = env.scratch().join("wheels");
    if let Err(why) = fetch(&wheels, &python) {
        skip(&format!(
            "SKIPPED: no wheels of NumPy and Matplotlib for Python {python}: {why}"
        ));
        return;
    }
    // The image has Python and nothing else; the wheels count on the library of C++ to be there.
    for name in ["libgcc_s.so.1", "libstdc++.so.6"] {
        let library = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
        if let Err(why) = std::fs::copy(&library, wheels.join(name)) {
            skip(&format!(
                "SKIPPED: no `{}` for NumPy: {why}",
                library.display()
            ));
            return;
        }
    }
    let file = env.write(
        "plot.py",
        "import ctypes, sys\n\
         for name in ('libgcc_s.so.1', 'libstdc++.so.6'):\n    \
             ctypes.CDLL('/mnt/wheels/' + name, ctypes.RTLD_GLOBAL)\n\
         sys.path.insert(0, '/mnt/wheels')\n\
         import matplotlib\n\
         matplotlib.use('Agg')\n\
         import matplotlib.pyplot as plot\n\
         import numpy\n\
         def main(query):\n    \
             values = numpy.linspace(0, 1, 1_000_000)\n    \
             square = numpy.random.default_rng(1).normal(size=(200, 200))\n    \
             inverse = numpy.linalg.inv(square) @ square\n    \
             assert numpy.allclose(inverse, numpy.eye(200), atol=1e-6)\n    \
             numpy.save('values.npy', values[:1000])\n    \
             assert numpy.load('values.npy', mmap_mode='r')[999] == values[999]\n    \
             plot.plot(numpy.sin(values[::1000] * 6))\n    \
             plot.savefig('plot.png')\n    \
             return {'answer': f'{values.mean():.1f}'}\n",
    );
    let mount = format!("{}=wheels", wheels.display());
    let json = exec(
        &env,
        file.to_str().unwrap(),
        &["--mount", &mount, "--pids", "256"],
    );
    let json = json.expect_status(0).json();
    assert_eq!(json["answer"], "0.5", "{json:#}");
    let files = json["files"].as_array().unwrap();
    let names: Vec<&str> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["plot.png", "values.npy"]);
}
