//! What is remembered of environments: files in the user's cache, each of which can be made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runner::images::{BaseFacts, EnvironmentLayer};
use runner::{BlobSink, Blobs, ImageId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spec::{Digest, Imports};
use store::Requirement;
use tokio_util::sync::CancellationToken;

use super::EnvironmentError;
use super::ahead::ImportsNote;

/// The version of each of these files.
const FORMAT: u32 = 1;
/// How often a build looks whether another one has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The ending of the note of an environment.
const NOTE: &str = ".env.json";
/// The ending of what past runs of a program imported.
const IMPORTS: &str = ".imports.json";

/// The folder of environments, which all homes of a user share.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

/// A requirement, as the files hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LockedJson {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) wheels: BTreeSet<Digest>,
}

impl From<&Requirement> for LockedJson {
    fn from(requirement: &Requirement) -> Self {
        Self {
            name: requirement.name.clone(),
            version: requirement.version.clone(),
            wheels: requirement.wheels.clone(),
        }
    }
}

impl From<LockedJson> for Requirement {
    fn from(locked: LockedJson) -> Self {
        Self {
            name: locked.name,
            version: locked.version,
            wheels: locked.wheels,
        }
    }
}

/// What is known of one environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    format: u32,
    pub(super) key: Digest,
    pub(super) layer: Digest,
    pub(super) size: u64,
    pub(super) python: String,
    pub(super) requirements: Vec<LockedJson>,
    /// The importable names of each distribution.
    pub(super) modules: BTreeMap<String, Vec<String>>,
    /// Its images, by the digest of the sandbox image below.
    pub(super) images: BTreeMap<Digest, Digest>,
}

impl Note {
    pub(super) fn new(key: Digest, layer: &EnvironmentLayer, python: &str) -> Self {
        Self {
            format: FORMAT,
            key,
            layer: layer.digest,
            size: layer.size,
            python: python.to_owned(),
            requirements: Vec::new(),
            modules: BTreeMap::new(),
            images: BTreeMap::new(),
        }
    }

    /// The outermost names of all its modules.
    pub(super) fn importable(&self) -> BTreeSet<String> {
        self.modules.values().flatten().cloned().collect()
    }
}

/// What is known of a sandbox image, so that no engine has to be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseNote {
    format: u32,
    content: Digest,
    python: String,
}

/// What requirements were resolved to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockNote {
    format: u32,
    requirements: Vec<LockedJson>,
}

impl Cache {
    /// The folder, to write to it.
    pub(super) fn open(root: &Path) -> Result<Self, EnvironmentError> {
        std::fs::create_dir_all(root).map_err(EnvironmentError::file("create", root))?;
        Ok(Self::at(root))
    }

