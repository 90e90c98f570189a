//! What a version or a run names: everything that must come along when it goes somewhere.

use std::collections::{BTreeMap, BTreeSet};

use spec::{ByteSize, Digest, RunId, SubagentName, Tree};

use crate::record::RECORD_MAX;
use crate::version::{MANIFEST_MAX, MANIFEST_MEDIA_TYPE, Outline};
use crate::{
    CASSETTE_MEDIA_TYPE, RUN_MEDIA_TYPE, RunProgram, SOURCE_MEDIA_TYPE, Store, StoreError,
};

/// The media type of a workspace tree.
pub const TREE_MEDIA_TYPE: &str = "application/vnd.agentfactory.tree.v1";
/// The media type of what has no form of its own: the files of a workspace, the bodies of HTTP.
/// Source: RFC 2046, section 4.5.1.
pub const FILE_MEDIA_TYPE: &str = "application/octet-stream";

/// The media type of the layer of an environment.
/// Source: OCI image specification, media types.
pub const LAYER_MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// How deep versions depend on each other.
pub const DEPENDS_DEPTH: usize = 64;
/// Versions that one version depends on, directly or not.
pub const DEPENDS_MAX: usize = 256;

/// A blob and what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobRef {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub media_type: &'static str,
    /// Its size.
    pub size: ByteSize,
}

/// A version and all that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The versions, each after what it depends on: the last one is the one that was asked for.
    pub versions: Vec<ClosureVersion>,
    /// Their blobs, each once and after the blobs that it names: whoever writes them in this order
    /// never has one that names what is not there.
    pub blobs: Vec<BlobRef>,
}

/// One version of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosureVersion {
    /// Its identity.
    pub digest: Digest,
    /// What it depends on directly.
    pub depends: BTreeMap<SubagentName, Digest>,
}

impl Closure {
    /// The names under which its versions are depended on.
    pub fn names(&self) -> BTreeSet<&SubagentName> {
        let depends = self.versions.iter().flat_map(|one| one.depends.keys());
        depends.collect()
    }

    /// Bytes of all blobs together.
    pub fn size(&self) -> ByteSize {
        ByteSize::bytes(self.blobs.iter().map(|blob| blob.size.get()).sum())
    }
}

/// What a run's record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunClosure {
    /// The digest of the record.
    pub record: Digest,
    /// The version that ran, if it was one. Its own blobs are those of its closure.
    pub version: Option<Digest>,
    /// The versions that it could import. Their blobs are those of their closures too.
    pub depends: Vec<Digest>,
    /// The blobs, each once and after the blobs that it names: the record is the last.
    pub blobs: Vec<BlobRef>,
}

