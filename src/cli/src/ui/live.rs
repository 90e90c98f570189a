//! What happens while it happens: a thread shows it, so that no run waits for a terminal.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::BoxFuture;
use guard::Verdict;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use orchestrator::{Approver, Event, Watcher};
use runner::images;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};
use spec::{ByteSize, OutputStream, RunOutcome, format_duration};
use tokio::sync::oneshot;

use super::{StreamFilter, Text, Tone, Ui, one_line, printable};

/// What is being watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveKind {
    /// A task: progress, in lines and with a status line on a terminal.
    Task,
    /// A subagent: its output is for people.
    Subagent,
    /// A shell command: its output is ours.
    Shell,
    /// The build of an image.
    Build,
}

/// Shows what happens until it is finished or dropped.
#[derive(Debug)]
pub(crate) struct Live {
    watcher: Arc<Sending>,
    printer: Option<JoinHandle<anyhow::Result<()>>>,
    /// Closed when the printer has ended.
    ended: Receiver<()>,
    /// Whether standard error is a terminal, on which something can be asked.
    is_terminal: bool,
}

/// The end of the channel that events come from.
#[derive(Debug)]
struct Sending {
    messages: Mutex<Sender<Message>>,
    /// The id of the task that began last.
    task: Mutex<Option<String>>,
}

/// An event that owns what it tells.
#[derive(Debug)]
enum Message {
    TaskBegan {
        task: String,
        model: String,
    },
    TurnBegan {
        turn: u32,
        turns_max: u32,
    },
    ModelText(String),
    ModelRetry {
        attempt: u32,
        wait: Duration,
        why: String,
    },
    TurnEnded {
        read: u64,
        written: u64,
    },
    SkillEnded {
        skill: String,
        subject: String,
        ok: bool,
        summary: String,
    },
    /// Something that a run needs is being made.
    Preparing(String),
    /// Something that may be wrong.
    Warning(String),
    RunBegan {
        what: String,
    },
    Output {
        stream: OutputStream,
        bytes: Vec<u8>,
    },
    RunEnded {
        outcome: &'static str,
        wall: Duration,
    },
    /// A step of what is made or moved, behind the name of that.
    Phase {
        of: &'static str,
        text: String,
    },
    /// Something worth knowing in it.
    Note(String),
    /// Somebody is to decide; the answer is not awaited any more when its other end is gone.
    Question {
        lines: Vec<String>,
        answer: oneshot::Sender<bool>,
    },
    Bytes {
        done: u64,
        total: Option<u64>,
    },
    End,
}

impl Live {
    /// Begins to show.
    pub(crate) fn start(ui: &Arc<Ui>, kind: LiveKind) -> Self {
        let (sender, receiver) = channel();
        let mut printer = Printer::new(Arc::clone(ui), kind);
        let (alive, ended) = channel();
        let print = move || {
            let _alive = alive;
            printer.run(&receiver)
        };
        Self {
            watcher: Arc::new(Sending {
                messages: Mutex::new(sender),
                task: Mutex::default(),
            }),
            printer: Some(std::thread::spawn(print)),
            ended,
            is_terminal: ui.err().is_terminal,
        }
    }

