//! Docker archives: how an image gets onto an engine.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use spec::Digest;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{ImageError, Progress};
use crate::{Engine, RunnerError};

/// How long the engine may say nothing while it unpacks.
const IDLE: Duration = Duration::from_mins(10);

/// A layer's bytes: an archive that is not compressed, in a file or in a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFile {
    /// The file.
    pub path: PathBuf,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}

impl LayerFile {
    /// Opens it for reading. Blocks.
    ///
    /// # Errors
    /// The I/O error.
    pub fn open(&self) -> io::Result<io::Take<File>> {
        let mut whole = File::open(&self.path)?;
        io::Seek::seek(&mut whole, io::SeekFrom::Start(self.offset))?;
        Ok(whole.take(self.size))
    }
}

/// One image, as it is sent.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    /// The image's configuration; its digest is the image's.
    pub(super) config: &'a [u8],
    pub(super) tags: &'a [String],
    /// From the lowest on; a layer that is not sent must be on the engine.
    pub(super) layers: &'a [(Digest, Option<LayerFile>)],
}

enum Part {
    Bytes(Bytes),
    File(LayerFile),
}

impl Archive<'_> {
    /// Sends the image to the engine, which tags it when it has all of it.
    pub(super) async fn load(&self, engine: &Engine) -> Result<(), ImageError> {
        let action = "load an image";
        let failed = |source: bollard::errors::Error| RunnerError::Engine {
            action,
            source: source.into(),
        };
        let docker = engine.docker.clone().with_timeout(IDLE);
        let body = stream(self.parts()?);
        let mut answers = docker.import_image_stream(ImportImageOptions::default(), body, None);
        loop {
            match tokio::time::timeout(IDLE, answers.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(answer)) => {
                    answer.map_err(failed)?;
                }
                Err(_) => {
                    let seconds = IDLE.as_secs();
                    return Err(RunnerError::EngineTimeout { action, seconds }.into());
                }
            }
        }
    }

    fn parts(&self) -> Result<Vec<Part>, ImageError> {
        let config_name = format!("{}.json", Digest::of(self.config).hex());
        let layer_name = |digest: &Digest| format!("{}/layer.tar", digest.hex());
        let names: Vec<String> = self.layers.iter().map(|(d, _)| layer_name(d)).collect();
        let manifest = serde_json::json!([{
            "Config": config_name,
            "RepoTags": self.tags,
            "Layers": names,
        }]);
        let mut parts = Vec::new();
        let mut add = |name: &str, content: Part, size: u64| -> io::Result<()> {
            let mut header = tar::Header::new_ustar();
            header.set_path(name)?;
            header.set_size(size);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_cksum();
            parts.push(Part::Bytes(Bytes::copy_from_slice(header.as_bytes())));
            parts.push(content);
            let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
            parts.push(Part::Bytes(vec![0; padding].into()));
            Ok(())
        };
        let manifest = manifest.to_string();
        for (name, bytes) in [
            (config_name.as_str(), self.config),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let content = Part::Bytes(Bytes::copy_from_slice(bytes));
            add(name, content, bytes.len() as u64)
                .map_err(ImageError::file("name", Path::new(name)))?;
        }
        for ((_, file), name) in self.layers.iter().zip(&names) {
            if let Some(file) = file {
                add(name, Part::File(file.clone()), file.size)
                    .map_err(ImageError::file("name", Path::new(name)))?;
            }
        }
        parts.push(Part::Bytes(vec![0; 1024].into()));
        Ok(parts)
    }
}

fn stream(parts: Vec<Part>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures::stream::iter(parts)
        .then(|part| async move {
            Ok::<_, io::Error>(match part {
                Part::Bytes(bytes) => futures::stream::once(async move { Ok(bytes) }).boxed(),
                Part::File(part) => {
                    let mut file = tokio::fs::File::open(&part.path).await?;
                    file.seek(io::SeekFrom::Start(part.offset)).await?;
                    ReaderStream::with_capacity(file.take(part.size), 1 << 18).boxed()
                }
            })
        })
        .try_flatten()
}

