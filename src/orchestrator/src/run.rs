//! What is asked for with a run, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use egress::HostRule;
use runner::{Mount, Program, SourceFile};
use spec::wire::RunJson;
use spec::{
    Determinism, Digest, Limits, RunOutcome, RunReport, Skill, SubagentName, Tree, WorkspacePath,
};
use store::{Requirement, VersionContent};

use crate::error::FactoryError;
use crate::python;

/// One run of one program.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// What runs.
    pub program: Program,
    /// The name under which it is known, if it has one.
    pub name: Option<SubagentName>,
    /// The version that runs, if it is one.
    pub version: Option<Digest>,
    /// What people read: a name, a file, a command.
    pub shown: String,
    /// What it may ask for.
    pub grants: BTreeSet<Skill>,
    /// The hosts that it may reach. None leaves it without a proxy.
    pub egress: BTreeSet<HostRule>,
    /// The Python distributions that it finds.
    pub requirements: Requirements,
    /// What is at `/workspace`.
    pub tree: Arc<Tree>,
    /// Host directories at `/mnt`.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
    /// The clock and the random numbers that it is given.
    pub determinism: Determinism,
    /// The versions that it can import.
    pub depends: BTreeMap<SubagentName, Digest>,
}

/// The Python distributions of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Requirements {
    /// The standard library is all.
    #[default]
    None,
    /// As people write them; what satisfies them is found out.
    Wanted(Vec<String>),
    /// Those of a version.
    Locked {
        /// Each distribution.
        requirements: Vec<Requirement>,
        /// The Python that they are for, as in 3.13.
        python: String,
    },
}

impl Requirements {
    /// Whether the standard library is all.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Wanted(wanted) => wanted.is_empty(),
            Self::Locked { requirements, .. } => requirements.is_empty(),
        }
    }

    /// Those of a version.
    pub fn of(content: &VersionContent) -> Self {
        if content.requirements.is_empty() {
            return Self::None;
        }
        Self::Locked {
            requirements: content.requirements.clone(),
            python: content.python.clone(),
        }
    }
}

/// A run that took place.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// What the runner knows of it.
    pub report: RunReport,
    /// The workspace after it, when it is known.
    pub output: Option<Tree>,
    /// The same, as it is printed and recorded.
    pub json: RunJson,
    /// The digest of its record.
    pub record: Digest,
}

impl FinishedRun {
    /// Whether it did what it was asked: a result, or a command that ended with status 0.
    pub fn succeeded(&self, program: &Program) -> bool {
        match (&self.report.outcome, program) {
            (RunOutcome::Completed { .. }, _) => true,
            (RunOutcome::Exited { status }, Program::Shell { .. }) => *status == 0,
            _ => false,
        }
    }
}

/// The program that a version is, without what it depends on.
pub fn program_of_version(content: &VersionContent, query: &str) -> Program {
    Program::Subagent {
        files: source_files(content.files.clone()),
        entry: content.entry.clone(),
        query: query.to_owned(),
    }
}

/// Files of a source layer, for a sandbox.
pub(crate) fn source_files(files: store::SourceFiles) -> Vec<SourceFile> {
    let files = files.into_iter();
    files
        .map(|(path, content)| SourceFile {
            path,
            content: content.into(),
        })
        .collect()
}

/// The program that a Python file on the host is, with the files beside it that it imports.
///
/// # Errors
/// [`FactoryError::Source`] when it cannot be read, or is too large.
pub fn program_from_file(file: &Path, query: &str) -> Result<Program, FactoryError> {
    let wrong = |why: String| FactoryError::Source {
        path: file.to_owned(),
        why,
    };
    let metadata = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("it is not a file".to_owned()));
    }
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| wrong("its name is not UTF-8".to_owned()))?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Bytes, not text: what Python makes of another encoding is Python's affair.
    let root = folder.canonicalize();
    let read = |path: &str| -> Option<Vec<u8>> {
        let is_entry = path == name;
        let path = folder.join(path);
        // What was named may be a link; what it imports is in its folder, or it is not there.
        let is_inside = path.canonicalize().is_ok_and(|path| {
            let root = root.as_ref().ok();
            root.is_some_and(|root| path.starts_with(root))
        });
        if !is_entry && !is_inside {
            return None;
        }
        let metadata = std::fs::metadata(&path).ok()?;
        let fits = metadata.is_file() && metadata.len() <= spec::limits::SOURCE.get();
        fits.then(|| std::fs::read(path).ok()).flatten()
    };
    let entry_bytes = read(name).ok_or_else(|| {
        wrong(format!(
            "it cannot be read, or is larger than {}",
            spec::limits::SOURCE
        ))
    })?;
    let mut contents = std::collections::BTreeMap::from([(name.to_owned(), entry_bytes)]);
    let (found, _) = python::import_closure(name, |path| {
        if !contents.contains_key(path) {
            contents.insert(path.to_owned(), read(path)?);
        }
        contents
            .get(path)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    });
    let mut files = Vec::new();
    for path in found.keys() {
        let checked = WorkspacePath::from_bytes(path.clone().into_bytes());
        let checked = checked.map_err(|error| wrong(error.to_string()))?;
        let content = contents.remove(path).unwrap_or_default();
        files.push(SourceFile {
            path: checked,
            content: content.into(),
        });
    }
    let entry = WorkspacePath::from_bytes(name.as_bytes().to_vec());
    let entry = entry.map_err(|error| wrong(error.to_string()))?;
    Ok(Program::Subagent {
        files,
        entry,
        query: query.to_owned(),
    })
}
