//! Methods of texts and paths.

use super::Python;
use super::calls::Given;
use super::lists::ELEMENTS_MAX;
use super::value::{Val, join, parent};
use crate::findings::Act;
use crate::value::{Output, Part, Value};

impl Python<'_, '_> {
    /// Calls a method of a text or a path.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    pub(super) fn text_method(&mut self, text: &Value, name: &str, given: &Given) -> Val {
        let exact = text.exact();
        let first = given.all.first().and_then(Val::exact);
        match (name, exact) {
            (
                "decode" | "encode" | "expanduser" | "resolve" | "absolute" | "as_posix"
                | "__str__" | "relative_to" | "casefold",
                _,
            ) => Val::Text(self.at_home(text)),
            ("strip" | "rstrip" | "lstrip", Some(text)) if given.all.is_empty() => {
                Val::text(text.trim())
            }
            ("rstrip" | "strip" | "lstrip", _) => Val::Text(text.clone()),
            ("lower", Some(text)) => Val::text(text.to_lowercase()),
            ("upper", Some(text)) => Val::text(text.to_uppercase()),
            ("replace", Some(text)) => {
                let second = given.all.get(1).and_then(Val::exact);
                match (first, second) {
                    (Some(from), Some(to)) if text.len() * (1 + to.len()) < 65_536 => {
                        Val::text(text.replace(&from, &to))
                    }
                    _ => Val::unknown("a replaced text"),
                }
            }
            ("join", Some(between)) => match given.all.first() {
                Some(Val::List(items)) => {
                    let mut all = Val::text("");
                    for (index, item) in items.iter().enumerate() {
                        if index > 0 {
                            all = all.then(&Val::text(&between));
                        }
                        all = all.then(item);
                    }
                    all
                }
                _ => Val::unknown("a joined text"),
            },
            ("split" | "rsplit", Some(text)) => {
                let parts: Vec<Val> = match &first {
                    Some(mark) if !mark.is_empty() => few(text.split(mark.as_str())),
                    _ => few(text.split_whitespace()),
                };
                Val::List(parts)
            }
            ("splitlines", Some(text)) => Val::List(few(text.lines())),
            ("format", Some(format)) => {
                let mut all = Val::text("");
                let mut rest = format.as_str();
                let mut next = 0;
                while let Some((before, after)) = rest.split_once('{') {
                    let (field, after) = after.split_once('}').unwrap_or((after, ""));
                    let name = field.split([':', '!']).next().unwrap_or_default();
                    let value = if name.is_empty() {
                        next += 1;
                        given.all.get(next - 1).cloned()
                    } else {
                        let at = name.parse::<usize>().ok();
                        at.and_then(|at| given.all.get(at).cloned())
                            .or_else(|| given.named(&[name]))
                    };
                    all = all.then(&Val::text(before));
                    all = all.then(&value.unwrap_or(Val::Plain));
                    rest = after;
                }
                all.then(&Val::text(rest))
            }
            ("joinpath" | "with_name", _) => {
                let base = if name == "with_name" {
                    parent(text)
                } else {
                    text.clone()
                };
                let path = given
                    .all
                    .iter()
                    .fold(base, |path, next| join(&path, &next.word()));
                Val::Text(path)
            }
            ("with_suffix" | "with_stem", _) => Val::Text(join(&parent(text), &Value::name())),
            ("glob" | "rglob", _) => {
                let pattern = given.all.first().map_or_else(Value::name, Val::word);
                Val::List(vec![Val::Text(join(text, &pattern))])
            }
            ("iterdir" | "walk", _) => Val::List(vec![Val::Text(join(text, &Value::name()))]),
            ("read_text" | "read_bytes" | "read" | "readlines" | "readline", _) => {
                self.content(text)
            }
            ("extractall" | "extract", _) => {
                let at = usize::from(name == "extract");
                let into = given.at(at, &["path"]).unwrap_or_else(|| Val::text("."));
                self.act(Act::Write, &into, name);
                Val::Plain
            }
            ("write" | "writelines", _) => {
                // A file that was opened: its content is kept, so that running it is understood.
                let content = given.all.first().map_or(Output::Nothing, Val::output);
                if let Some(path) = self.walk.path(text) {
                    let before = self.walk.state.files.get(&path).cloned();
                    let content = before.unwrap_or(Output::Nothing).then(content);
                    self.walk.keep_file(path, content);
                }
                Val::Plain
            }
            (
                "exists" | "is_file" | "is_dir" | "startswith" | "endswith" | "isdigit" | "find"
                | "count" | "index" | "stat" | "close" | "flush",
                _,
            ) => Val::Plain,
            _ => match text.mystery() {
                Some(why) => Val::unknown(why),
                None if text.0.iter().all(|part| matches!(part, Part::Name)) => {
                    Val::Text(Value::name())
                }
                None => Val::unknown(format!("the result of `{name}`")),
            },
        }
    }
}

/// Parts of a text; what is beyond a number of them is not told apart.
fn few<'a>(mut parts: impl Iterator<Item = &'a str>) -> Vec<Val> {
    let mut all: Vec<Val> = parts.by_ref().take(ELEMENTS_MAX).map(Val::text).collect();
    if parts.next().is_some() {
        all.push(Val::unknown("one of many values"));
    }
    all
}
