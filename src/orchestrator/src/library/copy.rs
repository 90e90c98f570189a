//! A version with all that it names, to another home.

use spec::{Digest, SubagentName, VersionRef};
use store::{Act, Attachment, BlobRef, Move, Store, StoreError};

use super::error::LibraryError;
use super::{blobs, cases, publish};
use crate::FactoryError;
use crate::compose::is_program_of;
use crate::environments::{self, ENVIRONMENT_TYPE, EnvironmentSettings};
use crate::share::ALONG;

/// What is copied.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// Where it is.
    pub from: &'a Store,
    /// Where it is to be.
    pub to: &'a Store,
    /// Which version.
    pub reference: &'a VersionRef,
    /// Whether its recorded runs go too. They hold what users asked and gave.
    pub with_cases: bool,
    /// Where wheels are that go along; none leaves what is not attached already.
    pub environments: Option<&'a EnvironmentSettings>,
    /// Who does it, and when.
    pub act: Act,
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// The name.
    pub name: SubagentName,
    /// The version: the same digest in both homes.
    pub version: Digest,
    /// The versions that it consists of, with those that it depends on.
    pub versions: usize,
    /// The recorded runs that went too.
    pub runs: usize,
    /// What went along that is said about them: signatures, environments, lines of ancestors.
    pub attachments: usize,
    /// The versions whose environment did not go along, because its wheels are not on this machine.
    pub without_environment: Vec<Digest>,
    /// Blobs that the version and its runs name.
    pub blobs: usize,
    /// Bytes that were written: what was there already is not written again.
    pub written_bytes: u64,
    /// Whether the name's head in the other home is now this version. It is not where that home has
    /// a head that is pinned, or not one of this version's forerunners; then the version carries `tag`.
    pub is_head: bool,
    /// The tag, where it is not the head.
    pub tag: Option<String>,
}

