//! What happens while it happens, for whoever shows it.

use std::fmt;
use std::time::Duration;

use llm::TokenUsage;
use spec::{OutputStream, RunOutcome};

use crate::context::TaskId;

/// Something that just happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A task began.
    TaskBegan {
        /// Its id.
        task: TaskId,
        /// The model, as people write it.
        model: &'a str,
    },
    /// The model is asked.
    TurnBegan {
        /// Which turn, from 1.
        turn: u32,
        /// The budget's turns.
        turns_max: u32,
    },
    /// The model wrote text.
    ModelText(&'a str),
    /// The model's endpoint failed and is asked again.
    ModelRetry {
        /// Which attempt failed.
        attempt: u32,
        /// How long until the next.
        wait: Duration,
        /// Why.
        why: &'a str,
    },
    /// The model's reply is complete.
    TurnEnded {
        /// Tokens of the Meta-Agent so far.
        agent: TokenUsage,
        /// Tokens of its subagents so far.
        subagents: TokenUsage,
    },
    /// A meta skill was carried out.
    SkillEnded {
        /// Which.
        skill: &'a str,
        /// What about, such as the subagent's name.
        subject: &'a str,
        /// Whether it worked.
        ok: bool,
        /// The first line of the answer.
        summary: &'a str,
    },
    /// Something that a run needs is being made.
    Preparing {
        /// What, in words.
        what: &'a str,
    },
    /// Something that may be wrong, and stops nothing.
    Warning {
        /// What, in words.
        what: &'a str,
    },
    /// A sandbox is about to run something.
    RunBegan {
        /// A subagent, a file or a command.
        what: &'a str,
    },
    /// It wrote output.
    Output {
        /// Where to.
        stream: OutputStream,
        /// What.
        bytes: &'a [u8],
    },
    /// The sandbox is gone.
    RunEnded {
        /// How it ended.
        outcome: &'a RunOutcome,
        /// How long the subagent ran.
        wall: Duration,
    },
}

/// Watches runs and tasks. Must not block.
pub trait Watcher: Send + Sync + fmt::Debug {
    /// Is told of each event, in order.
    fn event(&self, event: &Event<'_>);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn event(&self, _event: &Event<'_>) {}
}
