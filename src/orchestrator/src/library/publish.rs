//! Names that come to point at what was brought in.

use spec::{Digest, SubagentName};
use store::{Act, Move, Publication, Store, StoreError};

/// How often heads may move between a look and a publication.
pub(super) const ATTEMPTS: u32 = 5;
/// Heads that one operation moves.
pub(super) const TOGETHER: usize = 500;

/// The version that a name's head points at.
pub(super) fn head(store: &Store, name: &SubagentName) -> Result<Option<Digest>, StoreError> {
    Ok(store.head(name)?.map(|head| head.digest))
}

/// Moves heads in one operation, from where whoever decided that saw them.
pub(super) fn publish(
    store: &Store,
    moves: Vec<Move>,
    act: &Act,
    note: &str,
) -> Result<(), StoreError> {
    let publication = Publication {
        moves,
        at: act.at,
        task: None,
        evidence: Vec::new(),
        note: note.to_owned(),
    };
    store.publish_by(publication, act).map(drop)
}
