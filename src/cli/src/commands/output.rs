//! `runs output`: what a run wrote, or is writing.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use orchestrator::{LogPart, OutputLogs, OutputReader};
use spec::wire::text_or_base64;
use spec::{OutputStream, RunId};
use store::{LAST_RUN, RUN_PREFIX_MIN, Store};

use crate::app::App;
use crate::exit::{ExitCode, Problem};
use crate::ui::StreamFilter;
use crate::wire::{OutputChunkJson, OutputEndJson};

/// Show what a run wrote, or follow what it is writing
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// The id of the run, its first 8 characters or more, or `last`; running ones are in `runs list`
    #[arg(value_name = "RUN")]
    run: String,
    /// Which stream: `both` writes each to the stream of the same name, a single one to standard output
    #[arg(long, value_enum, default_value_t = Streams::Both)]
    stream: Streams,
    /// Leave out so many bytes of each stream, or of one: 120, stdout=120; may be given several times
    #[arg(long, value_name = "[STREAM=]OFFSET")]
    from: Vec<From>,
    /// Go on until the run has ended
    #[arg(short, long)]
    follow: bool,
}

/// Which streams are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Streams {
    Stdout,
    Stderr,
    Both,
}

impl Streams {
    fn holds(self, stream: OutputStream) -> bool {
        match self {
            Self::Both => true,
            Self::Stdout => stream == OutputStream::Stdout,
            Self::Stderr => stream == OutputStream::Stderr,
        }
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug)]
struct From {
    /// None means both.
    stream: Option<OutputStream>,
    offset: u64,
}

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (stream, offset) = match text.split_once('=') {
            None => (None, text),
            Some(("stdout", offset)) => (Some(OutputStream::Stdout), offset),
            Some(("stderr", offset)) => (Some(OutputStream::Stderr), offset),
            Some(_) => return Err("the streams are `stdout` and `stderr`"),
        };
        let offset = offset
            .parse()
            .map_err(|_| "write a number of bytes, such as 120 or stdout=120")?;
        Ok(Self { stream, offset })
    }
}

/// How often a log that has not grown is looked at again.
const PAUSE: Duration = Duration::from_millis(50);

