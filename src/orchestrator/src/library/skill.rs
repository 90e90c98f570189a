//! What a folder of files is as a subagent.

use std::collections::{BTreeMap, BTreeSet};

use spec::{Skill, SubagentName, WorkspacePath, limits};
use store::{SourceFiles, VersionContent};

use super::error::LibraryError;
use super::specifiers;
use crate::compose::{is_standard, module_name};
use crate::front_matter::{FrontMatter, SkillMd};
use crate::python::{self, Uses};
use crate::script::script_requirements;
use crate::task::{PYTHON, SKILL_MD};

/// A subagent that was read from a folder.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) name: SubagentName,
    pub(super) content: VersionContent,
    /// The distributions that it names, where no lock beside it says which files they are.
    pub(super) wanted: Vec<String>,
    /// What a person should know about it.
    pub(super) notes: Vec<String>,
}

/// Makes a subagent of the files of a folder. `known` is what a lock beside them says: the grants
/// and locked requirements that front matter leaves open.
pub(super) fn read(
    folder: &str,
    files: SourceFiles,
    known: Option<&VersionContent>,
) -> Result<Read, LibraryError> {
    let mut notes = Vec::new();
    let text = files.iter().find(|(path, _)| path.as_bytes() == SKILL_MD);
    let text = match text {
        Some((_, bytes)) => std::str::from_utf8(bytes)
            .map_err(|_| LibraryError::refused("its SKILL.md is not UTF-8"))?
            .to_owned(),
        None => return Err(LibraryError::refused("it has no SKILL.md")),
    };
    let SkillMd { matter, mended, .. } =
        FrontMatter::read(&text).map_err(LibraryError::FrontMatter)?;
    if let Some(why) = mended {
        notes.push(format!(
            "its front matter is no YAML and was read line by line: {why}"
        ));
    }
    let name = name(matter.name.as_deref(), folder)?;
    let texts = texts(&files);
    let entry = entry(&name, &matter, known, &texts)?;
    let (kept, is_open) = python::import_closure(&entry, |path| texts.get(path).cloned());
    let depends = matter
        .depends
        .clone()
        .or_else(|| known.map(|one| one.depends.clone()));
    let depends = depends.unwrap_or_default();
    let uses: Vec<Uses> = kept.values().map(|source| python::uses(source)).collect();
    let modules: BTreeSet<String> = depends.keys().map(module_name).collect();
    let (requirements, wanted) = requirements(&matter, texts.get(&entry), known)?;
    // What modules a distribution has is known when it is installed.
    let is_alone = requirements.is_empty() && wanted.is_empty();
    notes.extend(lacks(&uses, &texts, is_alone.then_some(&modules)));
    let skills = matter
        .skills
        .clone()
        .or_else(|| known.map(|one| one.skills.clone()));
    let skills = skills.unwrap_or_else(|| granted(&uses));
    let files: SourceFiles = files
        .into_iter()
        .filter(|(path, _)| {
            let path = path.to_string();
            is_open || !path.as_bytes().ends_with(b".py") || kept.contains_key(&path)
        })
        .collect();
    check_size(&files)?;
    let description = matter
        .description
        .or_else(|| known.map(|one| one.description.clone()));
    Ok(Read {
        name,
        content: VersionContent {
            entry: WorkspacePath::from_bytes(entry.into_bytes())
                .map_err(|error| LibraryError::refused(error.to_string()))?,
            description: description.unwrap_or_default(),
            files,
            skills,
            depends,
            egress: matter
                .egress
                .or_else(|| known.map(|one| one.egress.clone()))
                .unwrap_or_default(),
            limits: matter
                .limits
                .or_else(|| known.and_then(|one| one.limits.clone())),
            python: matter
                .python
                .or_else(|| known.map(|one| one.python.clone()))
                .unwrap_or_else(|| PYTHON.to_owned()),
            requirements,
        },
        wanted,
        notes,
    })
}

/// The Python files whose names are text.
fn texts(files: &SourceFiles) -> BTreeMap<String, String> {
    let python = files.iter().filter_map(|(path, bytes)| {
        let path = std::str::from_utf8(path.as_bytes()).ok()?;
        let text = || String::from_utf8_lossy(bytes).into_owned();
        path.as_bytes()
            .ends_with(b".py")
            .then(|| (path.to_owned(), text()))
    });
    python.collect()
}

/// The name that front matter or the folder gives, as we spell names.
fn name(stated: Option<&str>, folder: &str) -> Result<SubagentName, LibraryError> {
    let given = stated.unwrap_or(folder);
    let plain = given.trim().to_lowercase().replace([' ', '.'], "-");
    plain.parse().map_err(|error: spec::NameError| {
        LibraryError::hinted(error.to_string(), error.hint().unwrap_or_default())
    })
}

