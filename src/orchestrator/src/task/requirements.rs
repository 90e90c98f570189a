//! The Python distributions of drafts.

use std::collections::BTreeMap;

use spec::{Digest, SubagentName};
use store::Requirement;

use super::Session;
use super::drafts::Draft;
use super::skills::Refusal;
use crate::environments::{EnvironmentError, Prepared};
use crate::error::FactoryError;

impl Session<'_> {
    /// Resolves what a draft requires, beside what the versions require that it depends on, and makes
    /// its environment, so that what cannot be had is known before anything runs.
    pub(super) async fn requirements(
        &self,
        wanted: &[String],
        depends: &BTreeMap<SubagentName, Digest>,
    ) -> Result<Option<Prepared>, Refusal> {
        let dependencies = self.dependencies(depends)?;
        if wanted.is_empty() && dependencies.locked_python().is_none() {
            return Ok(None);
        }
        let factory = &self.factory;
        let made = factory.prepare_with(wanted, &dependencies, &self.watcher, &self.cancel);
        made.await.map(Some).map_err(refusal)
    }

    /// Adds what new dependencies require to what a draft is locked to.
    pub(super) async fn merge_requirements(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let dependencies = self.dependencies(&draft.depends)?;
        let Some(python) = dependencies.locked_python() else {
            return Ok(());
        };
        let merged = dependencies.merged(&draft.requirements);
        let merged = merged.map_err(|error| refusal(error.into()))?;
        if merged == draft.requirements {
            return Ok(());
        }
        let factory = &self.factory;
        let made = factory.environment(&merged, python, &self.watcher, &self.cancel);
        let environment = made.await.map_err(refusal)?;
        draft.require(Some(Prepared {
            requirements: merged,
            python: python.to_owned(),
            environment,
        }));
        Ok(())
    }
}

/// What the model can do better is for the model; the rest ends the task.
fn refusal(error: FactoryError) -> Refusal {
    let error = match error {
        FactoryError::Environment(error) => error,
        FactoryError::Composition(error) => {
            return match error.hint() {
                Some(hint) => format!("{error}; {hint}").into(),
                None => error.to_string().into(),
            };
        }
        other => return other.into(),
    };
    match &error {
        EnvironmentError::Image(_)
        | EnvironmentError::Store(_)
        | EnvironmentError::NoIndex
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
