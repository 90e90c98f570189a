//! The front matter of a `SKILL.md`: the one place where a person writes what a subagent is.
//!
//! Read with bounds and with the line of whatever is wrong; written in one form. The recorded skills
//! of the reference implementation often have front matter that is no YAML: [`FrontMatter::read`]
//! reads those line by line, and says so.

mod lenient;
mod limits;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;

use spec::{Digest, PartialLimits, Skill, SubagentName};

/// Bytes of a `SKILL.md`. Source: the description of a version has at most half of it.
pub(crate) const SKILL_MD_MAX: usize = 1 << 20;
/// Bytes of front matter.
const MATTER_MAX: usize = 256 << 10;
/// Items of one list.
const ITEMS_MAX: usize = 1_000;

/// What front matter says. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FrontMatter {
    /// The name, as it is written: another program may allow more than we do.
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    /// The file whose `main(query)` is called, relative to the folder.
    pub(crate) entry_file: Option<String>,
    /// Tool skills; those that `allowed-tools` names where there is no `skills`.
    pub(crate) skills: Option<BTreeSet<Skill>>,
    /// Versions that it imports.
    pub(crate) depends: Option<BTreeMap<SubagentName, Digest>>,
    /// Hosts that it reaches.
    pub(crate) egress: Option<BTreeSet<String>>,
    pub(crate) limits: Option<PartialLimits>,
    /// The Python that it is written for: `3.13`.
    pub(crate) python: Option<String>,
    /// Python distributions, as pip reads them.
    pub(crate) requirements: Option<Vec<String>>,
}

/// A `SKILL.md` that was taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SkillMd<'a> {
    pub(crate) matter: FrontMatter,
    /// Everything below the front matter.
    pub(crate) body: &'a str,
    /// Why the front matter is no YAML, when it was read line by line.
    pub(crate) mended: Option<FrontMatterError>,
}

/// What is wrong with front matter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FrontMatterError {
    /// The line in the file, from 1; none when it is about the file as a whole.
    pub line: Option<usize>,
    /// That line.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl FrontMatterError {
    fn whole(why: impl Into<String>) -> Self {
        Self {
            line: None,
            text: String::new(),
            why: why.into(),
        }
    }
}

impl fmt::Display for FrontMatterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(
                f,
                "line {line}, `{}`: {}",
                spec::printable(self.text.trim(), 120),
                self.why
            ),
            None => f.write_str(&self.why),
        }
    }
}

impl FrontMatter {
    /// Takes a `SKILL.md` apart. Front matter that is no YAML is read line by line when it has only
    /// keys with a text: name, description and entry file.
    ///
    /// # Errors
    /// [`FrontMatterError`] with the line that is wrong.
    pub(crate) fn read(text: &str) -> Result<SkillMd<'_>, FrontMatterError> {
        let (matter, body) = split(text)?;
        match yaml::read(matter) {
            Ok(matter) => Ok(SkillMd {
                matter,
                body,
                mended: None,
            }),
            Err(yaml::Wrong::Syntax(error)) => match lenient::read(matter) {
                Some(matter) => Ok(SkillMd {
                    matter,
                    body,
                    mended: Some(error),
                }),
                None => Err(error),
            },
            Err(yaml::Wrong::Value(error)) => Err(error),
        }
    }

    /// The front matter as we write it, with the lines around it. Read back it is the same.
    pub(crate) fn write(&self) -> String {
        let mut out = "---\n".to_owned();
        let mut line = |key: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                for part in [key, ": ", &as_yaml(&value), "\n"] {
                    out.push_str(part);
                }
            }
        };
        line("name", self.name.clone().map(Into::into));
        line("description", self.description.clone().map(Into::into));
        line("entry_file", self.entry_file.clone().map(Into::into));
        let skills = self.skills.as_ref();
        let names = |skill: &Skill| skill.name().to_owned();
        line("skills", skills.map(|all| all.iter().map(names).collect()));
        let depends = self.depends.as_ref().map(|all| {
            let texts = all.iter().map(|(name, digest)| format!("{name}@{digest}"));
            texts.collect()
        });
        line("depends", depends);
        let egress = self.egress.as_ref();
        line("egress", egress.map(|all| all.iter().cloned().collect()));
        let limits = self.limits.as_ref();
        line("limits", limits.map(limits::write));
        line("python", self.python.clone().map(Into::into));
        let requirements = self.requirements.as_ref();
        line(
            "requirements",
            requirements.map(|all| all.iter().cloned().collect()),
        );
        out.push_str("---\n");
        out
    }
}

/// JSON that is YAML too, whatever its texts contain.
pub(crate) fn as_yaml(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for character in value.to_string().chars() {
        match character {
            // Source: YAML 1.2, printable characters; those that some readers take for the end of a
            // line, or for a mark of the byte order, are left out. Only texts can hold the others.
            ' '..='~'
            | '\u{a0}'..='\u{2027}'
            | '\u{202a}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}' => {
                out.push(character);
            }
            '\u{10000}'.. => out.push(character),
            _ => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(character));
            }
        }
    }
    out
}

/// Cuts a text into front matter and what is below it.
fn split(text: &str) -> Result<(&str, &str), FrontMatterError> {
    if text.len() > SKILL_MD_MAX {
        return Err(FrontMatterError::whole(format!(
            "it is larger than {SKILL_MD_MAX} bytes"
        )));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let is_fence = |line: &str| line.trim_end() == "---";
    let Some(first) = lines.next().filter(|line| is_fence(line)) else {
        return Err(FrontMatterError {
            line: Some(1),
            text: text.lines().next().unwrap_or_default().to_owned(),
            why: "it does not begin with `---`".to_owned(),
        });
    };
    let mut end = first.len();
    for line in lines {
        if is_fence(line) {
            let matter = &text[first.len()..end];
            if matter.len() > MATTER_MAX {
                return Err(FrontMatterError::whole(format!(
                    "its front matter is larger than {MATTER_MAX} bytes"
                )));
            }
            return Ok((
                matter,
                text[end + line.len()..].trim_start_matches(['\r', '\n']),
            ));
        }
        end += line.len();
    }
    Err(FrontMatterError::whole(
        "its front matter does not end with `---`",
    ))
}

/// What holds of any text: it is read or refused, and what is read is written and read again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_any(text: &str) {
    let Ok(read) = FrontMatter::read(text) else {
        return;
    };
    assert!(read.body.len() <= text.len());
    let written = read.matter.write();
    let again = FrontMatter::read(&written).map(|again| (again.matter, again.mended));
    assert_eq!(again, Ok((read.matter, None)), "{written}");
}

#[cfg(test)]
mod tests;
