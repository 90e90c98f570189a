//! What sandboxes that wait are sorted by, and how many there are.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::{Imports, Limits};

use crate::pool_process::WantedLimits;
use crate::{ImageId, Program};

/// How many sandboxes wait for runs, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Sandboxes that wait for runs of one kind: the same image and limits.
    pub keep: usize,
    /// Sandboxes that wait, in all.
    pub keep_max: usize,
    /// After this time without a run of their kind they are removed.
    pub idle: Duration,
    /// Sandboxes that are started at once; one for two processors leaves runs their time.
    pub starts: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            keep: 4,
            keep_max: 16,
            idle: Duration::from_mins(5),
            starts: 1,
        }
    }
}

/// What the creation of a sandbox depends on: runs of one class can use each other's sandboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::docker) struct Class {
    pub(in crate::docker) image: ImageId,
    /// What it imports before it is ready. A run may notice what it did not ask for.
    pub(in crate::docker) imports: Imports,
    /// Limits that the sandbox learns only with its run are the default ones.
    pub(in crate::docker) limits: Limits,
}

impl Class {
    pub(in crate::docker) fn new(image: &ImageId, imports: &Imports, limits: &Limits) -> Self {
        Self {
            image: image.clone(),
            imports: imports.clone(),
            limits: Limits {
                // It is the lease's.
                wall: Limits::default().wall,
                ..WantedLimits::of(limits).limits()
            },
        }
    }

    /// The same, but that nothing is imported ahead.
    pub(in crate::docker) fn without_imports(&self) -> Self {
        Self {
            imports: Imports::NONE,
            ..self.clone()
        }
    }
}

/// What a sandbox has started ahead of its run, besides the interpreter that every one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warm {
    /// Nothing: for subagents.
    #[default]
    Interpreter,
    /// A shell too: for commands. It can run a subagent, a little later.
    Shell,
}

impl Warm {
    /// What suits a program.
    pub(in crate::docker) fn of(program: &Program) -> Self {
        match program {
            Program::Subagent { .. } => Self::Interpreter,
            Program::Shell { .. } => Self::Shell,
        }
    }
}