    /// What events are told to.
    pub(crate) fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::clone(&self.watcher) as _
    }

    /// The id of the task that began, if one did.
    pub(crate) fn task(&self) -> Option<String> {
        let task = self.watcher.task.lock();
        task.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the build of an image is told to.
    pub(crate) fn progress(&self) -> Arc<dyn images::Progress> {
        Arc::clone(&self.watcher) as _
    }

    /// What a transfer is told to.
    pub(crate) fn transfer(&self) -> Arc<dyn registry::Progress> {
        Arc::clone(&self.watcher) as _
    }

    /// Who is asked about a subagent's command: the person at the terminal, if there is one.
    pub(crate) fn approver(&self) -> Option<Arc<dyn Approver>> {
        let is_there = self.is_terminal && io::stdin().is_terminal();
        is_there.then(|| Arc::clone(&self.watcher) as _)
    }

    /// Returns when everything that happened has been shown.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.watcher.send(Message::End);
        let printed = self.printer.take().map(JoinHandle::join);
        printed.map_or(Ok(()), |printed| {
            printed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.printer.take().is_some() {
            self.watcher.send(Message::End);
            // Whoever drops it has an error to report, and no time for a terminal that is stopped.
            let _ended = self.ended.recv_timeout(PATIENCE);
        }
    }
}

impl Sending {
    fn send(&self, message: Message) {
        let sender = self.messages.lock();
        let sender = sender.unwrap_or_else(PoisonError::into_inner);
        // Without a printer nobody watches any more.
        drop(sender.send(message));
    }
}

impl Watcher for Sending {
    fn event(&self, event: &Event<'_>) {
        let message = match event {
            Event::TaskBegan { task, model } => {
                let task = task.to_string();
                let mut began = self.task.lock().unwrap_or_else(PoisonError::into_inner);
                *began = Some(task.clone());
                Message::TaskBegan {
                    task,
                    model: (*model).to_owned(),
                }
            }
            Event::TurnBegan { turn, turns_max } => Message::TurnBegan {
                turn: *turn,
                turns_max: *turns_max,
            },
            Event::ModelText(text) => Message::ModelText((*text).to_owned()),
            Event::ModelRetry { attempt, wait, why } => Message::ModelRetry {
                attempt: *attempt,
                wait: *wait,
                why: (*why).to_owned(),
            },
            Event::TurnEnded { agent, subagents } => Message::TurnEnded {
                read: agent.input_tokens + subagents.input_tokens,
                written: agent.output_tokens + subagents.output_tokens,
            },
            Event::SkillEnded {
                skill,
                subject,
                ok,
                summary,
            } => Message::SkillEnded {
                skill: (*skill).to_owned(),
                subject: (*subject).to_owned(),
                ok: *ok,
                summary: (*summary).to_owned(),
            },
            Event::RunBegan { what } => Message::RunBegan {
                what: (*what).to_owned(),
            },
            Event::Output { stream, bytes } => Message::Output {
                stream: *stream,
                bytes: bytes.to_vec(),
            },
            Event::RunEnded { outcome, wall } => Message::RunEnded {
                outcome: RunOutcome::kind(outcome),
                wall: *wall,
            },
            Event::Preparing { what } => Message::Preparing((*what).to_owned()),
            Event::Warning { what } => Message::Warning((*what).to_owned()),
            // Events that this program does not know yet are not shown.
            _ => return,
        };
        self.send(message);
    }
}

impl Approver for Sending {
    fn approves<'a>(&'a self, command: &'a str, verdict: &'a Verdict) -> BoxFuture<'a, bool> {
        let mut shown: String = command.chars().take(COMMAND_SHOWN).collect();
        let more = command.chars().count().saturating_sub(COMMAND_SHOWN);
        if more > 0 {
            shown += " ... and ";
            shown += &more.to_string();
            shown += " more characters";
        }
        let lines = vec![
            format!(
                "a subagent wants to run: {}",
                one_line(&shown, COMMAND_SHOWN + 40)
            ),
            verdict.reason.clone(),
        ];
        let (answer, answered) = oneshot::channel();
        self.send(Message::Question { lines, answer });
        Box::pin(async { answered.await.unwrap_or(false) })
    }
}

impl registry::Progress for Sending {
    fn phase(&self, text: &str) {
        let text = text.to_owned();
        self.send(Message::Phase {
            of: "registry: ",
            text,
        });
    }

    fn bytes(&self, done: u64, total: u64) {
        self.send(Message::Bytes {
            done,
            total: Some(total),
        });
    }
}

impl images::Progress for Sending {
    fn phase(&self, text: &str) {
        let text = text.to_owned();
        self.send(Message::Phase {
            of: "image: ",
            text,
        });
    }

    fn note(&self, text: &str) {
        self.send(Message::Note(text.to_owned()));
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        self.send(Message::Bytes { done, total });
    }
}

