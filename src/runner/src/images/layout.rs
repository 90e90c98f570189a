//! An assembled image outside the engine: an OCI image layout, or the parts of one.
//!
//! Layers are not compressed: their digests are their diff ids, so no version of a compressor decides the
//! digest of an image, and whoever reads a manifest sees the very layers of the configuration. Registries
//! and engines compress by themselves where they want to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use spec::{Digest, canonical_json};
use tempfile::{NamedTempFile, TempPath};

use super::archive::{self, LayerFile};
use super::assemble::Assembly;
use super::files;
use super::{ImageError, Progress};
use crate::Engine;

/// Source: the OCI image specification, "Media Types".
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Source: the OCI image specification, "Pre-Defined Annotation Keys".
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// Source: the OCI image layout specification.
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// How a gzip file begins. Source: RFC 1952.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// All parts of an image, as a registry or a layout has them.
#[derive(Debug)]
pub struct Exported {
    /// The manifest's bytes; their digest is the image's in a registry.
    pub manifest: Vec<u8>,
    /// The configuration's bytes; their digest is the image's on most engines.
    pub config: Vec<u8>,
    /// The layers from the lowest on, each with its digest, which is its diff id too.
    pub layers: Vec<(Digest, LayerFile)>,
    /// What the layers of the parent are parts of.
    _files: Vec<TempPath>,
}

impl Assembly {
    /// Fetches the parent's layers from the engine and describes the whole image. The annotations are
    /// the manifest's. The layers are in a temporary file in `scratch`, which is gone when the result
    /// is dropped.
    ///
    /// # Errors
    /// [`ImageError::NotWhatWasSaved`] when the engine gives other layers, and the errors of the engine
    /// and of files.
    pub async fn export(
        &self,
        engine: &Engine,
        annotations: &BTreeMap<String, String>,
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<Exported, ImageError> {
        let mut files = Vec::new();
        let mut layers = Vec::new();
        if let Some(parent) = &self.parent {
            progress.phase("fetching the layers of the image from the engine");
            let below = &self.config.layers[..self.below()];
            let (whole, saved) = archive::export(engine, parent, below, scratch, progress).await?;
            files.push(whole);
            layers = saved;
        }
        layers.extend(self.layers.iter().cloned());
        let image = self.config.digest();
        let layers: Vec<_> = self.config.layers.iter().copied().zip(layers).collect();
        let scratch = scratch.to_owned();
        let job = tokio::task::spawn_blocking(move || {
            let checked = layers.into_iter().map(|(diff_id, file)| {
                let checked = plain(diff_id, &file, &scratch);
                let checked = checked.map_err(ImageError::file("read", &file.path))?;
                let checked = checked.ok_or(ImageError::NotWhatWasSaved { image, diff_id })?;
                Ok((diff_id, checked))
            });
            checked.collect::<Result<Vec<_>, ImageError>>()
        });
        let job = job.await.map_err(io::Error::other);
        let checked = job.map_err(ImageError::file("read", Path::new("layers")))??;
        let mut layers = Vec::new();
        for (diff_id, (file, temporary)) in checked {
            layers.push((diff_id, file));
            files.extend(temporary);
        }
        let config = self.config.to_json();
        Ok(Exported {
            manifest: manifest(&config, &layers, annotations),
            config,
            layers,
            _files: files,
        })
    }
}

/// The layer as it is named: what the engine saved compressed is decompressed into a file in `scratch`.
/// `None` when it is another layer.
fn plain(
    diff_id: Digest,
    file: &LayerFile,
    scratch: &Path,
) -> io::Result<Option<(LayerFile, Option<TempPath>)>> {
    let found = files::hash(file.open()?)?;
    if found.digest == diff_id && found.size == file.size {
        return Ok(Some((file.clone(), None)));
    }
    let mut magic = Vec::new();
    file.open()?
        .take(GZIP.len() as u64)
        .read_to_end(&mut magic)?;
    if magic != GZIP {
        return Ok(None);
    }
    let mut out = NamedTempFile::new_in(scratch)?;
    let size = io::copy(&mut MultiGzDecoder::new(file.open()?), out.as_file_mut())?;
    let path = out.into_temp_path();
    let written = files::hash(File::open(&path)?)?;
    if written.digest != diff_id {
        return Ok(None);
    }
    let file = LayerFile {
        path: path.to_path_buf(),
        offset: 0,
        size,
    };
    Ok(Some((file, Some(path))))
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// Source: the OCI image specification, "Image Manifest".
fn manifest(
    config: &[u8],
    layers: &[(Digest, LayerFile)],
    annotations: &BTreeMap<String, String>,
) -> Vec<u8> {
    let layers = layers.iter();
    let layers: Vec<_> = layers
        .map(|(digest, file)| descriptor(LAYER, *digest, file.size))
        .collect();
    canonical(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, Digest::of(config), config.len() as u64),
        "layers": layers,
        "annotations": annotations,
    }))
}

fn canonical(value: &Value) -> Vec<u8> {
    canonical_json(value).expect("texts and sizes of files have a JSON form")
}

