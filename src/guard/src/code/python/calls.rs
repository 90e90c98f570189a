//! Calls: of the library's functions, of methods, and of the code's own functions.

use std::rc::Rc;

use ruff_python_ast::{Expr, ExprCall};

use super::library::{self, Does};
use super::value::{Function, Val, join, parent};
use super::{CALLS_MAX, Python, judge_in};
use crate::findings::Act;
use crate::value::{Output, Part, Value};

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

    fn of(all: Vec<Val>) -> Self {
        Self {
            all,
            named: Vec::new(),
        }
    }

    /// Without the first argument.
    fn rest(&self) -> Self {
        Self {
            all: self.all.iter().skip(1).cloned().collect(),
            named: self.named.clone(),
        }
    }
}

const PATH: &[&str] = &["path", "file", "filename", "name", "src", "source", "fname"];
const TARGET: &[&str] = &["dst", "filename", "dest", "extract_dir", "f"];

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
        self.call(&function, &given)
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
    fn call_back(&mut self, function: &Val, given: &Given) {
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
        self.scope = before;
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

    /// Calls a function of the library.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    fn library(&mut self, does: Does, name: &str, given: &Given) -> Val {
        let first = given.at(0, PATH).unwrap_or(Val::Plain);
        match does {
            Does::Remove => self.act(Act::Remove, &first, name),
            Does::Write => {
                self.act(Act::Write, &first, name);
                if matches!(name, "write_text" | "write_bytes") {
                    let content = given
                        .at(1, &["data"])
                        .map_or(Output::Nothing, |it| it.output());
                    self.keep(&first, content);
                }
            }
            Does::Create => self.act(Act::Create, &first, name),
            Does::Change => self.act(Act::Change, &first, name),
            Does::WriteSecond => {
                let second = given.at(1, TARGET).unwrap_or_else(|| Val::text("."));
                self.act(Act::Write, &second, name);
                if name.contains("urlretrieve") {
                    self.keep(&second, Output::Unknown("what was downloaded".to_owned()));
                }
                return second;
            }
            Does::Move => {
                self.act(Act::Remove, &first, name);
                let second = given.at(1, &["dst", "target"]).unwrap_or(Val::Plain);
                self.act(Act::Write, &second, name);
            }
            Does::Link => {
                let second = given.at(1, &["dst"]).unwrap_or(Val::Plain);
                self.act(Act::Create, &second, name);
                if let (Some(to), Val::Text(from)) = (first.exact(), &second)
                    && let Some(from) = self.walk.path(from)
                {
                    self.walk.state.links.insert(from, to);
                }
            }
            Does::Open => {
                let mode = given.at(1, &["mode"]);
                let writes = match &mode {
                    None => false,
                    Some(mode) => match mode.exact() {
                        Some(mode) => mode.contains(['w', 'a', 'x', '+']),
                        None => matches!(mode, Val::Unknown(_) | Val::Either(_)),
                    },
                };
                if writes {
                    self.act(Act::Write, &first, name);
                    self.keep(&first, Output::Nothing);
                }
                return first;
            }
            Does::OpenFlags => {
                let flags = given.at(1, &["flags"]).unwrap_or(Val::Plain);
                let reads = matches!(&flags, Val::Named(name) if name == "os.O_RDONLY")
                    || flags.number() == Some(0);
                if !reads {
                    self.act(Act::Write, &first, name);
                }
            }
            Does::Run => {
                return self.run(
                    &given.at(0, &["args", "cmd"]).unwrap_or(Val::Plain),
                    name,
                    given,
                );
            }
            Does::RunWords => {
                let words = given.all.get(1..).unwrap_or_default();
                // The first word is what the program is told of its name.
                let words = if name.starts_with("os.") {
                    words.get(1..).unwrap_or_default()
                } else {
                    words
                };
                self.run_words(&first, words);
            }
            Does::RunList => {
                let words = match given.all.get(1) {
                    Some(Val::List(words)) => words.get(1..).unwrap_or_default().to_vec(),
                    _ => vec![Val::unknown("an argument")],
                };
                self.run_words(&first, &words);
            }
            Does::SpawnWords => {
                let program = given.all.get(1).cloned().unwrap_or(Val::Plain);
                let words = given.all.get(3..).unwrap_or_default();
                self.run_words(&program, words);
            }
            Does::SpawnList => {
                let program = given.all.get(1).cloned().unwrap_or(Val::Plain);
                let words = match given.all.get(2) {
                    Some(Val::List(words)) => words.get(1..).unwrap_or_default().to_vec(),
                    _ => vec![Val::unknown("an argument")],
                };
                self.run_words(&program, &words);
            }
            Does::Evaluate => {
                return self.evaluate(
                    &given.at(0, &["stmt", "source"]).unwrap_or(Val::Plain),
                    name,
                );
            }
            Does::RunFile => {
                let content = match &first {
                    Val::Text(path) => self.content(path),
                    other => other.clone(),
                };
                return self.evaluate(&content, name);
            }
            Does::ChangeDirectory => match &first {
                Val::Text(path) => self.walk.change_directory(path),
                Val::Plain => {}
                other => {
                    let word = other.word();
                    self.walk.change_directory(&word);
                }
            },
            Does::Import => {
                return match first.exact() {
                    // `__import__("os.path")` gives `os`.
                    Some(module) if name == "__import__" => {
                        Val::Named(module.split('.').next().unwrap_or_default().to_owned())
                    }
                    Some(module) => Val::Named(module),
                    None => Val::Dynamic,
                };
            }
            Does::List => {
                let root = match given.all.first() {
                    Some(root) => root.word(),
                    None => Value::text("."),
                };
                let inner = if name == "os.scandir" {
                    join(&root, &Value::name())
                } else {
                    Value::name()
                };
                return Val::List(vec![Val::Text(inner)]);
            }
            Does::Glob => {
                let root = given.named(&["root_dir"]);
                let all = first.each().into_iter().map(|pattern| match &root {
                    Some(root) => Val::Text(join(&root.word(), &pattern.word())),
                    None => Val::Text(pattern.word()),
                });
                return Val::List(all.collect());
            }
            Does::WalkTree => {
                let mut roots = Vec::new();
                for root in first.each() {
                    roots.push(Val::List(vec![
                        Val::Text(join(&root.word(), &Value::name())),
                        Val::List(vec![Val::Text(Value::name())]),
                        Val::List(vec![Val::Text(Value::name())]),
                    ]));
                }
                return Val::List(roots);
            }
            Does::Join => {
                let mut all = vec![Value::default()];
                for next in &given.all {
                    let mut longer = Vec::new();
                    for base in &all {
                        for next in next.each() {
                            longer.push(join(base, &next.word()));
                        }
                    }
                    longer.truncate(16);
                    all = longer;
                }
                if given.all.is_empty() {
                    all = vec![Value::text(".")];
                }
                return all.into_iter().map(Val::Text).fold(Val::Plain, Val::or);
            }
            Does::Same => {
                return match &first {
                    Val::Text(path) => Val::Text(self.at_home(path)),
                    Val::Plain | Val::Number(_) => Val::Text(first.word()),
                    other => other.clone(),
                };
            }
            Does::Parent => {
                return match &first {
                    Val::Text(path) => Val::Text(parent(path)),
                    other => other.clone(),
                };
            }
            Does::LastName => {
                return match first.exact() {
                    Some(text) => Val::text(text.rsplit('/').next().unwrap_or(&text)),
                    None => Val::Text(Value::name()),
                };
            }
            Does::Variable => {
                let default = given.at(1, &["default"]);
                return match first.exact() {
                    Some(key) => self.variable(&key, default),
                    None => Val::unknown("a variable of the environment"),
                };
            }
            Does::Here => {
                return match self.walk.state.cwd.as_slice() {
                    [Some(one)] => Val::text(one.clone()),
                    _ => Val::unknown("the directory"),
                };
            }
            Does::Home => return Val::text(self.walk.context.home.clone()),
            Does::Temporary => {
                return match name {
                    "tempfile.gettempdir" => Val::text("/tmp"),
                    "tempfile.mkstemp" => Val::List(vec![Val::Plain, Val::Text(Value::below())]),
                    _ => match given.named(&["dir"]) {
                        Some(dir @ Val::Text(_)) => {
                            self.act(Act::Create, &dir, name);
                            Val::Text(Value::below())
                        }
                        _ => Val::Text(Value::below()),
                    },
                };
            }
            Does::Kill => match first.number() {
                Some(1) => self
                    .walk
                    .refuse(self.shown, "ends the first process of the sandbox"),
                Some(-1) => self
                    .walk
                    .refuse(self.shown, "ends every process that it can reach"),
                _ => {}
            },
            Does::Fork => {
                if self.loops > 0 {
                    self.walk
                        .refuse(self.shown, "starts itself again and again, without end");
                }
            }
            Does::Attribute => {
                if matches!(name, "globals" | "locals") {
                    return Val::Named("builtins.__dict__".to_owned());
                }
                if name == "vars" {
                    return match &first {
                        Val::Named(module) => Val::Named(format!("{module}.__dict__")),
                        _ => Val::unknown("a value"),
                    };
                }
                if name != "getattr" {
                    return Val::unknown("a value");
                }
                let last = given.all.get(1).cloned().unwrap_or(Val::Plain);
                return match (&first, last.exact()) {
                    (_, Some(last)) => super::expr::attribute(&first, &last),
                    (Val::Named(module), None) if is_of_system(module) => Val::Dynamic,
                    _ => Val::unknown("an attribute"),
                };
            }
            // What needs decoding is not to be read: whoever hides it is asked about it.
            Does::Decode => return Val::unknown("a decoded text"),
            Does::Apply => {
                let elements: Vec<Val> = given.all.iter().skip(1).map(Val::element).collect();
                let result = self.call(&first, &Given::of(elements.clone()));
                return Val::List(vec![if name == "filter" {
                    elements.into_iter().next().unwrap_or(Val::Plain)
                } else {
                    result
                }]);
            }
            Does::Partial => {
                return Val::Partial(Box::new(first), given.rest().all);
            }
            Does::Text => {
                return match name {
                    "bytes" | "bytearray" => match first {
                        Val::List(items) => {
                            let chars = items
                                .iter()
                                .map(|item| char::from_u32(u32::try_from(item.number()?).ok()?));
                            chars
                                .collect::<Option<String>>()
                                .map_or_else(|| Val::unknown("a text made of numbers"), Val::text)
                        }
                        other => other,
                    },
                    "chr" => match first
                        .number()
                        .and_then(|n| char::from_u32(u32::try_from(n).ok()?))
                    {
                        Some(c) => Val::text(c.to_string()),
                        None => Val::unknown("a text made of numbers"),
                    },
                    "textwrap.dedent" => first,
                    "shlex.split" => match first.exact() {
                        Some(text) => Val::List(text.split_whitespace().map(Val::text).collect()),
                        None => Val::unknown("words of a text"),
                    },
                    _ => Val::unknown("what is typed"),
                };
            }
            Does::Plain => {}
            Does::Elements => {
                return match name {
                    "enumerate" => Val::List(vec![Val::List(vec![Val::Plain, first.element()])]),
                    "zip" => Val::List(vec![Val::List(
                        given.all.iter().map(Val::element).collect(),
                    )]),
                    "max" | "min" | "next" | "random.choice" => first.element(),
                    "itertools.chain" => {
                        let all = given.all.iter().map(Val::element);
                        Val::List(vec![all.fold(Val::Plain, Val::or)])
                    }
                    _ => match first {
                        Val::Plain => Val::List(Vec::new()),
                        list @ Val::List(_) => list,
                        other => Val::List(vec![other.element()]),
                    },
                };
            }
            Does::Edit => {
                if given.named(&["inplace"]).is_some() {
                    let files = given.at(0, &["files"]).unwrap_or(Val::Plain);
                    let files = match files {
                        Val::List(_) => files.element(),
                        other => other,
                    };
                    self.act(Act::Write, &files, name);
                }
            }
        }
        Val::Plain
    }

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

    fn keep(&mut self, path: &Val, content: Output) {
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

    /// A program is run: a text by a shell, a list as it is.
    fn run(&mut self, command: &Val, name: &str, given: &Given) -> Val {
        let stdin = given.named(&["input"]);
        let cwd = given.named(&["cwd"]);
        let before = (self.walk.state.stdin.clone(), self.walk.state.cwd.clone());
        if let Some(stdin) = stdin {
            self.walk.state.stdin = stdin.output();
        }
        if let Some(Val::Text(cwd)) = cwd {
            self.walk.change_directory(&cwd);
        }
        for command in command.each() {
            match command {
                Val::Text(text) => {
                    if let Some(text) = text_of(text) {
                        self.walk.text_as_script_of(&text, self.shown);
                    } else {
                        let why = format!("what `{name}` runs is not known");
                        self.walk.ask(self.shown, &why);
                    }
                }
                Val::List(words) => {
                    if let Some((program, words)) = words.split_first() {
                        self.run_words(program, words);
                    }
                }
                Val::Plain => {}
                _ => {
                    let why = format!("what `{name}` runs is not known");
                    self.walk.ask(self.shown, &why);
                }
            }
        }
        (self.walk.state.stdin, self.walk.state.cwd) = before;
        Val::unknown("the output of a program")
    }

    fn run_words(&mut self, program: &Val, words: &[Val]) {
        if !self.walk.enter() {
            return;
        }
        let count = words.iter().map(|word| word.each().len()).max();
        // Words that may be several things: one after the other.
        for at in 0..count.unwrap_or(1).clamp(1, 8) {
            let mut argv = vec![program.word()];
            for word in words {
                let all = word.each();
                match all.get(at % all.len().max(1)) {
                    Some(Val::List(items)) => argv.extend(items.iter().map(Val::word)),
                    Some(word) => argv.push(word.word()),
                    None => {}
                }
            }
            drop(self.walk.apart(|walk| walk.run(&argv)));
        }
        self.walk.leave();
    }

    /// Code that is a value.
    fn evaluate(&mut self, code: &Val, name: &str) -> Val {
        for code in code.each() {
            match code {
                Val::Text(text) => {
                    if let Some(text) = text.exact() {
                        let scope = self.scope.clone();
                        if let Some(after) = judge_in(self.walk, &text, scope, self.shown) {
                            self.scope = after;
                        }
                    } else {
                        let why = format!("what `{name}` runs is not known");
                        self.walk.ask(self.shown, &why);
                    }
                }
                // A program of the workspace, or what nobody passes.
                Val::File | Val::Plain | Val::Function(_) => {}
                _ => {
                    let why = format!("what `{name}` runs is not known");
                    self.walk.ask(self.shown, &why);
                }
            }
        }
        match code {
            Val::Text(_) if name != "compile" => Val::Named("builtins".to_owned()),
            Val::Text(_) => Val::Plain,
            other => other.clone(),
        }
    }
}

/// A text for a shell, in which what is not known stands for a word of its own.
fn text_of(value: &Value) -> Option<String> {
    let mut text = String::new();
    for (index, part) in value.0.iter().enumerate() {
        match part {
            Part::Text(part) | Part::Glob(part) => text.push_str(part),
            Part::Name | Part::Job => text.push('0'),
            Part::Below => text.push_str("./found"),
            // Which program it is must be known.
            Part::Unknown(_) if index == 0 => return None,
            // Within single quotes nothing is expanded.
            Part::Unknown(_) if text.matches('\'').count() % 2 == 1 => {
                text.push_str("'\"$GUARD_UNKNOWN\"'");
            }
            Part::Unknown(_) => text.push_str("$GUARD_UNKNOWN"),
        }
    }
    Some(text)
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

fn is_of_system(module: &str) -> bool {
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
