//! Operations: what changed, when, and how that is one line of the log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spec::{Digest, RunId, SubagentName};

use crate::StoreError;
use crate::version::canonical;

/// One recorded change. It is never changed or removed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its identity: the digest of everything below, as it stands in the log.
    pub id: Digest,
    /// Its place in the log, from 1.
    pub seq: u64,
    /// When it was made, by the clock of whoever made it.
    pub at: Timestamp,
    /// The operation before it; none for the first.
    pub previous: Option<Digest>,
    /// What it did.
    pub change: Change,
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Heads moved to versions that passed.
    Publish {
        /// Which heads, from where, to where; by name.
        moves: Vec<Move>,
        /// The task that it came from.
        task: Option<String>,
        /// The runs that speak for it.
        evidence: Vec<RunId>,
        /// What a person or a model said about it.
        note: String,
    },
    /// A version got a tag.
    Tag {
        /// Which tag, from where, to where.
        #[serde(rename = "move")]
        moved: TagMove,
    },
    /// An earlier operation was reversed.
    Undo {
        /// The place of that operation in the log.
        seq: u64,
        /// What happened to heads.
        moves: Vec<HeadMove>,
        /// What happened to tags.
        tags: Vec<TagMove>,
    },
}

/// A head that is published: `from` is what it must be, `to` what it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The subagent.
    pub name: SubagentName,
    /// Its head before; none for a new name.
    pub from: Option<Digest>,
    /// Its head after.
    pub to: Digest,
}

/// A head that moved; none means that there is no head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadMove {
    /// The subagent.
    pub name: SubagentName,
    /// Its head before.
    pub from: Option<Digest>,
    /// Its head after.
    pub to: Option<Digest>,
}

/// A tag that moved; none means that there is no such tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagMove {
    /// The subagent.
    pub name: SubagentName,
    /// The tag.
    pub tag: String,
    /// The version that carried it before.
    pub from: Option<Digest>,
    /// The version that carries it after.
    pub to: Option<Digest>,
}

impl Change {
    /// The word for it in the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Tag { .. } => "tag",
            Self::Undo { .. } => "undo",
        }
    }

    /// The heads that it moved.
    pub fn head_moves(&self) -> Vec<HeadMove> {
        match self {
            Self::Publish { moves, .. } => moves
                .iter()
                .map(|one| HeadMove {
                    name: one.name.clone(),
                    from: one.from,
                    to: Some(one.to),
                })
                .collect(),
            Self::Tag { .. } => Vec::new(),
            Self::Undo { moves, .. } => moves.clone(),
        }
    }

    /// The tags that it moved.
    pub fn tag_moves(&self) -> &[TagMove] {
        match self {
            Self::Publish { .. } => &[],
            Self::Tag { moved } => std::slice::from_ref(moved),
            Self::Undo { tags, .. } => tags,
        }
    }

    /// Whether it moved the head or a tag of this subagent.
    pub fn touches(&self, name: &SubagentName) -> bool {
        let heads = match self {
            Self::Publish { moves, .. } => moves.iter().any(|one| one.name == *name),
            Self::Tag { .. } => false,
            Self::Undo { moves, .. } => moves.iter().any(|one| one.name == *name),
        };
        heads || self.tag_moves().iter().any(|one| one.name == *name)
    }
}

/// An operation without its digest, as it stands in the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    seq: u64,
    at: Timestamp,
    previous: Option<Digest>,
    change: Change,
}

// A line is canonical JSON of two fields. The digest is of the exact bytes of the second, so that
// each line shows by itself whether it is whole.
const LINE_BEGIN: &str = "{\"digest\":\"";
const LINE_MIDDLE: &str = "\",\"operation\":";
const LINE_END: &str = "}";

impl Operation {
    /// Makes the operation that follows `previous`, and its line without the line feed.
    pub(crate) fn after(
        previous: Option<&Self>,
        at: Timestamp,
        change: Change,
    ) -> Result<(Self, String), StoreError> {
        let body = Body {
            seq: previous.map_or(1, |operation| operation.seq + 1),
            at,
            previous: previous.map(|operation| operation.id),
            change,
        };
        let text = String::from_utf8(canonical(&body)?)
            .expect("canonical JSON is UTF-8 by its definition");
        let id = Digest::of(text.as_bytes());
        let line = format!("{LINE_BEGIN}{id}{LINE_MIDDLE}{text}{LINE_END}");
        Ok((body.with_id(id), line))
    }

