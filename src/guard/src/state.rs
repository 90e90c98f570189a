//! What a shell knows at one point, and how the points of a command come together.

use std::collections::HashMap;
use std::rc::Rc;

use brush_parser::ast::FunctionBody;

use crate::Context;
use crate::place::{Directories, Place};
use crate::shell::Walk;
use crate::value::{Output, Part, VALUES_MAX, Value};

/// Bytes of variables and files that are kept in one walk: subshells copy them.
const KEPT_MAX: usize = 1 << 20;
/// Directories, or values of a variable, that are possible at one point.
const ALTERNATIVES_MAX: usize = 16;

/// A variable: its possible values, or those of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) values: Vec<Value>,
    pub(crate) is_list: bool,
}

/// What a name of a function stands for.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// The bodies that it may have.
    pub(crate) bodies: Vec<Rc<FunctionBody>>,
    /// Whether the name may mean a program all the same.
    pub(crate) may_be_program: bool,
}

/// What a shell knows at one point.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) variables: HashMap<String, Variable>,
    pub(crate) cwd: Directories,
    pub(crate) cwd_before: Directories,
    /// The stack of `pushd`, without the directory at its top.
    pub(crate) directories: Vec<Directories>,
    pub(crate) positional: Option<Vec<Value>>,
    pub(crate) stdin: Output,
    pub(crate) aliases: HashMap<String, String>,
    pub(crate) functions: HashMap<String, Function>,
    /// Links that the command made: from where, to where.
    pub(crate) links: HashMap<String, String>,
    /// Files that the command wrote, and what is in them.
    pub(crate) files: HashMap<String, Output>,
    /// The functions in which this point lies.
    pub(crate) calls: Vec<String>,
    /// Whether it runs beside something else of this command.
    pub(crate) is_parallel: bool,
    /// Whether a program that is no shell runs it.
    pub(crate) is_within_program: bool,
}

impl State {
    /// What is known at the beginning.
    pub(crate) fn new(context: &Context) -> Self {
        let mut variables: HashMap<String, Variable> = HashMap::new();
        let known = context.variables.iter();
        let known = known.map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in [("HOME".to_owned(), context.home.clone())]
            .into_iter()
            .chain(known)
        {
            let values = vec![Value::text(value)];
            variables.insert(
                name,
                Variable {
                    values,
                    is_list: false,
                },
            );
        }
        let cwd = vec![Some(context.cwd.clone())];
        Self {
            variables,
            cwd_before: cwd.clone(),
            cwd,
            directories: Vec::new(),
            positional: None,
            stdin: Output::Nothing,
            aliases: HashMap::new(),
            functions: HashMap::new(),
            links: HashMap::new(),
            files: HashMap::new(),
            calls: Vec::new(),
            is_parallel: false,
            is_within_program: false,
        }
    }
}

impl Walk<'_> {
    pub(crate) fn assign(&mut self, name: &str, values: Vec<Value>, is_list: bool) {
        self.obeyed(name, &values);
        let mut values = values;
        let size = values.iter().map(Value::size).sum();
        if values.len() > VALUES_MAX || !self.can_keep(size) {
            values = vec![Value::unknown(format!("${name}"))];
        }
        self.state
            .variables
            .insert(name.to_owned(), Variable { values, is_list });
    }

    /// Whether so many more bytes may be kept.
    pub(crate) fn can_keep(&mut self, size: usize) -> bool {
        self.kept = self.kept.saturating_add(size);
        self.kept <= KEPT_MAX
    }

    /// Keeps what is written into a file of the command's own.
    pub(crate) fn keep_file(&mut self, path: String, content: Output) {
        let content = if self.can_keep(content.size() + path.len()) {
            content
        } else {
            Output::Unknown("a long text".to_owned())
        };
        self.state.files.insert(path, content);
    }

    /// Goes to a directory; several are possible.
    pub(crate) fn change_directory(&mut self, value: &Value) {
        let mut all: Directories = Vec::new();
        let mut target = value.clone();
        target.push(Part::Text("/".to_owned()));
        for place in self.places(&target) {
            let directory = match place {
                Place::Inside(path) if path.starts_with('/') => Some(path),
                Place::Scratch(path)
                | Place::HomeItself(path)
                | Place::Home(path, _)
                | Place::Outside(path) => Some(path),
                // Somewhere in the workspace: `..` from there may still be in it.
                Place::Inside(_) => Some(self.context.workspace.clone()),
                Place::Stream => continue,
                Place::Named(..) | Place::Unknown(_) => None,
            };
            if !all.contains(&directory) {
                all.push(directory);
            }
        }
        all.truncate(ALTERNATIVES_MAX);
        let before = std::mem::replace(&mut self.state.cwd, all);
        self.state.cwd_before = before;
    }

    /// Takes two states together that are possible at the same point.
    pub(crate) fn merge(&mut self, other: State) {
        for cwd in other.cwd {
            if !self.state.cwd.contains(&cwd) {
                self.state.cwd.push(cwd);
            }
        }
        if self.state.cwd.len() > ALTERNATIVES_MAX {
            self.state.cwd = vec![None];
        }
        for (name, variable) in other.variables {
            match self.state.variables.get_mut(&name) {
                None => {
                    self.state.variables.insert(name, variable);
                }
                Some(known) => {
                    known.is_list |= variable.is_list;
                    for value in variable.values {
                        if !known.values.contains(&value) {
                            known.values.push(value);
                        }
                    }
                    if known.values.len() > ALTERNATIVES_MAX.max(VALUES_MAX) {
                        known.values = vec![Value::unknown(format!("${name}"))];
                    }
                }
            }
        }
        self.state.aliases.extend(other.aliases);
        self.merge_functions(other.functions);
        self.keep(other.links, other.files);
    }

    fn merge_functions(&mut self, mut others: HashMap<String, Function>) {
        for (name, known) in &mut self.state.functions {
            let Some(other) = others.remove(name) else {
                known.may_be_program = true;
                continue;
            };
            known.may_be_program |= other.may_be_program;
            for body in other.bodies {
                if !known.bodies.iter().any(|known| Rc::ptr_eq(known, &body)) {
                    known.bodies.push(body);
                }
            }
        }
        for (name, mut other) in others {
            other.may_be_program = true;
            self.state.functions.insert(name, other);
        }
    }

    pub(crate) fn keep(&mut self, links: HashMap<String, String>, files: HashMap<String, Output>) {
        self.state.links.extend(links);
        self.state.files.extend(files);
    }

    /// Does something in another shell, which knows the functions of this one only where they were
    /// exported.
    pub(crate) fn in_other_shell<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.apart(|walk| {
            for function in walk.state.functions.values_mut() {
                function.may_be_program = true;
            }
            work(walk)
        })
    }

    /// Does two things of which either may be what happens.
    pub(crate) fn either(
        &mut self,
        one: impl FnOnce(&mut Self) -> Output,
        other: impl FnOnce(&mut Self) -> Output,
    ) -> Output {
        let before = self.state.clone();
        let first = one(self);
        let after = std::mem::replace(&mut self.state, before);
        let second = other(self);
        self.merge(after);
        first.or(second)
    }

    /// Does something in a shell of its own: only the files that it writes remain.
    pub(crate) fn apart<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.state.clone();
        let result = work(self);
        let after = std::mem::replace(&mut self.state, before);
        self.keep(after.links, after.files);
        result
    }
}
