//! Operations: what changed, when, and how that is one line of the log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spec::Digest;

use crate::StoreError;
use crate::change::Change;
use crate::version::canonical;

/// Who does something to the history, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who: a person, a host; none where nobody says, or a task does it.
    pub by: Option<String>,
    /// Why, in their words.
    pub why: Option<String>,
    /// Whether heads that are pinned are moved too.
    pub over_pins: bool,
}

impl From<Timestamp> for Act {
    fn from(at: Timestamp) -> Self {
        Self {
            at,
            by: None,
            why: None,
            over_pins: false,
        }
    }
}

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
    /// Who did it, where that is not a task: a person, a host.
    pub by: Option<String>,
    /// Why, in their words. A publish has its note.
    pub why: Option<String>,
    /// Whether it could move pinned heads.
    pub over_pins: bool,
}

/// An operation without its digest, as it stands in the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    seq: u64,
    at: Timestamp,
    previous: Option<Digest>,
    change: Change,
    // Left out where they say nothing: so are they from the lines of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    over_pins: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde gives")]
fn is_false(value: &bool) -> bool {
    !*value
}

// A line is canonical JSON of two fields. The digest is of the exact bytes of the second, so that
// each line shows by itself whether it is whole.
const LINE_BEGIN: &str = "{\"digest\":\"";
const LINE_MIDDLE: &str = "\",\"operation\":";
const LINE_END: &str = "}";

impl Operation {
    /// Makes the operation that follows the one that `previous` names, and its line without the
    /// line feed.
    pub(crate) fn after(
        previous: Option<(u64, Digest)>,
        act: Act,
        change: Change,
    ) -> Result<(Self, String), StoreError> {
        let body = Body {
            seq: previous.map_or(1, |(seq, _)| seq + 1),
            at: act.at,
            previous: previous.map(|(_, id)| id),
            change,
            by: act.by,
            why: act.why,
            over_pins: act.over_pins,
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
            by: self.by,
            why: self.why,
            over_pins: self.over_pins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::SubagentName;

    use crate::change::{HeadMove, Move, PinMove, Renaming, TagMove};

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
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        Operation::after(None, at.into(), change).unwrap()
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

    fn undo(
        name: &SubagentName,
        [one, two]: [Digest; 2],
        pins: Vec<PinMove>,
        names: Vec<Renaming>,
    ) -> Change {
        Change::Undo {
            seq: 3,
            moves: vec![HeadMove {
                name: name.clone(),
                from: Some(one),
                to: None,
            }],
            tags: vec![TagMove {
                name: name.clone(),
                tag: "stable".to_owned(),
                from: Some(two),
                to: Some(one),
            }],
            pins,
            names,
        }
    }

    /// Golden: one operation of each kind, and that a program that knows fewer fields wrote it.
    #[test]
    fn the_digest_of_each_kind_of_operation_never_changes() {
        let name: SubagentName = "readme-writer".parse().unwrap();
        let other: SubagentName = "writer".parse().unwrap();
        let [one, two] = [b"1", b"2"].map(|bytes| Digest::of(bytes));
        let act = Act {
            by: Some("ada".to_owned()),
            why: Some("it \"works\"".to_owned()),
            over_pins: true,
            ..Timestamp::UNIX_EPOCH.into()
        };
        let plain: Act = Timestamp::UNIX_EPOCH.into();
        let undo = |pins, names| undo(&name, [one, two], pins, names);
        let moved = Move {
            name: name.clone(),
            from: None,
            to: two,
        };
        let tag = |to| Change::Tag {
            moved: TagMove {
                name: name.clone(),
                tag: "stable".to_owned(),
                from: Some(one),
                to,
            },
        };
        let pins = vec![PinMove {
            name: name.clone(),
            pinned: true,
        }];
        let renaming = Renaming {
            from: name.clone(),
            to: other,
        };
        let kinds = [
            (
                &plain,
                tag(Some(two)),
                "13eb83c8c908d872135af25a0fe5feb2151c8b1f8b0eea23b7f33dc56c39ee9f",
            ),
            (
                &act,
                tag(None),
                "e7c0a23f2d66c90bf13d068f2b3df06f8633dd0bb4738a54b4c1ec05982e23a1",
            ),
            (
                &plain,
                undo(Vec::new(), Vec::new()),
                "7e34ab190d7d01273663672556d8e5e7b724e164a9ecb1c6d2cb16867a96b542",
            ),
            (
                &act,
                undo(pins, vec![renaming.clone()]),
                "b6c4afce03ed31c4ed4969adb42775f14a0d2f311c05b3bbcdfbf51525ca78ee",
            ),
            (
                &plain,
                Change::Pin { name: name.clone() },
                "e3a5180dc789a115cd2092f403de649f41d194fb6978d9c50f1567a04d0d524b",
            ),
            (
                &act,
                Change::Unpin { name: name.clone() },
                "5b7af7ee4c5b9e4c587c7928a85d9450f3bbfe5a0c1c1c5250c3cd316477a226",
            ),
            (
                &act,
                Change::Rename { moved: renaming },
                "18205582994c5e2f1d00b01470c8cf6261d8505b1e312d8339f4d9458d90bbd5",
            ),
            (
                &act,
                Change::Remove {
                    name: name.clone(),
                    from: one,
                },
                "71b526efc55962dd008737b72b0f49400c5e0028d41ec79a84d47eb687025909",
            ),
            (
                &act,
                Change::Restore { moved },
                "f8efbcb3983d36215b92848b797b7201681427f4d4b26b5f60ff514d4f2cdd7b",
            ),
        ];
        let mut found = Vec::new();
        let mut expected = Vec::new();
        for (act, change, digest) in kinds {
            let previous = Some((16, Digest::of(b"before")));
            let kind = change.kind();
            let (operation, line) = Operation::after(previous, act.clone(), change).unwrap();
            expected.push((kind, digest.to_owned()));
            found.push((kind, operation.id.hex()));
            assert_eq!(Operation::from_line(line.as_bytes()), Ok(operation));
        }
        assert_eq!(found, expected);
    }

    /// Golden: what was written before there were pins is read, and says nothing about them.
    #[test]
    fn an_undo_of_an_older_program_is_read() {
        let text = concat!(
            r#"{"at":"2026-01-02T03:04:05Z","change":{"kind":"undo","moves":[],"seq":1,"tags":[]},"#,
            r#""previous":"sha256:c1f442777cb64bbc6de26c925cb637632176e25c40751512ab5c397960f3cb98","seq":2}"#
        );
        let id = Digest::of(text.as_bytes());
        let line = format!("{LINE_BEGIN}{id}{LINE_MIDDLE}{text}{LINE_END}");
        let read = Operation::from_line(line.as_bytes()).unwrap();
        assert_eq!(
            (read.by.clone(), read.why.clone(), read.over_pins),
            (None, None, false)
        );
        let act = read.at.into();
        let previous = read.previous.map(|id| (1, id));
        let written = Operation::after(previous, act, read.change.clone()).unwrap();
        assert_eq!(written, (read, line));
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
