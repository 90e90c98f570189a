//! Processes that write until they are killed, at any moment of what they do.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What one of them does takes about as long.
const MOMENT_US: u64 = 12_000;

/// A process that says, line by line, what was acknowledged to it: an ignored test of the same program.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Writer {
    /// Starts that test, which gets this line from [`given`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(test: &str, given: &str) -> Self {
        let program = std::env::current_exe().expect("a running program has a path");
        let mut child = Command::new(program)
            .args(["--ignored", "--exact", test])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the test's own program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        writeln!(stdin, "{given}").expect("it reads a line");
        Self {
            said: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        }
    }

    /// Waits for some lines: then it is at work.
    ///
    /// # Panics
    /// When it ends by itself.
    pub fn hear(&mut self, count: u64, mut take: impl FnMut(&str)) {
        for _ in 0..count {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).expect("text");
            assert_ne!(read, 0, "the writer ended by itself");
            take(&line);
        }
    }

    /// Kills it. What it said before was acknowledged too; a torn line was not.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self, take: impl FnMut(&str)) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("text");
        rest.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .for_each(take);
    }
}

/// The line that a [`Writer`] gave to this process; none where it is no writer.
///
/// # Panics
/// When it is no text.
pub fn given() -> Option<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("text");
    let line = line.trim_end_matches('\n');
    (!line.is_empty()).then(|| line.to_owned())
}

/// Says a line to whoever started this process, past the test harness, which keeps what is printed.
///
/// # Panics
/// When nobody hears it any more.
pub fn say(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .expect("whoever started it reads");
}

/// Lets a part of a moment pass, another each time.
pub fn pass_a_moment() {
    let end = Instant::now() + Duration::from_micros(random(MOMENT_US));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// A number below this one, another each time.
pub fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}
