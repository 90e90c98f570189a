//! Environments: images with Python distributions on the sandbox image, in one layer.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bollard::query_parameters::RemoveImageOptionsBuilder;
use spec::{ByteSize, Digest};
use tar::EntryType;

use super::archive::LayerFile;
use super::assemble::Parent;
use super::base;
use super::config::LABEL_IMAGE;
use super::layer::{Content, Kind, Layer, Node};
use super::{ImageError, LABEL_BASE, LABEL_PYTHON, Progress};
use crate::docker::calls::{call, refusal};
use crate::{Engine, ImageId};

/// Where the distributions of an environment are in its image.
pub const ENVIRONMENT_ROOT: &str = "/opt/agentfactory/env";
/// The repository of environments on an engine.
const REPOSITORY: &str = "agentfactory/env";
/// On environments: what their image was made for.
const LABEL_KEY: &str = "agentfactory.environment";
/// Files of one environment; pandas, matplotlib and their bytecode have 9,000.
const FILES_MAX: usize = 200_000;
/// Bytes of one environment's files.
const BYTES_MAX: ByteSize = ByteSize::mib(2_048);
/// Bytes of the longest name in one.
const NAME_MAX: usize = 1_000;

/// An image with Python distributions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// What decides it: the content of the base image and the locked requirements.
    pub key: Digest,
    /// The digest of its layer: the SHA-256 of the uncompressed archive, which is its diff id.
    pub layer: Digest,
    /// What sandboxes are created from.
    pub image: ImageId,
}

/// What is known of a sandbox image that environments are made on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFacts {
    /// The digest of the content of the base below our layer.
    pub content: Digest,
    /// The version of its Python, as in 3.13.5.
    pub python: String,
}

/// The layer of an environment: a file, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentLayer {
    /// Where the archive is.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What the labels of a sandbox image say of it.
///
/// # Errors
/// [`ImageError::Engine`] when it is missing, and [`ImageError::NotWhatWasSent`] for an image that is
/// none of ours.
pub async fn base_facts(engine: &Engine, image: &ImageId) -> Result<BaseFacts, ImageError> {
    let labels = Parent::inspect(engine, image).await?.config.labels;
    let wrong = || ImageError::NotWhatWasSent(image.0.to_string());
    let content = labels.get(LABEL_BASE).and_then(|text| text.parse().ok());
    Ok(BaseFacts {
        content: content.ok_or_else(wrong)?,
        python: labels.get(LABEL_PYTHON).ok_or_else(wrong)?.clone(),
    })
}

/// Whether the engine has an image.
///
/// # Errors
/// The engine's.
pub async fn is_on_engine(engine: &Engine, image: &ImageId) -> Result<bool, ImageError> {
    Ok(base::inspect(engine, &image.0.to_string()).await?.is_some())
}

