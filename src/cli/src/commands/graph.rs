//! `log --graph`: how the versions of a subagent came from one another.

use std::collections::{HashMap, HashSet};

use spec::{Digest, SubagentName};
use store::{LineageStep, Store};

use super::{joined, shown_at};
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::{Text, Tone, continued};
use crate::wire::{GraphJson, GraphVersionJson};

/// Draws the last publications of a subagent, newest first.
pub(super) fn graph(
    app: &App,
    store: &Store,
    name: &SubagentName,
    limit: usize,
) -> anyhow::Result<ExitCode> {
    let document = document(store, name, limit)?;
    if app.ui.is_json() {
        app.ui.json(&document)?;
        return Ok(ExitCode::Success);
    }
    let parents: Vec<_> = document.versions.iter().map(edge).collect();
    for (version, row) in document.versions.iter().zip(draw(&parents)) {
        for line in row.before {
            app.ui.data(Text::new().with(Tone::Dim, line))?;
        }
        let title = Text::new().with(Tone::Position, row.at);
        app.ui.data(described(title, version))?;
        for (field, value) in details(version) {
            let bars = Text::new().with(Tone::Dim, format!("{}  {field} ", row.after));
            let below = format!("{}       ", row.after);
            app.ui.data(bars.plain(continued(&value, &below)))?;
        }
    }
    Ok(ExitCode::Success)
}

fn document(store: &Store, name: &SubagentName, limit: usize) -> anyhow::Result<GraphJson> {
    let steps = store.lineage(name)?;
    let head = store.head(name)?;
    let name = head
        .as_ref()
        .map_or_else(|| name.clone(), |head| head.name.clone());
    let tags = store.tags(&name)?;
    // A version can be published several times: a parent is the last time before.
    let mut published: HashMap<Digest, u64> = HashMap::new();
    let mut versions: Vec<GraphVersionJson> = Vec::new();
    for step in steps {
        let parent = step.parent.and_then(|parent| published.get(&parent));
        let parent_operation = parent.copied();
        published.insert(step.digest, step.operation);
        versions.push(version(step, parent_operation, &tags));
    }
    // Of several publications of the head, the last one is where it is.
    let at_head = versions.iter_mut().rev();
    let mut at_head = at_head.filter(|one| {
        let head = head.as_ref();
        head.is_some_and(|head| head.digest == one.version)
    });
    if let Some(one) = at_head.next() {
        one.is_head = true;
    }
    versions.reverse();
    versions.truncate(limit);
    Ok(GraphJson { name, versions })
}

fn version(
    step: LineageStep,
    parent_operation: Option<u64>,
    tags: &[(String, Digest)],
) -> GraphVersionJson {
    let tags = tags.iter().filter(|(_, digest)| *digest == step.digest);
    GraphVersionJson {
        version: step.digest,
        parent: step.parent,
        operation: step.operation,
        parent_operation,
        at: step.at,
        task: step.task,
        by: step.by,
        note: step.note,
        evidence: step.evidence,
        undone: step.is_undone,
        is_head: false,
        tags: tags.map(|(tag, _)| tag.clone()).collect(),
    }
}

fn edge(version: &GraphVersionJson) -> (u64, Option<u64>) {
    (version.operation, version.parent_operation)
}

fn described(title: Text, version: &GraphVersionJson) -> Text {
    let mut marks = Vec::new();
    if version.is_head {
        marks.push("head".to_owned());
    }
    if version.undone {
        marks.push("undone".to_owned());
    }
    marks.extend(version.tags.iter().map(|tag| format!(":{tag}")));
    let title = title
        .with(Tone::Strong, format!(" {}", version.version.short()))
        .plain(format!(
            "  {}  operation {}",
            shown_at(version.at),
            version.operation
        ));
    if marks.is_empty() {
        title
    } else {
        title.with(Tone::Good, format!("  ({})", joined(marks)))
    }
}

/// Who, why and what speaks for it.
fn details(version: &GraphVersionJson) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    details.extend(version.task.iter().map(|task| ("task", task.clone())));
    details.extend(version.by.iter().map(|by| ("by  ", by.clone())));
    if !version.note.is_empty() {
        details.push(("why ", version.note.clone()));
    }
    match version.evidence.len() {
        0 => {}
        1 => details.push(("runs", version.evidence[0].to_string())),
        many => details.push((
            "runs",
            format!("{} and {} more", version.evidence[0], many - 1),
        )),
    }
    details
}

/// The lines to the left of one node.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// Where branches come together above it.
    before: Vec<String>,
    /// Beside the node.
    at: String,
    /// Below it.
    after: String,
}

/// Draws nodes, newest first, each with its parent: `*` is a node, `|` a line to a parent below.
fn draw(nodes: &[(u64, Option<u64>)]) -> Vec<Row> {
    // What each column leads to.
    let mut columns: Vec<u64> = Vec::new();
    let shown: HashSet<u64> = nodes.iter().map(|(node, _)| *node).collect();
    nodes
        .iter()
        .map(|(node, parent)| {
            let at = columns.iter().position(|next| next == node);
            let at = at.unwrap_or_else(|| {
                columns.push(*node);
                columns.len() - 1
            });
            let mut before = Vec::new();
            let joins = |(column, next): (usize, &u64)| column > at && next == node;
            if columns.iter().enumerate().any(joins) {
                let mut line = String::new();
                for (column, next) in columns.iter().enumerate() {
                    let joined = joins((column, next));
                    line.push_str(match (column, joined) {
                        (0, _) => "|",
                        (_, true) => "/",
                        (_, false) => " |",
                    });
                }
                before.push(line);
                let mut column = 0;
                columns.retain(|next| {
                    let keep = !joins((column, next));
                    column += 1;
                    keep
                });
            }
            let cells = columns.iter().enumerate();
            let line = cells.map(|(column, _)| if column == at { "*" } else { "|" });
            let line: Vec<_> = line.collect();
            match parent.filter(|parent| shown.contains(parent)) {
                Some(parent) => columns[at] = parent,
                None => {
                    columns.remove(at);
                }
            }
            Row {
                before,
                at: line.join(" "),
                after: vec!["|"; columns.len()].join(" "),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(u64, Option<u64>)], expected: &[&str]) {
        let mut lines = Vec::new();
        for ((node, _), row) in nodes.iter().zip(draw(nodes)) {
            lines.extend(row.before);
            lines.push(format!("{} {node}", row.at));
        }
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_of_versions_is_a_line() {
        check(
            &[(3, Some(2)), (2, Some(1)), (1, None)],
            &["* 3", "* 2", "* 1"],
        );
        check(&[], &[]);
    }

    #[test]
    fn versions_of_one_parent_are_branches() {
        check(
            &[(4, Some(1)), (3, Some(2)), (2, Some(1)), (1, None)],
            &["* 4", "| * 3", "| * 2", "|/", "* 1"],
        );
        check(
            &[(4, Some(1)), (3, Some(1)), (2, Some(1)), (1, None)],
            &["* 4", "| * 3", "| | * 2", "|//", "* 1"],
        );
    }

    #[test]
    fn a_parent_beyond_the_page_ends_the_line() {
        check(&[(9, Some(7)), (8, Some(3))], &["* 9", "* 8"]);
    }
}
