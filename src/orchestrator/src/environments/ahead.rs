//! What the sandboxes of an environment import while they wait: what the source of a program names, and
//! what its past runs say that they imported.
//!
//! A sandbox that imports ahead is only of use where a run does not notice. Programs that would are
//! known by their source, and import everything themselves.

use std::collections::BTreeSet;

use runner::images::Environment;
use runner::{ImageId, Program, RunnerError, SourceFile};
use serde::{Deserialize, Serialize};
use spec::{Determinism, Digest, Imports, WorkspacePath};

use super::cache::{Cache, LockedJson};
use super::{
    EnvironmentError, EnvironmentSettings, Prepared, asked_key, key_of, locked_key, minor_of,
};
use crate::compose;
use crate::python;
use crate::run::Requirements;

/// Bytes of source that are read for what they import; what more says is found out by the first run.
const SOURCE_MAX: usize = 1 << 18;

/// What past runs of a program imported besides what its source names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportsNote {
    pub(super) format: u32,
    pub(super) environment: Digest,
    pub(super) imports: Imports,
}

impl EnvironmentSettings {
    /// The environment of a run, as far as the cache knows it: neither the index nor an engine is asked,
    /// so its image may be gone from the engine. `below` is the sandbox image.
    pub fn remembered(&self, below: &ImageId, requirements: &Requirements) -> Option<Prepared> {
        let cache = Cache::at(&self.cache);
        let base = cache.base(below)?;
        let minor = minor_of(&base.python);
        let locked: Vec<LockedJson> = match requirements {
            Requirements::Wanted(wanted) => {
                let wanted = super::checked(wanted).ok()?;
                cache.locked(&asked_key(self.index.as_ref().ok()?, &wanted, minor))?
            }
            Requirements::Locked {
                requirements,
                python,
            } if python == minor => {
                let mut locked: Vec<_> = requirements.iter().map(Into::into).collect();
                locked.sort();
                locked
            }
            Requirements::None | Requirements::Locked { .. } => return None,
        };
        let note = cache.note(&locked_key(&base, &locked))?;
        let image = ImageId(*note.images.get(&below.0)?);
        Some(Prepared {
            requirements: locked.into_iter().map(Into::into).collect(),
            python: minor.to_owned(),
            modules: note.importable(),
            environment: Environment {
                key: note.key,
                layer: note.layer,
                image,
            },
        })
    }

    /// What a sandbox that waits for this program imports.
    ///
    /// Nothing where the program would notice: with a clock or random numbers of its own, which are there
    /// before anything is imported; where it sets variables, which what it imports then may read; and
    /// where a file of its own has the name of a module that others import.
    pub fn imports(
        &self,
        prepared: &Prepared,
        program: &Program,
        determinism: Determinism,
    ) -> Imports {
        let Program::Subagent { files, entry, .. } = program else {
            return Imports::NONE;
        };
        if determinism != Determinism::default() || takes_a_name(prepared, files, entry) {
            return Imports::NONE;
        }
        let Some(named) = named(files) else {
            return Imports::NONE;
        };
        let note = Cache::at(&self.cache).imports(&program_key(prepared, files, entry));
        let past = note.map(|note| note.imports).unwrap_or_default();
        let provided = |name: &&str| prepared.provides(name);
        // What was imported comes before what is only named.
        let past = Imports::of(past.names().filter(provided));
        past.and(named.iter().map(String::as_str).filter(provided))
            .innermost()
    }

    /// Remembers what a run of this program says that it imported, for the sandboxes of the next ones. It
    /// is the program's word, and decides nothing but that.
    ///
    /// # Errors
    /// [`EnvironmentError::File`].
    pub(crate) fn remember(
        &self,
        prepared: &Prepared,
        program: &Program,
        imported: &Imports,
    ) -> Result<(), EnvironmentError> {
        let Program::Subagent { files, entry, .. } = program else {
            return Ok(());
        };
        let mut imported = imported.names().filter(|name| prepared.provides(name));
        let Some(first) = imported.next() else {
            return Ok(());
        };
        let cache = Cache::open(&self.cache)?;
        let key = program_key(prepared, files, entry);
        let known = cache.imports(&key).map(|note| note.imports);
        let known = known.unwrap_or_default();
        let now = known.clone().and([first]).and(imported);
        if now == known {
            return Ok(());
        }
        cache.put_imports(&key, prepared.environment.key, now)
    }
}

impl Prepared {
    /// Whether a module is one of the environment's distributions.
    fn provides(&self, module: &str) -> bool {
        let top = module.split('.').next().unwrap_or_default();
        self.modules.contains(top)
    }
}

/// Whether an error says that what the cache knows is not so any more.
pub(crate) fn is_outdated(error: &RunnerError, prepared: Option<&Prepared>) -> bool {
    let image = prepared.map(|prepared| &prepared.environment.image);
    matches!(error, RunnerError::ImageMissing(missing) if Some(missing) == image)
}

/// What past runs of a program are remembered by: its source, in this environment.
fn program_key(prepared: &Prepared, files: &[SourceFile], entry: &WorkspacePath) -> Digest {
    let sources = sources(files);
    let files: Vec<_> = sources
        .map(|file| (file.path.to_string(), Digest::of(&file.content)))
        .collect();
    key_of(&(prepared.environment.key, entry.to_string(), files))
}

