//! What people and scripts see: data on standard output, everything else on standard error.

mod bar;
mod live;
mod meter;
mod table;
mod text;

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args::{ColorChoice, GlobalFlags};
use crate::environment::Environment;
use crate::exit::Failure;
pub(crate) use bar::Bar;
pub(crate) use live::{Live, LiveKind};
pub(crate) use meter::Meter;
pub(crate) use table::Table;
pub(crate) use text::{StreamFilter, Text, Tone, continued, cut, one_line, printable};

/// Both output streams.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    verbose: u8,
    out: Stream,
    err: Stream,
    /// Whoever read standard output went away; what would follow is not wanted.
    reader_gone: CancellationToken,
    /// A JSON document stands on standard output.
    has_printed: AtomicBool,
    /// Standard output and error go to the same place.
    is_one_stream: bool,
    /// What a program wrote last where our lines go did not end its line.
    is_mid_line: AtomicBool,
}

/// What is known of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) is_terminal: bool,
    pub(crate) colour: bool,
}

/// A failure as scripts read it.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorJson<'a> {
    code: &'static str,
    message: &'a str,
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorJson<'a>,
}

impl<'a> From<&'a Failure> for ErrorJson<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self {
            code: failure.code.name(),
            message: &failure.message,
            hint: failure.hint.as_deref(),
            retry_after_s: failure.retry_after_s,
        }
    }
}

/// Whether standard output and error are the same terminal, pipe or file.
fn is_one_stream() -> bool {
    let (Ok(out), Ok(err)) = (
        rustix::fs::fstat(io::stdout()),
        rustix::fs::fstat(io::stderr()),
    ) else {
        return false;
    };
    (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
}

impl Ui {
    /// Looks at the streams.
    pub(crate) fn new(flags: &GlobalFlags, environment: &Environment) -> Self {
        let stream = |is_terminal: bool| Stream {
            is_terminal,
            colour: match flags.color {
                ColorChoice::Auto => is_terminal && environment.allows_colour(),
                ColorChoice::Always => true,
                ColorChoice::Never => false,
            },
        };
        Self {
            json: flags.json,
            quiet: flags.quiet,
            verbose: flags.verbose,
            out: stream(io::stdout().is_terminal()),
            err: stream(io::stderr().is_terminal()),
            reader_gone: CancellationToken::new(),
            has_printed: AtomicBool::new(false),
            is_one_stream: is_one_stream(),
            is_mid_line: AtomicBool::new(false),
        }
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether people want nothing but data and errors.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// How much people want to see.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Is cancelled when whoever read standard output went away.
    pub(crate) fn reader_gone(&self) -> &CancellationToken {
        &self.reader_gone
    }

    /// What is known of standard error.
    pub(crate) fn err(&self) -> Stream {
        self.err
    }

    /// What is known of standard output.
    pub(crate) fn out(&self) -> Stream {
        self.out
    }

    /// Characters in a line of standard output; without a terminal lines are not cut.
    pub(crate) fn width(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (self.out.is_terminal && size.ws_col >= 20).then_some(size.ws_col.into())
    }

    /// Writes a line of data.
    ///
    /// # Errors
    /// When standard output cannot be written. A reader that went away is not an error.
    pub(crate) fn data(&self, text: impl Into<Text>) -> anyhow::Result<()> {
        let mut line = text.into().render(self.out.colour, self.out.is_terminal);
        if !line.ends_with('\n') {
            line.push('\n');
        }
        self.write_out(line.as_bytes())
    }

    /// Writes a JSON document in one line, or over several for a terminal.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub(crate) fn json(&self, document: &impl Serialize) -> anyhow::Result<()> {
        let text = if self.out.is_terminal {
            serde_json::to_string_pretty(document).map(|text| text::escaped_json(&text))
        } else {
            serde_json::to_string(document)
        };
        self.has_printed.store(true, Ordering::Relaxed);
        self.write_out((text.context("writing JSON")? + "\n").as_bytes())
    }

    fn write_out(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.reader_gone.is_cancelled() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone.cancel();
                Ok(())
            }
            result => result.context("standard output cannot be written"),
        }
    }

    /// Passes on what a program writes to standard error.
    pub(crate) fn pass_to_err(&self, bytes: &[u8]) {
        // There is nowhere to say that this cannot be said.
        drop(io::stderr().lock().write_all(bytes));
        self.note_line_end(bytes);
    }

    /// Passes on what a program writes to standard output.
    pub(crate) fn pass_to_out(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_out(bytes)?;
        if self.is_one_stream {
            self.note_line_end(bytes);
        }
        Ok(())
    }

    fn note_line_end(&self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.is_mid_line.store(*last != b'\n', Ordering::Relaxed);
        }
    }

    /// Tells people something, unless they want quiet.
    pub(crate) fn note(&self, text: impl Into<Text>) {
        if !self.quiet {
            self.write_err(&text.into());
        }
    }

    /// Tells people of something that may be wrong.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.write_err(&Text::new().with(Tone::Warning, "warning: ").plain(text));
    }

    /// Tells people what went wrong with what they asked for.
    pub(crate) fn complain(&self, text: impl Into<Text>) {
        self.write_err(&text.into());
    }

    /// Tells people of a failure, and scripts, unless they have a document already.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.failure_text(failure);
        self.failure_document(failure);
    }

    /// Tells people of a failure.
    pub(crate) fn failure_text(&self, failure: &Failure) {
        self.write_err(
            &Text::new()
                .with(Tone::Bad, "error: ")
                .plain(&failure.message),
        );
        if let Some(hint) = &failure.hint {
            self.write_err(&Text::new().with(Tone::Good, "hint: ").plain(hint));
        }
    }

    /// Tells scripts of a failure, unless they have a document already.
    pub(crate) fn failure_document(&self, failure: &Failure) {
        if self.json && !self.has_printed.load(Ordering::Relaxed) {
            let document = ErrorDocument {
                error: failure.into(),
            };
            // The failure itself is what the exit code tells.
            drop(self.json(&document));
        }
    }

    fn write_err(&self, text: &Text) {
        let mut line = text.render(self.err.colour, true);
        if !line.ends_with('\n') {
            line.push('\n');
        }
        if self.is_mid_line.swap(false, Ordering::Relaxed) {
            line.insert(0, '\n');
        }
        // There is nowhere else to say that this cannot be said.
        drop(io::stderr().lock().write_all(line.as_bytes()));
    }
}
