//! Subagents from folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use spec::{Digest, SubagentName};
use store::{Act, Move, SourceFiles, Store, StoreError, StoreErrorKind, VersionContent};
use tokio_util::sync::CancellationToken;

use super::error::LibraryError;
use super::export::About;
use super::{BLOBS, FORMAT, OWN, VERSION, blobs, folder, publish, skill};
use crate::FactoryError;
use crate::compose::{Dependencies, is_program_of};
use crate::environments::{EnvironmentError, Prepared};
use crate::factory::Factory;
use crate::watch::Watcher;

/// Folders that one import reads.
const FOLDERS_MAX: usize = 10_000;
/// Bytes of [`VERSION`]: a config of the largest size, written with spaces, and many blobs.
const ABOUT_MAX: u64 = 16 << 20;

/// What is imported.
#[derive(Debug)]
pub struct ImportRequest<'a> {
    /// The library.
    pub store: &'a Store,
    /// A subagent's folder, a folder of such folders, or one that has `skills/subagents`.
    pub folder: &'a Path,
    /// What the requirements of some folders were resolved to.
    pub locks: Locks,
    /// Whether only to say what would be done. Nothing is written to the library then.
    pub dry_run: bool,
    /// Who does it, and when.
    pub act: Act,
}

/// What became of one folder.
#[derive(Debug)]
pub struct ImportItem {
    /// The folder.
    pub folder: PathBuf,
    /// The subagent, as far as it is known.
    pub name: Option<SubagentName>,
    /// What became of it.
    pub outcome: ImportOutcome,
    /// What a person should know about it.
    pub notes: Vec<String>,
}

/// What became of one folder.
#[derive(Debug)]
pub enum ImportOutcome {
    /// It is the head of its name now, or would be.
    Saved {
        /// The version.
        version: Digest,
        /// The head before.
        parent: Option<Digest>,
        /// The recorded runs that came along.
        runs: usize,
    },
    /// It would be saved when its requirements are locked. Said only of what would be done.
    ToLock {
        /// What would be resolved.
        wanted: Vec<String>,
    },
    /// It was the head of its name already.
    Unchanged {
        /// The version.
        version: Digest,
    },
    /// It cannot be a subagent, or the head of its name.
    Refused(FactoryError),
}

/// Imports subagents from folders. One that is refused does not stop the others; the same content has
/// the same digest, and what is there already is not published again.
///
/// `observe` is told the folders done and the folders in all.
///
/// # Errors
/// [`FactoryError::Library`] when there is nothing to import, and [`FactoryError::Store`] when the
/// library cannot be read or written. Nothing was published then.
pub fn import_skills(
    mut request: ImportRequest<'_>,
    observe: &mut dyn FnMut(usize, usize),
) -> Result<Vec<ImportItem>, FactoryError> {
    let folders = find(request.folder)?;
    // What would be is tried in a store that goes away.
    let trial = request.dry_run.then(tempfile::tempdir).transpose();
    let trial = trial.map_err(|source| LibraryError::Io {
        path: std::env::temp_dir(),
        action: "written",
        source,
    })?;
    let trial_store = trial
        .as_ref()
        .map(|folder| Store::ensure(&folder.path().join("store")))
        .transpose()?;
    let into = trial_store.as_ref().unwrap_or(request.store);
    let mut items = Vec::new();
    let mut names: BTreeMap<SubagentName, PathBuf> = BTreeMap::new();
    for (at, path) in folders.iter().enumerate() {
        observe(at, folders.len());
        let (name, notes, outcome) = match read_one(&mut request, into, path) {
            Ok(One::ToLock(read)) => {
                let wanted = read.wanted;
                (
                    Some(read.name),
                    read.notes,
                    ImportOutcome::ToLock { wanted },
                )
            }
            Ok(One::Taken(taken)) => {
                let outcome = match names.get(&taken.name) {
                    Some(other) => ImportOutcome::Refused(twice(&taken.name, other)),
                    None => outcome(request.store, &taken, &request.act)?,
                };
                names
                    .entry(taken.name.clone())
                    .or_insert_with(|| path.clone());
                (Some(taken.name), taken.notes, outcome)
            }
            Err(FactoryError::Store(error)) if is_ours(error.kind()) => return Err(error.into()),
            Err(error) => (None, Vec::new(), ImportOutcome::Refused(error)),
        };
        items.push(ImportItem {
            folder: path.clone(),
            name,
            outcome,
            notes,
        });
    }
    observe(folders.len(), folders.len());
    if !request.dry_run {
        let mut saved: Vec<&mut ImportItem> = items.iter_mut().collect();
        saved.retain(|item| item.moved().is_some());
        for together in saved.chunks_mut(publish::TOGETHER) {
            save(request.store, together, &request.act)?;
        }
    }
    Ok(items)
}

