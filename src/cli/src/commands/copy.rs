//! `copy`: a version to another home, or from one.

use std::path::{Path, PathBuf};

use clap::Args;
use orchestrator::{CopyRequest, LibraryError, copy_version};
use spec::{ByteSize, VersionRef};
use store::Store;

use super::counted;
use super::push::tell_missing;
use crate::app::App;
use crate::args::WhyFlags;
use crate::exit::ExitCode;
use crate::ui::{Bar, Text, Tone};
use crate::wire::CopyJson;

/// Copy a version with all that it depends on to another home, or from one
///
/// Digests stay the same. The name's head moves there when it has none, or one of this version's
/// forerunners that is not pinned; else the version gets a tag. What is damaged there is mended. An interrupted copy changed nothing, and goes on where
/// it was when it is done again.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// NAME, NAME:TAG or NAME@DIGEST
    #[arg(value_name = "REF")]
    reference: String,
    /// The home that it is copied to; made when it is not there
    #[arg(long, value_name = "HOME", required_unless_present = "from")]
    to: Option<PathBuf>,
    /// The home that it is copied from, into this one
    #[arg(long, value_name = "HOME", conflicts_with = "to")]
    from: Option<PathBuf>,
    /// Its recorded runs too, with what users asked and gave
    #[arg(long)]
    with_cases: bool,
}

/// Copies a version.
pub(crate) fn copy(app: &App, args: &CopyArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let own = app.store()?;
    let (from, to);
    let (from, to) = match (&args.from, &args.to) {
        (Some(home), _) => {
            from = existing(home)?;
            (&from, &*own)
        }
        (None, Some(home)) => {
            to = Store::ensure(&home.join("store"))?;
            (&*own, &to)
        }
        (None, None) => unreachable!("one of them is required"),
    };
    let environments = app.environments();
    let request = CopyRequest {
        from,
        to,
        reference: &reference,
        with_cases: args.with_cases,
        environments: Some(&environments),
        act: app.act(&WhyFlags::default(), false),
    };
    let bar = Bar::new(&app.ui, "copying");
    let copied = copy_version(&request, &mut |done, all| bar.at(done, all));
    drop(bar);
    let copied = copied?;
    tell_missing(app, &copied.without_environment);
    if app.ui.is_json() {
        app.ui.json(&CopyJson {
            name: copied.name,
            version: copied.version,
            versions: copied.versions,
            runs: copied.runs,
            attachments: copied.attachments,
            without_environment: copied.without_environment,
            blobs: copied.blobs,
            written_bytes: copied.written_bytes,
            is_head: copied.is_head,
            tag: copied.tag,
        })?;
        return Ok(ExitCode::Success);
    }
    let place = match &copied.tag {
        None => String::new(),
        Some(tag) => {
            format!(", as the tag `{tag}`: the name has another head there, or one that is pinned")
        }
    };
    app.ui.data(
        Text::new()
            .with(Tone::Strong, copied.name.to_string())
            .plain(format!("@{}{place}", copied.version)),
    )?;
    app.ui.note(format!(
        "{}, {}, {} written",
        counted(copied.versions as u64, "version"),
        counted(copied.runs as u64, "recorded run"),
        ByteSize::bytes(copied.written_bytes)
    ));
    Ok(ExitCode::Success)
}

/// The store of a home that is there: nothing is made by reading.
fn existing(home: &Path) -> anyhow::Result<Store> {
    let store = home.join("store");
    if !store.join("format").exists() {
        return Err(orchestrator::FactoryError::from(LibraryError::NoHome {
            path: home.to_owned(),
        })
        .into());
    }
    Ok(Store::ensure(&store)?)
}
