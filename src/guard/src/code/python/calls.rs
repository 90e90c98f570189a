//! Calls: of the library's functions, of methods, and of the code's own functions.

use std::rc::Rc;

use ruff_python_ast::{Expr, ExprCall};

use super::effects::PATH;
use super::library::{self, Does};
use super::value::{Function, Val};
use super::{CALLS_MAX, Python, dotted};
use crate::value::Value;

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) all: Vec<Val>,
    pub(super) named: Vec<(String, Val)>,
}

impl Given {
    /// The argument at a place, or of one of these names.
    pub(super) fn at(&self, at: usize, names: &[&str]) -> Option<Val> {
        self.all.get(at).cloned().or_else(|| self.named(names))
    }

    pub(super) fn named(&self, names: &[&str]) -> Option<Val> {
        let found = self
            .named
            .iter()
            .find(|(name, _)| names.contains(&name.as_str()));
        found.map(|(_, value)| value.clone())
    }

    pub(super) fn of(all: Vec<Val>) -> Self {
        Self {
            all,
            named: Vec::new(),
        }
    }

    /// Without the first argument.
    pub(super) fn rest(&self) -> Self {
        Self {
            all: self.all.iter().skip(1).cloned().collect(),
            named: self.named.clone(),
        }
    }
}

impl Python<'_, '_> {
    pub(super) fn call_expr(&mut self, call: &ExprCall) -> Val {
        let function = self.eval(&call.func);
        let mut given = Given::default();
        for argument in &call.arguments.args {
            let value = self.eval(argument);
            match (argument, value) {
                (Expr::Starred(_), Val::List(items)) => given.all.extend(items),
                (_, value) => given.all.push(value),
            }
        }
        for keyword in &call.arguments.keywords {
            let value = self.eval(&keyword.value);
            if let Some(name) = &keyword.arg {
                given.named.push((name.to_string(), value));
            }
        }
        let since = self.added.len();
        let result = self.call(&function, &given);
        if let Val::Function(function) = &function {
            // Lists that were passed, and have grown there.
            let names = call.arguments.args.iter().map(dotted);
            let passed: Vec<(String, String)> = function
                .positional()
                .into_iter()
                .zip(names)
                .filter_map(|(parameter, name)| Some((parameter, name?)))
                .collect();
            for (parameter, value) in std::mem::take(&mut self.of_parameters) {
                for (_, name) in passed.iter().filter(|(known, _)| *known == parameter) {
                    self.add_to(name.clone(), value.clone());
                }
            }
        } else if self.added.len() == since {
            self.added(call, &given);
        }
        result
    }

    /// Calls something.
    pub(super) fn call(&mut self, function: &Val, given: &Given) -> Val {
        if self.is_exhausted() {
            return Val::unknown("a value");
        }
        let result = match function {
            Val::Either(all) => {
                let all: Vec<Val> = all.iter().map(|one| self.call(one, given)).collect();
                all.into_iter().fold(Val::Plain, Val::or)
            }
            Val::Named(name) => self.call_named(name, given),
            Val::Method(object, name) => self.call_method(object, name, given),
            Val::Function(function) => self.call_function(&function.clone(), given),
            Val::Partial(function, first) => {
                let mut all = first.clone();
                all.extend(given.all.iter().cloned());
                let given = Given {
                    all,
                    named: given.named.clone(),
                };
                return self.call(function, &given);
            }
            Val::Dynamic => {
                self.walk
                    .ask(self.shown, "which function it calls is not known");
                Val::unknown("a value")
            }
            Val::Text(_)
            | Val::List(_)
            | Val::Number(_)
            | Val::Plain
            | Val::File
            | Val::Unknown(_) => Val::unknown("a value"),
        };
        self.call_back(function, given);
        result
    }