fn sources(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    let is_source = |file: &&SourceFile| file.path.as_bytes().ends_with(b".py");
    files.iter().filter(is_source)
}

/// The modules that the source names; none for source that sets variables.
fn named(files: &[SourceFile]) -> Option<BTreeSet<String>> {
    let (mut named, mut left) = (BTreeSet::new(), SOURCE_MAX);
    for file in sources(files) {
        let Some(rest) = left.checked_sub(file.content.len()) else {
            // What it does to variables is not known.
            return None;
        };
        left = rest;
        let source = String::from_utf8_lossy(&file.content);
        named.extend(python::named_modules(&source)?);
    }
    Some(named)
}

/// Whether a file of the program is imported in the place of a module that others want.
fn takes_a_name(prepared: &Prepared, files: &[SourceFile], entry: &WorkspacePath) -> bool {
    let own = compose::importable(entry, files.iter().map(|file| &file.path));
    own.into_iter().any(|name| {
        let name = std::str::from_utf8(name).unwrap_or_default();
        compose::is_standard(name) || prepared.modules.contains(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared() -> Prepared {
        let digest = Digest::of(b"x");
        Prepared {
            requirements: Vec::new(),
            python: "3.13".to_owned(),
            modules: ["numpy", "pandas", "matplotlib"].map(str::to_owned).into(),
            environment: Environment {
                key: digest,
                layer: digest,
                image: ImageId(digest),
            },
        }
    }

    fn program(files: &[(&str, &str)]) -> Program {
        let file = |(path, text): &(&str, &str)| SourceFile {
            path: WorkspacePath::from_text(path).unwrap(),
            content: text.as_bytes().to_vec().into(),
        };
        Program::Subagent {
            files: files.iter().map(file).collect(),
            entry: WorkspacePath::from_text(files[0].0).unwrap(),
            query: String::new(),
        }
    }

    fn settings(folder: &tempfile::TempDir) -> EnvironmentSettings {
        EnvironmentSettings {
            index: Err(crate::IndexError::NotNamed),
            cache: folder.path().to_owned(),
            engine: runner::EngineConfig::default(),
        }
    }

    fn imports(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let found = settings(&folder).imports(&prepared(), &program(files), Determinism::default());
        found.names().map(str::to_owned).collect()
    }

    const PLAIN: &str =
        "import json, pandas as pd, absent\ndef main(q):\n    from matplotlib import pyplot\n";

    #[test]
    fn what_the_source_names_and_the_environment_has_is_imported() {
        let names = imports(&[("a.py", PLAIN)]);
        assert_eq!(names, ["matplotlib.pyplot", "pandas"]);
        let names = imports(&[("a.py", "import b"), ("b.py", "import numpy")]);
        assert_eq!(names, ["numpy"]);
    }

    #[test]
    fn nothing_is_imported_where_a_run_would_notice() {
        for files in [
            &[(
                "a.py",
                "import os\nos.environ['MPLBACKEND'] = 'svg'\nimport pandas",
            )][..],
            &[(
                "a.py",
                "from os import environ as e, putenv\nputenv('A', 'b')\nimport pandas",
            )],
            &[("a.py", "import os, pandas\nos.environ.update(A='b')")],
            &[("a.py", "import pandas"), ("numpy.py", "")],
            &[("a.py", "import pandas"), ("statistics.py", "")],
            &[("a.py", "import pandas"), ("pandas/__init__.py", "")],
            &[("x/a.py", "import pandas"), ("x/queue.py", "")],
            &[("a.py", "import pandas\ndef (")],
        ] {
            assert_eq!(imports(files), [""; 0], "{files:?}");
        }
        let harmless = "import os, pandas\nhome = os.environ['HOME'] + os.environ.get('A', '')";
        assert_eq!(imports(&[("a.py", harmless)]), ["pandas"]);
        let folder = tempfile::tempdir().unwrap();
        for determinism in [
            Determinism {
                clock_ms: Some(1),
                seed: None,
            },
            Determinism {
                clock_ms: None,
                seed: Some(1),
            },
        ] {
            let program = program(&[("a.py", PLAIN)]);
            let found = settings(&folder).imports(&prepared(), &program, determinism);
            assert!(found.is_empty());
        }
    }

    #[test]
    fn what_a_run_claims_is_remembered_for_its_program_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder);
        let (prepared, one) = (prepared(), program(&[("a.py", "import pandas")]));
        let of = |program: &Program| {
            let found = settings.imports(&prepared, program, Determinism::default());
            found.names().map(str::to_owned).collect::<Vec<_>>()
        };
        // What the environment does not have is nobody's to import.
        let claimed = Imports::of(["os", "evil", "numpy.linalg", "matplotlib"]);
        settings.remember(&prepared, &one, &claimed).unwrap();
        assert_eq!(of(&one), ["matplotlib", "numpy.linalg", "pandas"]);
        let other = program(&[("a.py", "import pandas ")]);
        assert_eq!(of(&other), ["pandas"]);
        let many = Imports::of((0..100).map(|number| format!("numpy.m{number}")));
        settings.remember(&prepared, &one, &many).unwrap();
        let known = of(&one);
        assert_eq!(known.len(), spec::limits::IMPORTS);
        assert!(known.contains(&"numpy.linalg".to_owned()), "{known:?}");
    }
}
