//! What sandboxes that wait have imported: in an image with distributions, made here.

use runner::images::{load_environment, write_environment_layer};
use runner::{PoolOptions, Sandboxes as _};
use spec::{Ahead, ByteSize, Determinism, Digest, Imports, RunOutcome, RunReport, Start};
use tokio_util::sync::CancellationToken;

use crate::env::{answer, stderr, stdout, subagent};
use crate::pool::Pooled;

/// Files of the distributions.
const FILES: &[(&str, &str)] = &[
    (
        "quick/__init__.py",
        "import time\nAT = time.monotonic()\nfrom . import inner\n",
    ),
    ("quick/inner.py", ""),
    ("quick/lazy.py", "import quick_dependency\n"),
    ("quick_dependency.py", ""),
    (
        "package/__init__.py",
        "def part():\n    return 'function'\n",
    ),
    ("package/part.py", ""),
    ("numpy/__init__.py", ""),
    (
        "numpy/random/__init__.py",
        "from . import bit_generator\nSEED = None\ndef seed(number):\n    global SEED\n    SEED = number\n",
    ),
    (
        "numpy/random/bit_generator.py",
        "def randbits(count):\n    return 'random'\n",
    ),
    (
        "clocked.py",
        "import time\ndef now():\n    return time.time()\n",
    ),
    ("loud.py", "print('loud')\n"),
    ("quits.py", "raise SystemExit(3)\n"),
    (
        "breaks.py",
        "import quick_dependency\nraise ImportError('broken')\n",
    ),
    ("writes.py", "open('left', 'w').close()\n"),
    (
        "forks.py",
        "import subprocess\nsubprocess.Popen(['sleep', '60'])\n",
    ),
    ("heavy.py", "DATA = bytearray(b'x') * (200 << 20)\n"),
];

const IS_AHEAD: &str = "import time\nBEGAN = time.monotonic()\nimport quick\ndef main(q):\n    return {'answer': str(quick.AT < BEGAN)}\n";

fn archive() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut builder = tar::Builder::new(file.as_file());
    for (path, text) in FILES {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap();
    file
}

/// A pool whose image has these files where an environment's distributions are.
async fn open(name: &str) -> Option<Pooled> {
    let mut pooled = Pooled::open(name, PoolOptions::default()).await?;
    let folder = tempfile::tempdir().unwrap();
    let layer = write_environment_layer(archive().path(), &folder.path().join("layer")).unwrap();
    let env = &mut pooled.env;
    let key = Digest::of(b"a test");
    let made = load_environment(&env.engine, &env.image, key, &layer, folder.path(), &());
    env.image = made.await.unwrap().image;
    Some(pooled)
}

async fn run(pooled: &Pooled, source: &str) -> RunReport {
    let spec = pooled.env.spec(subagent(&[("main.py", source)], ""));
    let ran = pooled
        .env
        .sandboxes
        .run(spec, pooled.env.host(), CancellationToken::new());
    ran.await.unwrap()
}

