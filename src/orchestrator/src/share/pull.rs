//! A version comes from a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use registry::{
    Descriptor, MANIFEST_MAX, Moved, Parts, Progress, RawManifest, RegistryError, RegistryRef,
    Repository, Target,
};
use spec::{ByteSize, Digest, RunId, SubagentName};
use store::{
    Act, Attachment, BlobRef, DEPENDS_MAX, Foreign, Move, Publication, RUN_MEDIA_TYPE,
    SUBAGENT_ARTIFACT_TYPE, Store, StoreError, StoreErrorKind,
};

use super::content::StoreContent;
use super::{ALONG, RUN_TYPE, ShareError, blocking, lineage};
use crate::compose::is_program_of;
use crate::environments::{self, ENVIRONMENT_TYPE};
use crate::trust::TrustPolicy;

/// Bytes of one environment.
const ENVIRONMENT_MAX: ByteSize = ByteSize::mib(4 << 10);
/// Bytes of one run with its files.
const RUN_MAX: ByteSize = ByteSize::mib(1 << 10);
/// Bytes of anything else that is said about a version.
const DOCUMENT_MAX: ByteSize = lineage::LINEAGE_MAX;
/// Manifests of one type about one version that are looked at.
const ABOUT_MAX: usize = 256;
/// What all our own types begin with.
const OURS: &str = "application/vnd.agentfactory.";

/// What is to be pulled, and what it becomes.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Which repository, and which tag or digest; none means `latest`.
    pub from: RegistryRef,
    /// What it is called here; none takes the last word of the repository.
    pub name: Option<SubagentName>,
    /// Whether the runs that speak for it come too.
    pub with_cases: bool,
    /// Whether the head moves even where it would leave a version that this one did not come from, or go back
    /// to one that it came from.
    pub force: bool,
    /// What is demanded of it.
    pub trust: TrustPolicy,
    /// Who does it, and when, and whether a pinned head moves too.
    pub act: Act,
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What it is called here.
    pub name: SubagentName,
    /// The version.
    pub version: Digest,
    /// The head before; none when the name is new.
    pub before: Option<Digest>,
    /// How many versions came: it and what it depends on.
    pub versions: usize,
    /// How many manifests about them came.
    pub attachments: usize,
    /// How much of what is said about them was left there: environments that hold what no lock names, and what is
    /// of another form, incomplete or too large.
    pub refused: usize,
    /// The runs that came.
    pub runs: Vec<RunId>,
    /// What was transferred.
    pub moved: Moved,
}

impl Pulled {
    /// Whether the head moved.
    pub fn is_new(&self) -> bool {
        self.before != Some(self.version)
    }
}

/// Pulls a version and all that belongs to it, and moves the head of its name when all of it is
/// here and right.
///
/// # Errors
/// [`ShareError::Trust`], [`ShareError::HeadIsNotAncestor`], [`ShareError::HeadIsNewer`], [`StoreError::Pinned`] and
/// [`StoreError::HeadMoved`]: it is here then, without a name.
/// The store's and the registry's, and when what comes is no subagent or too much: then nothing of
/// it is visible, and what was transferred is not transferred again.
pub async fn pull(
    store: &Arc<Store>,
    repository: &Repository,
    request: &PullRequest,
    progress: &dyn Progress,
) -> Result<Pulled, ShareError> {
    let name = match &request.name {
        Some(name) => name.clone(),
        None => name_of(&request.from)?,
    };
    let mut pull = Pull {
        store,
        content: StoreContent(Arc::clone(store)),
        repository,
        progress,
        reference: request.from.to_string(),
        moved: Moved::default(),
        refused: 0,
    };
    progress.phase(&format!("looking for `{}`", request.from));
    let root = repository
        .manifest(&request.from.target_or_latest())
        .await?;
    let version = root.digest;
    let versions = pull.versions(root).await?;
    let mut attachments = 0;
    for digest in &versions {
        attachments += pull.about(digest).await?;
    }
    let runs = if request.with_cases {
        pull.runs(&version).await?
    } else {
        Vec::new()
    };
    let (moved, refused) = (pull.moved, pull.refused);
    let (name, before) = {
        let (store, request) = (Arc::clone(store), request.clone());
        let (runs, spellings) = (runs.clone(), repository.spellings());
        let published = move || publish(&store, &name, version, runs, &request, &spellings);
        tokio::task::spawn_blocking(published).await??
    };
    Ok(Pulled {
        name,
        version,
        before,
        versions: versions.len(),
        attachments,
        refused,
        runs,
        moved,
    })
}