/// Shows messages, on its own thread.
struct Printer {
    ui: Arc<Ui>,
    kind: LiveKind,
    bar: Option<ProgressBar>,
    /// What the model is saying.
    said: String,
    turn: (u32, u32),
    tokens: (u64, u64),
    doing: String,
    warned: BTreeSet<String>,
    filters: [StreamFilter; 2],
    /// Lines of a subagent that have not ended.
    lines: [String; 2],
}

/// How long an error waits for what happened before it to be shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the status line is drawn.
const TICK: Duration = Duration::from_millis(120);
/// Characters of a command about which somebody is asked.
const COMMAND_SHOWN: usize = 2_000;
/// Characters of what the model says that are shown.
const SAID: usize = 300;

impl Printer {
    fn new(ui: Arc<Ui>, kind: LiveKind) -> Self {
        Self {
            ui,
            kind,
            bar: None,
            said: String::new(),
            turn: (0, 0),
            tokens: (0, 0),
            doing: String::new(),
            warned: BTreeSet::new(),
            filters: Default::default(),
            lines: Default::default(),
        }
    }

    fn run(&mut self, messages: &Receiver<Message>) -> anyhow::Result<()> {
        let mut result = Ok(());
        for message in messages {
            match message {
                Message::End => break,
                Message::Output { stream, bytes } => {
                    let shown = self.output(stream, &bytes);
                    result = result.and(shown);
                }
                other => self.show(other),
            }
        }
        self.end_lines();
        self.clear_status();
        result
    }

    fn show(&mut self, message: Message) {
        let is_task = self.kind == LiveKind::Task;
        match message {
            Message::TaskBegan { task, model } => {
                self.line(Text::new().with(Tone::Dim, format!("task {task}, model {model}")));
            }
            Message::TurnBegan { turn, turns_max } => {
                self.turn = (turn, turns_max);
                self.said.clear();
                self.status("asking the model");
            }
            Message::ModelText(text) => self.said.push_str(&text),
            Message::ModelRetry { attempt, wait, why } => {
                self.said.clear();
                let wait = format_duration(wait);
                let why = one_line(&why, SAID);
                self.line(format!("attempt {attempt} failed: {why}; again in {wait}").into());
            }
            Message::TurnEnded { read, written } => {
                self.tokens = (read, written);
                let said = one_line(&std::mem::take(&mut self.said), SAID);
                if !said.is_empty() {
                    self.line(Text::new().with(Tone::Dim, format!("  {said}")));
                }
                if !self.shows_status() {
                    let progress = self.progress();
                    self.line(Text::new().with(Tone::Dim, progress));
                }
                self.status("working");
            }
            Message::SkillEnded {
                skill,
                subject,
                ok,
                summary,
            } => {
                let tone = if ok { Tone::Good } else { Tone::Bad };
                let text = Text::new().with(tone, if ok { "  + " } else { "  ! " });
                let text = text.with(Tone::Strong, format!("{skill} {subject}").trim_end());
                self.line(text.plain(format!(": {}", one_line(&summary, SAID))));
            }
            Message::Preparing(what) => self.status(&what),
            Message::Warning(what) => self.warn(what),
            Message::RunBegan { what } if is_task => self.status(&format!("running {what}")),
            Message::RunBegan { .. } => self.clear_status(),
            Message::RunEnded { outcome, wall } if is_task => {
                self.end_lines();
                self.status(&format!("{outcome} in {}", format_duration(wall)));
            }
            Message::RunEnded { .. } => self.end_lines(),
            Message::Phase { of, text } => {
                self.line(Text::new().with(Tone::Dim, of).plain(&text));
                self.status(&text);
            }
            Message::Note(text) => self.line(Text::new().with(Tone::Dim, "image: ").plain(text)),
            Message::Bytes { done, total } => self.bytes(done, total),
            Message::Question { lines, answer } => self.ask(&lines, answer),
            Message::Output { .. } | Message::End => {}
        }
    }

    /// How far a step is, behind its name.
    fn bytes(&mut self, done: u64, total: Option<u64>) {
        let step = self.doing.split(" (").next().unwrap_or_default();
        let done = ByteSize::bytes(done);
        let text = match total {
            Some(total) => format!("{step} ({done} of {})", ByteSize::bytes(total)),
            None => format!("{step} ({done})"),
        };
        self.status(&text);
    }

