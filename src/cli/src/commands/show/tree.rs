//! `show --tree`: what a version depends on.

use std::collections::{BTreeMap, BTreeSet};

use spec::{Digest, SubagentName};
use store::{Resolved, Store};

use crate::exit::ExitCode;
use crate::ui::{Text, Tone, Ui};
use crate::wire::TreeJson;

/// What each version of a closure depends on.
type Depends = BTreeMap<Digest, BTreeMap<SubagentName, Digest>>;

/// Shows the versions that a version depends on, directly or not.
pub(super) fn show(ui: &Ui, store: &Store, resolved: Resolved) -> anyhow::Result<ExitCode> {
    let closure = store.closure(&resolved.digest)?;
    let depends: Depends = closure
        .versions
        .into_iter()
        .map(|one| (one.digest, one.depends))
        .collect();
    let mut shown = BTreeSet::new();
    let root = tree(&depends, resolved.name, resolved.digest, &mut shown);
    if ui.is_json() {
        ui.json(&root)?;
    } else {
        render(ui, &root, "", "")?;
    }
    Ok(ExitCode::Success)
}

/// A version with all below it. What is below one that occurs again is told the first time only:
/// a few versions can make very many ways.
fn tree(
    depends: &Depends,
    name: Option<SubagentName>,
    version: Digest,
    shown: &mut BTreeSet<Digest>,
) -> TreeJson {
    let below = depends.get(&version).filter(|below| !below.is_empty());
    let repeated = below.is_some() && !shown.insert(version);
    let below = below.filter(|_| !repeated).into_iter().flatten();
    TreeJson {
        name,
        version,
        repeated,
        depends: below
            .map(|(name, digest)| tree(depends, Some(name.clone()), *digest, shown))
            .collect(),
    }
}

/// One line for each version, as `tree` draws folders.
fn render(ui: &Ui, node: &TreeJson, first: &str, rest: &str) -> anyhow::Result<()> {
    let name = node.name.as_ref();
    let name = name.map_or_else(|| "(no name)".to_owned(), ToString::to_string);
    let again = if node.repeated { " (see above)" } else { "" };
    ui.data(
        Text::new()
            .with(Tone::Dim, first)
            .with(Tone::Strong, name)
            .plain(format!("@{}{again}", node.version)),
    )?;
    for (at, below) in node.depends.iter().enumerate() {
        let (branch, trunk) = if at + 1 == node.depends.len() {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        render(
            ui,
            below,
            &format!("{rest}{branch}"),
            &format!("{rest}{trunk}"),
        )?;
    }
    Ok(())
}