/// The name that a repository suggests.
fn name_of(from: &RegistryRef) -> Result<SubagentName, ShareError> {
    let last = from.repository.path().rsplit('/').next();
    let name = last.unwrap_or_default().parse();
    name.map_err(|source| ShareError::NoName {
        repository: from.repository.to_string(),
        source,
    })
}

/// Moves the head, if that loses nothing from sight; gives what the subagent is called now, and what its head was.
fn publish(
    store: &Store,
    name: &SubagentName,
    version: Digest,
    evidence: Vec<RunId>,
    request: &PullRequest,
    spellings: &[String],
) -> Result<(SubagentName, Option<Digest>), ShareError> {
    // A former name moves the head of the subagent that had it, so what is demanded of that one counts.
    let name = store.present_name(name)?;
    request
        .trust
        .check(store, &version, Some(&name), Some(spellings))?;
    let head = store.head(&name)?.map(|head| head.digest);
    if head == Some(version) {
        return Ok((name, head));
    }
    if let Some(head) = head.filter(|_| !request.force)
        && !lineage::ancestors(store, None, &version)?.contains(&head)
    {
        return Err(ShareError::HeadIsNotAncestor {
            name,
            head,
            pulled: version,
        });
    }
    // What came along says whatever the registry wants; it does not take back what is known here.
    if let Some(head) = head.filter(|_| !request.force)
        && lineage::ancestors(store, Some(&name), &head)?.contains(&version)
    {
        return Err(ShareError::HeadIsNewer {
            name,
            head,
            pulled: version,
        });
    }
    let publication = Publication {
        moves: vec![Move {
            name: name.clone(),
            from: head,
            to: version,
        }],
        at: request.act.at,
        task: None,
        evidence,
        note: format!("pulled from {}", request.from),
    };
    store.publish_by(publication, &request.act)?;
    Ok((name, head))
}

/// Whether an error is about what somebody said about a version, and not about the version: it is left there, and
/// keeps nothing else from coming.
fn is_about_it(error: &ShareError) -> bool {
    match error {
        ShareError::TooMuch { .. }
        | ShareError::NotASubagent { .. }
        | ShareError::Registry(RegistryError::NotFound { .. } | RegistryError::Untrue { .. })
        | ShareError::Store(StoreError::RunExists { .. }) => true,
        ShareError::Store(error) => matches!(
            error.kind(),
            StoreErrorKind::Refused | StoreErrorKind::NotFound
        ),
        _ => false,
    }
}

/// A pull that is under way.
struct Pull<'a> {
    store: &'a Arc<Store>,
    content: StoreContent,
    repository: &'a Repository,
    progress: &'a dyn Progress,
    reference: String,
    moved: Moved,
    refused: usize,
}

