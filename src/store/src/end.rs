//! How far the log reaches, kept beside it.
//!
//! Each line of the log names the one before, but nothing names the last: a log that was emptied,
//! or cut at the end of a line, reads as a shorter history. So `operations.head` names it. It is
//! replaced after each append and before the append is acknowledged:
//!
//! - A log that reaches further is whole. Its writer died in between; the next one catches up.
//! - A log that does not reach so far has lost operations.
//! - A store without the file is older than it is, and the next append writes it.
//!
//! Whoever has no lock reads it before the log, which only grows.

use std::io;

use spec::Digest;

use crate::layout::Layout;
use crate::operation::Operation;
use crate::persist::{self, Temporary};
use crate::rules::View;
use crate::{Store, StoreError};

/// The last operation that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    seq: u64,
    id: Digest,
}

impl LogEnd {
    pub(crate) fn of(operation: &Operation) -> Self {
        Self {
            seq: operation.seq,
            id: operation.id,
        }
    }

    /// What the file says; none when there is no file.
    pub(crate) fn read(layout: &Layout) -> Result<Option<Self>, StoreError> {
        let path = layout.log_end();
        match persist::read_small(&path) {
            Ok(bytes) => Self::parse(&bytes)
                .map(Some)
                .ok_or_else(|| StoreError::corrupt(&path, "it does not name an operation")),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts all of the file on disk; moving it to its name is left to the caller.
    pub(crate) fn stage(self, layout: &Layout) -> Result<Temporary, StoreError> {
        let mut file = Temporary::create(&layout.tmp)?;
        file.write(self.to_text().as_bytes())?;
        file.sync()?;
        Ok(file)
    }

    /// Checks that a log reaches this far.
    ///
    /// # Errors
    /// What is wrong with the log.
    pub(crate) fn check(&self, view: &dyn View) -> Result<Result<(), String>, StoreError> {
        let last = view.last()?;
        if last == Some((self.seq, self.id)) {
            return Ok(Ok(()));
        }
        let first_lost = last.map_or(1, |(seq, _)| seq + 1);
        if first_lost == self.seq {
            return Ok(Err(format!("operation {first_lost} is missing")));
        }
        if first_lost < self.seq {
            let last_lost = self.seq;
            return Ok(Err(format!(
                "operations {first_lost}..{last_lost} are missing"
            )));
        }
        let found = view.operation(self.seq)?;
        if found.is_some_and(|found| found.id == self.id) {
            return Ok(Ok(()));
        }
        Ok(Err(format!(
            "operation {} is not the one that was acknowledged, {}",
            self.seq, self.id
        )))
    }

    /// The digest at the end is of what is before it: a changed byte shows here, not as damage of
    /// the log.
    fn to_text(self) -> String {
        let stated = format!("{} {}", self.seq, self.id);
        format!("{stated} {}\n", Digest::of(stated.as_bytes()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split_whitespace();
        let end = Self {
            seq: words.next()?.parse().ok()?,
            id: words.next()?.parse().ok()?,
        };
        // There is one way to write it.
        (end.seq > 0 && end.to_text() == text).then_some(end)
    }
}

impl Store {
    /// Checks that the log reaches as far as was acknowledged.
    pub(crate) fn check_end(&self, end: Option<LogEnd>, view: &dyn View) -> Result<(), StoreError> {
        end.map_or(Ok(Ok(())), |end| end.check(view))?
            .map_err(|why| StoreError::corrupt(&self.layout.log, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: a change of these bytes makes every store look damaged.
    #[test]
    fn the_text_never_changes() {
        let end = LogEnd {
            seq: 17,
            id: Digest::of(b"operation"),
        };
        let text = end.to_text();
        assert_eq!(
            text,
            concat!(
                "17 sha256:9bf5a24e4aa779981ac41f1a0f8713ec758e12df95fa51866869849c06e51175 ",
                "sha256:e28918772c8704c7d3809105299441420850e975b9de3f8cd4cd6d235dc1c51a\n"
            )
        );
        assert_eq!(LogEnd::parse(text.as_bytes()), Some(end));
    }

    #[test]
    fn any_other_text_is_refused() {
        let end = LogEnd {
            seq: 17,
            id: Digest::of(b"operation"),
        };
        let text = end.to_text();
        for cut in 0..text.len() {
            assert_eq!(LogEnd::parse(&text.as_bytes()[..cut]), None, "{cut}");
        }
        for other in [
            format!(" {text}"),
            format!("{text}\n"),
            format!("0{text}"),
            format!("+{text}"),
            LogEnd { seq: 0, ..end }.to_text(),
        ] {
            assert_eq!(LogEnd::parse(other.as_bytes()), None, "{other}");
        }
    }
}
