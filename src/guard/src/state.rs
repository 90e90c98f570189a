//! What a shell knows at one point.

use std::collections::HashMap;
use std::rc::Rc;

use brush_parser::ast::FunctionBody;

use crate::Context;
use crate::merge::ALTERNATIVES_MAX;
use crate::place::{Directories, Place};
use crate::shell::Walk;
use crate::value::{Output, Part, VALUES_MAX, Value};

/// Bytes of variables and files that are kept in one walk: subshells copy them.
const KEPT_MAX: usize = 1 << 20;
/// A variable: its possible values, or those of its elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) values: Vec<Value>,
    pub(crate) is_list: bool,
    /// Whether it is not known which element stands where.
    pub(crate) is_any: bool,
    /// Whether it is set only on some of the ways to this point.
    pub(crate) may_be_unset: bool,
}

/// `$1` and what follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positional {
    pub(crate) values: Vec<Value>,
    /// Whether it is not known which of them stands where.
    pub(crate) is_any: bool,
}

/// A variable that a function has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) name: String,
    /// What it is outside the function.
    pub(crate) before: Option<Variable>,
    /// Whether it is one on each of the ways to this point.
    pub(crate) is_certain: bool,
}

/// The body of a function.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) tree: Rc<FunctionBody>,
    shown: Rc<str>,
}

impl Body {
    pub(crate) fn new(tree: &FunctionBody) -> Self {
        Self {
            shown: tree.to_string().into(),
            tree: Rc::new(tree.clone()),
        }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

/// What a name of a function stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    /// The bodies that it may have.
    pub(crate) bodies: Vec<Body>,
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
    pub(crate) positional: Option<Positional>,
    pub(crate) stdin: Output,
    pub(crate) aliases: HashMap<String, String>,
    pub(crate) functions: HashMap<String, Function>,
    /// Links that the command made: from where, to where.
    pub(crate) links: HashMap<String, String>,
    /// Files that the command wrote, and what is in them.
    pub(crate) files: HashMap<String, Output>,
    /// The functions in which this point lies.
    pub(crate) calls: Vec<String>,
    /// The variables of the innermost of them.
    pub(crate) locals: Vec<Local>,
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
                    ..Variable::default()
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
            locals: Vec::new(),
            is_parallel: false,
            is_within_program: false,
        }
    }
}

impl Walk<'_> {
    pub(crate) fn assign(&mut self, name: &str, values: Vec<Value>, is_list: bool) {
        self.assign_variable(
            name,
            Variable {
                values,
                is_list,
                ..Variable::default()
            },
        );
    }

    pub(crate) fn assign_variable(&mut self, name: &str, mut variable: Variable) {
        self.obeyed(name, &variable.values);
        let size = variable.values.iter().map(Value::size).sum();
        if variable.values.len() > VALUES_MAX || !self.can_keep(size) {
            variable.values = vec![Value::unknown(format!("${name}"))];
        }
        self.state.variables.insert(name.to_owned(), variable);
    }

    /// Gives these to `$1` and what follows.
    pub(crate) fn pass(&mut self, values: Vec<Value>) {
        let is_any = self.is_forked;
        self.state.positional = Some(Positional { values, is_any });
    }

    /// A variable becomes one of the function that is running.
    pub(crate) fn make_local(&mut self, name: &str) {
        if self.state.locals.iter().any(|local| local.name == name) {
            return;
        }
        let before = self.state.variables.remove(name);
        self.state.locals.push(Local {
            name: name.to_owned(),
            before,
            is_certain: true,
        });
    }

    /// Takes away the variables of a function that has ended.
    pub(crate) fn end_locals(&mut self) {
        for local in std::mem::take(&mut self.state.locals) {
            let inner = self.state.variables.remove(&local.name);
            let outer = match (local.before, inner) {
                (Some(mut before), Some(inner)) if !local.is_certain => {
                    before.merge(inner, &local.name);
                    Some(before)
                }
                (None, inner) if !local.is_certain => inner,
                (before, _) => before,
            };
            if let Some(outer) = outer {
                self.state.variables.insert(local.name, outer);
            }
        }
    }

    /// Whether so many more bytes may be kept.
    pub(crate) fn can_keep(&mut self, size: usize) -> bool {
        self.kept = self.kept.saturating_add(size);
        self.kept <= KEPT_MAX
    }

    /// Keeps what is written into a file, behind what the command has written there before.
    pub(crate) fn write_file(&mut self, path: String, content: Output, appends: bool) {
        let content = if self.can_keep(content.size() + path.len()) {
            content
        } else {
            Output::Unknown("a long text".to_owned())
        };
        let before = self.state.files.remove(&path).filter(|_| appends);
        let content = before.unwrap_or(Output::Nothing).then(content);
        self.state.files.insert(path, content);
    }

    /// Keeps what is written into a file of the command's own.
    pub(crate) fn keep_file(&mut self, path: String, content: Output) {
        self.write_file(path, content, false);
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