/// Fetches all layers of an image from the engine, for an engine that wants them back with ours.
///
/// The layers are parts of one temporary file, which must be kept until they are sent.
pub(super) async fn export(
    engine: &Engine,
    image: &str,
    layers: &[Digest],
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<(tempfile::TempPath, Vec<LayerFile>), ImageError> {
    let action = "save an image";
    let temporary = tempfile::NamedTempFile::new_in(scratch)
        .map_err(ImageError::file("create a file in", scratch))?;
    let path = temporary.into_temp_path();
    let failed = || ImageError::file("write", &path);
    let mut file = tokio::fs::File::create(&path).await.map_err(failed())?;
    let mut saved = Box::pin(engine.docker.export_image(image));
    let mut size = 0;
    loop {
        let bytes = match tokio::time::timeout(IDLE, saved.next()).await {
            Ok(None) => break,
            Ok(Some(bytes)) => bytes.map_err(|source| RunnerError::Engine {
                action,
                source: source.into(),
            })?,
            Err(_) => {
                let seconds = IDLE.as_secs();
                return Err(RunnerError::EngineTimeout { action, seconds }.into());
            }
        };
        tokio::io::AsyncWriteExt::write_all(&mut file, &bytes)
            .await
            .map_err(failed())?;
        size += bytes.len() as u64;
        progress.bytes(size, None);
    }
    tokio::io::AsyncWriteExt::flush(&mut file)
        .await
        .map_err(failed())?;
    let parts = read_saved(&path).map_err(ImageError::file("read", &path))?;
    if parts.len() != layers.len() {
        return Err(ImageError::NotWhatWasSent(image.to_owned()));
    }
    Ok((path, parts))
}

/// One image in the `manifest.json` of a saved archive. Only this file is the same in all engines.
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Finds the layers of the only image in a saved archive.
fn read_saved(path: &Path) -> io::Result<Vec<LayerFile>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut files = HashMap::new();
    let mut links = HashMap::new();
    let mut manifest = None;
    for entry in tar::Archive::new(File::open(path)?).entries_with_seek()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if let Some(target) = entry.link_name()? {
            let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
            links.insert(name.clone(), simplify(&folder.join(target)));
        } else if name == "manifest.json" {
            let mut text = String::new();
            (&mut entry).take(1 << 20).read_to_string(&mut text)?;
            manifest = serde_json::from_str::<Vec<Manifest>>(&text)?.pop();
        } else {
            let part = LayerFile {
                path: path.to_owned(),
                offset: entry.raw_file_position(),
                size: entry.size(),
            };
            files.insert(name, part);
        }
    }
    manifest
        .ok_or_else(|| invalid("the saved image has no manifest.json"))?
        .layers
        .iter()
        .map(|name| {
            let name = links.get(name).unwrap_or(name);
            let file = files.get(name).cloned();
            file.ok_or_else(|| invalid("the saved image has not all of its layers"))
        })
        .collect()
}

/// Resolves `..` in a path inside an archive.
fn simplify(path: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in path.components() {
        match name {
            std::path::Component::ParentDir => drop(names.pop()),
            std::path::Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn an_archive_holds_what_the_engine_lacks() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let part = LayerFile {
            path: file.path().to_owned(),
            offset: 2,
            size: 5,
        };
        let archive = Archive {
            config: b"{}",
            tags: &["name:tag".to_owned()],
            layers: &[
                (Digest::of(b"lower"), None),
                (Digest::of(b"upper"), Some(part)),
            ],
        };
        let parts: Vec<Bytes> = stream(archive.parts().unwrap())
            .try_collect()
            .await
            .unwrap();
        let bytes = parts.concat();
        let mut found = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        let config = format!("{}.json", Digest::of(b"{}").hex());
        let lower = format!("{}/layer.tar", Digest::of(b"lower").hex());
        let upper = format!("{}/layer.tar", Digest::of(b"upper").hex());
        let manifest = format!(
            r#"[{{"Config":"{config}","Layers":["{lower}","{upper}"],"RepoTags":["name:tag"]}}]"#
        );
        assert_eq!(
            found,
            [
                (config, "{}".to_owned()),
                ("manifest.json".to_owned(), manifest),
                (upper, "23456".to_owned()),
            ]
        );
    }

    #[test]
    fn layers_are_found_where_the_manifest_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.as_file());
        let mut add = |name: &str, content: &str, link: Option<&str>| {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            if let Some(link) = link {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(link).unwrap();
            }
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        };
        add("a/layer.tar", "lower", None);
        add("b/layer.tar", "", Some("../a/layer.tar"));
        add("blobs/sha256/c", "upper", None);
        let manifest =
            r#"[{"Config":"x","Layers":["a/layer.tar","b/layer.tar","blobs/sha256/c"],"New":1}]"#;
        add("manifest.json", manifest, None);
        builder.into_inner().unwrap();
        let text = std::fs::read(file.path()).unwrap();
        let found: Vec<String> = read_saved(file.path())
            .unwrap()
            .into_iter()
            .map(|part| {
                let from = usize::try_from(part.offset).unwrap();
                let size = usize::try_from(part.size).unwrap();
                String::from_utf8_lossy(&text[from..from + size]).into_owned()
            })
            .collect();
        assert_eq!(found, ["lower", "lower", "upper"]);
    }
}
