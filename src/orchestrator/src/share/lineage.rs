//! Which versions a version came from: it is no part of its identity, so it goes along with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use spec::{Digest, SubagentName};
use store::{Attachment, Document, Store, StoreError};

/// What carries a line of ancestors.
pub(super) const LINEAGE_TYPE: &str = "application/vnd.agentfactory.lineage.v1";
const LINEAGE_MEDIA_TYPE: &str = "application/vnd.agentfactory.lineage.v1+json";
/// Ancestors that are told, the nearest first.
const ANCESTORS_MAX: usize = 1_000;
/// Bytes of a document with so many.
pub(super) const LINEAGE_MAX: spec::ByteSize = spec::ByteSize::kib(128);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ancestors: Vec<Digest>,
}

/// The versions that this one came from, as far as this store knows: heads of its name before it,
/// and what came along with them.
pub(super) fn ancestors(
    store: &Store,
    name: Option<&SubagentName>,
    version: &Digest,
) -> Result<Vec<Digest>, StoreError> {
    let mut line = Vec::new();
    if let Some(name) = name {
        let steps = store.lineage(name)?;
        // Where it became the head for the first time: what came before are its ancestors.
        let first = steps.iter().position(|step| step.digest == *version);
        let before = &steps[..first.unwrap_or(0)];
        let parent = first.and_then(|at| steps[at].parent);
        let before = before.iter().rev().filter(|step| !step.is_undone);
        line.extend(parent.into_iter().chain(before.map(|step| step.digest)));
    }
    let own = line.clone();
    for digest in std::iter::once(version).chain(&own) {
        line.extend(told(store, digest)?);
    }
    let mut seen = BTreeSet::from([*version]);
    line.retain(|digest| seen.insert(*digest));
    line.truncate(ANCESTORS_MAX);
    Ok(line)
}

/// What came along with a version about its ancestors.
fn told(store: &Store, version: &Digest) -> Result<Vec<Digest>, StoreError> {
    let mut line = Vec::new();
    for attachment in store.attachments(version)? {
        if let Some(digest) = document(&attachment) {
            let bytes = store.get_at_most(&digest, LINEAGE_MAX)?;
            // One that is of another form tells nothing.
            let told = serde_json::from_slice::<Line>(&bytes);
            line.extend(told.into_iter().flat_map(|line| line.ancestors));
        }
    }
    Ok(line)
}

/// The document of a line of ancestors, if it is one.
fn document(attachment: &Attachment) -> Option<Digest> {
    match attachment.layers.as_slice() {
        [(media_type, digest, _)]
            if attachment.artifact_type == LINEAGE_TYPE && media_type == LINEAGE_MEDIA_TYPE =>
        {
            Some(*digest)
        }
        _ => None,
    }
}

/// Says in the store which versions this one came from, so that it goes along.
pub(super) fn attach(
    store: &Store,
    version: &Digest,
    ancestors: &[Digest],
) -> Result<(), StoreError> {
    // What came along already need not be said again.
    let known: BTreeSet<_> = told(store, version)?.into_iter().collect();
    if ancestors.iter().all(|digest| known.contains(digest)) {
        return Ok(());
    }
    let mut line = Line {
        ancestors: ancestors.to_vec(),
    };
    line.ancestors.truncate(ANCESTORS_MAX);
    let bytes = spec::canonical_json(&line).unwrap_or_default();
    let document = Document {
        artifact_type: LINEAGE_TYPE,
        media_type: LINEAGE_MEDIA_TYPE,
        bytes: &bytes,
    };
    store.attach(version, &document).map(drop)
}