impl ImportItem {
    /// How the head moves that it is to be.
    fn moved(&self) -> Option<Move> {
        match (&self.name, &self.outcome) {
            (
                Some(name),
                ImportOutcome::Saved {
                    version, parent, ..
                },
            ) => Some(Move {
                name: name.clone(),
                from: *parent,
                to: *version,
            }),
            _ => None,
        }
    }
}

/// Moves the heads of items in one operation. Where one has moved since, all is decided again; where one may not be
/// moved, each goes by itself.
fn save(store: &Store, items: &mut [&mut ImportItem], act: &Act) -> Result<(), FactoryError> {
    for attempt in 1.. {
        let moves: Vec<Move> = items.iter().filter_map(|item| item.moved()).collect();
        if moves.is_empty() {
            break;
        }
        match publish::publish(store, moves, act, "imported from a folder") {
            Ok(()) => break,
            Err(StoreError::HeadMoved { .. }) if attempt < publish::ATTEMPTS => {
                for item in &mut *items {
                    if let (Some(name), ImportOutcome::Saved { version, runs, .. }) =
                        (&item.name, &item.outcome)
                    {
                        item.outcome = outcome_of(store, name, *version, *runs, act)?;
                    }
                }
            }
            Err(error) if error.kind() != StoreErrorKind::Refused => return Err(error.into()),
            Err(error) => {
                if let [item] = items {
                    item.outcome = ImportOutcome::Refused(error.into());
                } else {
                    for item in items.chunks_mut(1) {
                        save(store, item, act)?;
                    }
                }
                break;
            }
        }
    }
    Ok(())
}

/// Whether an error is about the library and not about what is imported.
fn is_ours(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::DiskFull | StoreErrorKind::ReadOnly | StoreErrorKind::Io
    )
}

fn twice(name: &SubagentName, other: &Path) -> FactoryError {
    let other = other.file_name().unwrap_or_default().to_string_lossy();
    let other = spec::printable(&other, 80);
    LibraryError::refused(format!("`{other}` is called `{name}` too, and came first")).into()
}

/// A subagent whose blobs are in a store.
struct Taken {
    name: SubagentName,
    version: Digest,
    notes: Vec<String>,
    runs: usize,
}

fn outcome(store: &Store, taken: &Taken, act: &Act) -> Result<ImportOutcome, FactoryError> {
    outcome_of(store, &taken.name, taken.version, taken.runs, act)
}

/// What becomes of a version, by the head that its name has now.
fn outcome_of(
    store: &Store,
    name: &SubagentName,
    version: Digest,
    runs: usize,
    act: &Act,
) -> Result<ImportOutcome, FactoryError> {
    Ok(match store.head(name)? {
        Some(head) if head.digest == version => ImportOutcome::Unchanged { version },
        Some(head) if head.is_pinned && !act.over_pins => {
            ImportOutcome::Refused(StoreError::Pinned { name: head.name }.into())
        }
        head => ImportOutcome::Saved {
            version,
            parent: head.map(|head| head.digest),
            runs,
        },
    })
}

/// The folders of subagents in a folder, by name.
fn find(path: &Path) -> Result<Vec<PathBuf>, FactoryError> {
    let root = folder::open(path)?;
    let is_one = |dir: &Dir| dir.exists("SKILL.md") || dir.exists(Path::new(OWN).join(VERSION));
    if is_one(&root) {
        return Ok(vec![path.to_owned()]);
    }
    let reference = Path::new("skills").join("subagents");
    let (root, path) = match root.open_dir(&reference) {
        Ok(below) => (below, path.join(reference)),
        Err(_) => (root, path.to_owned()),
    };
    let wrong = |source| LibraryError::Io {
        path: path.clone(),
        action: "read",
        source,
    };
    let mut found = Vec::new();
    for item in root.entries().map_err(wrong)? {
        let item = item.map_err(wrong)?;
        let is_folder = item.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && item.open_dir().is_ok_and(|dir| is_one(&dir)) {
            found.push(path.join(item.file_name()));
        }
        if found.len() > FOLDERS_MAX {
            return Err(LibraryError::refused(format!(
                "it holds more than {FOLDERS_MAX} subagents"
            ))
            .into());
        }
    }
    if found.is_empty() {
        return Err(LibraryError::NoSubagent { path }.into());
    }
    found.sort();
    Ok(found)
}

