//! What drafts depend on.

use std::collections::BTreeMap;

use spec::{Digest, SubagentName, VersionRef};
use store::StoreErrorKind;

use super::Session;
use super::drafts::Draft;
use super::skills::Refusal;
use crate::compose::{Dependencies, module_name};
use crate::trust::TrustError;

impl Session<'_> {
    /// The versions that a draft is to import: saved ones, and drafts of this task in the form in
    /// which they last completed a run.
    ///
    /// # Errors
    /// What is wrong with one of them, for the model.
    pub(super) fn depends(
        &self,
        texts: &[String],
    ) -> Result<BTreeMap<SubagentName, Digest>, Refusal> {
        let mut depends = BTreeMap::new();
        for text in texts {
            let (name, digest) = self.depended_on(text)?;
            if depends.insert(name.clone(), digest).is_some() {
                return Err(format!("`depends` names `{name}` twice").into());
            }
        }
        Ok(depends)
    }

    fn depended_on(&self, text: &str) -> Result<(SubagentName, Digest), Refusal> {
        let reference: VersionRef = text.parse().map_err(|error: spec::ReferenceError| {
            format!("{error}; {}", error.hint().unwrap_or_default())
        })?;
        if let VersionRef::Head(name) = &reference
            && let Some(draft) = self.drafts.get(name)
        {
            if !draft.is_proven {
                return Err(format!(
                    "`{name}` is a draft whose last run, in its present form, did not complete; run it first"
                )
                .into());
            }
            let staged = self.factory.store.stage(&draft.content())?;
            return Ok((name.clone(), staged.digest()));
        }
        let resolved = match self.factory.store.resolve(&reference) {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                return Err(self.unknown(text)?.into());
            }
            Err(error) if error.kind() == StoreErrorKind::Ambiguous => {
                return Err(error.to_string().into());
            }
            Err(error) => return Err(error.into()),
        };
        match resolved.name {
            Some(name) => {
                let (store, trust) = (&self.factory.store, &self.factory.trust);
                let trusted = trust.check(store, &resolved.digest, Some(&name), None);
                trusted.map_err(untrusted)?;
                Ok((name, resolved.digest))
            }
            None => Err(format!("no subagent has the version {}", resolved.digest).into()),
        }
    }

    /// Reads what a draft depends on.
    pub(super) fn dependencies(
        &self,
        depends: &BTreeMap<SubagentName, Digest>,
    ) -> Result<Dependencies, Refusal> {
        let read = Dependencies::read(&self.factory.store, depends);
        read.map_err(|error| match error.kind() {
            StoreErrorKind::Refused => Refusal::Text(error.to_string()),
            _ => error.into(),
        })
    }

    /// Checks that a draft can be composed with what it depends on.
    ///
    /// # Errors
    /// Why not and what to do, for the model.
    pub(super) fn check_composition(&self, draft: &Draft) -> Result<(), Refusal> {
        if draft.depends.is_empty() {
            return Ok(());
        }
        let content = draft.content();
        let dependencies = self.dependencies(&draft.depends)?;
        dependencies
            .check(Some(&draft.name), &content)
            .and_then(|()| dependencies.compose(&content.entry, content.files))
            .map(drop)
            .map_err(|error| {
                let hint = error.hint().map(|hint| format!("; {hint}"));
                Refusal::Text(format!("{error}{}", hint.unwrap_or_default()))
            })
    }
}

/// What nobody vouches for is for the model to do without; what cannot be read ends the task.
pub(super) fn untrusted(error: TrustError) -> Refusal {
    match error {
        TrustError::Store(error) => Refusal::from(error),
        other => Refusal::Text(crate::chain(&other)),
    }
}

/// How a draft imports what it depends on, for the model; nothing when there is nothing.
pub(super) fn said(draft: &Draft) -> String {
    let lines = draft.depends.iter().map(|(name, digest)| {
        let module = module_name(name);
        format!(
            "\nimports `{name}` ({}): `from {module} import main`",
            digest.short()
        )
    });
    lines.collect()
}
