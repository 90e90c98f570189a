//! Host folders of a run or task: what goes in, and where the results go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orchestrator::{WriteBack, export, import, write_back};
use runner::Mount;
use rustix::fs::Access;
use spec::{ByteSize, FileEntry, LeftBehind, Tree, WorkspacePath};
use store::Store;

use crate::app::App;
use crate::args::{FolderFlags, MountArg};
use crate::exit::Problem;
use crate::ui::{Text, Tone, Ui, one_line};

/// Names of a list that are shown before the rest is only counted.
const NAMED: usize = 20;

/// The host's folders, checked.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    source: Option<PathBuf>,
    /// Whether results go back to where the input came from.
    writes_back: bool,
    mounts: Vec<Mount>,
    out: Option<PathBuf>,
}

/// What became of the results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered {
    /// What became of the `--workspace` folder, if there is one and it was time to write to it.
    pub(crate) write_back: Option<WriteBack>,
}

impl Folders {
    /// Checks what was asked for, and makes the `--out` folder; nothing is read yet.
    ///
    /// # Errors
    /// [`Problem`] when a folder is missing, is something else or cannot be written.
    pub(crate) fn resolve(flags: &FolderFlags) -> Result<Self, Problem> {
        let sources = &flags.sources;
        let source = sources.workspace.as_ref().or(sources.input.as_ref());
        if let Some(source) = source {
            existing_folder(source)?;
        }
        if let Some(out) = &flags.out
            && out.exists()
        {
            existing_folder(out)?;
        }
        let mounts = flags.mount.iter().map(mount);
        let mounts = mounts.collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = mounts.iter().find(|mount| !names.insert(&mount.name)) {
            let name = spec::printable(&twice.name, 80);
            return Err(Problem::usage(format!("two mounts are named `{name}`"))
                .hint("give one another name with --mount DIR=NAME"));
        }
        // A run may take long: what it cannot be delivered to is found before it.
        if let Some(out) = &flags.out {
            writable_folder(out)?;
        }
        Ok(Self {
            source: source.cloned(),
            writes_back: sources.workspace.is_some(),
            mounts,
            out: flags.out.clone(),
        })
    }

    /// The same folders with the results in a folder of their own below `--out`.
    pub(crate) fn with_out_below(&self, name: &str) -> Self {
        Self {
            out: self.out.as_ref().map(|out| out.join(name)),
            ..self.clone()
        }
    }

    /// What a sandbox sees at `/mnt`.
    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Copies the input into the store; without one the workspace is empty.
    ///
    /// # Errors
    /// [`orchestrator::WorkspaceError`].
    pub(crate) fn import(
        &self,
        app: &App,
        store: &Store,
        limit: ByteSize,
    ) -> anyhow::Result<Arc<Tree>> {
        let Some(source) = &self.source else {
            return Ok(Arc::default());
        };
        let imported = import(store, source, limit)?;
        name_left_behind(&app.ui, "not copied", &imported.skipped);
        Ok(Arc::new(imported.tree))
    }

    /// Brings the results to where they were asked for. `id` names the run or task.
    ///
    /// # Errors
    /// When a folder cannot be written, or was changed meanwhile; the results are then kept in
    /// the home, and the message says where.
    pub(crate) fn deliver(
        &self,
        app: &App,
        store: &Store,
        results: &Results<'_>,
    ) -> (Delivered, anyhow::Result<()>) {
        let mut delivered = Delivered::default();
        let exported = match &self.out {
            Some(out) => Self::export_results(app, store, out, results)
                .map_err(|error| Self::keep(app, store, results, error)),
            None => Ok(()),
        };
        let Some(folder) = self.source.as_ref().filter(|_| self.writes_back) else {
            return (delivered, exported);
        };
        let folder_shown = folder.display();
        if !results.is_accepted {
            app.ui
                .note(format!("nothing was written back to `{folder_shown}`"));
            return (delivered, exported);
        }
        let written = match write_back(store, folder, results.base, results.tree) {
            Err(error) => Err(anyhow::Error::from(error)),
            Ok(report) => {
                name_withheld(&app.ui, &report.withheld);
                let conflicts = report.conflicts.clone();
                let (written, removed) = (report.written.len(), report.removed.len());
                delivered.write_back = Some(report);
                if conflicts.is_empty() {
                    app.ui.note(format!(
                        "written back to `{folder_shown}`: {written} changed, {removed} removed"
                    ));
                    Ok(())
                } else {
                    for path in &conflicts {
                        app.ui.complain(
                            Text::new()
                                .with(Tone::Bad, "conflict: ")
                                .plain(path.to_string()),
                        );
                    }
                    Err(Problem::refused(format!(
                        "`{folder_shown}` changed meanwhile: {} in conflict, nothing was overwritten",
                        conflicts.len()
                    ))
                    .into())
                }
            }
        };
        let written = written.map_err(|error| Self::keep(app, store, results, error));
        (delivered, exported.and(written))
    }

    fn export_results(
        app: &App,
        store: &Store,
        out: &Path,
        results: &Results<'_>,
    ) -> anyhow::Result<()> {
        let withheld = export(store, out, results.changed)
            .with_context(|| format!("writing the results to `{}`", out.display()))?;
        name_withheld(&app.ui, &withheld);
        app.ui.note(format!(
            "{} written to `{}`",
            crate::commands::files_of(results.changed.len() - withheld.len()),
            out.display()
        ));
        Ok(())
    }

