//! Files and variables as Python sees them.

use super::Python;
use super::value::Val;
use crate::findings::Act;
use crate::value::{Output, Part, Value};

impl Python<'_, '_> {
    /// A variable of the environment.
    pub(super) fn variable(&mut self, key: &str, default: Option<Val>) -> Val {
        let known = self.walk.state.variables.get(key);
        match (
            known.and_then(|known| known.values.first().cloned()),
            default,
        ) {
            (Some(value), _) => Val::Text(value),
            (None, Some(default)) => default,
            (None, None) if matches!(key, "USER" | "LANG" | "TERM" | "SHELL") => {
                Val::Text(Value::name())
            }
            (None, None) => Val::unknown(format!("${key}")),
        }
    }

    /// What is known of a file's content.
    pub(super) fn content(&self, path: &Value) -> Val {
        match self.walk.script_text(path) {
            Some(Output::Text(text)) => Val::text(text),
            Some(Output::Unknown(why)) => Val::Unknown(why),
            None if path
                .exact()
                .and_then(|path| path.rsplit_once('.').map(|(_, ending)| ending == "py"))
                .unwrap_or(false) =>
            {
                Val::File
            }
            Some(_) | None => Val::unknown("the content of a file"),
        }
    }

    pub(super) fn keep(&mut self, path: &Val, content: Output) {
        if let Val::Text(path) = path
            && let Some(path) = self.walk.path(path)
        {
            self.walk.keep_file(path, content);
        }
    }

    /// A path whose `~` is the home directory.
    pub(super) fn at_home(&self, path: &Value) -> Value {
        match path.0.first() {
            Some(Part::Text(text)) if text == "~" || text.starts_with("~/") => {
                let mut home = Value::text(self.walk.context.home.clone());
                home.extend(&path.after(1));
                home
            }
            _ => path.clone(),
        }
    }

    /// Something is done to a path, or to each of several.
    pub(super) fn act(&mut self, act: Act, path: &Val, name: &str) {
        for path in path.each() {
            match path {
                Val::Text(value) if act != Act::Remove && is_data(value) => {
                    // Names from data: files beside each other.
                    let parts = value.0.iter().map(|part| match part {
                        Part::Unknown(_) => Part::Name,
                        part => part.clone(),
                    });
                    let value = Value(parts.collect());
                    self.walk.act(act, &value, self.shown);
                }
                Val::Text(value) => self.walk.act(act, value, self.shown),
                Val::List(items) => {
                    for item in items {
                        self.act(act, item, name);
                    }
                }
                // Nobody passes it, or it is a stream.
                Val::Plain | Val::Number(_) => {}
                Val::Unknown(why) if act != Act::Remove && !is_hidden(why) => {}
                Val::Method(object, _) if matches!(**object, Val::List(_)) => {
                    self.act(act, &object.element(), name);
                }
                // What an object of another library keeps, such as an argument that was parsed.
                Val::Method(object, _)
                    if act != Act::Remove && matches!(**object, Val::Unknown(_)) => {}
                Val::Either(_)
                | Val::Named(_)
                | Val::Method(..)
                | Val::Function(_)
                | Val::Partial(..)
                | Val::File
                | Val::Dynamic
                | Val::Unknown(_) => {
                    let why = format!("which path `{name}` is given is not known");
                    self.walk.ask(self.shown, &why);
                }
            }
        }
    }
}

/// Whether what is not known of a path comes from data, arguments or files: a script writes where
/// such say. What was hidden, or comes from outside, is asked about.
fn is_data(path: &Value) -> bool {
    let mut sources = path.0.iter().filter_map(|part| match part {
        Part::Unknown(why) => Some(why),
        _ => None,
    });
    path.mystery().is_some() && sources.all(|why| !is_hidden(why))
}

fn is_hidden(why: &str) -> bool {
    why.starts_with('$') || why.starts_with("a decoded") || why.starts_with("a text made of")
}
