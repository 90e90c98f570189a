//! Composition: the versions that a version depends on, importable in its sandbox.
//!
//! A composed program is its own files, one package for each direct dependency under its module
//! name, and `_depends`: a folder for each version of the closure and `loader.py`, which gives each
//! version an `__import__` of its own. So whatever runs a program (sandbox, image, exported folder)
//! runs a composed one, and the source layer of a run's record is all of it.
//!
//! Grants are never widened by composition: what a version may do is what its manifest says, and
//! what it depends on runs with exactly that. So a version must itself be granted whatever its
//! dependencies are granted; [`check`] refuses it otherwise.

mod error;
mod locks;
mod modules;

use std::collections::BTreeMap;

use serde::Serialize;
use spec::{Digest, SubagentName, WorkspacePath, limits};
use store::{RunProgram, SourceFiles, Store, StoreError, VersionContent};

pub use error::CompositionError;
pub(crate) use modules::{importable, is_standard, module_name};

/// The package that holds the versions. A file of a subagent cannot have its name.
const PACKAGE: &str = "_depends";
/// What runs in it.
const LOADER: &str = include_str!("loader.py");
/// Hex digits of the digest in the name of a version's folder.
const SHORT: usize = 16;

/// The versions that a program depends on, directly or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dependencies {
    direct: BTreeMap<SubagentName, Digest>,
    /// Each with the name under which it is depended on.
    versions: BTreeMap<Digest, (SubagentName, VersionContent)>,
}

/// A version, for the loader.
#[derive(Serialize)]
struct About<'a> {
    name: &'a SubagentName,
    module: String,
    digest: Digest,
    description: &'a str,
    entry: String,
    /// The folder of each version that it depends on, by module name.
    depends: BTreeMap<String, String>,
}

impl Dependencies {
    /// Reads what a program depends on.
    ///
    /// # Errors
    /// As [`Store::closure`] and [`Store::version`].
    pub(crate) fn read(
        store: &Store,
        direct: &BTreeMap<SubagentName, Digest>,
    ) -> Result<Self, StoreError> {
        let mut versions = BTreeMap::new();
        let mut open: Vec<_> = direct
            .iter()
            .map(|(name, digest)| (name.clone(), *digest))
            .collect();
        for digest in direct.values() {
            // It bounds depth and number, and finds circles, before any source is read.
            store.closure(digest)?;
        }
        while let Some((name, digest)) = open.pop() {
            if versions.contains_key(&digest) {
                continue;
            }
            if versions.len() == store::DEPENDS_MAX {
                return Err(StoreError::Refused {
                    what: format!("it depends on more than {} versions", store::DEPENDS_MAX),
                });
            }
            let content = store.version(&digest)?.content;
            let below = content.depends.iter();
            open.extend(below.map(|(name, digest)| (name.clone(), *digest)));
            versions.insert(digest, (name, content));
        }
        Ok(Self {
            direct: direct.clone(),
            versions,
        })
    }

    /// Checks that a version can be composed with what it depends on: names, grants, Python and
    /// requirements.
    ///
    /// # Errors
    /// [`CompositionError`].
    pub(crate) fn check(
        &self,
        name: Option<&SubagentName>,
        content: &VersionContent,
    ) -> Result<(), CompositionError> {
        check_names(&content.entry, &content.files, &content.depends)?;
        for (digest, (of, needed)) in &self.versions {
            if name == Some(of) {
                return Err(CompositionError::Circle { name: of.clone() });
            }
            check_names(&needed.entry, &needed.files, &needed.depends)?;
            let lacks = |what, names: Vec<String>| CompositionError::NotGranted {
                dependency: of.clone(),
                digest: *digest,
                what,
                names,
            };
            let skills: Vec<_> = needed
                .skills
                .difference(&content.skills)
                .map(ToString::to_string)
                .collect();
            if !skills.is_empty() {
                return Err(lacks("skills", skills));
            }
            let hosts: Vec<_> = needed.egress.difference(&content.egress).cloned().collect();
            if !hosts.is_empty() {
                return Err(lacks("egress", hosts));
            }
            if needed.python != content.python {
                return Err(CompositionError::OtherPython {
                    dependency: of.clone(),
                    needs: needed.python.clone(),
                    has: content.python.clone(),
                });
            }
            let has = |one: &&store::Requirement| {
                let mut locked = content.requirements.iter();
                !locked.any(|own| own.name == one.name && own.version == one.version)
            };
            let missing: Vec<_> = needed.requirements.iter().filter(has).collect();
            if !missing.is_empty() {
                let names = missing.iter();
                let names = names.map(|one| format!("{}=={}", one.name, one.version));
                return Err(lacks("requirements", names.collect()));
            }
        }
        Ok(())
    }

