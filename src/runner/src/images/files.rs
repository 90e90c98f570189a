//! Files of ours: the lock file, the record of what was built, and the cache of finished steps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spec::Digest;
use tempfile::NamedTempFile;

use super::archive::LayerFile;
use super::layer::Written;
use super::{ImageError, Progress};

/// The version of each of these files.
const FORMAT: u32 = 1;

/// How often a build looks whether another one has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Which bases builds use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    format: u32,
    /// What the last build was asked for: [`Lock::DEFAULT`] or a reference.
    pub(super) selected: String,
    /// What that was, by what was asked for.
    pub(super) bases: BTreeMap<String, LockedBase>,
}

/// One base, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum LockedBase {
    /// What the reference stood for when it was first pulled. Later builds use the digest.
    Registry { reference: String, digest: Digest },
    /// An image that only the engine has. Later builds look at it again.
    Engine { reference: String, layers: Digest },
    /// Made from the distribution's packages. Later builds use it while it is cached or loaded.
    Bootstrap { recipe: Digest, layer: Digest },
}

impl Lock {
    /// Stands for "no base was named".
    pub(super) const DEFAULT: &str = "default";

    /// Reads the file; without one nothing is locked.
    pub(super) fn read(path: &Path) -> Result<Self, ImageError> {
        let lock = read_json::<Self>(path)?.unwrap_or_else(|| Self {
            format: FORMAT,
            selected: Self::DEFAULT.to_owned(),
            bases: BTreeMap::new(),
        });
        check_format(path, lock.format)?;
        Ok(lock)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), ImageError> {
        write_json(path, self)
    }
}

/// Which images were built.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// By what decides an image, the newest first. Engines differ in how they name equal images.
    images: BTreeMap<String, Vec<Digest>>,
}

/// How many names of one image are remembered.
const NAMES_MAX: usize = 8;

/// The ids of the images that were built from this.
pub(super) fn recorded(cache: &Path, key: &Digest) -> Result<Vec<Digest>, ImageError> {
    let record = read_record(&record_path(cache))?;
    Ok(record.images.get(&key.hex()).cloned().unwrap_or_default())
}

/// Remembers an image.
pub(super) fn record(cache: &Path, key: &Digest, image: Digest) -> Result<(), ImageError> {
    let path = record_path(cache);
    let mut record = read_record(&path)?;
    let names = record.images.entry(key.hex()).or_default();
    names.retain(|name| *name != image);
    names.insert(0, image);
    names.truncate(NAMES_MAX);
    write_json(&path, &record)
}

fn record_path(cache: &Path) -> PathBuf {
    cache.join("images.json")
}

fn read_record(path: &Path) -> Result<Record, ImageError> {
    let record = read_json::<Record>(path)?.unwrap_or(Record {
        format: FORMAT,
        images: BTreeMap::new(),
    });
    check_format(path, record.format)?;
    Ok(record)
}

/// Results of steps that take long. Only one build at a time has it open.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// The lock on this file ends when it is closed.
    _lock: File,
}

/// A cached layer and what is known about it.
#[derive(Clone, Debug)]
pub(super) struct Cached<T> {
    pub(super) path: PathBuf,
    pub(super) layer: Written,
    pub(super) facts: T,
}

impl<T> Cached<T> {
    /// Its bytes.
    pub(super) fn file(&self) -> LayerFile {
        LayerFile {
            path: self.path.clone(),
            offset: 0,
            size: self.layer.size,
        }
    }
}

/// What is beside a cached layer. It is written last, so that a layer without it does not count.
#[derive(Serialize, Deserialize)]
struct Note<T> {
    digest: Digest,
    size: u64,
    facts: T,
}

