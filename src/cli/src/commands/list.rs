//! `list`: the saved subagents.

use store::{Head, Store};

use super::joined;
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::Table;
use crate::wire::{ListJson, SubagentJson};

/// Lists the saved subagents. One that cannot be read is listed with why.
pub(crate) fn list(app: &App) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let subagents: Vec<_> = store
        .heads()?
        .iter()
        .map(|head| subagent(&store, head))
        .collect();
    let damaged = subagents.iter().filter(|one| one.error.is_some()).count();
    if app.ui.is_json() {
        app.ui.json(&ListJson { subagents })?;
    } else if subagents.is_empty() {
        app.ui
            .note("no subagents yet: `agentfactory solve \"TASK\"` makes them");
    } else {
        let reaches = |one: &SubagentJson| one.egress.as_ref().is_some_and(|all| !all.is_empty());
        let with_hosts = subagents.iter().any(reaches);
        let mut columns = vec!["NAME", "VERSION", "VERSIONS", "SKILLS", "DESCRIPTION"];
        if with_hosts {
            columns.insert(4, "EGRESS");
        }
        let mut table = Table::new(&columns);
        for one in subagents {
            let damage = one.error.map(|why| format!("(cannot be read: {why})"));
            let mut row = vec![
                one.name.to_string(),
                one.version.short(),
                one.versions.to_string(),
                one.skills.map_or_else(|| "?".to_owned(), joined),
                one.description.or(damage).unwrap_or_default(),
            ];
            if with_hosts {
                row.insert(4, one.egress.map_or_else(|| "?".to_owned(), joined));
            }
            table.row(&row);
        }
        for line in table.render(app.ui.width()) {
            app.ui.data(line)?;
        }
    }
    if damaged > 0 {
        app.ui.warn(format!(
            "{damaged} cannot be read; `agentfactory fsck` says more"
        ));
        return Ok(ExitCode::Failed);
    }
    Ok(ExitCode::Success)
}

fn subagent(store: &Store, head: &Head) -> SubagentJson {
    let version = store.version(&head.digest);
    let (content, error) = match version {
        Ok(version) => (Some(version.content), None),
        Err(error) => (None, Some(orchestrator::chain(&error))),
    };
    SubagentJson {
        name: head.name.clone(),
        version: head.digest,
        versions: head.versions,
        since: head.at,
        skills: content
            .as_ref()
            .map(|content| content.skills.iter().copied().collect()),
        egress: content
            .as_ref()
            .map(|content| content.egress.iter().cloned().collect()),
        description: content.map(|content| content.description),
        error,
    }
}