/// Reads one folder and puts its version into a store.
fn read_one(
    request: &mut ImportRequest<'_>,
    into: &Store,
    path: &Path,
) -> Result<One, FactoryError> {
    let mut read = match look(request.store, into, path)? {
        Looked::Exact(taken) => return Ok(One::Taken(taken)),
        Looked::Read(read) => *read,
    };
    let content = &mut read.content;
    if read.wanted.is_empty() {
        let dependencies = dependencies(request.store, into, content)?;
        let merged = dependencies.merged(&content.requirements)?;
        if let (true, Some(python)) = (
            content.requirements.is_empty(),
            dependencies.locked_python()?,
        ) {
            python.clone_into(&mut content.python);
        }
        content.requirements = merged;
    } else if request.dry_run && !request.locks.0.contains_key(path) {
        return Ok(One::ToLock(Box::new(read)));
    } else {
        let prepared = request.locks.0.remove(path).ok_or_else(|| {
            let wanted = spec::printable(&read.wanted.join(", "), 200);
            LibraryError::hinted(
                format!("its requirements are not locked: {wanted}"),
                "import it where a package index can be reached, or import an exported folder, which holds the lock",
            )
        })??;
        content.requirements = prepared.requirements;
        content.python = prepared.python;
    }
    check(request.store, into, &read.name, &read.content)?;
    Ok(One::Taken(Taken {
        version: into.stage(&read.content)?.digest(),
        name: read.name,
        notes: read.notes,
        runs: 0,
    }))
}

/// What became of one folder that is not refused.
enum One {
    /// A version.
    Taken(Taken),
    /// Files that would be one with a lock, where only that is asked.
    ToLock(Box<skill::Read>),
}

/// What a folder is.
enum Looked {
    /// A version that was exported, unchanged.
    Exact(Taken),
    /// Files that are to become a version.
    Read(Box<skill::Read>),
}

/// Reads one folder; a version that was exported is put into a store.
fn look(store: &Store, into: &Store, path: &Path) -> Result<Looked, FactoryError> {
    let dir = folder::open(path)?;
    let folder_name = path.file_name().unwrap_or_default().to_string_lossy();
    let (files, skipped) = folder::files(&dir)?;
    let mut known = None;
    let mut notes = Vec::new();
    if let Some(about) = about(&dir)? {
        let runs = take_blobs(&dir, &about, into)?;
        if let Some(version) = exact(&about, &files, into)? {
            let content = into.version(&version)?.content;
            check(store, into, &about.name, &content)?;
            for record in &about.runs {
                into.receive_run(record, &version, |program| {
                    is_program_of(into, program, &version).unwrap_or(false)
                })?;
            }
            return Ok(Looked::Exact(Taken {
                name: about.name,
                version,
                notes,
                runs,
            }));
        }
        notes.push("it was changed since it was exported".to_owned());
        known = Some(VersionContent::from_config(&canonical(&about.config)?)?);
    }
    let (files, deployed) = match known {
        Some(known) => (files, Some(known)),
        None => unpack_deployed(files)?,
    };
    let mut read = skill::read(&folder_name, files, deployed.as_ref())?;
    notes.append(&mut read.notes);
    if !skipped.is_empty() {
        notes.push(format!(
            "left out, because they are no regular files: {}",
            spec::printable(&skipped.join(", "), 300)
        ));
    }
    read.notes = notes;
    Ok(Looked::Read(Box::new(read)))
}

/// Checks that a version can be composed with what it depends on, here or among what came with it.
fn check(
    store: &Store,
    into: &Store,
    name: &SubagentName,
    content: &VersionContent,
) -> Result<(), FactoryError> {
    dependencies(store, into, content)?.check(Some(name), content)?;
    Ok(())
}

/// What a version depends on, here or among what came with it.
fn dependencies(
    store: &Store,
    into: &Store,
    content: &VersionContent,
) -> Result<Dependencies, FactoryError> {
    Ok(match Dependencies::read(into, &content.depends) {
        Err(error) if error.kind() == StoreErrorKind::NotFound => {
            Dependencies::read(store, &content.depends)
        }
        other => other,
    }?)
}

/// A folder whose requirements are to be resolved before it can be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlocked {
    /// The folder.
    pub folder: PathBuf,
    /// What it names.
    pub wanted: Vec<String>,
    /// The versions that it depends on, whose requirements it needs too.
    pub depends: BTreeMap<SubagentName, Digest>,
}

/// What requirements of folders were resolved to, or why they cannot be.
#[derive(Debug, Default)]
pub struct Locks(BTreeMap<PathBuf, Result<Prepared, FactoryError>>);

