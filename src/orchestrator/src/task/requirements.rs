//! The Python distributions of drafts.

use store::Requirement;

use super::Session;
use super::skills::Refusal;
use crate::environments::{EnvironmentError, Prepared};
use crate::error::FactoryError;

impl Session<'_> {
    /// Resolves what a draft requires, and makes its environment, so that what cannot be had is known
    /// before anything runs.
    pub(super) async fn requirements(
        &self,
        wanted: &[String],
    ) -> Result<Option<Prepared>, Refusal> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let made = self.factory.prepare(wanted, &self.watcher, &self.cancel);
        made.await.map(Some).map_err(refusal)
    }
}

/// What the model can do better is for the model; the rest ends the task.
fn refusal(error: FactoryError) -> Refusal {
    let FactoryError::Environment(error) = error else {
        return error.into();
    };
    match &error {
        EnvironmentError::Image(_)
        | EnvironmentError::File { .. }
        | EnvironmentError::Cancelled => FactoryError::Environment(error).into(),
        _ => match error.hint() {
            Some(hint) => format!("{error}; {hint}").into(),
            None => error.to_string().into(),
        },
    }
}

/// Distributions as people write them.
pub(crate) fn distributions(requirements: &[Requirement]) -> String {
    let names = requirements
        .iter()
        .map(|one| format!("{}=={}", one.name, one.version));
    names.collect::<Vec<_>>().join(", ")
}

/// What a draft finds, for the model; nothing when there is nothing.
pub(super) fn said(requirements: &[Requirement]) -> String {
    match distributions(requirements) {
        none if none.is_empty() => String::new(),
        some => format!("\ninstalled for it: {some}"),
    }
}
