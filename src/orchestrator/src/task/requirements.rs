//! The Python distributions of drafts.

use std::collections::BTreeMap;

use runner::{ImageId, Program};
use spec::{Determinism, Digest, Imports, Limits, SubagentName};
use store::Requirement;

use super::Session;
use super::drafts::Draft;
use super::skills::Refusal;
use crate::environments::{EnvironmentError, Prepared};
use crate::error::FactoryError;
use crate::run::{Requirements, program_of_version};

/// A kind of sandboxes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kind {
    image: ImageId,
    imports: Imports,
    limits: Limits,
}

impl Session<'_> {
    /// Resolves what a draft requires, beside what the versions require that it depends on, and makes
    /// its environment, so that what cannot be had is known before anything runs.
    pub(super) async fn requirements(
        &self,
        wanted: &[String],
        depends: &BTreeMap<SubagentName, Digest>,
    ) -> Result<Option<Prepared>, Refusal> {
        let dependencies = self.dependencies(depends)?;
        let python = dependencies.locked_python();
        let python = python.map_err(|error| refusal(error.into()))?;
        if wanted.is_empty() && python.is_none() {
            return Ok(None);
        }
        let factory = &self.factory;
        let made = factory.prepare_with(wanted, &dependencies, &self.watcher, &self.cancel);
        made.await.map(Some).map_err(refusal)
    }

    /// Adds what new dependencies require to what a draft is locked to.
    pub(super) async fn merge_requirements(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let dependencies = self.dependencies(&draft.depends)?;
        let python = dependencies.locked_python();
        let Some(python) = python.map_err(|error| refusal(error.into()))? else {
            return Ok(());
        };
        let merged = dependencies.merged(&draft.requirements);
        let merged = merged.map_err(|error| refusal(error.into()))?;
        if merged == draft.requirements {
            return Ok(());
        }
        let factory = &self.factory;
        let made = factory.locked(&merged, python, &self.watcher, &self.cancel);
        draft.require(Some(made.await.map_err(refusal)?));
        Ok(())
    }

    /// Has a sandbox wait for the next run of a draft that has an environment, which comes after the
    /// model's next turn.
    pub(super) fn expect_draft(&mut self, name: &SubagentName) {
        let Some(draft) = self.drafts.get(name) else {
            return;
        };
        let content = draft.content();
        // What cannot be run says so when it is run.
        let Ok(limits) = self.limits(content.limits.as_ref()) else {
            return;
        };
        let program = program_of_version(&content, "");
        self.expect(&Requirements::of(&content), &program, &limits);
    }

    /// Has a sandbox wait for another run of a program that has an environment, in the place of the one
    /// that waited for others.
    pub(super) fn expect(
        &mut self,
        requirements: &Requirements,
        program: &Program,
        limits: &Limits,
    ) {
        let factory = self.factory;
        if requirements.is_empty() || !self.request.mounts.is_empty() {
            return;
        }
        let Some(settings) = &factory.environments else {
            return;
        };
        let Some(prepared) = settings.remembered(&factory.image, requirements) else {
            return;
        };
        let kind = Kind {
            imports: settings.imports(&prepared, program, Determinism::default()),
            image: prepared.environment.image,
            limits: Limits {
                // It becomes less with the time that is left, and any fits into a lease.
                wall: Limits::default().wall,
                ..limits.clone()
            },
        };
        if self.expected.as_ref() != Some(&kind) {
            self.expect_nothing();
        }
        let Kind {
            image,
            imports,
            limits,
        } = &kind;
        factory.sandboxes.prewarm(image, imports, limits, 1);
        self.expected = Some(kind);
    }

    /// Has none wait.
    pub(super) fn expect_nothing(&mut self) {
        if let Some(kind) = self.expected.take() {
            let Kind {
                image,
                imports,
                limits,
            } = &kind;
            self.factory.sandboxes.prewarm(image, imports, limits, 0);
        }
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
        | EnvironmentError::Index(_)
        | EnvironmentError::Proxy(..)
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
