//! Content in memory, and artifacts of it.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use registry::{
    Content, Descriptor, DockerConfig, MANIFEST_MEDIA_TYPE, RegistryOptions, RegistryRef,
    Repository, Sink,
};
use spec::Digest;

/// Blobs in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>);

impl Memory {
    pub(crate) fn put(&self, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.0.lock().unwrap().insert(digest, bytes.to_vec());
        Descriptor {
            media_type: "application/octet-stream".to_owned(),
            digest,
            size: bytes.len() as u64,
            artifact_type: None,
        }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(digest).cloned()
    }
}

impl Content for Memory {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        Ok(self.get(digest).is_some())
    }

    fn create(&self) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(Kept(self.clone(), Vec::new())))
    }
}

struct Kept(Memory, Vec<u8>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Kept {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.put(&self.1);
        Ok(())
    }
}

/// A manifest over these blobs; the first is its config.
pub(crate) fn manifest(blobs: &[&Descriptor], subject: Option<&Descriptor>) -> Bytes {
    let mut json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_MEDIA_TYPE,
        "artifactType": "application/vnd.example.v1",
        "config": blobs[0],
        "layers": blobs[1..],
    });
    if let Some(subject) = subject {
        json["subject"] = serde_json::to_value(subject).unwrap();
    }
    // White space that another writer would not write: the bytes must stay as they are.
    format!("{json} \n").into()
}

/// A manifest as a descriptor.
pub(crate) fn described(manifest: &Bytes) -> Descriptor {
    Descriptor {
        media_type: MANIFEST_MEDIA_TYPE.to_owned(),
        digest: Digest::of(manifest),
        size: manifest.len() as u64,
        artifact_type: None,
    }
}

/// Repository `team/csv` of a host, without credentials.
pub(crate) async fn repository(host: &str) -> Repository {
    with_login(host, &DockerConfig::default()).await
}

pub(crate) async fn with_login(host: &str, docker: &DockerConfig) -> Repository {
    let name: RegistryRef = format!("{host}/team/csv").parse().unwrap();
    let options = RegistryOptions {
        docker: docker.clone(),
        ..RegistryOptions::default()
    };
    Repository::connect(name.repository, &options)
        .await
        .unwrap()
}