    /// Whether there is a line that is drawn again and again.
    fn shows_status(&self) -> bool {
        self.ui.err().is_terminal && !self.ui.is_quiet()
    }

    fn progress(&self) -> String {
        let ((turn, turns_max), (read, written)) = (self.turn, self.tokens);
        format!("turn {turn}/{turns_max}, {read} tokens read, {written} written")
    }

    fn status(&mut self, doing: &str) {
        one_line(doing, SAID).clone_into(&mut self.doing);
        if !self.shows_status() {
            return;
        }
        let message = match self.turn {
            (0, _) => self.doing.clone(),
            _ => format!("{}: {}", self.progress(), self.doing),
        };
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {wide_msg}")
                .expect("the template is a constant");
            bar.set_style(style);
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(printable(&message));
    }

    fn clear_status(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Asks the person at the terminal, until there is an answer or nobody waits for it.
    fn ask(&mut self, lines: &[String], answer: oneshot::Sender<bool>) {
        self.clear_status();
        for line in lines {
            self.ui.warn(printable(line));
        }
        self.ui.note("run it in its sandbox? [y/N]");
        let stdin = io::stdin();
        // What was typed before the question is no answer to it.
        let _flushed = tcflush(&stdin, QueueSelector::IFlush);
        while !answer.is_closed() {
            let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: 200_000_000,
            };
            match poll(&mut wanted, Some(&wait)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let mut line = String::new();
                    let read = stdin.read_line(&mut line);
                    let said = line.trim().to_lowercase();
                    let yes = read.is_ok() && matches!(said.as_str(), "y" | "yes");
                    // Without a receiver nobody waits any more.
                    let _sent = answer.send(yes);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// A line of progress, above the status line.
    fn line(&self, text: Text) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.note(text)),
            None => self.ui.note(text),
        }
    }

    /// Says it, unless it was said before.
    fn warn(&mut self, what: String) {
        if self.warned.contains(&what) {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.warn(&what)),
            None => self.ui.warn(&what),
        }
        self.warned.insert(what);
    }

    fn output(&mut self, stream: OutputStream, bytes: &[u8]) -> anyhow::Result<()> {
        match self.kind {
            // With JSON, standard output is the document's alone.
            LiveKind::Shell if !self.ui.is_json() => self.pass_on(stream, bytes)?,
            LiveKind::Task if self.ui.verbosity() == 0 => {}
            _ if self.ui.is_quiet() => {}
            _ if !self.ui.err().is_terminal => self.ui.pass_to_err(bytes),
            _ => {
                let at = index(stream);
                let text = self.filters[at].feed(bytes);
                self.lines[at].push_str(&text);
                while let Some(end) = self.lines[at].find('\n') {
                    let rest = self.lines[at].split_off(end + 1);
                    let line = std::mem::replace(&mut self.lines[at], rest);
                    self.line(Text::new().with(Tone::Dim, format!("| {line}")));
                }
            }
        }
        Ok(())
    }

    /// The output of a shell command is ours: on a terminal made safe, else byte for byte.
    fn pass_on(&mut self, stream: OutputStream, bytes: &[u8]) -> anyhow::Result<()> {
        let is_terminal = match stream {
            OutputStream::Stdout => self.ui.out().is_terminal,
            OutputStream::Stderr => self.ui.err().is_terminal,
        };
        let safe = is_terminal.then(|| self.filters[index(stream)].feed(bytes));
        let bytes = safe.as_ref().map_or(bytes, |text| text.as_bytes());
        match stream {
            OutputStream::Stdout => self.ui.pass_to_out(bytes),
            OutputStream::Stderr => {
                self.ui.pass_to_err(bytes);
                Ok(())
            }
        }
    }

    /// Shows the last lines of a subagent that have no end.
    fn end_lines(&mut self) {
        for at in 0..2 {
            let line = std::mem::take(&mut self.lines[at]);
            if !line.is_empty() {
                self.line(Text::new().with(Tone::Dim, format!("| {line}")));
            }
        }
    }
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}