    /// The folder as it is, to read what is there. Where there is none, nothing is.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Waits until no other process makes an environment. The kernel gives the lock back when its
    /// owner ends; what a dead one left is cleared.
    pub(super) async fn lock(&self, cancel: &CancellationToken) -> Result<Work, EnvironmentError> {
        let path = self.root.join("build.lock");
        let failed = || EnvironmentError::file("lock", &path);
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true);
        let lock = options.open(&path).map_err(failed())?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::WouldBlock) => {
                    tokio::select! {
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                        () = cancel.cancelled() => return Err(EnvironmentError::Cancelled),
                    }
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(failed()(error)),
            }
        }
        let folder = self.root.join("partial");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(EnvironmentError::file("clear", &folder))?;
        }
        std::fs::create_dir(&folder).map_err(EnvironmentError::file("create", &folder))?;
        Ok(Work {
            folder,
            _lock: lock,
        })
    }

    /// Where the layer of an environment is, if it is there.
    pub(super) fn layer_path(&self, key: &Digest) -> PathBuf {
        self.root.join(format!("{}.tar", key.hex()))
    }

    /// Whether the layer of an environment is there, as long as its note says: what another program wrote in
    /// place and did not finish is as good as not there.
    pub(super) fn has_layer(&self, key: &Digest, size: u64) -> bool {
        std::fs::metadata(self.layer_path(key)).is_ok_and(|file| file.len() == size)
    }

    /// Writes the layer of an environment: nobody ever sees half of it.
    pub(super) fn put_layer(
        &self,
        key: &Digest,
        layer: &mut dyn io::Read,
    ) -> Result<(), EnvironmentError> {
        let path = self.layer_path(key);
        let mut write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            io::copy(layer, &mut file)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        };
        write()
            .map(drop)
            .map_err(EnvironmentError::file("write", &path))
    }

    /// Where a wheel is, if it is there.
    pub(super) fn wheel_path(&self, wheel: &Digest) -> PathBuf {
        self.root.join("wheels").join(wheel.hex())
    }

    /// Keeps a wheel that was fetched: it goes along with versions, and other bases need no index.
    pub(super) fn keep_wheel(&self, wheel: &Digest, from: &Path) -> Result<(), EnvironmentError> {
        let path = self.wheel_path(wheel);
        let folder = self.root.join("wheels");
        let keep = || {
            std::fs::create_dir_all(&folder)?;
            // The other name goes when the work is over.
            match std::fs::hard_link(from, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        };
        keep().map_err(EnvironmentError::file("write", &path))
    }

    /// Forgets the wheels that none of these environments is made from.
    pub(super) fn remove_wheels(&self, kept: &[Note]) -> Result<(), EnvironmentError> {
        let kept = kept.iter().flat_map(|note| &note.requirements);
        let kept: BTreeSet<String> = kept
            .flat_map(|one| one.wheels.iter().map(Digest::hex))
            .collect();
        let folder = self.root.join("wheels");
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(EnvironmentError::file("read", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(EnvironmentError::file("read", &folder))?;
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|hex| kept.contains(hex))
            {
                let path = entry.path();
                std::fs::remove_file(&path).map_err(EnvironmentError::file("remove", &path))?;
            }
        }
        Ok(())
    }

    fn note_path(&self, key: &Digest) -> PathBuf {
        self.root.join(format!("{}{NOTE}", key.hex()))
    }

    /// What is known of an environment. What cannot be read is as good as not there.
    pub(super) fn note(&self, key: &Digest) -> Option<Note> {
        let note: Note = read_json(&self.note_path(key))?;
        (note.format == FORMAT && note.key == *key).then_some(note)
    }

    pub(super) fn put_note(&self, note: &Note) -> Result<(), EnvironmentError> {
        write_json(&self.note_path(&note.key), note)
    }

    /// Every environment that is known, by its key.
    pub(super) fn notes(&self) -> Result<Vec<Note>, EnvironmentError> {
        let failed = || EnvironmentError::file("read", &self.root);
        let mut notes = Vec::new();
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(notes),
            other => other.map_err(failed())?,
        };
        for entry in entries {
            let name = entry.map_err(failed())?.file_name();
            let key = name.to_str().and_then(|name| name.strip_suffix(NOTE));
            let key = key.and_then(|hex| format!("sha256:{hex}").parse().ok());
            notes.extend(key.and_then(|key| self.note(&key)));
        }
        notes.sort_by_key(|note: &Note| note.key);
        Ok(notes)
    }

    /// Forgets an environment and its layer.
    pub(super) fn remove(&self, key: &Digest) -> Result<(), EnvironmentError> {
        for path in [self.note_path(key), self.layer_path(key)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(EnvironmentError::file("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn base_path(&self, image: &ImageId) -> PathBuf {
        self.root.join(format!("{}.base.json", image.0.hex()))
    }

    /// What is known of a sandbox image.
    pub(super) fn base(&self, image: &ImageId) -> Option<BaseFacts> {
        let note: BaseNote = read_json(&self.base_path(image))?;
        (note.format == FORMAT).then_some(BaseFacts {
            content: note.content,
            python: note.python,
        })
    }

    /// Remembers what an image is; it never becomes another.
    pub(super) fn put_base(
        &self,
        image: &ImageId,
        facts: &BaseFacts,
    ) -> Result<(), EnvironmentError> {
        if self.base(image).is_some() {
            return Ok(());
        }
        let note = BaseNote {
            format: FORMAT,
            content: facts.content,
            python: facts.python.clone(),
        };
        write_json(&self.base_path(image), &note)
    }

    fn imports_path(&self, program: &Digest) -> PathBuf {
        self.root.join(format!("{}{IMPORTS}", program.hex()))
    }

    /// What past runs of a program imported.
    pub(super) fn imports(&self, program: &Digest) -> Option<ImportsNote> {
        let note: ImportsNote = read_json(&self.imports_path(program))?;
        (note.format == FORMAT).then_some(note)
    }

    pub(super) fn put_imports(
        &self,
        program: &Digest,
        environment: Digest,
        imports: Imports,
    ) -> Result<(), EnvironmentError> {
        let note = ImportsNote {
            format: FORMAT,
            environment,
            imports,
        };
        write_json(&self.imports_path(program), &note)
    }

    /// Forgets what programs imported, except those of environments that are kept.
    pub(super) fn remove_imports(&self, kept: &[Note]) -> Result<(), EnvironmentError> {
        let failed = || EnvironmentError::file("read", &self.root);
        for entry in std::fs::read_dir(&self.root).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let is_kept = || {
                let note: Option<ImportsNote> = read_json(&path);
                note.is_some_and(|note| kept.iter().any(|one| one.key == note.environment))
            };
            if path.to_string_lossy().ends_with(IMPORTS) && !is_kept() {
                std::fs::remove_file(&path).map_err(EnvironmentError::file("remove", &path))?;
            }
        }
        Ok(())
    }

    fn lock_path(&self, asked: &Digest) -> PathBuf {
        self.root.join(format!("{}.lock.json", asked.hex()))
    }

    /// What these requirements were resolved to.
    pub(super) fn locked(&self, asked: &Digest) -> Option<Vec<LockedJson>> {
        let note: LockNote = read_json(&self.lock_path(asked))?;
        (note.format == FORMAT).then_some(note.requirements)
    }

    pub(super) fn put_locked(
        &self,
        asked: &Digest,
        requirements: Vec<LockedJson>,
    ) -> Result<(), EnvironmentError> {
        let note = LockNote {
            format: FORMAT,
            requirements,
        };
        write_json(&self.lock_path(asked), &note)
    }

    /// Forgets what requirements were resolved to, except those whose environment is kept.
    pub(super) fn remove_locks(&self, kept: &[Note]) -> Result<(), EnvironmentError> {
        let failed = || EnvironmentError::file("read", &self.root);
        for entry in std::fs::read_dir(&self.root).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let is_lock = path.to_string_lossy().ends_with(".lock.json");
            let is_kept = || {
                let note: Option<LockNote> = read_json(&path);
                note.is_some_and(|note| {
                    kept.iter().any(|one| one.requirements == note.requirements)
                })
            };
            if is_lock && !is_kept() {
                std::fs::remove_file(&path).map_err(EnvironmentError::file("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// The right to make an environment, and a folder for what is not finished.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) folder: PathBuf,
    /// The lock on this file ends when it is closed.
    _lock: File,
}

impl Drop for Work {
    fn drop(&mut self) {
        // What stays is cleared by the next one.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Files of one folder as blobs, named by their digests.
#[derive(Clone, Debug)]
pub(super) struct FolderBlobs(pub(super) PathBuf);

impl FolderBlobs {
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.hex())
    }
}

impl Blobs for FolderBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(File::open(self.path(digest))?))
    }

    fn create(&self) -> io::Result<Box<dyn BlobSink>> {
        Ok(Box::new(Sink {
            file: tempfile::NamedTempFile::new_in(&self.0)?,
            hash: Sha256::new(),
            folder: self.clone(),
        }))
    }
}

struct Sink {
    file: tempfile::NamedTempFile,
    hash: Sha256,
    folder: FolderBlobs,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobSink for Sink {
    fn finish(self: Box<Self>) -> io::Result<Digest> {
        let digest = Digest::from_sha256(self.hash.finalize().into());
        let path = self.folder.path(&digest);
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(digest)
    }
}

/// The digest and the length of a file.
pub(super) fn hash(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((Digest::from_sha256(hash.finalize().into()), size));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    let read = serde_json::from_slice(&bytes);
    if let Err(error) = &read {
        tracing::warn!(path = %path.display(), %error, "a note of an environment cannot be read");
    }
    read.ok()
}

/// Replaces a file at once.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), EnvironmentError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(EnvironmentError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_there_when_all_of_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        assert!(!cache.has_layer(&key, 9));
        // What a program left that was killed.
        std::fs::write(cache.layer_path(&key), b"a la").unwrap();
        assert!(!cache.has_layer(&key, 7));
        cache.put_layer(&key, &mut &b"a layer"[..]).unwrap();
        assert!(cache.has_layer(&key, 7));
        assert_eq!(std::fs::read(cache.layer_path(&key)).unwrap(), b"a layer");
    }

    #[test]
    fn a_layer_that_cannot_be_read_leaves_what_was_there() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let mut half = (&b"half"[..]).chain(Broken);
        cache.put_layer(&key, &mut half).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn reading_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("environments");
        assert_eq!(Cache::at(&root).notes().unwrap().len(), 0);
        assert!(!root.exists());
    }
}