impl Exported {
    /// The digest of the manifest, by which registries name the image.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The bytes of all blobs: manifest, configuration and layers.
    pub fn size_bytes(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|(_, file)| file.size).sum();
        layers + (self.manifest.len() + self.config.len()) as u64
    }

    /// Writes an OCI image layout, in which the image has this name. The folder must not be there; it
    /// appears complete or not at all. Blocks.
    ///
    /// # Errors
    /// [`ImageError::File`]; of kind `AlreadyExists` when the folder is there.
    pub fn write_layout(&self, to: &Path, name: &str) -> Result<(), ImageError> {
        let failed = || ImageError::file("write", to);
        if to.symlink_metadata().is_ok() {
            return Err(failed()(io::ErrorKind::AlreadyExists.into()));
        }
        let to = std::path::absolute(to).map_err(failed())?;
        let parent = to.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(ImageError::file("create", parent))?;
        let staging = tempfile::Builder::new()
            .prefix(".agentfactory-")
            .tempdir_in(parent)
            .map_err(ImageError::file("create a folder in", parent))?;
        self.write_into(staging.path(), name).map_err(failed())?;
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(staging.path(), everybody)
            .and_then(|()| std::fs::rename(staging.path(), &to))
            .map_err(failed())?;
        // It has moved away: there is nothing left to remove.
        let _moved = staging.keep();
        Ok(())
    }

    fn write_into(&self, folder: &Path, name: &str) -> io::Result<()> {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        for (digest, layer) in &self.layers {
            let mut file = File::create(blobs.join(digest.hex()))?;
            if io::copy(&mut layer.open()?, &mut file)? < layer.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.sync_all()?;
        }
        let mut manifest = descriptor(MANIFEST, self.digest(), self.manifest.len() as u64);
        manifest["annotations"] = json!({ REFERENCE_NAME: name });
        let index = canonical(&json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [manifest],
        }));
        for (path, bytes) in [
            (blobs.join(self.digest().hex()), self.manifest.as_slice()),
            (blobs.join(Digest::of(&self.config).hex()), &self.config),
            (folder.join("index.json"), &index),
            (folder.join("oci-layout"), LAYOUT.as_bytes()),
        ] {
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn file(content: &[u8]) -> (NamedTempFile, LayerFile) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(content).unwrap();
        file.write_all(b"after").unwrap();
        let layer = LayerFile {
            path: file.path().to_owned(),
            offset: 6,
            size: content.len() as u64,
        };
        (file, layer)
    }

    #[test]
    fn a_layer_is_what_it_is_called() {
        let scratch = tempfile::tempdir().unwrap();
        let check = |diff_id: Digest, content: &[u8]| {
            let (_whole, layer) = file(content);
            let found = plain(diff_id, &layer, scratch.path()).unwrap()?;
            let mut bytes = Vec::new();
            found.0.open().unwrap().read_to_end(&mut bytes).unwrap();
            Some(bytes)
        };
        let layer = b"a layer".to_vec();
        let diff_id = Digest::of(&layer);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&layer).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(check(diff_id, &layer), Some(layer.clone()));
        assert_eq!(check(diff_id, &packed), Some(layer));
        assert_eq!(check(diff_id, b"another"), None);
        assert_eq!(check(Digest::of(b"x"), &packed), None);
        assert_eq!(check(diff_id, b""), None);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_layout_appears_complete_or_not_at_all() {
        let (_whole, layer) = file(b"a layer");
        let digest = Digest::of(b"a layer");
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let exported = Exported {
            manifest: manifest(b"{}", &[(digest, layer.clone())], &annotations),
            config: b"{}".to_vec(),
            layers: vec![(digest, layer)],
            _files: Vec::new(),
        };
        assert_eq!(
            exported.digest().to_string(),
            "sha256:e73bca924b93c3f36913c7356b4cf452e1cbbeec203c31ae0662184bd1d4d9fc"
        );
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("new/layout");
        exported.write_layout(&to, "latest").unwrap();
        let index: Value =
            serde_json::from_slice(&std::fs::read(to.join("index.json")).unwrap()).unwrap();
        assert_eq!(
            index["manifests"][0]["digest"],
            exported.digest().to_string()
        );
        let mut blobs = 0;
        for entry in std::fs::read_dir(to.join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let digest = Digest::of(&std::fs::read(&path).unwrap());
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), digest.hex());
            blobs += 1;
        }
        assert_eq!(blobs, 3);
        let error = exported.write_layout(&to, "latest").unwrap_err();
        assert!(matches!(error, ImageError::File { source, .. }
            if source.kind() == io::ErrorKind::AlreadyExists));

        let gone = Exported {
            layers: vec![(
                digest,
                LayerFile {
                    path: folder.path().join("gone"),
                    offset: 0,
                    size: 1,
                },
            )],
            manifest: exported.manifest.clone(),
            config: exported.config.clone(),
            _files: Vec::new(),
        };
        let other = folder.path().join("new/other");
        gone.write_layout(&other, "latest").unwrap_err();
        assert_eq!(
            std::fs::read_dir(folder.path().join("new"))
                .unwrap()
                .count(),
            1
        );
    }
}