/// The file with `main(query)`.
fn entry(
    name: &SubagentName,
    matter: &FrontMatter,
    known: Option<&VersionContent>,
    texts: &BTreeMap<String, String>,
) -> Result<String, LibraryError> {
    let stated = matter.entry_file.clone();
    if let Some(stated) = stated.or_else(|| known.map(|one| one.entry.to_string())) {
        let stated = stated.trim_start_matches("./").to_owned();
        let Some(source) = texts.get(&stated) else {
            let stated = spec::printable(&stated, 120);
            return Err(LibraryError::refused(format!(
                "its entry file `{stated}` is not a Python file in it"
            )));
        };
        return match python::uses(source).main {
            Some(main) => takes_query(&stated, main).map(|()| stated),
            // It may import its `main`, or be for another Python: the sandbox will tell.
            None => Ok(stated),
        };
    }
    let module = module_name(name);
    let usual = [
        format!("{module}.py"),
        "main.py".to_owned(),
        format!("scripts/{module}.py"),
        "scripts/main.py".to_owned(),
        "scripts/run.py".to_owned(),
    ];
    let has_main = |path: &String| {
        let main = texts.get(path).and_then(|source| python::uses(source).main);
        main.is_some_and(|(needed, most)| needed <= 1 && most >= 1)
    };
    if let Some(found) = usual.into_iter().find(has_main) {
        return Ok(found);
    }
    let found: Vec<&String> = texts.keys().filter(|path| has_main(path)).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(LibraryError::hinted(
            "no Python file in it defines `main(query)`",
            "only programs can be imported: give it an entry file whose main(query) returns a dict",
        )),
        _ => Err(LibraryError::hinted(
            format!("{} of its files define `main(query)`", found.len()),
            "say which one in its front matter: `entry_file: NAME.py`",
        )),
    }
}

fn takes_query(entry: &str, (needed, most): (usize, usize)) -> Result<(), LibraryError> {
    if needed <= 1 && most >= 1 {
        return Ok(());
    }
    Err(LibraryError::refused(format!(
        "`main` in `{}` does not take one query",
        spec::printable(entry, 120)
    )))
}

/// The tool skills that the source asks for by name: the smallest set that it can work with.
fn granted(uses: &[Uses]) -> BTreeSet<Skill> {
    let names = uses.iter().flat_map(|one| &one.tools);
    names.filter_map(|name| name.parse().ok()).collect()
}

/// What the source asks for that a sandbox does not have; modules only where all of them are known,
/// with those that it depends on.
fn lacks(
    uses: &[Uses],
    texts: &BTreeMap<String, String>,
    depends: Option<&BTreeSet<String>>,
) -> Vec<String> {
    let mut notes = BTreeSet::new();
    for name in uses.iter().flat_map(|one| &one.tools) {
        if name.parse::<Skill>().is_err() {
            let name = spec::printable(name, 60);
            notes.insert(format!(
                "it uses the tool `{name}`, which is not among the skills"
            ));
        }
    }
    let Some(depends) = depends else {
        return notes.into_iter().collect();
    };
    for module in uses.iter().flat_map(|one| &one.modules) {
        let own = texts.keys().any(|path| {
            let mut parts = path.rsplit('/');
            parts.next() == Some(&*format!("{module}.py")) || parts.any(|part| part == module)
        });
        let known = ["tools", "llm", "__future__"].contains(&module.as_str());
        if !own
            && !known
            && !module.starts_with('_')
            && !is_standard(module)
            && !depends.contains(module)
        {
            let module = spec::printable(module, 60);
            notes.insert(format!(
                "it imports `{module}`, which the sandbox does not have by itself"
            ));
        }
    }
    notes.into_iter().collect()
}

/// The locked requirements, and those that are still to be locked: front matter and the entry file's
/// `script` block (PEP 723) name distributions, and only a lock says which files.
fn requirements(
    matter: &FrontMatter,
    entry: Option<&String>,
    known: Option<&VersionContent>,
) -> Result<(Vec<store::Requirement>, Vec<String>), LibraryError> {
    let locked = known.map(|one| one.requirements.as_slice());
    let locked = locked.unwrap_or_default();
    let block = entry.map_or(Ok(Vec::new()), |source| script_requirements(source));
    let block = block.map_err(|why| {
        LibraryError::hinted(
            format!("its entry file: {why}"),
            "the block `# /// script` is described in PEP 723",
        )
    })?;
    let stated = matter.requirements.clone().unwrap_or_default();
    let is_exact = |text: &String| {
        let mut all = locked.iter();
        all.any(|one| *text == format!("{}=={}", one.name, one.version))
    };
    // A version's own block was there when it was locked; it may have been changed since.
    let is_there = |text: &String| {
        let mut all = locked.iter();
        all.any(|one| specifiers::hold(text, &one.name, &one.version))
    };
    if stated.iter().all(is_exact) && block.iter().all(is_there) {
        return Ok((locked.to_vec(), Vec::new()));
    }
    Ok((Vec::new(), stated.into_iter().chain(block).collect()))
}

fn check_size(files: &SourceFiles) -> Result<(), LibraryError> {
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    if files.len() > limits::SOURCE_FILES || bytes > limits::SOURCE.get() {
        return Err(LibraryError::refused(format!(
            "it has {} files of {}; at most {} of {} can be saved",
            files.len(),
            spec::ByteSize::bytes(bytes),
            limits::SOURCE_FILES,
            limits::SOURCE
        )));
    }
    Ok(())
}
