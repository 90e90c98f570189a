//! OCI registries: push and pull of artifacts whose digests do not change.
//!
//! A [`Repository`] is one repository of one registry, with the user's credentials. Bytes come from
//! and go to a [`Content`], so this crate knows no store; [`LayoutDir`] is one that is an OCI image
//! layout on disk. Everything that a registry says is taken for a lie until its digest is right, and
//! has a bound: in bytes, in time, in redirects, and in where they lead.

mod artifact;
mod auth;
mod blobs;
mod connection;
mod content;
mod credentials;
mod descriptor;
mod error;
mod manifests;
mod reach;
mod reference;

pub use artifact::Moved;
pub use connection::{RegistryOptions, Repository};
pub use content::{Content, LayoutDir, Progress, Sink};
pub use credentials::DockerConfig;
pub use descriptor::{Descriptor, INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, Parts};
pub use error::RegistryError;
pub use manifests::{MANIFEST_MAX, RawManifest};
pub use reference::{ReferenceError, RegistryRef, RepositoryName, Target};
