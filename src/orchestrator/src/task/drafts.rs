//! Subagents that a task works on: its own until `finish` accepts them.

use std::collections::{BTreeMap, BTreeSet};

use egress::HostRule;
use spec::{Digest, PartialLimits, RunId, Skill, SubagentName, WorkspacePath, limits};
use store::{Requirement, Version, VersionContent};

use super::requirements::distributions;
use crate::environments::Prepared;
use crate::front_matter::FrontMatter;
use crate::python;

/// Python's version in the base image. Source: `images/base`.
pub(crate) const PYTHON: &str = "3.13";

/// One subagent in the making.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) name: SubagentName,
    pub(crate) description: String,
    pub(crate) files: BTreeMap<WorkspacePath, Vec<u8>>,
    pub(crate) entry: WorkspacePath,
    pub(crate) skills: BTreeSet<Skill>,
    /// The saved versions that it imports, by name.
    pub(crate) depends: BTreeMap<SubagentName, Digest>,
    /// The Python distributions that it needs, locked.
    pub(crate) requirements: Vec<Requirement>,
    /// The Python that they are locked for.
    pub(crate) python: String,
    /// The hosts that it may reach.
    pub(crate) egress: BTreeSet<HostRule>,
    /// The limits that it asks for.
    pub(crate) limits: PartialLimits,
    /// The saved version that it began as.
    pub(crate) parent: Option<Digest>,
    /// The runs of its present form that completed.
    pub(crate) completed: Vec<RunId>,
    /// Whether its last run, in its present form, completed.
    pub(crate) is_proven: bool,
}

impl Draft {
    /// Begins with files that are new.
    ///
    /// # Errors
    /// What is wrong with them, for the model.
    pub(crate) fn new(
        name: SubagentName,
        description: String,
        files: BTreeMap<WorkspacePath, Vec<u8>>,
        entry: WorkspacePath,
        skills: BTreeSet<Skill>,
        parent: Option<Digest>,
    ) -> Result<Self, String> {
        if !files.contains_key(&entry) {
            return Err(format!("the entry file `{entry}` is not among the files"));
        }
        if !entry.as_bytes().ends_with(b".py") {
            return Err(format!("the entry file `{entry}` is not a .py file"));
        }
        let draft = Self {
            name,
            description,
            files,
            entry,
            skills,
            depends: BTreeMap::new(),
            requirements: Vec::new(),
            python: PYTHON.to_owned(),
            egress: BTreeSet::new(),
            limits: PartialLimits::default(),
            parent,
            completed: Vec::new(),
            is_proven: false,
        };
        draft.check_size()?;
        Ok(draft)
    }

    /// Begins with a saved version.
    pub(crate) fn from_version(name: SubagentName, version: Version) -> Self {
        let files = version.content.files.into_iter();
        Self {
            name,
            description: version.content.description,
            files: files
                .filter(|(path, _)| path.as_bytes() != SKILL_MD)
                .collect(),
            entry: version.content.entry,
            skills: version.content.skills,
            depends: version.content.depends,
            python: if version.content.requirements.is_empty() {
                PYTHON.to_owned()
            } else {
                version.content.python
            },
            requirements: version.content.requirements,
            egress: crate::egress::rules(&version.content.egress),
            limits: version.content.limits.unwrap_or_default(),
            parent: Some(version.digest),
            completed: Vec::new(),
            is_proven: false,
        }
    }

