//! `show`: everything about one version.

mod tree;

use clap::Args;
use orchestrator::trust;
use spec::wire::FileJson;
use spec::{ByteSize, Digest, PartialLimits, VersionRef};
use store::{LineageStep, Resolved, Store, Version};

use super::sign::Known;
use super::{field, joined, shown_at, shown_limits};
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::{Text, Tone, Ui};
use crate::wire::{CodeJson, PublishedJson, ShowJson};

/// Show a version: what it is, where it came from, what it may do, its files
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// Show the source too
    #[arg(long)]
    code: bool,
    /// Show what it depends on instead, and what that depends on
    #[arg(long, conflicts_with = "code")]
    tree: bool,
}

/// Shows one version.
pub(crate) fn show(app: &App, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let resolved = app.resolve(&store, &reference)?;
    if args.tree {
        return tree::show(&app.ui, &store, resolved);
    }
    let version = store.version(&resolved.digest)?;
    let mut document = document(&store, resolved, &version, args.code)?;
    let known = Known::of(app)?;
    let signatures = trust::signatures(&store, &version.digest, &known.keys())?;
    if app.ui.is_json() {
        document.signatures = known.documents(&signatures);
        app.ui.json(&document)?;
    } else {
        render(&app.ui, &document, version.content.limits.as_ref())?;
        if !signatures.is_empty() {
            app.ui.data("")?;
        }
        for one in &signatures {
            app.ui.data(known.line(one))?;
        }
    }
    Ok(ExitCode::Success)
}

/// How a version became the head of a name the last time.
pub(super) fn published(store: &Store, resolved: &Resolved) -> anyhow::Result<Option<LineageStep>> {
    let Some(name) = &resolved.name else {
        return Ok(None);
    };
    Ok(store.published(name, &resolved.digest)?)
}

fn document(
    store: &Store,
    resolved: Resolved,
    version: &Version,
    with_code: bool,
) -> anyhow::Result<ShowJson> {
    let published = published(store, &resolved)?;
    let (mut tags, mut is_head) = (Vec::new(), false);
    if let Some(name) = &resolved.name {
        let points_here = |digest: &Digest| *digest == resolved.digest;
        let all = store.tags(name)?.into_iter();
        tags = all
            .filter(|(_, digest)| points_here(digest))
            .map(|(tag, _)| tag)
            .collect();
        let head = store.head(name)?;
        is_head = head.is_some_and(|head| points_here(&head.digest));
    }
    let content = &version.content;
    let files = content.files.iter().map(|(path, bytes)| FileJson {
        path: path.to_string(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes).to_string(),
        executable: false,
    });
    let code = content.files.iter().map(|(path, bytes)| CodeJson {
        path: path.to_string(),
        text: String::from_utf8_lossy(bytes).into_owned(),
    });
    let depends = content.depends.iter();
    let requirements = content.requirements.iter();
    Ok(ShowJson {
        name: resolved.name,
        version: resolved.digest,
        parent: published.as_ref().and_then(|step| step.parent),
        is_head,
        tags,
        published: published.map(|step| PublishedJson {
            at: step.at,
            operation: step.operation,
            task: step.task,
            evidence: step.evidence,
            note: step.note,
            undone: step.is_undone,
        }),
        description: content.description.clone(),
        entry: content.entry.to_string(),
        skills: content.skills.iter().copied().collect(),
        depends: depends
            .map(|(name, digest)| format!("{name}@{digest}"))
            .collect(),
        egress: content.egress.iter().cloned().collect(),
        limits: content.limits.as_ref().map(Into::into),
        python: content.python.clone(),
        requirements: requirements
            .map(|one| format!("{}=={}", one.name, one.version))
            .collect(),
        size: version.size.get(),
        signatures: Vec::new(),
        files: files.collect(),
        code: with_code.then(|| code.collect()),
    })
}

fn render(ui: &Ui, version: &ShowJson, limits: Option<&PartialLimits>) -> anyhow::Result<()> {
    let name = version
        .name
        .as_ref()
        .map_or_else(|| "(no name)".to_owned(), ToString::to_string);
    ui.data(
        Text::new()
            .with(Tone::Strong, name)
            .plain(format!("@{}", version.version)),
    )?;
    let parent = version
        .parent
        .map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    ui.data(field("parent", parent))?;
    let state = match (&version.published, version.is_head) {
        (_, true) => "the head of its name",
        (Some(published), false) if published.undone => "undone",
        (Some(_), false) => "a former head",
        (None, false) => "never a head",
    };
    ui.data(field("state", state))?;
    if !version.tags.is_empty() {
        ui.data(field("tags", joined(&version.tags)))?;
    }
    if let Some(published) = &version.published {
        let at = shown_at(published.at);
        ui.data(field(
            "published",
            format!("{at} by operation {}", published.operation),
        ))?;
        if let Some(task) = &published.task {
            ui.data(field("task", task))?;
        }
        ui.data(field("evidence", joined(&published.evidence)))?;
        if !published.note.is_empty() {
            ui.data(field("note", &published.note))?;
        }
    }
    ui.data(field("entry", &version.entry))?;
    ui.data(field("skills", joined(&version.skills)))?;
    ui.data(field("egress", joined(&version.egress)))?;
    ui.data(field("depends on", joined(&version.depends)))?;
    let limits = limits.map_or_else(|| "those of whoever runs it".to_owned(), shown_limits);
    ui.data(field("limits", limits))?;
    ui.data(field("python", &version.python))?;
    ui.data(field("requirements", joined(&version.requirements)))?;
    ui.data(field("size", ByteSize::bytes(version.size).to_string()))?;
    ui.data("")?;
    ui.data(version.description.trim_end())?;
    ui.data("")?;
    for file in &version.files {
        let size = ByteSize::bytes(file.size).to_string();
        ui.data(field(&format!("{size:>8}"), &file.path))?;
    }
    for file in version.code.iter().flatten() {
        ui.data("")?;
        ui.data(Text::new().with(Tone::Position, format!("==> {} <==", file.path)))?;
        ui.data(file.text.as_str())?;
    }
    Ok(())
}