impl Locks {
    /// Says of each of these folders why nothing could be resolved for it, such as that no engine answers.
    /// The others need no lock, and are imported.
    pub fn failed(folders: Vec<Unlocked>, why: &str, hint: Option<&str>) -> Self {
        let failed = folders.into_iter().map(|one| {
            let error = LibraryError::Refused {
                why: format!("its requirements cannot be locked: {why}"),
                hint: hint.map(ToOwned::to_owned),
            };
            (one.folder, Err(error.into()))
        });
        Self(failed.collect())
    }
}

/// The folders of an import whose requirements no lock beside them answers. What is wrong with others
/// is said when they are imported.
///
/// # Errors
/// As [`import_skills`].
pub fn unlocked(store: &Store, folder: &Path) -> Result<Vec<Unlocked>, FactoryError> {
    let folders = find(folder)?;
    let trial = tempfile::tempdir().map_err(|source| LibraryError::Io {
        path: std::env::temp_dir(),
        action: "written",
        source,
    })?;
    let into = Store::ensure(&trial.path().join("store"))?;
    let mut found = Vec::new();
    for folder in folders {
        if let Ok(Looked::Read(read)) = look(store, &into, &folder)
            && !read.wanted.is_empty()
        {
            found.push(Unlocked {
                folder,
                wanted: read.wanted,
                depends: read.content.depends,
            });
        }
    }
    Ok(found)
}

impl Factory {
    /// Resolves the requirements of folders and makes their environments. One that cannot be resolved
    /// does not stop the others.
    ///
    /// # Errors
    /// [`EnvironmentError::Cancelled`].
    pub async fn lock(
        &self,
        folders: Vec<Unlocked>,
        watcher: &Arc<dyn Watcher>,
        cancel: &CancellationToken,
    ) -> Result<Locks, FactoryError> {
        let mut locks = Locks::default();
        for one in folders {
            // What is missing is said when it is imported.
            let dependencies = Dependencies::read(&self.store, &one.depends).unwrap_or_default();
            let made = self.prepare_with(&one.wanted, &dependencies, watcher, cancel);
            let made = made.await;
            if let Err(FactoryError::Environment(EnvironmentError::Cancelled)) = made {
                return Err(EnvironmentError::Cancelled.into());
            }
            locks.0.insert(one.folder, made);
        }
        Ok(locks)
    }
}

/// What an exported folder says of itself.
fn about(dir: &Dir) -> Result<Option<About>, FactoryError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let path = Path::new(OWN).join(VERSION);
    let Some(bytes) = folder::file(dir, &path, ABOUT_MAX)? else {
        return Ok(None);
    };
    let wrong = |why: serde_json::Error| {
        LibraryError::refused(format!("its {OWN}/{VERSION} is not valid: {why}"))
    };
    let Format { format } = serde_json::from_slice(&bytes).map_err(wrong)?;
    if format != FORMAT {
        return Err(LibraryError::hinted(
            format!("its {OWN}/{VERSION} has format {format}, and this program reads {FORMAT}"),
            "use the newer program",
        )
        .into());
    }
    Ok(Some(serde_json::from_slice(&bytes).map_err(wrong)?))
}

/// Takes the blobs of an exported folder into a store. Gives the number of runs among them.
fn take_blobs(dir: &Dir, about: &About, into: &Store) -> Result<usize, FactoryError> {
    if about.blobs.is_empty() {
        return Ok(0);
    }
    let path = Path::new(OWN).join(BLOBS);
    let blobs = dir.open_dir(&path).map_err(|source| LibraryError::Io {
        path,
        action: "read",
        source,
    })?;
    for digest in &about.blobs {
        blobs::take(&blobs, digest, into)?;
    }
    Ok(about.runs.len())
}