impl Store {
    /// Everything that a version names: itself, what it depends on, and the blobs of each.
    ///
    /// Manifests and configs are read and checked; of source layers, and of all blobs' presence,
    /// nothing is said but what manifests say. Whoever copies them reads them, which checks them.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], [`StoreError::Corrupt`] and [`StoreError::BadVersion`] as
    /// [`Self::version`]; [`StoreError::Refused`] when versions depend on each other in a circle of
    /// names, deeper than [`DEPENDS_DEPTH`] or on more than [`DEPENDS_MAX`]; the file system's.
    pub fn closure(&self, digest: &Digest) -> Result<Closure, StoreError> {
        let mut walk = Walk::new(|digest| self.outline(digest));
        walk.visit(digest, 0)?;
        let mut closure = Closure {
            versions: Vec::new(),
            blobs: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for (digest, outline) in walk.order {
            let manifest = BlobRef {
                digest,
                media_type: MANIFEST_MEDIA_TYPE,
                size: outline.manifest_size,
            };
            let parts = outline.parts.into_iter().chain([manifest]);
            closure
                .blobs
                .extend(parts.filter(|blob| seen.insert(blob.digest)));
            closure.versions.push(ClosureVersion {
                digest,
                depends: outline.depends,
            });
        }
        Ok(closure)
    }

    /// Everything that the record of a run names, but the version that ran.
    ///
    /// # Errors
    /// As [`Self::run`]; [`StoreError::BlobMissing`] when something is gone.
    pub fn run_closure(&self, run: &RunId) -> Result<RunClosure, StoreError> {
        let record = self.run_digest(run)?;
        let (content, cassette) = self.run_and_cassette(run)?;
        let mut named = Vec::new();
        for exchange in &content.cassette {
            named.extend(
                exchange
                    .blobs
                    .iter()
                    .map(|digest| (*digest, FILE_MEDIA_TYPE)),
            );
        }
        for tree in content.trees() {
            let files = Tree::from_bytes(&self.get_at_most(&tree, RECORD_MAX)?).map_err(|why| {
                let why = crate::version::chain(&why);
                StoreError::refused(format!("{tree} is not a tree: {why}"))
            })?;
            let files = files.entries().iter();
            named.extend(files.map(|entry| (entry.digest, FILE_MEDIA_TYPE)));
            named.push((tree, TREE_MEDIA_TYPE));
        }
        if let Some(environment) = &content.place.environment {
            named.push((environment.layer, LAYER_MEDIA_TYPE));
        }
        if let RunProgram::Subagent { source, .. } = &content.program {
            named.push((*source, SOURCE_MEDIA_TYPE));
        }
        named.push((cassette, CASSETTE_MEDIA_TYPE));
        named.push((record, RUN_MEDIA_TYPE));
        let mut seen = BTreeSet::new();
        named.retain(|(digest, _)| seen.insert(*digest));
        let blobs = named.into_iter().map(|(digest, media_type)| {
            Ok(BlobRef {
                digest,
                media_type,
                size: ByteSize::bytes(self.open(&digest)?.size()),
            })
        });
        Ok(RunClosure {
            record,
            version: content
                .report
                .version
                .as_deref()
                .and_then(|text| text.parse().ok()),
            depends: content.depends.into_values().collect(),
            blobs: blobs.collect::<Result<_, StoreError>>()?,
        })
    }

    /// Checks that a version and everything that it depends on is in the store and valid, and that
    /// it can be a version of `name`.
    pub(crate) fn check_whole(
        &self,
        name: &SubagentName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let mut walk = Walk::new(|digest| self.version(digest).map(Outline::from));
        if walk.visit(digest, 0)?.names.contains(name) {
            return Err(circle(name));
        }
        Ok(())
    }
}

impl Store {
    /// Checks that a version that the history names is there, with all that it depends on. The history is not
    /// asked, and source layers are not read.
    pub(crate) fn check_there(&self, digest: &Digest) -> Result<(), StoreError> {
        let (mut open, mut seen) = (vec![*digest], BTreeSet::new());
        while let Some(digest) = open.pop() {
            if !seen.insert(digest) {
                continue;
            }
            let gone = || StoreError::UnknownVersion {
                reference: digest.to_string(),
                is_named: true,
            };
            let bytes = match self.get_at_most(&digest, MANIFEST_MAX) {
                Err(StoreError::BlobMissing { .. }) => return Err(gone()),
                other => other?,
            };
            for part in Self::manifest_parts(&bytes)? {
                if !self.contains(&part)? {
                    return Err(gone());
                }
            }
            let head = self.version_head(&digest, &bytes)?;
            open.extend(head.content.depends.into_values());
        }
        Ok(())
    }
}

/// A walk over versions, along what they depend on.
struct Walk<F> {
    read: F,
    /// Each after what it depends on.
    order: Vec<(Digest, Outline)>,
    done: BTreeMap<Digest, Below>,
}

/// What is below a version.
#[derive(Clone, Default)]
struct Below {
    /// The names of what it depends on, directly or not.
    names: BTreeSet<SubagentName>,
    /// The longest way down, in versions.
    height: usize,
}

impl<F: FnMut(&Digest) -> Result<Outline, StoreError>> Walk<F> {
    fn new(read: F) -> Self {
        Self {
            read,
            order: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    /// Visits a version after what it depends on. A digest cannot depend on itself; a name can,
    /// through an older version of it.
    fn visit(&mut self, digest: &Digest, depth: usize) -> Result<Below, StoreError> {
        if let Some(below) = self.done.get(digest) {
            return Ok(below.clone());
        }
        let too_deep = || {
            StoreError::refused(format!(
                "versions depend on each other more than {DEPENDS_DEPTH} deep"
            ))
        };
        if depth > DEPENDS_DEPTH {
            return Err(too_deep());
        }
        let outline = (self.read)(digest)?;
        let mut below = Below::default();
        for (name, needed) in &outline.depends {
            let under = self.visit(needed, depth + 1)?;
            if under.names.contains(name) {
                return Err(circle(name));
            }
            below.height = below.height.max(under.height + 1);
            below.names.extend(under.names);
            below.names.insert(name.clone());
        }
        if below.height > DEPENDS_DEPTH {
            return Err(too_deep());
        }
        if self.order.len() > DEPENDS_MAX {
            return Err(StoreError::refused(format!(
                "the version {digest} depends on more than {DEPENDS_MAX} others"
            )));
        }
        self.order.push((*digest, outline));
        self.done.insert(*digest, below.clone());
        Ok(below)
    }
}

fn circle(name: &SubagentName) -> StoreError {
    StoreError::refused(format!("`{name}` would depend on itself"))
}