    fn check_size(&self) -> Result<(), String> {
        let bytes: usize = self.files.values().map(Vec::len).sum();
        if bytes as u64 > limits::SOURCE.get() || self.files.len() > limits::SOURCE_FILES {
            return Err(format!(
                "the source is too large: at most {} in {} files",
                limits::SOURCE,
                limits::SOURCE_FILES
            ));
        }
        let skill_md = self.files.keys().any(|path| path.as_bytes() == SKILL_MD);
        if skill_md {
            return Err("`SKILL.md` is written from the description; leave it out".to_owned());
        }
        spec::Tree::from_entries(
            self.files
                .keys()
                .map(|path| spec::FileEntry {
                    path: path.clone(),
                    size: 0,
                    digest: Digest::of(b""),
                    executable: false,
                })
                .collect(),
        )
        .map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Replaces one file, or adds it. What was proven of the earlier form counts no longer.
    ///
    /// # Errors
    /// What is wrong with it, for the model; the draft is unchanged then.
    pub(crate) fn write(&mut self, path: WorkspacePath, content: Vec<u8>) -> Result<(), String> {
        let mut changed = self.clone();
        changed.files.insert(path, content);
        changed.check_size()?;
        changed.unprove();
        *self = changed;
        Ok(())
    }

    /// Notes that it is not what ran before.
    pub(crate) fn unprove(&mut self) {
        self.is_proven = false;
        self.completed.clear();
    }

    /// Whether a version of it holds each of its files: what the entry file imports, and what is not
    /// Python.
    fn kept(&self) -> impl Fn(&WorkspacePath) -> bool {
        let text = |path: &str| {
            let path = WorkspacePath::from_bytes(path.as_bytes().to_vec()).ok()?;
            self.files
                .get(&path)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let entry = String::from_utf8_lossy(self.entry.as_bytes()).into_owned();
        let (found, is_open) = python::import_closure(&entry, text);
        move |path: &WorkspacePath| {
            let path = path.as_bytes();
            is_open
                || !path.ends_with(b".py")
                || std::str::from_utf8(path).is_ok_and(|path| found.contains_key(path))
        }
    }

    /// The files that a version of it does not hold.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let kept = self.kept();
        self.files
            .keys()
            .filter(|path| !kept(path))
            .map(ToString::to_string)
            .collect()
    }

    /// What a version of it is.
    pub(crate) fn content(&self) -> VersionContent {
        let kept = self.kept();
        let mut files: Vec<_> = self
            .files
            .iter()
            .filter(|(path, _)| kept(path))
            .map(|(path, content)| (path.clone(), content.clone()))
            .collect();
        let skill_md = WorkspacePath::from_bytes(SKILL_MD.to_vec());
        files.push((
            skill_md.expect("a plain file name is a path"),
            self.skill_md().into_bytes(),
        ));
        files.sort_by(|a, b| a.0.cmp(&b.0));
        VersionContent {
            entry: self.entry.clone(),
            description: self.description.clone(),
            files,
            skills: self.skills.clone(),
            depends: self.depends.clone(),
            egress: self.egress.iter().map(ToString::to_string).collect(),
            limits: (!self.limits.is_empty()).then(|| self.limits.clone()),
            python: self.python.clone(),
            requirements: self.requirements.clone(),
        }
    }

    /// Takes distributions instead of those that it had.
    pub(crate) fn require(&mut self, prepared: Option<Prepared>) {
        let (requirements, python) = match prepared {
            Some(prepared) => (prepared.requirements, prepared.python),
            None => (Vec::new(), PYTHON.to_owned()),
        };
        (self.requirements, self.python) = (requirements, python);
    }

    /// The documentation that is saved with it.
    fn skill_md(&self) -> String {
        let hosts_of = |hosts: &BTreeSet<HostRule>| hosts.iter().map(ToString::to_string).collect();
        let matter = FrontMatter {
            name: Some(self.name.to_string()),
            description: Some(self.description.clone()),
            entry_file: Some(self.entry.to_string()),
            skills: Some(self.skills.clone()),
            depends: (!self.depends.is_empty()).then(|| self.depends.clone()),
            egress: (!self.egress.is_empty()).then(|| hosts_of(&self.egress)),
            limits: (!self.limits.is_empty()).then(|| self.limits.clone()),
            python: Some(self.python.clone()),
            requirements: (!self.requirements.is_empty()).then(|| {
                let all = self.requirements.iter();
                all.map(|one| format!("{}=={}", one.name, one.version))
                    .collect()
            }),
        };
        let skills = list(self.skills.iter());
        let hosts = match hosts(self.egress.iter()) {
            hosts if hosts.is_empty() => String::new(),
            hosts => format!("Hosts that it reaches: {hosts}.\n"),
        };
        let depends = match imported(&self.depends) {
            depends if depends.is_empty() => String::new(),
            depends => format!("Subagents that it imports: {depends}.\n"),
        };
        let requirements = match distributions(&self.requirements) {
            none if none.is_empty() => String::new(),
            some => format!("Python distributions that it needs: {some}.\n"),
        };
        let limits = match asked(&self.limits) {
            limits if limits.is_empty() => String::new(),
            limits => format!("Limits that it asks for: {limits}.\n"),
        };
        format!(
            "{matter}\n# {name}\n\n{description}\n\n\
             ## Use\n\n`main(query: str) -> {{\"answer\": str, \"summary\": str}}` in `{entry}`.\n\n\
             Granted skills: {skills}.\n{depends}{requirements}{hosts}{limits}",
            matter = matter.write(),
            name = self.name,
            entry = self.entry,
            description = self.description,
        )
    }
}

/// The documentation's name in a version's source.
pub(crate) const SKILL_MD: &[u8] = b"SKILL.md";

/// Skills as people write them.
pub(crate) fn list<'a>(skills: impl Iterator<Item = &'a Skill>) -> String {
    let names: Vec<_> = skills.map(|skill| skill.name()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Hosts as people write them.
pub(crate) fn hosts<'a>(hosts: impl Iterator<Item = &'a HostRule>) -> String {
    let names: Vec<_> = hosts.map(ToString::to_string).collect();
    names.join(", ")
}

/// Dependencies as people write them; nothing for none.
pub(crate) fn imported(depends: &BTreeMap<SubagentName, Digest>) -> String {
    let names = depends
        .iter()
        .map(|(name, digest)| format!("{name}@{digest}"));
    names.collect::<Vec<_>>().join(", ")
}

/// Limits as people write them; nothing for none.
pub(crate) fn asked(limits: &PartialLimits) -> String {
    let said = limits.said().into_iter();
    let words = said.map(|(flag, value)| format!("{} {value}", flag.trim_start_matches('-')));
    words.collect::<Vec<_>>().join(", ")
}

/// What a draft may do, in a few words.
pub(super) fn granted(skills: &BTreeSet<Skill>, egress: &BTreeSet<HostRule>) -> String {
    let skills = list(skills.iter());
    match hosts(egress.iter()) {
        hosts if hosts.is_empty() => format!("skills: {skills}"),
        hosts => format!("skills: {skills}; egress: {hosts}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::from_text(text).unwrap()
    }

    fn draft(files: &[(&str, &str)]) -> Result<Draft, String> {
        let files = files
            .iter()
            .map(|(name, text)| (path(name), text.as_bytes().to_vec()))
            .collect();
        let skills = BTreeSet::from([Skill::Llm]);
        Draft::new(
            "a".parse().unwrap(),
            "Says: \"hi\"\n- x".to_owned(),
            files,
            path("a.py"),
            skills,
            None,
        )
    }

    #[test]
    fn a_version_holds_what_the_entry_file_needs() {
        let draft = draft(&[
            ("a.py", "import b"),
            ("b.py", ""),
            ("c.py", ""),
            ("t.txt", ""),
        ])
        .unwrap();
        let names: Vec<_> = draft
            .content()
            .files
            .iter()
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!(names, ["SKILL.md", "a.py", "b.py", "t.txt"]);
    }

    #[test]
    fn any_description_makes_valid_front_matter() {
        let draft = draft(&[("a.py", "")]).unwrap();
        let doc = crate::assets::parse_skill_doc(&draft.skill_md()).unwrap();
        assert_eq!(doc.description, draft.description);
    }

    #[test]
    fn files_that_cannot_be_a_subagent_are_refused() {
        assert!(draft(&[("b.py", "")]).is_err());
        assert!(draft(&[("a.py", ""), ("SKILL.md", "")]).is_err());
        assert!(draft(&[("a.py", ""), ("a.py/b", "")]).is_err());
    }

    #[test]
    fn a_changed_draft_must_prove_itself_again() {
        let mut draft = draft(&[("a.py", "")]).unwrap();
        draft.is_proven = true;
        draft.write(path("a.py"), b"x = 1".to_vec()).unwrap();
        assert!(!draft.is_proven);
    }
}
