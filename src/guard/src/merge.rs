//! How states that are possible at the same point of a command come together.

use std::collections::HashMap;

use crate::place::{Directories, is_below};
use crate::shell::Walk;
use crate::state::{Function, Local, Positional, State, Variable};
use crate::value::{Output, Part, VALUES_MAX, Value};

/// Directories, or values of a variable, that are possible at one point.
pub(crate) const ALTERNATIVES_MAX: usize = 16;
/// Rounds of a loop in which nothing is given up.
const ROUNDS_EXACT: usize = 3;
/// Rounds of a loop. Each of the later ones gives up what has changed, so that few remain.
const ROUNDS_MAX: usize = 12;

impl State {
    /// Takes another state that is possible at the same point into this one.
    pub(crate) fn merge(&mut self, other: Self) {
        either(&mut self.cwd, other.cwd);
        either(&mut self.cwd_before, other.cwd_before);
        self.merge_directories(other.directories);
        self.merge_variables(other.variables);
        self.positional = match (self.positional.take(), other.positional) {
            (Some(one), Some(another)) => Some(one.or(another)),
            // What nobody has passed is not there.
            (Some(one), None) | (None, Some(one)) => Some(one.or(Positional::default())),
            (None, None) => None,
        };
        self.aliases.extend(other.aliases);
        self.merge_functions(other.functions);
        self.merge_locals(other.locals);
        self.links.extend(other.links);
        for (path, content) in other.files {
            let content = match self.files.remove(&path) {
                Some(known) => longer(known, content),
                None => content,
            };
            self.files.insert(path, content);
        }
    }

    fn merge_directories(&mut self, other: Vec<Directories>) {
        if self.directories.len() == other.len() {
            for (known, other) in self.directories.iter_mut().zip(other) {
                either(known, other);
            }
            return;
        }
        // How many there are is not known: each of them may be at any place.
        let count = self.directories.len().max(other.len());
        let mut all = every(&self.directories);
        either(&mut all, every(&other));
        self.directories = vec![all; count];
    }

    fn merge_variables(&mut self, mut others: HashMap<String, Variable>) {
        for (name, known) in &mut self.variables {
            match others.remove(name) {
                Some(other) => known.merge(other, name),
                None => known.may_be_unset = true,
            }
        }
        for (name, mut other) in others {
            other.may_be_unset = true;
            self.variables.insert(name, other);
        }
    }

    fn merge_functions(&mut self, mut others: HashMap<String, Function>) {
        for (name, known) in &mut self.functions {
            let Some(other) = others.remove(name) else {
                known.may_be_program = true;
                continue;
            };
            known.may_be_program |= other.may_be_program;
            for body in other.bodies {
                if !known.bodies.contains(&body) {
                    known.bodies.push(body);
                }
            }
        }
        for (name, mut other) in others {
            other.may_be_program = true;
            self.functions.insert(name, other);
        }
    }

    fn merge_locals(&mut self, mut others: Vec<Local>) {
        for known in &mut self.locals {
            match others.iter().position(|other| other.name == known.name) {
                Some(at) => known.is_certain &= others.remove(at).is_certain,
                None => known.is_certain = false,
            }
        }
        for mut other in others {
            other.is_certain = false;
            self.locals.push(other);
        }
    }

    /// Whether everything that is possible here was possible before.
    fn is_within(&self, before: &Self) -> bool {
        let all_in = |new: &Directories, old: &Directories| new.iter().all(|it| old.contains(it));
        all_in(&self.cwd, &before.cwd)
            && all_in(&self.cwd_before, &before.cwd_before)
            && self.directories == before.directories
            && self.positional == before.positional
            && self.aliases == before.aliases
            && self.functions == before.functions
            && self.locals.len() == before.locals.len()
            && self.links == before.links
            && self.files == before.files
            && self.variables.len() == before.variables.len()
            && self.variables.iter().all(|(name, variable)| {
                let known = before.variables.get(name);
                known.is_some_and(|known| {
                    (known.is_list, known.is_any, known.may_be_unset)
                        == (variable.is_list, variable.is_any, variable.may_be_unset)
                        && variable.values.iter().all(|it| known.values.contains(it))
                })
            })
    }