/// Removes the image of an environment, whatever it is called. One that is in use or gone stays as
/// it is; says whether it was removed.
///
/// # Errors
/// The engine's.
pub async fn remove_environment(engine: &Engine, image: &ImageId) -> Result<bool, ImageError> {
    let options = RemoveImageOptionsBuilder::default().force(false).build();
    let Some(found) = base::inspect(engine, &image.0.to_string()).await? else {
        return Ok(false);
    };
    // Removing the last name of an image removes the image.
    let names = found.repo_tags.unwrap_or_default();
    let ours = names.iter().filter(|name| name.starts_with(REPOSITORY));
    for name in ours {
        let remove = engine
            .docker
            .remove_image(name, Some(options.clone()), None);
        match call("remove an image", remove).await {
            Ok(_) => {}
            Err(error) if matches!(refusal(&error), Some(404 | 409)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Writes the layer of an environment from an archive that came out of a sandbox: its regular files,
/// below [`ENVIRONMENT_ROOT`], as root's. Blocks.
///
/// # Errors
/// [`ImageError::Environment`] for an archive that holds anything else or too much, and
/// [`ImageError::File`].
pub fn write_environment_layer(
    archive: &Path,
    layer: &Path,
) -> Result<EnvironmentLayer, ImageError> {
    let source = File::open(archive).map_err(ImageError::file("read", archive))?;
    let entries = read(&source).map_err(|error| ImageError::Environment(error.to_string()))?;
    let out = File::create(layer).map_err(ImageError::file("create", layer))?;
    let written = entries
        .write(Some(&source), &out)
        .and_then(|written| out.sync_all().map(|()| written))
        .map_err(ImageError::file("write", layer))?;
    Ok(EnvironmentLayer {
        path: layer.to_owned(),
        digest: written.digest,
        size: written.size,
    })
}

/// What an archive holds, as entries of a layer.
fn read(source: &File) -> io::Result<Layer> {
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut layer = Layer::default();
    let (mut files, mut bytes) = (0_usize, 0_u64);
    for entry in tar::Archive::new(source).entries_with_seek()? {
        let entry = entry?;
        let name = entry.path_bytes().into_owned();
        let shown = spec::printable(&String::from_utf8_lossy(&name), 100);
        let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
        if name.len() > NAME_MAX || !name.split(|byte| *byte == b'/').all(plain) {
            return Err(refused(format!("it holds a file named `{shown}`")));
        }
        if entry.header().entry_type() != EntryType::Regular {
            let kind = entry.header().entry_type();
            return Err(refused(format!("it holds `{shown}`, a {kind:?}")));
        }
        files += 1;
        bytes = bytes.saturating_add(entry.size());
        if files > FILES_MAX || bytes > BYTES_MAX.get() {
            return Err(refused(format!(
                "it holds more than {BYTES_MAX} or {FILES_MAX} files"
            )));
        }
        let is_executable = entry.header().mode()? & 0o100 != 0;
        let node = Node {
            mode: if is_executable { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            kind: Kind::File(Content::Range {
                offset: entry.raw_file_position(),
                size: entry.size(),
            }),
        };
        let path = [&ENVIRONMENT_ROOT.as_bytes()[1..], b"/", &name].concat();
        if layer.0.insert(path, node).is_some() {
            return Err(refused(format!("it holds `{shown}` twice")));
        }
    }
    layer.directory(&ENVIRONMENT_ROOT[1..], 0o755);
    layer.add_parents();
    // A file that something else lies below would have been replaced by a folder here or there.
    let is_file = |path: &[u8]| {
        let node = layer.0.get(path);
        node.is_some_and(|node| matches!(node.kind, Kind::File(_)))
    };
    for path in layer.0.keys() {
        let mut slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        if slashes.any(|at| is_file(&path[..at])) {
            let shown = spec::printable(&String::from_utf8_lossy(path), 100);
            return Err(refused(format!(
                "it holds `{shown}`, which is below a file"
            )));
        }
    }
    Ok(layer)
}

/// Makes the image of an environment, on the engine: the sandbox image and one layer.
///
/// An engine that wants whole images gets them through a temporary file in `scratch`.
///
/// # Errors
/// [`RunnerError::ImageMissing`] when the engine lacks the sandbox image, and [`ImageError`].
///
/// [`RunnerError::ImageMissing`]: crate::RunnerError::ImageMissing
pub async fn load_environment(
    engine: &Engine,
    base: &ImageId,
    key: Digest,
    layer: &EnvironmentLayer,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Environment, ImageError> {
    let file = LayerFile {
        path: layer.path.clone(),
        offset: 0,
        size: layer.size,
    };
    let parent = Parent::inspect(engine, base).await?;
    let mut assembly = parent.with(vec![(layer.digest, file)]);
    let labels = &mut assembly.config.labels;
    labels.insert(LABEL_IMAGE.to_owned(), "environment".to_owned());
    labels.insert(LABEL_KEY.to_owned(), key.to_string());
    let tag = format!("{REPOSITORY}:{}", assembly.config.digest().short());
    let image = assembly.load(engine, &[tag], scratch, progress).await?;
    Ok(Environment {
        key,
        layer: layer.digest,
        image,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, EntryType, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.as_file());
        for (path, kind, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o100);
            header.set_mtime(7);
            header.set_size(content.len() as u64);
            // The library refuses to write what a hostile sandbox would send.
            let name = header.as_old_mut().name.as_mut_slice();
            name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap();
        file
    }

    fn layer_of(files: &[(&str, EntryType, &str)]) -> Result<Vec<u8>, ImageError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.tar");
        let written = write_environment_layer(archive(files).path(), &path)?;
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(written.digest, Digest::of(&bytes));
        Ok(bytes)
    }

    #[test]
    fn a_layer_depends_on_nothing_but_names_and_content() {
        let (a, b) = (
            ("a/x.py", EntryType::Regular, "x = 1"),
            ("b.py", EntryType::Regular, ""),
        );
        let bytes = layer_of(&[a, b]).unwrap();
        assert_eq!(bytes, layer_of(&[b, a]).unwrap());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            entry.path().unwrap().display().to_string()
        });
        assert_eq!(
            names.collect::<Vec<_>>(),
            [
                "opt/",
                "opt/agentfactory/",
                "opt/agentfactory/env/",
                "opt/agentfactory/env/a/",
                "opt/agentfactory/env/a/x.py",
                "opt/agentfactory/env/b.py",
            ]
        );
    }

    #[test]
    fn what_no_install_leaves_is_refused() {
        let file = EntryType::Regular;
        for (files, says) in [
            (&[("../x", file, "")][..], "named `../x`"),
            (&[("/etc/x", file, "")], "named `/etc/x`"),
            (&[("a//b", file, "")], "named `a//b`"),
            (&[("a/./b", file, "")], "named"),
            (&[("x", EntryType::Symlink, "")], "Symlink"),
            (&[("x", EntryType::Link, "")], "Link"),
            (&[("x", EntryType::Char, "")], "Char"),
            (&[("x", file, "1"), ("x", file, "2")], "twice"),
            (&[("x", file, ""), ("x/y", file, "")], "below a file"),
        ] {
            let error = layer_of(files).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
