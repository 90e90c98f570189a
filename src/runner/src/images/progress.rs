//! What a build tells who waits for it.

use std::fmt;

/// Watches a build. Its methods are called often and must not block.
pub trait Progress: Send + Sync + fmt::Debug {
    /// A step begins; the text says what is done and why.
    fn phase(&self, text: &str);

    /// Something worth knowing within the step.
    fn note(&self, text: &str);

    /// How far the step is; the total is not always known.
    fn bytes(&self, done: u64, total: Option<u64>);
}

/// Nobody watches.
impl Progress for () {
    fn phase(&self, _text: &str) {}
    fn note(&self, _text: &str) {}
    fn bytes(&self, _done: u64, _total: Option<u64>) {}
}