    /// Gives up what a round of a loop has changed again, so that the next ones come to an end. What
    /// only grows, without a step upwards in what is added, leads nowhere else.
    fn widen(&mut self, before: &Self) {
        widen_directories(&mut self.cwd, &before.cwd);
        widen_directories(&mut self.cwd_before, &before.cwd_before);
        if self.directories != before.directories {
            let mut all = every(&self.directories);
            widen_directories(&mut all, &every(&before.directories));
            self.directories = vec![all; before.directories.len()];
        }
        for (name, variable) in &mut self.variables {
            let Some(known) = before.variables.get(name) else {
                continue;
            };
            let is_new = |value: &Value| !known.values.contains(value);
            let grows = |value: &Value| known.values.iter().any(|known| is_growth(known, value));
            let is_other = |value: &Value| is_new(value) && !grows(value);
            if variable.values.iter().any(is_other) {
                variable.values.clone_from(&known.values);
                variable.values.push(Value::unknown(format!("${name}")));
            } else {
                variable.values.retain(|value| !is_new(value));
            }
        }
        for (path, content) in &mut self.files {
            match (before.files.get(path), &content) {
                (Some(known), now) if known == *now => {}
                (Some(Output::Text(known)), Output::Text(now))
                    if now
                        .strip_prefix(known.as_str())
                        .is_some_and(|more| known.ends_with(more)) =>
                {
                    *content = Output::Text(known.clone());
                }
                (Some(_), _) => *content = Output::Unknown("what a loop writes".to_owned()),
                (None, _) => {}
            }
        }
        if let (Some(now), Some(known)) = (&mut self.positional, &before.positional)
            && now.values.iter().any(|value| !known.values.contains(value))
        {
            now.values.clone_from(&known.values);
            now.values.push(Value::unknown("$@"));
            now.is_any = true;
        }
    }
}

impl Variable {
    pub(crate) fn merge(&mut self, other: Self, name: &str) {
        if self.values != other.values && (self.is_list || other.is_list) {
            self.is_any = true;
        }
        self.is_list |= other.is_list;
        self.is_any |= other.is_any;
        self.may_be_unset |= other.may_be_unset;
        union(&mut self.values, other.values);
        if self.values.len() > VALUES_MAX {
            self.values = vec![Value::unknown(format!("${name}"))];
        }
    }
}

impl Positional {
    fn or(mut self, other: Self) -> Self {
        if self.values != other.values {
            self.is_any = true;
            union(&mut self.values, other.values);
        }
        self.is_any |= other.is_any;
        if self.values.len() > VALUES_MAX {
            self.values = vec![Value::unknown("$@")];
        }
        self
    }
}

impl Walk<'_> {
    /// Takes two states together that are possible at the same point.
    pub(crate) fn merge(&mut self, other: State) {
        self.state.merge(other);
    }

    /// A loop's body: not at all, once, or again after what it did, until it does nothing new.
    pub(crate) fn repeated(&mut self, mut body: impl FnMut(&mut Self) -> Output) -> Output {
        let mut output = Output::Nothing;
        for round in 1.. {
            let before = self.state.clone();
            output = output.also(body(self));
            self.merge(before.clone());
            if self.is_exhausted() {
                break;
            }
            if round >= ROUNDS_EXACT {
                self.state.widen(&before);
            }
            if self.state.is_within(&before) {
                break;
            }
            if round >= ROUNDS_MAX {
                self.ask("", "a loop of it does something else in each round");
                break;
            }
        }
        match output {
            // How often is not known.
            Output::Text(_) => Output::Items(output.items()),
            other => other,
        }
    }
}

/// One content of a file or the other: what only adds lines to the other does what that does too.
fn longer(one: Output, other: Output) -> Output {
    let adds = |long: &str, short: &str| short.ends_with('\n') && long.starts_with(short);
    match (&one, &other) {
        (Output::Text(a), Output::Text(b)) if adds(a, b) => one,
        (Output::Text(a), Output::Text(b)) if adds(b, a) => other,
        _ => one.or(other),
    }
}

fn union<T: PartialEq>(all: &mut Vec<T>, others: Vec<T>) {
    for one in others {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// One of these directories, or of those.
fn either(all: &mut Directories, others: Directories) {
    union(all, others);
    if all.len() > ALTERNATIVES_MAX {
        *all = vec![None];
    }
}

/// Every directory of a stack.
fn every(directories: &[Directories]) -> Directories {
    let mut all = Directories::new();
    for one in directories {
        either(&mut all, one.clone());
    }
    all
}

/// Directories of a loop: below one that was there before it leads no further out.
fn widen_directories(all: &mut Directories, before: &Directories) {
    all.retain(|directory| {
        let Some(path) = directory else { return true };
        let is_below_known = |known: &Option<String>| {
            known
                .as_ref()
                .is_some_and(|known| path != known && is_below(path, known))
        };
        before.contains(directory) || !before.iter().any(is_below_known)
    });
    if all.iter().any(|directory| !before.contains(directory)) {
        *all = vec![None];
    }
}

/// Whether a value is another one with more at one of its ends, and no step upwards in it.
fn is_growth(known: &Value, value: &Value) -> bool {
    let outline = |value: &Value| -> String {
        let stretch = |part: &Part| match part {
            Part::Text(text) | Part::Glob(text) => text.clone(),
            Part::Below | Part::Name | Part::Job => "?".to_owned(),
            Part::Unknown(why) => format!("${{{why}}}"),
        };
        value.0.iter().map(stretch).collect()
    };
    let (known, value) = (outline(known), outline(value));
    let more = value
        .strip_prefix(&known)
        .or_else(|| value.strip_suffix(&known));
    !known.is_empty() && more.is_some_and(|more| !more.contains(".."))
}