    /// The files of a program, with all that it depends on.
    ///
    /// # Errors
    /// [`CompositionError`].
    pub(crate) fn compose(
        &self,
        entry: &WorkspacePath,
        files: SourceFiles,
    ) -> Result<SourceFiles, CompositionError> {
        if self.direct.is_empty() {
            return Ok(files);
        }
        check_names(entry, &files, &self.direct)?;
        let mut composed = files;
        let mut table = BTreeMap::new();
        for (digest, (name, content)) in &self.versions {
            let folder = folder(name, digest);
            for (path, bytes) in &content.files {
                let mut whole = format!("{PACKAGE}/{folder}/").into_bytes();
                whole.extend_from_slice(path.as_bytes());
                composed.push((checked(whole)?, bytes.clone()));
            }
            let below = content.depends.iter();
            let about = About {
                name,
                module: module_name(name),
                digest: *digest,
                description: &content.description,
                entry: content.entry.to_string(),
                depends: below
                    .map(|(name, digest)| (module_name(name), self.folder_of(name, digest)))
                    .collect(),
            };
            if table.insert(folder, about).is_some() {
                return Err(CompositionError::Reserved { module: PACKAGE });
            }
        }
        for (name, digest) in &self.direct {
            let facade = format!(
                "import sys\n\nfrom {PACKAGE} import facade\n\nsys.modules[__name__] = facade(\"{}\")\n",
                self.folder_of(name, digest)
            );
            let path = format!("{}/__init__.py", module_name(name));
            composed.push((checked(path.into_bytes())?, facade.into_bytes()));
        }
        let table = serde_json::to_vec(&table).unwrap_or_default();
        for (path, bytes) in [
            ("__init__.py", LOADER.as_bytes().to_vec()),
            ("versions.json", table),
        ] {
            composed.push((checked(format!("{PACKAGE}/{path}").into_bytes())?, bytes));
        }
        let bytes: u64 = composed.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if composed.len() > limits::SOURCE_FILES || bytes > limits::SOURCE.get() {
            return Err(CompositionError::TooLarge {
                files: composed.len(),
                size: spec::ByteSize::bytes(bytes),
            });
        }
        composed.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(composed)
    }

    /// The folder of a version, which has one name however it is depended on.
    fn folder_of(&self, name: &SubagentName, digest: &Digest) -> String {
        let known = self.versions.get(digest);
        folder(known.map_or(name, |(name, _)| name), digest)
    }
}

/// Checks that each module name means one thing in the files of one version.
fn check_names(
    entry: &WorkspacePath,
    files: &SourceFiles,
    depends: &BTreeMap<SubagentName, Digest>,
) -> Result<(), CompositionError> {
    if depends.is_empty() {
        return Ok(());
    }
    let own = importable(entry, files.iter().map(|(path, _)| path));
    let mut taken = BTreeMap::new();
    for name in depends.keys() {
        let module = module_name(name);
        let clash = if own.contains(module.as_bytes()) {
            Some("a file of it has that name".to_owned())
        } else if modules::is_standard(&module) {
            Some("the standard library has a module of that name".to_owned())
        } else {
            let other = taken.insert(module.clone(), name);
            other.map(|other| format!("so would `{other}`"))
        };
        if let Some(why) = clash {
            return Err(CompositionError::Module {
                dependency: name.clone(),
                module,
                why,
            });
        }
    }
    if own.contains(PACKAGE.as_bytes()) {
        return Err(CompositionError::Reserved { module: PACKAGE });
    }
    Ok(())
}

fn folder(name: &SubagentName, digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{name}@{}", &hex[..SHORT])
}

fn checked(path: Vec<u8>) -> Result<WorkspacePath, CompositionError> {
    WorkspacePath::from_bytes(path).map_err(CompositionError::Path)
}

/// Whether a recorded program is that of a version. A record may be somebody else's.
///
/// # Errors
/// As [`composed`].
pub(crate) fn is_program_of(
    store: &Store,
    program: &RunProgram,
    version: &Digest,
) -> Result<bool, crate::FactoryError> {
    let RunProgram::Subagent { source, entry, .. } = program else {
        return Ok(false);
    };
    let content = store.version(version)?.content;
    let files = composed(store, None, &content)?;
    Ok(*entry == content.entry && *source == store.put_source(&files)?)
}

/// The files that run for a version: its own, and all that it depends on.
///
/// # Errors
/// [`CompositionError`] when it cannot be composed, and as [`Store::version`].
pub(crate) fn composed(
    store: &Store,
    name: Option<&SubagentName>,
    content: &VersionContent,
) -> Result<SourceFiles, crate::FactoryError> {
    let dependencies = Dependencies::read(store, &content.depends)?;
    dependencies.check(name, content)?;
    Ok(dependencies.compose(&content.entry, content.files.clone())?)
}