impl Cache {
    /// Opens the cache, waits until no other build uses it, and clears what a killed one left.
    pub(super) async fn open(root: &Path, progress: &dyn Progress) -> Result<Self, ImageError> {
        // Programs that are given a path in it may run elsewhere.
        let root = &std::path::absolute(root).map_err(ImageError::file("find", root))?;
        std::fs::create_dir_all(root).map_err(ImageError::file("create", root))?;
        let path = root.join("build.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(ImageError::file("open", &path))?;
        let mut waits = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::WouldBlock) => {
                    if !waits {
                        progress.phase("waiting for another build to end");
                        waits = true;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(ImageError::file("lock", &path)(error));
                }
            }
        }
        let cache = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        let partial = cache.partial();
        if partial.exists() {
            std::fs::remove_dir_all(&partial).map_err(ImageError::file("clear", &partial))?;
        }
        std::fs::create_dir(&partial).map_err(ImageError::file("create", &partial))?;
        Ok(cache)
    }

    /// A folder for what is not finished; it is emptied when the next build begins.
    pub(super) fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// A file that is gone when it is closed, or at the latest when the next build begins.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, ImageError> {
        let partial = self.partial();
        NamedTempFile::new_in(&partial).map_err(ImageError::file("create a file in", &partial))
    }

    /// The result of a step, if it is there and still what it was.
    pub(super) fn get<T: DeserializeOwned>(&self, name: &str) -> Option<Cached<T>> {
        let path = self.root.join(format!("{name}.tar"));
        let note: Note<T> = read_json(&self.root.join(format!("{name}.json"))).ok()??;
        let found = hash(File::open(&path).ok()?).ok()?;
        let layer = Written {
            digest: note.digest,
            size: note.size,
        };
        (found == layer).then_some(Cached {
            path,
            layer,
            facts: note.facts,
        })
    }

    /// Keeps the result of a step.
    pub(super) fn put<T: Serialize>(
        &self,
        name: &str,
        file: NamedTempFile,
        layer: Written,
        facts: T,
    ) -> Result<Cached<T>, ImageError> {
        let path = self.root.join(format!("{name}.tar"));
        file.as_file()
            .sync_all()
            .map_err(ImageError::file("write", &path))?;
        file.persist(&path)
            .map_err(|error| ImageError::file("write", &path)(error.error))?;
        let note = Note {
            digest: layer.digest,
            size: layer.size,
            facts,
        };
        write_json(&self.root.join(format!("{name}.json")), &note)?;
        Ok(Cached {
            path,
            layer,
            facts: note.facts,
        })
    }

    /// Removes all but the newest results of this kind: each can be made again.
    pub(super) fn prune(&self, prefix: &str, keep: usize) -> Result<(), ImageError> {
        let failed = || ImageError::file("clear", &self.root);
        let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let path = entry.path();
            let ours = entry.file_name().to_string_lossy().starts_with(prefix);
            if ours && path.extension().is_some_and(|extension| extension == "tar") {
                let modified = entry.metadata().and_then(|data| data.modified());
                found.push((modified.map_err(failed())?, path));
            }
        }
        found.sort();
        found.truncate(found.len().saturating_sub(keep));
        for (_, path) in found {
            for file in [path.with_extension("json"), path] {
                match std::fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(ImageError::file("remove", &file)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Reads to the end.
pub(super) fn hash(mut file: impl io::Read) -> io::Result<Written> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
    Ok(Written {
        digest: Digest::from_sha256(hash.finalize().into()),
        size,
    })
}

fn check_format(path: &Path, format: u32) -> Result<(), ImageError> {
    if format == FORMAT {
        return Ok(());
    }
    Err(ImageError::Format {
        path: path.to_owned(),
        why: format!("it has format {format}, this program knows {FORMAT}"),
    })
}

/// What is read first of a file: the other fields of a newer one are not known here.
#[derive(Deserialize)]
struct Format {
    format: Option<u32>,
}

/// Reads a file if it is there.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ImageError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::file("read", path)(error)),
    };
    let parse = |error: serde_json::Error| ImageError::Format {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let format: Format = serde_json::from_slice(&bytes).map_err(parse)?;
    if let Some(format) = format.format {
        check_format(path, format)?;
    }
    serde_json::from_slice(&bytes).map(Some).map_err(parse)
}

/// Replaces a file at once.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ImageError> {
    let failed = || ImageError::file("write", path);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed())?;
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(io::Error::other)
        .map_err(failed())?;
    text.push(b'\n');
    let mut file = NamedTempFile::new_in(folder).map_err(failed())?;
    file.write_all(&text).map_err(failed())?;
    file.as_file().sync_all().map_err(failed())?;
    file.persist(path).map_err(|error| failed()(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home/base.lock");
        let mut lock = Lock::read(&path).unwrap();
        assert_eq!(lock.selected, Lock::DEFAULT);
        let locked = LockedBase::Registry {
            reference: "python:3".to_owned(),
            digest: Digest::of(b"x"),
        };
        lock.bases.insert("default".to_owned(), locked);
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), lock);
    }

    #[test]
    fn a_broken_or_newer_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.lock");
        for text in ["", "{", "[]", "{}", r#"{"format":2,"new":1}"#] {
            std::fs::write(&path, text).unwrap();
            let error = Lock::read(&path).unwrap_err();
            assert!(matches!(error, ImageError::Format { .. }), "{text}");
            assert!(error.hint().unwrap().contains("base.lock"));
        }
    }

    #[test]
    fn the_newest_names_of_an_image_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"key");
        assert_eq!(recorded(folder.path(), &key).unwrap(), []);
        let names: Vec<Digest> = (0..10_u8).map(|name| Digest::of(&[name])).collect();
        for name in &names {
            record(folder.path(), &key, *name).unwrap();
        }
        record(folder.path(), &key, names[5]).unwrap();
        let found = recorded(folder.path(), &key).unwrap();
        let expected = [5, 9, 8, 7, 6, 4, 3, 2].map(|index: usize| names[index]);
        assert_eq!(found, expected);
    }

    fn put(cache: &Cache, name: &str, content: &[u8]) {
        let mut file = cache.temporary().unwrap();
        file.write_all(content).unwrap();
        let layer = Written {
            digest: Digest::of(content),
            size: content.len() as u64,
        };
        cache.put(name, file, layer, "facts").unwrap();
    }

    #[tokio::test]
    async fn a_changed_result_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), &()).await.unwrap();
        assert!(cache.get::<String>("step").is_none());
        put(&cache, "step", b"content");
        let found = cache.get::<String>("step").unwrap();
        assert_eq!(found.facts, "facts");
        std::fs::write(&found.path, b"changed").unwrap();
        assert!(cache.get::<String>("step").is_none());
    }

    #[tokio::test]
    async fn only_the_newest_results_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), &()).await.unwrap();
        for (age, name) in ["a-1", "a-2", "a-3", "b-1"].into_iter().enumerate() {
            put(&cache, name, b"x");
            let file = File::open(folder.path().join(format!("{name}.tar"))).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            file.set_modified(time).unwrap();
        }
        cache.prune("a-", 1).unwrap();
        let there = |name: &str| cache.get::<String>(name).is_some();
        assert_eq!(
            ["a-1", "a-2", "a-3", "b-1"].map(there),
            [false, false, true, true]
        );
    }

    #[tokio::test]
    async fn a_second_build_waits_and_clears_what_the_first_left() {
        let folder = tempfile::tempdir().unwrap();
        let first = Cache::open(folder.path(), &()).await.unwrap();
        let second = Cache::open(folder.path(), &());
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        let left = first.temporary().unwrap().into_temp_path().keep().unwrap();
        drop(first);
        second.await.unwrap();
        assert!(!left.exists());
    }
}
