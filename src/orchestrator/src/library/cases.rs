//! The runs that speak for a version.

use std::collections::BTreeSet;

use spec::{Digest, RunId, SubagentName};
use store::{RunQuery, Store, StoreError};

use crate::FactoryError;

/// A recorded run of a version: a regression case. It holds what users asked and gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The run.
    pub run: RunId,
    /// The digest of its record.
    pub record: Digest,
}

/// The recorded runs of a version, and those that spoke for it when it was published.
pub(super) fn cases(
    store: &Store,
    name: Option<&SubagentName>,
    version: &Digest,
) -> Result<Vec<Case>, FactoryError> {
    let mut runs = BTreeSet::new();
    if let Some(name) = name {
        let steps = store.lineage(name)?.into_iter();
        let steps = steps.filter(|step| step.digest == *version);
        runs.extend(steps.flat_map(|step| step.evidence));
    }
    // A damaged record is `fsck`'s affair.
    let recorded = store.run_page(&RunQuery {
        version: Some(*version),
        limit: usize::MAX,
        ..RunQuery::default()
    })?;
    runs.extend(recorded.runs.iter().map(|one| one.run));
    let mut found = Vec::new();
    for run in runs {
        match store.run_closure(&run) {
            Ok(closure) => found.push(Case {
                run,
                record: closure.record,
            }),
            // An accepted run whose record was removed is no case any more.
            Err(StoreError::UnknownRun { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}