    /// Keeps results that could not be delivered, and says where.
    fn keep(
        app: &App,
        store: &Store,
        results: &Results<'_>,
        error: anyhow::Error,
    ) -> anyhow::Error {
        let kept = app.settings.home.join("recovered").join(results.id);
        match export(store, &kept, results.changed) {
            Ok(_) => error.context(format!("the results are in `{}`", kept.display())),
            Err(second) => {
                app.ui.warn(format!(
                    "the results could not be kept: {}",
                    orchestrator::chain(&second)
                ));
                error
            }
        }
    }
}

/// Names the files that were not written because programs of the host would obey them.
pub(crate) fn name_withheld(ui: &Ui, paths: &[WorkspacePath]) {
    for path in paths {
        ui.warn(format!(
            "`{path}` is not written: programs here would obey it"
        ));
    }
}

/// What a run or task left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results<'a> {
    /// The id of the run or task.
    pub(crate) id: &'a str,
    /// Whether it succeeded.
    pub(crate) is_accepted: bool,
    /// The workspace before.
    pub(crate) base: &'a Tree,
    /// The workspace after.
    pub(crate) tree: &'a Tree,
    /// What is new or different in it.
    pub(crate) changed: &'a [FileEntry],
}

fn existing_folder(path: &Path) -> Result<(), Problem> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Problem::usage(format!("`{shown}` is not a folder"))),
        Err(error) => Err(Problem::of_path(
            format!("the folder `{shown}` cannot be used"),
            error,
        )),
    }
}

/// Makes a folder unless it is there.
fn writable_folder(path: &Path) -> Result<(), Problem> {
    let writable = || {
        std::fs::create_dir_all(path)?;
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::access(path, wanted).map_err(std::io::Error::from)
    };
    writable().map_err(|error| {
        let shown = path.display();
        Problem::of_path(format!("the folder `{shown}` cannot be written"), error)
            .hint("choose another folder with --out")
    })
}

fn mount(argument: &MountArg) -> Result<Mount, Problem> {
    existing_folder(&argument.folder)?;
    let shown = argument.folder.display();
    let source = argument
        .folder
        .canonicalize()
        .map_err(|error| Problem::of_path(format!("the folder `{shown}` cannot be used"), error))?;
    if source == Path::new("/") {
        return Err(
            Problem::refused("`/` cannot be mounted: it is the whole machine")
                .hint("mount the folder that is needed"),
        );
    }
    let own_name = || {
        source
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = argument.name.clone().or_else(own_name);
    let name = name.ok_or_else(|| {
        Problem::usage(format!("`{shown}` has no name to be mounted by"))
            .hint("name it with --mount DIR=NAME")
    })?;
    Ok(Mount {
        source,
        name,
        writable: argument.writable,
    })
}

/// Names what did not come along.
pub(crate) fn name_left_behind(ui: &Ui, what: &str, left: &[LeftBehind]) {
    for one in left.iter().take(NAMED) {
        ui.note(
            Text::new()
                .with(Tone::Warning, format!("{what}: "))
                .plain(format!("{} ({})", one_line(&one.path, usize::MAX), one.why)),
        );
    }
    if left.len() > NAMED {
        ui.note(format!("{what}: {} more", left.len() - NAMED));
    }
}

/// Names the files of a result.
pub(crate) fn name_files(ui: &Ui, changed: &[FileEntry]) {
    for file in changed.iter().take(NAMED) {
        let size = ByteSize::bytes(file.size).to_string();
        ui.note(
            Text::new()
                .with(Tone::Dim, format!("{size:>8}  "))
                .plain(file.path.to_string()),
        );
    }
    if changed.len() > NAMED {
        ui.note(Text::new().with(
            Tone::Dim,
            format!("          and {} more files", changed.len() - NAMED),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(mounts: &[&str]) -> Result<Folders, Problem> {
        Folders::resolve(&FolderFlags {
            mount: mounts.iter().map(|mount| mount.parse().unwrap()).collect(),
            ..FolderFlags::default()
        })
    }

    #[test]
    fn a_mount_has_the_name_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::create_dir(&path).unwrap();
        let path = path.canonicalize().unwrap();
        let shown = path.display();
        let mounts = resolve(&[&format!("{shown}/."), &format!("{shown}:rw=d")])
            .unwrap()
            .mounts;
        let mount = |name: &str, writable| Mount {
            source: path.clone(),
            name: name.to_owned(),
            writable,
        };
        assert_eq!(mounts, [mount("data", false), mount("d", true)]);
        assert!(resolve(&["/"]).is_err());
        assert!(resolve(&["/=root"]).is_err() && resolve(&["/tmp/..=root"]).is_err());
        let twice = resolve(&[&shown.to_string(), "/tmp=data"]).unwrap_err();
        assert_eq!(twice.to_string(), "two mounts are named `data`");
        assert!(resolve(&[&format!("{shown}/none")]).is_err());
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let flags = FolderFlags {
            out: Some(file.path().to_owned()),
            ..FolderFlags::default()
        };
        assert!(Folders::resolve(&flags).is_err());
        for impossible in [file.path().join("below"), "/proc/none".into()] {
            let flags = FolderFlags {
                out: Some(impossible),
                ..FolderFlags::default()
            };
            assert!(Folders::resolve(&flags).is_err());
        }
        let folder = tempfile::tempdir().unwrap();
        let flags = FolderFlags {
            out: Some(folder.path().join("a/b")),
            ..FolderFlags::default()
        };
        assert!(Folders::resolve(&flags).is_ok());
        assert!(folder.path().join("a/b").is_dir());
    }
}