    /// Functions that are passed on are called by what gets them, with what comes beside them.
    pub(super) fn call_back(&mut self, function: &Val, given: &Given) {
        if matches!(function, Val::Function(_) | Val::Partial(..)) {
            return;
        }
        if let Val::Named(name) = function
            && matches!(library::does(name), Some(Does::Apply | Does::Partial))
        {
            return;
        }
        let is_map =
            matches!(function, Val::Method(_, name) if name.contains("map") || name == "apply");
        if let Some(target) = given.named(&["target", "func", "function", "onerror", "key"]) {
            let arguments = match given.named(&["args"]) {
                Some(Val::List(items)) => items,
                _ => Vec::new(),
            };
            if is_callable(&target) && !arguments.is_empty() {
                self.call(&target, &Given::of(arguments));
            }
        }
        for (at, value) in given.all.iter().enumerate() {
            if is_callable(value) {
                let rest = given.all[at + 1..].to_vec();
                let rest = if is_map {
                    rest.iter().map(Val::element).collect()
                } else {
                    rest
                };
                if !rest.is_empty() {
                    self.call(value, &Given::of(rest));
                }
            }
        }
    }

    /// Calls a function of the code.
    fn call_function(&mut self, function: &Rc<Function>, given: &Given) -> Val {
        self.waiting
            .retain(|waiting| !Rc::ptr_eq(waiting, function));
        if self.calls.len() >= CALLS_MAX || self.calls.contains(&function.name) {
            return Val::unknown(format!("the result of `{}`", function.name));
        }
        self.enter_function(function, Some(given))
    }

    /// Walks a function's body; without arguments its parameters decide nothing.
    pub(super) fn enter_function(&mut self, function: &Function, given: Option<&Given>) -> Val {
        let before = self.scope.clone();
        let since = self.added.len();
        let mut values = given
            .map(|given| given.all.clone())
            .unwrap_or_default()
            .into_iter();
        if let Some(parameters) = &function.parameters {
            let all = parameters.posonlyargs.iter().chain(&parameters.args);
            let is_method = parameters
                .args
                .first()
                .is_some_and(|first| matches!(first.parameter.name.as_str(), "self" | "cls"));
            for (at, parameter) in all.chain(&parameters.kwonlyargs).enumerate() {
                let name = parameter.parameter.name.to_string();
                if at == 0 && is_method {
                    self.scope.insert(name, Val::unknown("an object"));
                    continue;
                }
                let passed = given.and_then(|given| given.named(&[name.as_str()]));
                let passed = passed.or_else(|| values.next());
                let default = function.defaults.get(&name).cloned();
                let value = match given {
                    Some(_) => passed
                        .or(default)
                        .unwrap_or_else(|| Val::unknown(format!("`{name}`"))),
                    // Nobody calls it: only what it says itself counts.
                    None => default.unwrap_or(Val::Plain),
                };
                self.scope.insert(name, value);
            }
            if let Some(rest) = &parameters.vararg {
                self.scope
                    .insert(rest.name.to_string(), Val::List(values.collect()));
            }
            if let Some(rest) = &parameters.kwarg {
                self.scope.insert(rest.name.to_string(), Val::Plain);
            }
        }
        self.calls.push(function.name.clone());
        let returned = self.returned.take();
        let branches = std::mem::take(&mut self.branches);
        self.block(&function.body);
        let mut result = self.returned.take().unwrap_or(Val::Plain);
        if let Some(expr) = &function.expr {
            result = self.eval(expr);
        }
        self.branches = branches;
        self.returned = returned;
        self.calls.pop();
        // What an object keeps remains.
        let kept: Vec<(String, Val)> = self
            .scope
            .iter()
            .filter(|(name, _)| name.starts_with("self."))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.of_parameters = self.go_back(before, &function.all_parameters(), since);
        self.scope.extend(kept);
        result
    }

