//! Where a path leads.

use std::collections::HashMap;

use crate::Context;
use crate::value::{Part, Value};

/// The kind of place that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Inside the workspace or scratch space.
    Inside(String),
    /// A scratch directory itself, such as `/tmp`.
    Scratch(String),
    /// The home directory itself, or everything in it.
    HomeItself(String),
    /// Something in the home directory: the whole path, and its path from there.
    Home(String, String),
    /// A device that takes anything and keeps nothing, or a stream.
    Stream,
    /// Somewhere else.
    Outside(String),
    /// Below a folder inside, if what is filled in behind it is a name or a part of one.
    Named(String),
    /// Not known, and why.
    Unknown(String),
}

/// Directories that are possible at a point of the command.
pub(crate) type Directories = Vec<Option<String>>;

/// Links of links that are followed.
const LINKS_MAX: usize = 8;

pub(crate) fn is_below(path: &str, root: &str) -> bool {
    path == root
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('/') || root == "/")
}

fn is_stream(path: &str) -> bool {
    matches!(
        path,
        "/dev/null"
            | "/dev/zero"
            | "/dev/full"
            | "/dev/tty"
            | "/dev/stdin"
            | "/dev/stdout"
            | "/dev/stderr"
            | "/dev/random"
            | "/dev/urandom"
    ) || path.starts_with("/dev/fd/")
        || path.starts_with("/proc/self/fd/")
}

/// Makes a path absolute and plain. Links that the command itself made are followed.
pub(crate) fn normal(path: &str, cwd: &str, links: &HashMap<String, String>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut waiting: Vec<String> = Vec::new();
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{cwd}/{path}")
    };
    waiting.extend(joined.rsplit('/').map(str::to_owned));
    let mut followed = 0;
    while let Some(part) = waiting.pop() {
        match part.as_str() {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => {
                parts.push(part);
                let here = format!("/{}", parts.join("/"));
                // The last part is the link itself, unless something follows.
                if let Some(target) = links.get(&here)
                    && !waiting.is_empty()
                    && followed < LINKS_MAX
                {
                    followed += 1;
                    parts.pop();
                    if target.starts_with('/') {
                        parts.clear();
                    }
                    waiting.extend(target.rsplit('/').map(str::to_owned));
                }
            }
        }
    }
    format!("/{}", parts.join("/"))
}

fn classify(path: String, context: &Context) -> Place {
    if is_stream(&path) {
        return Place::Stream;
    }
    if is_below(&path, &context.home) {
        let rest = path[context.home.len()..]
            .trim_start_matches('/')
            .to_owned();
        return match rest.as_str() {
            "" | "*" => Place::HomeItself(path),
            _ => Place::Home(path, rest),
        };
    }
    if is_below(&path, &context.workspace) {
        return Place::Inside(path);
    }
    for root in &context.scratch {
        if path == *root {
            return Place::Scratch(path);
        }
        if is_below(&path, root) {
            return Place::Inside(path);
        }
    }
    Place::Outside(path)
}

/// Where a value leads as a path, from each of the directories that are possible.
pub(crate) fn places(
    value: &Value,
    cwd: &Directories,
    links: &HashMap<String, String>,
    context: &Context,
) -> Vec<Place> {
    let mut known = String::new();
    for part in &value.0 {
        match part {
            Part::Text(text) | Part::Glob(text) => known.push_str(text),
            Part::Name | Part::Job => known.push('?'),
            Part::Below if known.is_empty() => {
                // What follows may climb out of it again.
                let rest: String = value.0[1..]
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) | Part::Glob(text) => text.as_str(),
                        Part::Below | Part::Name | Part::Job => "",
                        Part::Unknown(_) => "/..",
                    })
                    .collect();
                if rest.split('/').any(|part| part == "..") {
                    return vec![Place::Unknown(value.shown())];
                }
                return vec![Place::Inside("a path in the workspace".to_owned())];
            }
            Part::Below => {
                // A relative path behind a known one: it leads no further out.
                known.push('?');
            }
            Part::Unknown(why) => {
                let climbs = value
                    .0
                    .iter()
                    .skip_while(|it| *it != part)
                    .any(|it| match it {
                        Part::Text(text) | Part::Glob(text) => {
                            text.split('/').any(|name| name == "..")
                        }
                        Part::Below | Part::Name | Part::Job | Part::Unknown(_) => false,
                    });
                return beginnings(&known, cwd, links, context, why, climbs);
            }
        }
    }
    if known.is_empty() {
        // No program takes the empty path.
        return Vec::new();
    }
    if known.starts_with('/') {
        return vec![classify(normal(&known, "/", links), context)];
    }
    cwd.iter()
        .map(|cwd| match cwd {
            Some(cwd) => classify(normal(&known, cwd, links), context),
            None => Place::Unknown("the directory".to_owned()),
        })
        .collect()
}

/// What the beginning of a path says when the rest is unknown.
fn beginnings(
    known: &str,
    cwd: &Directories,
    links: &HashMap<String, String>,
    context: &Context,
    why: &str,
    climbs: bool,
) -> Vec<Place> {
    let unknown = || Place::Unknown(why.to_owned());
    let (folder, name) = match known.rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name),
        None if !known.is_empty() => (".".to_owned(), known),
        None => return vec![unknown()],
    };
    let judge = |folder: String| match classify(folder, context) {
        Place::Inside(_) | Place::Scratch(_) if climbs => unknown(),
        // Empty, it would be the scratch directory itself.
        Place::Scratch(_) if name.is_empty() => unknown(),
        Place::Inside(path) | Place::Scratch(path) => Place::Named(format!("{path}/{name}...")),
        // It leads further into there, or anywhere: neither is allowed.
        Place::Outside(path) => Place::Outside(format!("{}/...", path.trim_end_matches('/'))),
        _ => unknown(),
    };
    if known.starts_with('/') {
        return vec![judge(normal(&folder, "/", links))];
    }
    cwd.iter()
        .map(|cwd| match cwd {
            Some(cwd) => judge(normal(&folder, cwd, links)),
            None => unknown(),
        })
        .collect()
}