    /// Reads a line without its line feed.
    pub(crate) fn from_line(line: &[u8]) -> Result<Self, String> {
        let parts = std::str::from_utf8(line).ok().and_then(|text| {
            text.strip_prefix(LINE_BEGIN)?
                .strip_suffix(LINE_END)?
                .split_once(LINE_MIDDLE)
        });
        let (digest, text) = parts.ok_or("it is not an operation")?;
        let id: Digest = digest.parse().map_err(|_| "its digest is unreadable")?;
        if Digest::of(text.as_bytes()) != id {
            return Err("its content has another digest".to_owned());
        }
        let body: Body =
            serde_json::from_str(text).map_err(|why| format!("it is of an unknown form: {why}"))?;
        Ok(body.with_id(id))
    }

    /// Whether bytes are the beginning of a line whose end was never written: what a crash leaves.
    pub(crate) fn is_torn(tail: &[u8]) -> bool {
        // A file system that lost power may have reserved space that it never filled.
        let end = tail
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let tail = &tail[..end];
        let frame = LINE_BEGIN.as_bytes();
        let begins = tail.starts_with(frame) || frame.starts_with(tail);
        // JSON that ends too early is a beginning; anything else is damage.
        begins
            && serde_json::from_slice::<serde::de::IgnoredAny>(tail)
                .is_err_and(|error| error.is_eof())
    }
}

impl Body {
    fn with_id(self, id: Digest) -> Operation {
        Operation {
            id,
            seq: self.seq,
            at: self.at,
            previous: self.previous,
            change: self.change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Operation, String) {
        let change = Change::Publish {
            moves: vec![Move {
                name: "readme-writer".parse().unwrap(),
                from: None,
                to: Digest::of(b"version"),
            }],
            task: Some("task-1".to_owned()),
            evidence: vec!["01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()],
            note: "first \"try\"\n".to_owned(),
        };
        Operation::after(None, "2026-01-02T03:04:05.678Z".parse().unwrap(), change).unwrap()
    }

    /// Golden: a change of these bytes makes every log unreadable.
    #[test]
    fn the_line_of_an_operation_never_changes() {
        let (operation, line) = example();
        assert_eq!(
            line,
            concat!(
                r#"{"digest":"sha256:c1f442777cb64bbc6de26c925cb637632176e25c40751512ab5c397960f3cb98","operation":"#,
                r#"{"at":"2026-01-02T03:04:05.678Z","change":{"evidence":["01890a5d-ac96-774b-bcce-b302099a8057"],"kind":"publish","#,
                r#""moves":[{"from":null,"name":"readme-writer","to":"sha256:"#,
                r#"5ca4f3850ccc331aaf8a257d6086e526a3b42a63e18cb11d020847985b31d188"}],"note":"first \"try\"\n","task":"task-1"},"previous":null,"seq":1}}"#
            )
        );
        assert_eq!(Operation::from_line(line.as_bytes()), Ok(operation));
    }

    #[test]
    fn every_beginning_of_a_line_is_torn_and_no_other_change_is() {
        let (_, line) = example();
        for end in 0..line.len() {
            assert!(Operation::is_torn(&line.as_bytes()[..end]), "{end}");
            let mut padded = line.as_bytes()[..end].to_vec();
            padded.extend([0; 9]);
            assert!(Operation::is_torn(&padded), "{end}");
        }
        // The line feed became something else.
        for byte in 0..=u8::MAX {
            let mut changed = line.clone().into_bytes();
            changed.push(byte);
            assert!(!Operation::is_torn(&changed), "{byte}");
        }
    }

    #[test]
    fn each_changed_byte_of_a_line_is_noticed() {
        let (_, line) = example();
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone().into_bytes();
                changed[at] ^= 1 << bit;
                assert!(Operation::from_line(&changed).is_err(), "{at} {bit}");
            }
        }
    }
}
