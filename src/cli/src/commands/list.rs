//! `list`: the saved subagents.

use clap::Args;
use spec::SubagentName;
use store::{Head, Store};

use super::joined;
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::Table;
use crate::wire::{ListJson, SubagentJson};

/// List the saved subagents, by name
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List at most so many
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    /// Begin after this name, which need not be there any more
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
}

/// Lists a page of the saved subagents. One that cannot be read is listed with why.
pub(crate) fn list(app: &App, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let after = args.after.as_deref();
    let after = after.map(str::parse::<SubagentName>).transpose()?;
    let store = app.store()?;
    let total = store.heads_total()?;
    // One more tells whether there is another page.
    let mut heads = store.heads_page(after.as_ref(), args.limit.saturating_add(1))?;
    let has_more = heads.len() > args.limit;
    heads.truncate(args.limit);
    let last = heads.last().map(|head| head.name.clone());
    let next = last.filter(|_| has_more);
    let subagents: Vec<_> = heads.iter().map(|head| subagent(&store, head)).collect();
    let damaged = subagents.iter().filter(|one| one.error.is_some()).count();
    if app.ui.is_json() {
        app.ui.json(&ListJson {
            subagents,
            total,
            next,
        })?;
    } else if total > 0 && subagents.is_empty() {
        app.ui.note("there is nothing on this page");
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
        if let Some(next) = next {
            app.ui
                .note(format!("{total} in all: `--after {next}` lists more"));
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
        pinned: head.is_pinned,
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
