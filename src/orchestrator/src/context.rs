//! Clock and ids: they arrive as arguments, so that tests can fix them.

use std::fmt;

use jiff::Timestamp;
use spec::RunId;

/// The identity of one task: a version 7 UUID, so ids sort by time of start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(uuid::Uuid);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

/// Where time and ids come from.
pub trait Context: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// An id that was never used before and sorts after the earlier ones.
    fn next_id(&self) -> uuid::Uuid;
}

impl dyn Context {
    pub(crate) fn run_id(&self) -> RunId {
        RunId::from_uuid(self.next_id())
    }

    pub(crate) fn task_id(&self) -> TaskId {
        TaskId(self.next_id())
    }
}

/// The system's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemContext;

impl Context for SystemContext {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn next_id(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}
