//! Which saved subagents the model is told of: few, and those that fit best.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use spec::SubagentName;
use store::{Found, Head};

use super::{drafts, render};
use crate::error::{FactoryError, chain};
use crate::factory::Factory;

/// Saved subagents that are named in the prompt; the others are found by asking.
pub(super) const IN_PROMPT: usize = 12;
/// Subagents that one search gives.
const FOUND_MAX: usize = 10;
/// Subagents of one page of the list.
const PAGE: usize = 50;
/// Characters of a description.
const DESCRIPTION_MAX: usize = 400;

/// A subagent, and what its runs were like if that is known.
struct Line {
    head: Head,
    found: Option<Found>,
}

impl Factory {
    /// The few that fit a task best, a line each; all of them where there are few.
    pub(super) fn fitting(&self, task: &str) -> Result<String, FactoryError> {
        let total = self.store.heads_total()?;
        let mut lines = self.searched(task, IN_PROMPT)?;
        if total <= IN_PROMPT as u64 {
            let named: BTreeSet<SubagentName> =
                lines.iter().map(|line| line.head.name.clone()).collect();
            let heads = self.store.heads_page(None, IN_PROMPT)?;
            let others = heads.into_iter().filter(|head| !named.contains(&head.name));
            lines.extend(others.map(|head| Line { head, found: None }));
        }
        let (mut text, shown) = self.lines(&lines);
        match total.saturating_sub(lines.len() as u64) {
            0 if shown == 0 => text.push_str("(none yet)\n"),
            0 => {}
            rest => {
                let _ = writeln!(
                    text,
                    "{rest} more are saved; search_subagents finds them by what they do, list_saved_subagents by name"
                );
            }
        }
        Ok(text)
    }

    /// What fits a question, a line each.
    pub(super) fn found(&self, query: &str) -> Result<String, FactoryError> {
        let (mut text, shown) = self.lines(&self.searched(query, FOUND_MAX)?);
        if shown == 0 {
            text.push_str("(none fits)\n");
        }
        Ok(text)
    }

    /// A page of all of them, by name.
    pub(super) fn listed(&self, after: Option<&SubagentName>) -> Result<String, FactoryError> {
        let mut heads = self.store.heads_page(after, PAGE + 1)?;
        let is_more = heads.len() > PAGE;
        heads.truncate(PAGE);
        let last = heads.last().map(|head| head.name.clone());
        let lines: Vec<Line> = heads
            .into_iter()
            .map(|head| Line { head, found: None })
            .collect();
        let (mut text, shown) = self.lines(&lines);
        match last.filter(|_| is_more) {
            Some(last) => {
                let total = self.store.heads_total()?;
                let _ = writeln!(
                    text,
                    "{total} are saved; the next page begins after `{last}`"
                );
            }
            None if shown == 0 && after.is_some() => text.push_str("(no more)\n"),
            None if shown == 0 => text.push_str("(none yet)\n"),
            None => {}
        }
        Ok(text)
    }

    /// Those that fit, the best first. Where there is no index nothing fits: a task can go on without.
    fn searched(&self, query: &str, most: usize) -> Result<Vec<Line>, FactoryError> {
        let found = match self.store.search(query, most, &mut |_| {}) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "saved subagents cannot be searched");
                Vec::new()
            }
        };
        let mut lines = Vec::new();
        for one in found {
            // It may have been removed since.
            if let Some(head) = self.store.head(&one.name)? {
                let found = Some(one);
                lines.push(Line { head, found });
            }
        }
        Ok(lines)
    }

    /// The lines as text, and how many of them could be read.
    fn lines(&self, lines: &[Line]) -> (String, usize) {
        let mut text = String::new();
        let mut shown = 0;
        for Line { head, found } in lines {
            // One that is damaged is `fsck`'s affair; the others can be used.
            let content = match self.store.version(&head.digest) {
                Ok(version) => version.content,
                Err(error) => {
                    tracing::warn!(name = %head.name, error = %chain(&error), "a saved subagent cannot be read");
                    continue;
                }
            };
            let grants = drafts::granted(&content.skills, &crate::egress::rules(&content.egress));
            let description = render::middle(&content.description, DESCRIPTION_MAX);
            let _ = write!(
                text,
                "- {}: {} ({grants}; version {}, {} in its history",
                head.name,
                description.replace('\n', " "),
                head.digest.short(),
                head.versions
            );
            if let Some(found) = found.as_ref().filter(|found| found.runs > 0) {
                let _ = write!(
                    text,
                    "; {} of {} runs completed",
                    found.completed, found.runs
                );
                if let Some(time) = found.median_ms.map(about) {
                    let _ = write!(text, ", {time}");
                }
            }
            text.push_str(")\n");
            shown += 1;
        }
        (text, shown)
    }
}

/// A time in steps that the same work on the same machine does not cross by chance.
fn about(ms: f64) -> &'static str {
    match ms {
        ms if ms < 1_000.0 => "under 1 s each",
        ms if ms < 10_000.0 => "seconds each",
        ms if ms < 60_000.0 => "under a minute each",
        _ => "minutes each",
    }
}
