//! The task's event log: each step is on disk before the next begins.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use llm::Reply;
use serde::{Deserialize, Serialize};
use spec::{Digest, RunId};

use crate::context::TaskId;
use crate::error::FactoryError;

/// The version of the log's format.
pub(crate) const FORMAT: u32 = 1;

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) step: Step,
}

/// One step of a task.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// The task, and all that its requests are made from.
    Began {
        format: u32,
        task: String,
        model: String,
        input_tree: Digest,
        image: Digest,
        system: String,
        prompt: String,
    },
    /// The model's reply; it has been paid for.
    Replied { turn: u32, reply: Reply },
    /// What the program said without being asked by a tool call.
    Told { turn: u32, text: String },
    /// A meta skill's answer.
    Answered {
        turn: u32,
        id: String,
        skill: String,
        content: String,
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// The task's workspace after it.
        tree: Digest,
    },
    /// The end.
    Ended {
        status: String,
        answer: String,
        saved: Vec<String>,
        tree: Digest,
    },
}

/// The open log of one task.
#[derive(Debug)]
pub(crate) struct TaskLog {
    path: PathBuf,
    file: File,
}

impl TaskLog {
    /// Begins the log of a new task.
    pub(crate) fn create(tasks: &Path, task: TaskId) -> Result<Self, FactoryError> {
        let folder = tasks.join(task.to_string());
        let path = folder.join("events.jsonl");
        let open = || -> std::io::Result<File> {
            std::fs::create_dir_all(&folder)?;
            let file = OpenOptions::new()
                .append(true)
                .create_new(true)
                .open(&path)?;
            File::open(&folder)?.sync_all()?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(FactoryError::Log { path, source }),
        }
    }

    /// Writes one step; it is on disk when this returns.
    pub(crate) fn append(&mut self, at: Timestamp, step: Step) -> Result<(), FactoryError> {
        let write = || -> std::io::Result<()> {
            let mut line = serde_json::to_vec(&Line { at, step })?;
            line.push(b'\n');
            (&self.file).write_all(&line)?;
            self.file.sync_data()
        };
        write().map_err(|source| FactoryError::Log {
            path: self.path.clone(),
            source,
        })
    }
}