/// Shows the output of one run.
pub(crate) fn output(app: &App, store: &Store, args: &OutputArgs) -> anyhow::Result<ExitCode> {
    let logs = OutputLogs::new(app.outputs());
    let run = find(store, &logs, &args.run)?;
    let mut shown = Shown::new(app, args);
    // The log goes when the record is there, so it is looked for first.
    let log = logs
        .open(&run)
        .with_context(|| format!("reading the output of the run `{run}`"))?;
    let Some(mut log) = log else {
        let outcome = recorded(store, &run, &mut shown)?;
        return shown.end(false, Some(outcome));
    };
    loop {
        if app.ui.reader_gone().is_cancelled() {
            return Ok(ExitCode::Success);
        }
        let is_running = log.is_running()?;
        // What was written before it was looked at is there.
        let ended = read_on(&mut log, &mut shown)?;
        if let Some(outcome) = ended {
            return shown.end(false, Some(outcome));
        }
        if !is_running {
            return after_the_log(store, &run, shown);
        }
        if !args.follow {
            return shown.end(true, None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The run of this id, recorded or not.
fn find(store: &Store, logs: &OutputLogs, prefix: &str) -> anyhow::Result<RunId> {
    let mut candidates = logs.runs().context("listing the runs that are running")?;
    if prefix == LAST_RUN {
        let recorded = store.find_run(prefix);
        return match candidates
            .into_iter()
            .chain(recorded.as_ref().ok().copied())
            .max()
        {
            Some(run) => Ok(run),
            None => Ok(recorded?),
        };
    }
    let is_long = prefix.len() >= RUN_PREFIX_MIN;
    candidates.retain(|run| is_long && run.to_string().starts_with(prefix));
    match (candidates.as_slice(), store.find_run(prefix)) {
        ([run], Err(error)) if error.kind() == store::StoreErrorKind::NotFound => Ok(*run),
        ([run], Ok(found)) if *run == found => Ok(found),
        ([], found) => Ok(found?),
        (_, Err(error)) if error.kind() != store::StoreErrorKind::NotFound => Err(error.into()),
        _ => Err(Problem::usage(format!(
            "`{}` is the beginning of several runs",
            spec::printable(prefix, 80)
        ))
        .hint("give more of the id; `agentfactory runs list` has them")
        .into()),
    }
}

/// Shows what a log has; the outcome, if that is the end.
fn read_on(log: &mut OutputReader, shown: &mut Shown<'_>) -> anyhow::Result<Option<String>> {
    loop {
        match log.next_part().context("reading the output of the run")? {
            LogPart::Output {
                stream,
                offset,
                bytes,
            } => shown.show(stream, offset, &bytes)?,
            LogPart::Ended { outcome } => return Ok(Some(outcome)),
            LogPart::Nothing => return Ok(None),
        }
    }
}

/// A log without an end whose process is gone: what it lacks is in the record, if there is one.
fn after_the_log(store: &Store, run: &RunId, mut shown: Shown<'_>) -> anyhow::Result<ExitCode> {
    match store.run(run) {
        Ok(_) => {
            let outcome = recorded(store, run, &mut shown)?;
            shown.end(false, Some(outcome))
        }
        Err(error) if error.kind() == store::StoreErrorKind::NotFound => {
            shown
                .app
                .ui
                .warn("the program that ran it died: nothing more is known of the run");
            shown.end(false, None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows what a record has, and gives the outcome's kind.
fn recorded(store: &Store, run: &RunId, shown: &mut Shown<'_>) -> anyhow::Result<String> {
    let report = store.run(run)?.report;
    for (stream, output) in [
        (OutputStream::Stdout, &report.stdout),
        (OutputStream::Stderr, &report.stderr),
    ] {
        let bytes = output
            .content()
            .with_context(|| format!("reading the output of the run `{run}`"))?;
        shown.show(stream, 0, &bytes)?;
    }
    Ok(report.outcome.kind().to_owned())
}

/// What was shown of each stream.
struct Shown<'a> {
    app: &'a App,
    streams: Streams,
    /// The offset of the next byte that is shown.
    next: [u64; 2],
    /// How much there is, as far as that is known.
    seen: [u64; 2],
    filters: [StreamFilter; 2],
    /// The beginning of a character that has not come whole yet, for JSON.
    partial: [Vec<u8>; 2],
}

impl<'a> Shown<'a> {
    fn new(app: &'a App, args: &OutputArgs) -> Self {
        let mut next = [0; 2];
        for from in &args.from {
            for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                if from.stream.is_none_or(|of| of == stream) {
                    next[index(stream)] = from.offset;
                }
            }
        }
        Self {
            app,
            streams: args.stream,
            next,
            seen: [0; 2],
            filters: <[StreamFilter; 2]>::default(),
            partial: [const { Vec::new() }; 2],
        }
    }

    /// Shows what is new of these bytes.
    fn show(&mut self, stream: OutputStream, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let at = index(stream);
        let end = offset + bytes.len() as u64;
        self.seen[at] = self.seen[at].max(end);
        if !self.streams.holds(stream) || end <= self.next[at] {
            return Ok(());
        }
        let known = self.next[at].saturating_sub(offset);
        let new = &bytes[usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(bytes.len())..];
        self.next[at] = end;
        if self.app.ui.is_json() {
            return self.chunk(stream, end, new);
        }
        self.pass_on(stream, new)
    }

    /// On a terminal made safe, else byte for byte.
    fn pass_on(&mut self, stream: OutputStream, bytes: &[u8]) -> anyhow::Result<()> {
        let ui = &self.app.ui;
        let to_out = self.streams != Streams::Both || stream == OutputStream::Stdout;
        let is_terminal = if to_out { ui.out() } else { ui.err() }.is_terminal;
        let safe = is_terminal.then(|| self.filters[index(stream)].feed(bytes));
        let bytes = safe.as_ref().map_or(bytes, |text| text.as_bytes());
        if to_out {
            return ui.pass_to_out(bytes);
        }
        ui.pass_to_err(bytes);
        Ok(())
    }

    /// A line of JSON. A character that is cut in two waits for its other half.
    fn chunk(&mut self, stream: OutputStream, end: u64, new: &[u8]) -> anyhow::Result<()> {
        let mut bytes = std::mem::take(&mut self.partial[index(stream)]);
        bytes.extend_from_slice(new);
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.partial[index(stream)] = bytes.split_off(error.valid_up_to());
        }
        let held = self.partial[index(stream)].len() as u64;
        self.line(stream, end - held, &bytes)
    }

    fn line(&self, stream: OutputStream, end: u64, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let text = text_or_base64(bytes);
        self.app.ui.json(&OutputChunkJson {
            stream: stream.name(),
            offset: end - bytes.len() as u64,
            text: text.as_ref().ok().copied(),
            base64: text.as_ref().err().map(String::as_str),
        })
    }

    /// Says how it ended.
    fn end(mut self, running: bool, outcome: Option<String>) -> anyhow::Result<ExitCode> {
        let ui = &self.app.ui;
        if !ui.is_json() {
            for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                let (next, seen) = (self.next[index(stream)], self.seen[index(stream)]);
                if self.streams.holds(stream) && next > seen {
                    let name = stream.name();
                    ui.note(format!(
                        "{name} has {seen} bytes, so nothing from {next} on"
                    ));
                }
            }
            return Ok(ExitCode::Success);
        }
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let rest = std::mem::take(&mut self.partial[index(stream)]);
            // While it runs, the other half is still to come.
            if running {
                self.next[index(stream)] -= rest.len() as u64;
            } else {
                self.line(stream, self.next[index(stream)], &rest)?;
            }
        }
        ui.json(&OutputEndJson {
            running,
            outcome,
            stdout_bytes: self.seen[0],
            stderr_bytes: self.seen[1],
            stdout_next: self.next[0],
            stderr_next: self.next[1],
        })?;
        Ok(ExitCode::Success)
    }
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

/// The runs that have a log, newest first, with what is known of each, and whether it lives.
pub(super) fn logs(folder: &Path) -> anyhow::Result<Vec<(orchestrator::LogHeader, bool)>> {
    let logs = OutputLogs::new(folder.to_owned());
    let mut found = Vec::new();
    for run in logs.runs().context("listing the runs that are running")? {
        // One that cannot be read hides no other: it may be of another version of this program.
        let Ok(Some(log)) = logs.open(&run) else {
            continue;
        };
        found.push((log.header().clone(), log.is_running()?));
    }
    Ok(found)
}