/// The version that an exported folder is, when its files are the ones that were exported.
fn exact(about: &About, files: &SourceFiles, into: &Store) -> Result<Option<Digest>, FactoryError> {
    let manifest = canonical(&about.manifest)?;
    if Digest::of(&manifest) != about.version {
        return Err(LibraryError::refused(format!(
            "its {OWN}/{VERSION} does not describe the version {}",
            about.version
        ))
        .into());
    }
    let source = into.put_source(files)?;
    into.put(&canonical(&about.config)?)?;
    into.put(&manifest)?;
    match into.version(&about.version) {
        Ok(version) if version.source == source => Ok(Some(version.digest)),
        // The source layer of other files is perhaps not here.
        Ok(_) | Err(store::StoreError::Corrupt { .. } | store::StoreError::BadVersion { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn canonical(value: &serde_json::Value) -> Result<Vec<u8>, FactoryError> {
    spec::canonical_json(value)
        .map_err(|why| LibraryError::refused(format!("it has no canonical form: {why}")).into())
}

/// The source of a folder that `deploy --as skill` wrote: what is in `scripts/subagent`.
fn unpack_deployed(
    files: SourceFiles,
) -> Result<(SourceFiles, Option<VersionContent>), FactoryError> {
    #[derive(serde::Deserialize)]
    struct Deployed {
        entry: String,
        skills: std::collections::BTreeSet<spec::Skill>,
        python: Option<String>,
        #[serde(default)]
        requirements: Vec<Locked>,
    }
    #[derive(serde::Deserialize)]
    struct Locked {
        name: String,
        version: String,
        wheels: std::collections::BTreeSet<Digest>,
    }
    const PREFIX: &[u8] = b"scripts/subagent/";
    let about = files
        .iter()
        .find(|(path, _)| path.as_bytes() == b"scripts/subagent.json");
    let Some(about) = about.and_then(|(_, bytes)| serde_json::from_slice::<Deployed>(bytes).ok())
    else {
        return Ok((files, None));
    };
    let mut inner = SourceFiles::new();
    for (path, bytes) in files {
        if path.as_bytes() == crate::task::SKILL_MD {
            inner.push((path, bytes));
        } else if let Some(below) = path.as_bytes().strip_prefix(PREFIX) {
            let path = spec::WorkspacePath::from_bytes(below.to_vec());
            inner.push((
                path.map_err(|error| LibraryError::refused(error.to_string()))?,
                bytes,
            ));
        }
    }
    let entry = spec::WorkspacePath::from_bytes(about.entry.into_bytes());
    let known = VersionContent {
        entry: entry.map_err(|error| LibraryError::refused(error.to_string()))?,
        description: String::new(),
        files: SourceFiles::new(),
        skills: about.skills,
        depends: BTreeMap::new(),
        egress: [].into(),
        limits: None,
        python: about.python.unwrap_or(crate::task::PYTHON.to_owned()),
        requirements: {
            let locked = about.requirements.into_iter();
            let locked = locked.map(|one| store::Requirement {
                name: one.name,
                version: one.version,
                wheels: one.wheels,
            });
            locked.collect()
        },
    };
    Ok((inner, Some(known)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_moved_since_it_was_looked_at_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::ensure(&folder.path().join("store")).unwrap();
        let act = Act::from(Timestamp::UNIX_EPOCH);
        let stage = |text: &str| {
            let path = spec::WorkspacePath::from_text("main.py").unwrap();
            let content = VersionContent {
                entry: path.clone(),
                description: String::new(),
                files: vec![(path, text.as_bytes().to_vec())],
                skills: [].into(),
                depends: BTreeMap::new(),
                egress: [].into(),
                limits: None,
                python: "3.13".to_owned(),
                requirements: Vec::new(),
            };
            store.stage(&content).unwrap().digest()
        };
        let item = |name: &str, version: Digest| ImportItem {
            folder: PathBuf::new(),
            name: Some(name.parse().unwrap()),
            outcome: ImportOutcome::Saved {
                version,
                parent: None,
                runs: 0,
            },
            notes: Vec::new(),
        };
        let [new, other, same] = ["1", "2", "3"].map(stage);
        // All were looked at before somebody published.
        let mut items = [
            item("ant", new),
            item("bee", new),
            item("cat", same),
            item("dog", new),
        ];
        for (name, version) in [("ant", other), ("cat", same), ("dog", other)] {
            let moved = Move {
                name: name.parse().unwrap(),
                from: None,
                to: version,
            };
            publish::publish(&store, vec![moved], &act, "").unwrap();
        }
        store
            .pin(&"dog".parse().unwrap(), Timestamp::UNIX_EPOCH)
            .unwrap();
        let mut all: Vec<&mut ImportItem> = items.iter_mut().collect();
        save(&store, &mut all, &act).unwrap();
        let became = items.map(|item| match item.outcome {
            ImportOutcome::Saved { parent, .. } => format!("over {parent:?}"),
            ImportOutcome::Unchanged { .. } => "unchanged".to_owned(),
            other => format!("{other:?}"),
        });
        assert_eq!(became[0], format!("over {:?}", Some(other)));
        assert_eq!(became[1], "over None");
        assert_eq!(became[2], "unchanged");
        assert!(became[3].contains("Pinned"), "{}", became[3]);
        let head = |name: &str| publish::head(&store, &name.parse().unwrap()).unwrap();
        let heads = ["ant", "bee", "cat", "dog"].map(|name| head(name).unwrap());
        assert_eq!(heads, [new, new, same, other]);
    }
}
