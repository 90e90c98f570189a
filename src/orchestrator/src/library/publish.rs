//! Names that come to point at what was brought in.

use jiff::Timestamp;
use spec::{Digest, SubagentName, VersionRef};
use store::{Move, Publication, Store, StoreError, StoreErrorKind};

/// How often heads may move between a look and a publication.
const ATTEMPTS: u32 = 5;
/// Heads that one operation moves.
const TOGETHER: usize = 500;

/// The version that a name's head points at.
pub(super) fn head(store: &Store, name: &SubagentName) -> Result<Option<Digest>, StoreError> {
    match store.resolve(&VersionRef::Head(name.clone())) {
        Ok(resolved) => Ok(Some(resolved.digest)),
        Err(StoreError::UnknownName { .. } | StoreError::NoHead { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves the heads of names to versions, those that are not there already; few operations for many.
pub(super) fn publish(
    store: &Store,
    versions: &[(SubagentName, Digest)],
    at: Timestamp,
    note: &str,
) -> Result<(), StoreError> {
    for together in versions.chunks(TOGETHER) {
        for attempt in 1.. {
            let mut moves = Vec::new();
            for (name, version) in together {
                let from = head(store, name)?;
                if from != Some(*version) {
                    moves.push(Move {
                        name: name.clone(),
                        from,
                        to: *version,
                    });
                }
            }
            if moves.is_empty() {
                break;
            }
            let publication = Publication {
                moves,
                at,
                task: None,
                evidence: Vec::new(),
                note: note.to_owned(),
            };
            match store.publish(publication) {
                Ok(_) => break,
                // Another head moved since it was looked at: look again.
                Err(error) if error.kind() == StoreErrorKind::Conflict && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
