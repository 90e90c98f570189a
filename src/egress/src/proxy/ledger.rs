//! What is written down while the run goes on.

use std::sync::{Mutex, PoisonError};

use crate::Ledger;

#[derive(Debug, Default)]
pub(super) struct Book(Mutex<Ledger>);

impl Book {
    pub(super) fn ledger(&self) -> Ledger {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