fn start(report: &RunReport) -> (Start, Ahead) {
    (report.timings.start, report.timings.imports)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_will_import_is_imported_while_its_sandbox_waits() {
    let Some(mut pooled) = open("imports-ahead").await else {
        return;
    };
    let imports = Imports::of(["quick", "quick.absent", "absent", "package.part"]);
    pooled.env.imports = imports.clone();
    pooled.warm(1).await;
    let report = run(&pooled, IS_AHEAD).await;
    assert_eq!(answer(&report), "True");
    assert_eq!(start(&report), (Start::Leased, Ahead::Imported));
    assert_eq!(
        report.imports,
        Imports::NONE,
        "nothing is left to be imported"
    );
    // What is named as a module and is none stays what it is.
    pooled.warm(1).await;
    let part = "import package\ndef main(q):\n    return {'answer': package.part()}\n";
    assert_eq!(answer(&run(&pooled, part).await), "function");
    // Who does not want them does not get them.
    pooled.warm(1).await;
    pooled.env.imports = Imports::NONE;
    let report = run(&pooled, IS_AHEAD).await;
    assert_eq!(answer(&report), "False");
    assert_eq!(start(&report), (Start::Cold, Ahead::Nothing));
    assert_eq!(report.imports, Imports::of(["quick"]));
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_what_it_imported_itself() {
    let Some(pooled) = open("imports-said").await else {
        return;
    };
    for (source, expected) in [
        ("import json\ndef main(q): return {}\n", &[][..]),
        ("import json, quick\ndef main(q): return {}\n", &["quick"]),
        (
            "def main(q):\n    import quick.lazy, json\n    try:\n        import absent\n    except ImportError:\n        return {}\n",
            &["quick", "quick.lazy"],
        ),
        ("from quick import lazy\n1 / 0\n", &["quick", "quick.lazy"]),
    ] {
        let report = run(&pooled, source).await;
        assert_eq!(report.imports, Imports::of(expected), "{source}");
    }
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_would_notice_is_left_to_it() {
    let Some(mut pooled) = open("imports-fail").await else {
        return;
    };
    pooled.env.limits.memory = ByteSize::mib(160);
    pooled.env.limits.workspace = ByteSize::mib(16);
    for module in ["loud", "quits", "breaks", "writes", "forks", "heavy"] {
        pooled.env.imports = Imports::of(["quick", module]);
        pooled.warm(1).await;
        let report = run(&pooled, IS_AHEAD).await;
        assert_eq!(answer(&report), "False", "{module}");
        assert_eq!(start(&report), (Start::Leased, Ahead::Failed), "{module}");
        let left = (stdout(&report), stderr(&report), report.changed.len());
        assert_eq!(left, (String::new(), String::new(), 0), "{module}");
        assert_eq!(report.usage.oom_kills, 0, "{module}");
        let Pooled { env, .. } = &pooled;
        env.sandboxes
            .prewarm(&env.image, &env.imports, &env.limits, 0);
    }
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_and_a_seed_reach_what_was_imported_before() {
    let Some(mut pooled) = open("imports-fixed").await else {
        return;
    };
    let source = "import random\nimport clocked, numpy.random\ndef main(q):\n    made = [clocked.now(), clocked.now(), random.random(), numpy.random.SEED]\n    return {'answer': made + [numpy.random.bit_generator.randbits(64)]}\n";
    pooled.env.determinism = Determinism {
        clock_ms: Some(1_700_000_000_000),
        seed: Some(7),
    };
    let cold = run(&pooled, source).await;
    pooled.env.imports = Imports::of(["clocked", "numpy.random"]);
    pooled.warm(1).await;
    let ahead = run(&pooled, source).await;
    assert_eq!(start(&ahead), (Start::Leased, Ahead::Imported));
    assert_eq!(answer(&cold), answer(&ahead));
    assert!(
        answer(&cold).starts_with("[1700000000."),
        "{}",
        answer(&cold)
    );
    pooled.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_claims_to_have_imported_is_no_more_than_names() {
    let Some(pooled) = open("imports-claims").await else {
        return;
    };
    let claiming = |claim: &str| {
        format!(
            "import sys\ndef main(q):\n    type(sys.meta_path[0]).imports = lambda self: {claim}\n    return {{'answer': 'done'}}\n"
        )
    };
    let many = claiming(
        "['a b', '../x', 'os;', 'q' * 5000, 'x\\n', ''] + ['m%d' % n for n in range(100000)]",
    );
    let report = run(&pooled, &many).await;
    assert_eq!(answer(&report), "done");
    let expected = Imports::of((0..100).map(|number| format!("m{number}")));
    assert_eq!(report.imports, expected);
    for claim in ["{'a': 1}", "7", "[['a']]", "'text'"] {
        let report = run(&pooled, &claiming(claim)).await;
        let RunOutcome::BadResult { .. } = report.outcome else {
            panic!("{claim}: {report:?}");
        };
        assert_eq!(report.imports, Imports::NONE);
    }
    pooled.close().await;
}