    fn call_method(&mut self, object: &Val, name: &str, given: &Given) -> Val {
        if name == "parse_args" {
            // Its attributes are arguments of the command line: any of them.
            let argv = match self.scope.get("sys.argv") {
                Some(Val::List(argv)) => argv.get(1..).unwrap_or_default(),
                _ => &[],
            };
            let is_option = |value: &&Val| value.word().prefix().starts_with('-');
            return Val::List(argv.iter().filter(|it| !is_option(it)).cloned().collect());
        }
        if let Some(function) = self.methods.get(name).cloned()
            && !matches!(object, Val::Text(_) | Val::List(_))
        {
            return self.call_function(&function, given);
        }
        match object {
            Val::Text(path) => {
                if let Some(does) = library::does_to_path(name)
                    // Texts are replaced in texts.
                    && !(name == "replace" && given.all.len() != 1)
                {
                    let mut all = vec![object.clone()];
                    all.extend(given.all.iter().cloned());
                    let given = Given {
                        all,
                        named: given.named.clone(),
                    };
                    return self.library(does, name, &given);
                }
                self.text_method(path, name, given)
            }
            Val::List(items) => match name {
                "append" | "add" | "remove" | "clear" | "sort" | "insert" | "extend" | "update" => {
                    Val::Plain
                }
                "pop" | "get" | "popleft" => object.element(),
                "items" => Val::List(vec![Val::List(vec![
                    Val::Text(Value::name()),
                    object.element(),
                ])]),
                _ => Val::List(items.clone()),
            },
            Val::File => match name {
                "read" | "read_text" | "decode" => Val::File,
                "readlines" | "splitlines" | "split" | "strip" => Val::unknown("a line of a file"),
                _ => Val::unknown("the content of a file"),
            },
            Val::Unknown(_) | Val::Dynamic | Val::Method(..) | Val::Partial(..) | Val::Named(_) => {
                let is_path_method =
                    matches!(name, "unlink" | "rmdir" | "write_text" | "write_bytes");
                if is_path_method && !matches!(object, Val::Named(_)) {
                    let given = Given::of(vec![object.clone()]);
                    let does = library::does_to_path(name).unwrap_or(Does::Remove);
                    return self.library(does, name, &given);
                }
                let has_shell = given.named(&["shell"]).is_some();
                if has_shell {
                    return self.library(Does::Run, name, given);
                }
                if let Some(does) = library::does_anywhere(name) {
                    let path = given.at(0, PATH);
                    if does == Does::Run
                        || path
                            .as_ref()
                            .is_some_and(|path| matches!(path, Val::Text(_) | Val::Either(_)))
                    {
                        return self.library(does, name, given);
                    }
                }
                if name == "communicate" || name == "read" {
                    return Val::unknown("the output of a program");
                }
                Val::unknown(format!("the result of `{name}`"))
            }
            Val::Number(_) | Val::Plain | Val::Either(_) | Val::Function(_) => Val::Plain,
        }
    }

    fn call_named(&mut self, name: &str, given: &Given) -> Val {
        if let Some(does) = library::does(name) {
            return self.library(does, name, given);
        }
        let (object, last) = name.rsplit_once('.').unwrap_or(("", name));
        if last == "dup2" && self.scope.contains_key("socket") {
            self.walk
                .refuse(self.shown, "lets another machine run commands here");
        }
        if object.is_empty() {
            return Val::unknown(format!("the result of `{name}`"));
        }
        self.call_method(&Val::Named(object.to_owned()), last, given)
    }
}

pub(super) fn is_of_system(module: &str) -> bool {
    matches!(
        module,
        "os" | "shutil" | "subprocess" | "builtins" | "__builtins__" | "pathlib" | "posix" | "pty"
    )
}

/// Whether a value is a function that does something to what it is given.
fn is_callable(value: &Val) -> bool {
    match value {
        Val::Function(_) | Val::Partial(..) => true,
        Val::Named(name) => library::does(name).is_some_and(|does| {
            matches!(
                does,
                Does::Remove
                    | Does::Write
                    | Does::Create
                    | Does::Move
                    | Does::Change
                    | Does::WriteSecond
                    | Does::Run
                    | Does::Evaluate
            )
        }),
        _ => false,
    }
}
