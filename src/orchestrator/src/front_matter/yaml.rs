//! Front matter that is YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Budget, Options, Spanned};
use spec::{Digest, Skill, SubagentName};

use super::limits::Stated;
use super::{FrontMatter, FrontMatterError, ITEMS_MAX};

/// What is wrong with front matter.
pub(super) enum Wrong {
    /// It is no YAML.
    Syntax(FrontMatterError),
    /// It says something that cannot be.
    Value(FrontMatterError),
}

/// The keys that mean something here. Other programs have others.
#[derive(Deserialize)]
struct Keys {
    name: Option<Spanned<Text>>,
    description: Option<Spanned<Text>>,
    entry_file: Option<Spanned<Text>>,
    skills: Option<Spanned<Names>>,
    #[serde(rename = "allowed-tools")]
    allowed_tools: Option<Spanned<Names>>,
    depends: Option<Spanned<Names>>,
    egress: Option<Spanned<Names>>,
    limits: Option<Spanned<Stated>>,
    python: Option<Spanned<Text>>,
    requirements: Option<Spanned<Names>>,
}

/// A text; a number that somebody wrote without quotes is the text that it is written as.
struct Text(String);

/// A list of texts, or one text with spaces or commas between them.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
                let words = text.split([' ', ',', '\n', '\t']);
                let words = words.filter(|word| !word.is_empty()).map(str::to_owned);
                Ok(Names(words.take(ITEMS_MAX + 1).collect()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Names, E> {
                Ok(Names(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                    if names.len() > ITEMS_MAX {
                        while items.next_element::<IgnoredAny>()?.is_some() {}
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// Reads front matter without the lines around it.
pub(super) fn read(matter: &str) -> Result<FrontMatter, Wrong> {
    if matter.trim().is_empty() {
        return Ok(FrontMatter::default());
    }
    let keys: Keys = serde_saphyr::from_str_with_options(matter, options()).map_err(|error| {
        let line = error.location().map(|at| at.line());
        let why = error.without_snippet().to_string();
        Wrong::Syntax(at(matter, line, brief(&why)))
    })?;
    let wrong = |line: u64, why: String| Wrong::Value(at(matter, Some(line), &why));
    let text = |text: Option<Spanned<Text>>| text.map(|text| text.value.0);
    let requirements = list(keys.requirements, &wrong, |text| Ok(text.to_owned()))?;
    let egress = list(keys.egress, &wrong, |text| Ok(text.to_lowercase()))?;
    let depends = list(keys.depends, &wrong, depends)?;
    let stated = list(keys.skills, &wrong, |text| {
        text.parse::<Skill>().map_err(|error| {
            let hint = error.hint().unwrap_or_default();
            format!("{error}; {hint}")
        })
    })?;
    // Tools of other programs are theirs to grant.
    let tools = list(keys.allowed_tools, &wrong, |text| {
        Ok(text.parse::<Skill>().ok())
    })?;
    let tools = tools.map(|tools| tools.into_iter().flatten().collect::<BTreeSet<_>>());
    let skills = stated.map(|skills| skills.into_iter().collect());
    let limits = match keys.limits {
        Some(limits) => {
            let line = limits.referenced.line();
            let limits = limits.value.partial().map_err(|why| wrong(line, why))?;
            (!limits.is_empty()).then_some(limits)
        }
        None => None,
    };
    Ok(FrontMatter {
        name: text(keys.name),
        description: text(keys.description),
        entry_file: text(keys.entry_file),
        skills: skills.or(tools.filter(|tools| !tools.is_empty())),
        depends: depends.map(|all: Vec<_>| all.into_iter().collect::<BTreeMap<_, _>>()),
        egress: egress.map(|all: Vec<_>| all.into_iter().collect()),
        limits,
        python: text(keys.python),
        requirements,
    })
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = 32;
    budget.max_nodes = 20_000;
    budget.max_aliases = 0;
    budget.max_anchors = 0;
    budget.max_documents = 1;
    let mut options = Options::default();
    options.with_snippet = false;
    options.budget = Some(budget);
    options
}

/// The items of a list, each checked.
fn list<T>(
    names: Option<Spanned<Names>>,
    wrong: &dyn Fn(u64, String) -> Wrong,
    check: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, Wrong> {
    let Some(names) = names else { return Ok(None) };
    let line = names.referenced.line();
    let names = names.value.0;
    if names.len() > ITEMS_MAX {
        return Err(wrong(line, format!("it names more than {ITEMS_MAX}")));
    }
    let checked = names
        .iter()
        .map(|name| check(name).map_err(|why| wrong(line, why)));
    checked.collect::<Result<_, _>>().map(Some)
}

fn depends(text: &str) -> Result<(SubagentName, Digest), String> {
    let parts = text
        .split_once('@')
        .and_then(|(name, digest)| Some((name.parse().ok()?, digest.parse().ok()?)));
    parts.ok_or_else(|| {
        format!(
            "`{}` is not NAME@sha256:DIGEST; `show NAME` prints it",
            spec::printable(text, 120)
        )
    })
}

/// The first line of what the parser says, which may go on with advice.
fn brief(why: &str) -> &str {
    why.lines().next().unwrap_or("it is not YAML")
}

/// An error at a line of the front matter, which begins at the second line of the file.
fn at(matter: &str, line: Option<u64>, why: &str) -> FrontMatterError {
    let line = line.and_then(|line| usize::try_from(line).ok());
    let line = line.filter(|line| *line > 0);
    let text = line.and_then(|line| matter.lines().nth(line - 1));
    FrontMatterError {
        line: line.map(|line| line + 1),
        text: text.unwrap_or_default().to_owned(),
        why: spec::printable(why, 400),
    }
}