/// Copies a version, what it depends on and, when asked, its recorded runs to another home.
///
/// Digests are the same there. Nothing names what was copied before all of it is there, so a copy that
/// was interrupted changed nothing, and goes on where it was when it is done again. `observe` is told
/// the blobs done and the blobs in all.
///
/// # Errors
/// [`FactoryError::Store`] of either home, and [`FactoryError::Library`] for a version without a name.
pub fn copy_version(
    request: &CopyRequest<'_>,
    observe: &mut dyn FnMut(usize, usize),
) -> Result<CopyReport, FactoryError> {
    let CopyRequest { from, to, .. } = request;
    let resolved = from.resolve(request.reference)?;
    let version = resolved.digest;
    let Some(name) = resolved.name else {
        return Err(LibraryError::hinted(
            format!("no subagent has the version {version}"),
            "copy it by NAME or NAME@DIGEST",
        )
        .into());
    };
    let closure = from.closure(&version)?;
    let mut wanted = closure.blobs;
    let mut versions = closure.versions.len();
    let mut runs = Vec::new();
    if request.with_cases {
        for case in cases::cases(from, Some(&name), &version)? {
            let of_run = from.run_closure(&case.run)?;
            for needed in of_run.version.iter().chain(&of_run.depends) {
                let below = from.closure(needed)?;
                versions = versions.max(below.versions.len());
                wanted.extend(below.blobs);
            }
            wanted.extend(of_run.blobs);
            runs.push(case.record);
        }
    }
    let mut about = Vec::new();
    for one in &closure.versions {
        for attachment in from.attachments(&one.digest)? {
            if goes_along(from, &attachment)? {
                wanted.extend(blobs_of(&attachment));
                about.push(attachment.bytes);
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    wanted.retain(|blob| seen.insert(blob.digest));
    let mut written_bytes = 0;
    for (at, blob) in wanted.iter().enumerate() {
        observe(at, wanted.len());
        written_bytes += blobs::copy(from, to, blob)?;
    }
    observe(wanted.len(), wanted.len());
    if !about.is_empty() {
        to.put(b"{}")?;
    }
    for bytes in &about {
        to.receive_attachment(bytes)?;
    }
    // The home that it comes from may be somebody else's, or read-only: nothing is written there.
    let mut without_environment = Vec::new();
    let (mut attachments, mut blobs) = (about.len(), wanted.len());
    if let Some(settings) = request.environments {
        for one in &closure.versions {
            let before = to.attachments(&one.digest)?;
            if !environments::attach(settings, to, &one.digest)? {
                without_environment.push(one.digest);
            }
            let mut after = to.attachments(&one.digest)?;
            after.retain(|attachment| !before.contains(attachment));
            attachments += after.len();
            for layer in after.iter().flat_map(blobs_of) {
                blobs += 1;
                written_bytes += layer.size.get();
            }
        }
    }
    for record in &runs {
        to.receive_run(record, &version, |program| {
            is_program_of(to, program, &version).unwrap_or(false)
        })?;
    }
    let tag = place(request, &name, &version, || publish::head(to, &name))?;
    Ok(CopyReport {
        name,
        version,
        versions,
        runs: runs.len(),
        attachments,
        without_environment,
        blobs,
        written_bytes,
        is_head: tag.is_none(),
        tag,
    })
}

/// Whether what is said about a version goes with it: what this program knows, and of environments
/// what the lock names. The other home may be somebody else's.
fn goes_along(from: &Store, attachment: &Attachment) -> Result<bool, FactoryError> {
    let artifact_type = attachment.artifact_type.as_str();
    if artifact_type != ENVIRONMENT_TYPE {
        return Ok(ALONG.contains(&artifact_type));
    }
    let content = from.version(&attachment.subject)?.content;
    Ok(environments::belongs(attachment, &content.requirements))
}

/// The blobs of what is said about a version; the config of each is the same and empty.
fn blobs_of(attachment: &Attachment) -> Vec<BlobRef> {
    let layers = attachment.layers.iter();
    let layers = layers.map(|(_, digest, size)| BlobRef {
        media_type: "application/octet-stream",
        digest: *digest,
        size: *size,
    });
    layers.collect()
}

/// Makes the version the head of its name, or gives it a tag where that home went another way, or wants to keep
/// its head. `look` says what the head is; where it has moved since, that is decided again.
fn place(
    request: &CopyRequest<'_>,
    name: &SubagentName,
    version: &Digest,
    mut look: impl FnMut() -> Result<Option<Digest>, StoreError>,
) -> Result<Option<String>, FactoryError> {
    let (from, to, act) = (request.from, request.to, &request.act);
    for attempt in 1.. {
        let there = look()?;
        let may_move = match there {
            None => true,
            Some(there) if there == *version => return Ok(None),
            Some(there) => {
                let steps = from.lineage(name)?;
                let reached = steps.iter().position(|step| step.digest == *version);
                let before = steps.iter().take(reached.unwrap_or(0));
                before.rev().any(|step| step.digest == there)
            }
        };
        if !may_move {
            break;
        }
        let moved = Move {
            name: name.clone(),
            from: there,
            to: *version,
        };
        match publish::publish(to, vec![moved], act, "copied from another home") {
            Ok(()) => return Ok(None),
            Err(StoreError::HeadMoved { .. }) if attempt < publish::ATTEMPTS => {}
            Err(StoreError::Pinned { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let tag = format!("copy-{}", &version.hex()[..12]);
    let tagged = to.tags(name)?;
    if !tagged.contains(&(tag.clone(), *version)) {
        to.tag(name, &tag, version, act.clone())?;
    }
    Ok(Some(tag))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use spec::WorkspacePath;
    use store::VersionContent;

    use super::*;

    fn stage(store: &Store, source: &str) -> Digest {
        let path = WorkspacePath::from_text("main.py").unwrap();
        let content = VersionContent {
            entry: path.clone(),
            description: String::new(),
            files: vec![(path, source.as_bytes().to_vec())],
            skills: [].into(),
            depends: [].into(),
            egress: [].into(),
            limits: None,
            python: "3.13".to_owned(),
            requirements: Vec::new(),
        };
        store.stage(&content).unwrap().digest()
    }

    #[test]
    fn a_head_that_moves_meanwhile_is_not_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] =
            ["from", "to"].map(|name| Store::ensure(&folder.path().join(name)).unwrap());
        let name: SubagentName = "ant".parse().unwrap();
        let act = Act::from(Timestamp::UNIX_EPOCH);
        let publish = |store: &Store, version: Digest| {
            let moved = Move {
                name: name.clone(),
                from: publish::head(store, &name).unwrap(),
                to: version,
            };
            publish::publish(store, vec![moved], &act, "").unwrap();
        };
        let (version, theirs) = (stage(&from, "x = 1\n"), stage(&to, "x = 2\n"));
        publish(&from, version);
        stage(&to, "x = 1\n");
        let request = CopyRequest {
            from: &from,
            to: &to,
            reference: &"ant".parse().unwrap(),
            with_cases: false,
            environments: None,
            act: act.clone(),
        };
        // Between the look, which finds no head, and what is decided there is one.
        let mut looks = 0;
        let placed = place(&request, &name, &version, || {
            let seen = publish::head(&to, &name);
            looks += 1;
            if looks == 1 {
                publish(&to, theirs);
            }
            seen
        });
        assert!(placed.unwrap().is_some());
        assert_eq!(looks, 2);
        assert_eq!(publish::head(&to, &name).unwrap(), Some(theirs));
    }
}
