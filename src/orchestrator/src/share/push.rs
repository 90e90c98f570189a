//! A version goes to a registry.

use std::sync::Arc;

use registry::{Moved, Progress, RegistryRef, Repository, Target};
use spec::{Digest, RunId, SubagentName, VersionRef};
use store::{Attachment, Closure, Store, StoreError};

use super::content::StoreContent;
use super::{ALONG, RUN_TYPE, ShareError, blocking, lineage};
use crate::environments::{self, EnvironmentSettings};

/// What is to be pushed, and where.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// Which version.
    pub version: VersionRef,
    /// Which repository, and which tag; none means `latest`.
    pub to: RegistryRef,
    /// Whether the runs that speak for it go too. They hold users' data.
    pub with_cases: bool,
    /// Where wheels are that go along; none leaves what is not attached already.
    pub environments: Option<EnvironmentSettings>,
    /// Whether the tag moves even where it would leave a version that this one did not come from.
    pub force: bool,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Its name here.
    pub name: Option<SubagentName>,
    /// The version, which is called so everywhere.
    pub version: Digest,
    /// The tag that it has there.
    pub tag: String,
    /// How many versions went: it and what it depends on.
    pub versions: usize,
    /// How many manifests about them went.
    pub attachments: usize,
    /// The versions whose environment did not go along, because its wheels are not on this machine.
    pub without_environment: Vec<Digest>,
    /// How many runs went.
    pub runs: usize,
    /// What was transferred.
    pub moved: Moved,
}

/// Everything that goes.
struct Cargo {
    name: Option<SubagentName>,
    version: Digest,
    ancestors: Vec<Digest>,
    closure: Closure,
    attachments: Vec<Attachment>,
    without_environment: Vec<Digest>,
    runs: Vec<Attachment>,
}

/// Pushes a version and all that belongs to it. Its tag moves last, so that what it names is whole.
///
/// # Errors
/// [`ShareError::TagIsNotAncestor`], and the store's and the registry's. What was transferred until
/// then is not transferred again.
pub async fn push(
    store: &Arc<Store>,
    repository: &Repository,
    request: &PushRequest,
    progress: &dyn Progress,
) -> Result<Pushed, ShareError> {
    let tag = match request.to.target_or_latest() {
        Target::Tag(tag) => tag,
        Target::Digest(_) => {
            return Err(ShareError::PushToDigest {
                reference: request.to.to_string(),
            });
        }
    };
    let cargo = {
        let (store, request) = (Arc::clone(store), request.clone());
        tokio::task::spawn_blocking(move || load(&store, &request)).await??
    };
    let target = Target::Tag(tag.clone());
    if !request.force
        && let Some(there) = repository.find_manifest(&target).await?
        && there.digest != cargo.version
        && !cargo.ancestors.contains(&there.digest)
    {
        return Err(ShareError::TagIsNotAncestor {
            reference: format!("{}:{tag}", request.to.repository),
            there: there.digest,
            pushed: cargo.version,
        });
    }
    let content = StoreContent(Arc::clone(store));
    let mut moved = Moved::default();
    let mut manifest = Vec::new();
    for version in &cargo.closure.versions {
        progress.phase(&format!("pushing the version {}", version.digest.short()));
        let (store, digest) = (Arc::clone(store), version.digest);
        manifest = blocking(move || store.get(&digest)).await?;
        moved += repository
            .push_artifact(&content, &manifest.clone().into(), None, progress)
            .await?;
    }
    for attachment in cargo.attachments.iter().chain(&cargo.runs) {
        let about = attachment.subject.short();
        progress.phase(&format!("pushing what is said about {about}"));
        let bytes = attachment.bytes.clone().into();
        moved += repository
            .push_artifact(&content, &bytes, None, progress)
            .await?;
    }
    // The last of the closure is the version itself.
    repository.put_manifest(&target, &manifest.into()).await?;
    Ok(Pushed {
        name: cargo.name,
        version: cargo.version,
        tag,
        versions: cargo.closure.versions.len(),
        attachments: cargo.attachments.len(),
        without_environment: cargo.without_environment,
        runs: cargo.runs.len(),
        moved,
    })
}

fn load(store: &Store, request: &PushRequest) -> Result<Cargo, ShareError> {
    let resolved = store.resolve(&request.version)?;
    let version = resolved.digest;
    let closure = store.closure(&version)?;
    let ancestors = lineage::ancestors(store, resolved.name.as_ref(), &version)?;
    if !ancestors.is_empty() {
        lineage::attach(store, &version, &ancestors)?;
    }
    let (mut attachments, mut without_environment) = (Vec::new(), Vec::new());
    for one in &closure.versions {
        if let Some(settings) = &request.environments
            && !environments::attach(settings, store, &one.digest)?
        {
            without_environment.push(one.digest);
        }
        let about = store.attachments(&one.digest)?.into_iter();
        attachments.extend(about.filter(|one| ALONG.contains(&one.artifact_type.as_str())));
    }
    let mut runs = Vec::new();
    if request.with_cases
        && let Some(name) = &resolved.name
    {
        for run in cases(store, name, &version)? {
            let closure = store.run_closure(&run)?;
            let layers = closure.blobs.into_iter();
            let layers = layers.map(|blob| (blob.media_type.to_owned(), blob.digest, blob.size));
            runs.push(store.describe(&version, RUN_TYPE, layers)?);
        }
    }
    Ok(Cargo {
        name: resolved.name,
        version,
        ancestors,
        closure,
        attachments,
        without_environment,
        runs,
    })
}

/// The runs that spoke for a version when it became a head.
fn cases(store: &Store, name: &SubagentName, version: &Digest) -> Result<Vec<RunId>, StoreError> {
    let steps = store.lineage(name)?.into_iter();
    let steps = steps.filter(|step| step.digest == *version);
    let mut runs: Vec<RunId> = steps.flat_map(|step| step.evidence).collect();
    runs.sort_unstable();
    runs.dedup();
    Ok(runs)
}