impl Pull<'_> {
    /// Gets a version and all that it depends on, each after what it depends on.
    async fn versions(&mut self, root: RawManifest) -> Result<Vec<Digest>, ShareError> {
        let mut found: BTreeMap<Digest, (Foreign, Vec<Digest>)> = BTreeMap::new();
        let mut open = vec![self.foreign(&root)?];
        while let Some(foreign) = open.pop() {
            let digest = foreign.digest;
            if found.contains_key(&digest) {
                continue;
            }
            if found.len() > DEPENDS_MAX {
                return Err(self.too_much("versions", DEPENDS_MAX as u64));
            }
            self.blobs(&[described(&foreign.config)]).await?;
            let (store, one) = (Arc::clone(self.store), foreign.clone());
            let depends = blocking(move || store.depends_of(&one)).await?;
            let depends: Vec<Digest> = depends.into_values().collect();
            found.insert(digest, (foreign, depends.clone()));
            for needed in depends.iter().filter(|needed| !found.contains_key(needed)) {
                let manifest = self.repository.manifest(&Target::Digest(*needed)).await?;
                open.push(self.foreign(&manifest)?);
            }
        }
        let layers: Vec<_> = found
            .values()
            .map(|(one, _)| described(&one.layer))
            .collect();
        let count = layers.len();
        self.progress.phase(&format!("pulling {count} versions"));
        self.blobs(&layers).await?;
        let order = in_order(root.digest, &found)
            .ok_or_else(|| self.not_a_subagent("it depends on itself"))?;
        let (store, order_of) = (Arc::clone(self.store), order.clone());
        blocking(move || {
            for digest in &order_of {
                if let Some((foreign, _)) = found.get(digest) {
                    store.receive(foreign)?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(order)
    }

    /// Looks at a manifest that should be a version's.
    fn foreign(&self, manifest: &RawManifest) -> Result<Foreign, ShareError> {
        if let Ok(parts) = Parts::of_manifest(&manifest.bytes) {
            let found = parts.listed_type();
            let shown = spec::printable(found, 100);
            if let Some(ours) = found.strip_prefix(OURS)
                && found != SUBAGENT_ARTIFACT_TYPE
            {
                let newer = ours.starts_with("subagent.");
                let why = if newer {
                    format!("it is `{shown}`, of a newer format than this program knows")
                } else {
                    format!("it is `{shown}`")
                };
                return Err(self.not_a_subagent(&why));
            }
            if found != SUBAGENT_ARTIFACT_TYPE {
                return Err(self.not_a_subagent(&format!("it is `{shown}`")));
            }
        }
        Ok(Foreign::of_manifest(&manifest.bytes)?)
    }

    /// Gets what is said about a version, and gives how much it is. Anybody who may write there can say something:
    /// what is wrong with it does not keep the version from coming.
    async fn about(&mut self, version: &Digest) -> Result<usize, ShareError> {
        let mut kept = 0;
        // Each type by itself: much of one hides nothing of another.
        for artifact_type in ALONG {
            let listed = self.repository.referrers(version, Some(*artifact_type));
            for one in listed.await?.into_iter().take(ABOUT_MAX) {
                match self.document(&one, version).await {
                    Ok(is_kept) => kept += usize::from(is_kept),
                    Err(error) if is_about_it(&error) => self.refuse(&one, &error),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(kept)
    }

    /// Gets one thing that is said about a version; whether it is kept.
    async fn document(
        &mut self,
        listed: &Descriptor,
        version: &Digest,
    ) -> Result<bool, ShareError> {
        let Some(attachment) = self.attachment(listed, version).await? else {
            return Ok(false);
        };
        let limit = match attachment.artifact_type.as_str() {
            ENVIRONMENT_TYPE => {
                // What the version does not name is not fetched.
                let (store, version) = (Arc::clone(self.store), *version);
                let read = move || store.version(&version);
                let requirements = blocking(read).await?.content.requirements;
                if !environments::belongs(&attachment, &requirements) {
                    self.refused += 1;
                    return Ok(false);
                }
                ENVIRONMENT_MAX
            }
            _ => DOCUMENT_MAX,
        };
        self.layers(&attachment, limit).await?;
        let store = Arc::clone(self.store);
        blocking(move || store.receive_attachment(&attachment.bytes)).await?;
        Ok(true)
    }

    /// Gets the runs that speak for a version.
    async fn runs(&mut self, version: &Digest) -> Result<Vec<RunId>, ShareError> {
        let listed = self.repository.referrers(version, Some(RUN_TYPE)).await?;
        let mut runs = BTreeSet::new();
        for one in listed {
            match self.run(&one, version).await {
                Ok(run) => runs.extend(run),
                Err(error) if is_about_it(&error) => self.refuse(&one, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(runs.into_iter().collect())
    }

    /// Gets one of them; none when the list names one that is gone.
    async fn run(
        &mut self,
        listed: &Descriptor,
        version: &Digest,
    ) -> Result<Option<RunId>, ShareError> {
        let Some(attachment) = self.attachment(listed, version).await? else {
            return Ok(None);
        };
        // Whoever wrote it names the record last.
        let record = match attachment.layers.last() {
            Some((media_type, digest, _)) if media_type == RUN_MEDIA_TYPE => *digest,
            _ => return Err(self.not_a_subagent("a run that goes along has no record")),
        };
        self.progress.phase("pulling a run");
        self.layers(&attachment, RUN_MAX).await?;
        let (store, version) = (Arc::clone(self.store), *version);
        let receive = move || {
            let is_its = |program: &_| is_program_of(&store, program, &version).unwrap_or(false);
            store.receive_run(&record, &version, is_its)
        };
        let run = blocking(receive).await?;
        Ok(Some(run))
    }

    /// Leaves something there.
    fn refuse(&mut self, listed: &Descriptor, error: &ShareError) {
        tracing::debug!(digest = %listed.digest, %error, "what is said about a version is left there");
        self.refused += 1;
    }

    /// Reads a manifest about a version; none when the list names one that is gone, or that is about
    /// something else.
    async fn attachment(
        &self,
        listed: &Descriptor,
        version: &Digest,
    ) -> Result<Option<Attachment>, ShareError> {
        if listed.size > MANIFEST_MAX.get() {
            return Err(self.too_much("bytes of a manifest", MANIFEST_MAX.get()));
        }
        let target = Target::Digest(listed.digest);
        let Some(manifest) = self.repository.find_manifest(&target).await? else {
            return Ok(None);
        };
        let attachment = Attachment::of_manifest(&manifest.bytes)?;
        let same = attachment.subject == *version
            && Some(attachment.artifact_type.as_str()) == listed.artifact_type.as_deref();
        Ok(same.then_some(attachment))
    }

    /// Gets the blobs of what is said about a version.
    async fn layers(&mut self, one: &Attachment, limit: ByteSize) -> Result<(), ShareError> {
        let size: u64 = one
            .layers
            .iter()
            .fold(0, |sum, (_, _, size)| size.get().saturating_add(sum));
        if size > limit.get() {
            return Err(self.too_much("bytes of what is said about a version", limit.get()));
        }
        let layers = one
            .layers
            .iter()
            .map(|(media_type, digest, size)| Descriptor {
                media_type: media_type.clone(),
                digest: *digest,
                size: size.get(),
                artifact_type: None,
            });
        let mut all: Vec<Descriptor> = layers.collect();
        let store = Arc::clone(self.store);
        // Its config is empty, and need not be fetched.
        let empty = blocking(move || store.put(b"{}")).await?;
        all.retain(|blob| blob.digest != empty);
        let mut seen = BTreeSet::new();
        all.retain(|blob| seen.insert(blob.digest));
        self.blobs(&all).await
    }

    async fn blobs(&mut self, blobs: &[Descriptor]) -> Result<(), ShareError> {
        let blobs: Vec<&Descriptor> = blobs.iter().collect();
        let (repository, progress) = (self.repository, self.progress);
        let moved = repository.pull_blobs(&self.content, &blobs, progress);
        self.moved += moved.await?;
        Ok(())
    }

    fn not_a_subagent(&self, why: &str) -> ShareError {
        ShareError::NotASubagent {
            reference: self.reference.clone(),
            why: why.to_owned(),
        }
    }

    fn too_much(&self, what: &str, limit: u64) -> ShareError {
        ShareError::TooMuch {
            reference: self.reference.clone(),
            what: what.to_owned(),
            limit,
        }
    }
}

fn described(blob: &BlobRef) -> Descriptor {
    Descriptor {
        media_type: blob.media_type.to_owned(),
        digest: blob.digest,
        size: blob.size.get(),
        artifact_type: None,
    }
}

/// The versions, each after what it depends on; none when there is no such order, which no digests
/// can bring about.
fn in_order(root: Digest, found: &BTreeMap<Digest, (Foreign, Vec<Digest>)>) -> Option<Vec<Digest>> {
    let mut order = Vec::new();
    let mut done = BTreeSet::new();
    let mut open = vec![(root, false)];
    let mut steps = 0_usize;
    while let Some((digest, is_below_done)) = open.pop() {
        steps += 1;
        if steps > 2 * DEPENDS_MAX * (DEPENDS_MAX + 1) {
            return None;
        }
        if done.contains(&digest) {
            continue;
        }
        if is_below_done {
            done.insert(digest);
            order.push(digest);
            continue;
        }
        open.push((digest, true));
        let (_, depends) = found.get(&digest)?;
        open.extend(depends.iter().map(|needed| (*needed, false)));
    }
    Some(order)
}
