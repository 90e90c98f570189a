//! Simple commands, assignments, and calls of functions.

use brush_parser::ast::{
    Assignment, AssignmentName, AssignmentValue, CommandPrefixOrSuffixItem, FunctionBody,
    IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, SimpleCommand, Word,
};

use crate::commands::{is_shell, quote};
use crate::shell::{DEPTH_MAX, Walk};
use crate::state::{Function, Variable};
use crate::value::{Output, Value};

/// Bodies that a function may have.
const BODIES_MAX: usize = 8;

/// Whether a command runs what is running: `$0`, or a shell with it.
fn starts_itself(simple: &SimpleCommand) -> bool {
    let is_zero = |word: &Word| matches!(word.value.trim_matches('"'), "$0" | "${0}");
    let name = simple.word_or_name.as_ref();
    let first = simple.suffix.iter().flat_map(|suffix| &suffix.0).next();
    let of_shell = name.is_some_and(|name| {
        is_shell(name.value.rsplit('/').next().unwrap_or_default())
            && matches!(first, Some(CommandPrefixOrSuffixItem::Word(word)) if is_zero(word))
    });
    of_shell || name.is_some_and(is_zero)
}

impl Walk<'_> {
    pub(crate) fn simple(&mut self, simple: &SimpleCommand) -> Output {
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        let mut argv: Vec<Value> = Vec::new();
        let mut names = 0;
        let mut is_forked = false;
        if let Some(word) = &simple.word_or_name {
            let (values, forked) = self.expand(&word.value);
            names = if forked { values.len() } else { 0 };
            is_forked = forked;
            argv = values;
        }
        let mut assignments: Vec<&Assignment> = Vec::new();
        let mut declared: Vec<&Assignment> = Vec::new();
        let mut redirects: Vec<&IoRedirect> = Vec::new();
        for item in prefix {
            match item {
                CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) => {
                    assignments.push(assignment);
                }
                CommandPrefixOrSuffixItem::IoRedirect(redirect) => redirects.push(redirect),
                CommandPrefixOrSuffixItem::Word(_)
                | CommandPrefixOrSuffixItem::ProcessSubstitution(..) => {}
            }
        }
        for item in suffix {
            match item {
                CommandPrefixOrSuffixItem::IoRedirect(redirect) => redirects.push(redirect),
                CommandPrefixOrSuffixItem::Word(word) => {
                    let (values, forked) = self.expand(&word.value);
                    is_forked |= forked;
                    argv.extend(values);
                }
                CommandPrefixOrSuffixItem::AssignmentWord(assignment, word) => {
                    declared.push(assignment);
                    argv.extend(self.expand(&word.value).0);
                }
                CommandPrefixOrSuffixItem::ProcessSubstitution(_, subshell) => {
                    let output = self.apart(|walk| {
                        walk.state.stdin = Output::Unknown("the output of a command".to_owned());
                        walk.list(&subshell.list)
                    });
                    // The command sees it as a file of this name.
                    self.streams += 1;
                    let path = format!("/dev/fd/guard-{}", self.streams);
                    self.keep_file(path.clone(), output);
                    argv.push(Value::text(path));
                }
            }
        }
        let stdin = self.state.stdin.clone();
        let into = self.redirects(&redirects);
        if argv.is_empty() {
            let output = match redirects.as_slice() {
                [redirect] if assignments.is_empty() => self.read_in(redirect),
                _ => Output::Nothing,
            };
            for assignment in assignments {
                self.assignment(assignment);
            }
            self.state.stdin = stdin;
            return self.written(into, output);
        }
        let before = self.shadowed(&assignments);
        for assignment in assignments {
            self.assignment(assignment);
        }
        let first = argv[0].exact();
        if matches!(
            first.as_deref(),
            Some("export" | "declare" | "local" | "readonly" | "typeset")
        ) {
            self.declare(&argv, &declared);
            self.state.stdin = stdin;
            return self.written(into, Output::Nothing);
        }
        self.without_end(simple);
        self.is_forked = is_forked;
        let mut output = self.invoke(&argv);
        // The word that names the program may be one of several.
        for other in 1..names.min(8) {
            output = output.then(self.invoke(&argv[other..]));
        }
        for (name, known) in before {
            match known {
                Some(known) => drop(self.state.variables.insert(name, known)),
                None => drop(self.state.variables.remove(&name)),
            }
        }
        self.state.stdin = stdin;
        self.written(into, output)
    }

    /// `$(<FILE)`: the file's text.
    fn read_in(&mut self, redirect: &IoRedirect) -> Output {
        let IoRedirect::File(
            None | Some(0),
            IoFileRedirectKind::Read,
            IoFileRedirectTarget::Filename(word),
        ) = redirect
        else {
            return Output::Nothing;
        };
        let mut argv = vec![Value::text("cat")];
        argv.extend(self.expand(&word.value).0);
        self.run(&argv)
    }

    /// `export`, `declare` and their kin.
    fn declare(&mut self, argv: &[Value], declared: &[&Assignment]) {
        let is_global = argv
            .iter()
            .any(|it| it.prefix().starts_with('-') && it.prefix().contains('g'));
        if !self.state.calls.is_empty()
            && !is_global
            && matches!(
                argv[0].exact().as_deref(),
                Some("declare" | "local" | "typeset")
            )
        {
            self.declare_local(argv, declared);
        } else {
            for assignment in declared {
                self.assignment(assignment);
            }
        }
        self.declared(argv);
        let is_reference = argv.iter().any(|value| {
            let text = value.prefix();
            text.starts_with('-') && text.contains('n')
        });
        for assignment in declared {
            if is_reference && let AssignmentName::VariableName(name) = &assignment.name {
                self.assign(name, vec![Value::unknown(format!("${name}"))], false);
            }
        }
    }

    /// Names that are declared within a function are its own.
    fn declare_local(&mut self, argv: &[Value], declared: &[&Assignment]) {
        let names = argv[1..].iter().filter_map(Value::exact);
        for name in names.filter(|name| !name.starts_with(['-', '+']) && !name.contains('=')) {
            self.make_local(&name);
        }
        for assignment in declared {
            let (AssignmentName::VariableName(name) | AssignmentName::ArrayElementName(name, _)) =
                &assignment.name;
            // What it gets may come from the one outside.
            let outer = self.state.variables.get(name).cloned();
            self.make_local(name);
            if let Some(outer) = outer {
                self.state.variables.insert(name.clone(), outer);
            }
            self.assignment(assignment);
        }
    }

    /// Whether a command starts what is running, beside itself.
    fn without_end(&mut self, simple: &SimpleCommand) {
        if self.state.is_parallel && starts_itself(simple) {
            self.refuse("$0", "starts itself again and again, without end");
        }
    }

    /// Variables that a command has values of its own for, as they are without.
    fn shadowed(&self, assignments: &[&Assignment]) -> Vec<(String, Option<Variable>)> {
        assignments
            .iter()
            .filter_map(|assignment| match &assignment.name {
                AssignmentName::VariableName(name) => Some(name.clone()),
                AssignmentName::ArrayElementName(..) => None,
            })
            .map(|name| {
                let known = self.state.variables.get(&name).cloned();
                (name, known)
            })
            .collect()
    }

    pub(crate) fn assignment(&mut self, assignment: &Assignment) {
        let (name, is_element) = match &assignment.name {
            AssignmentName::VariableName(name) => (name, false),
            AssignmentName::ArrayElementName(name, index) => {
                self.arithmetic(index);
                (name, true)
            }
        };
        if let (AssignmentName::ArrayElementName(array, index), AssignmentValue::Scalar(word)) =
            (&assignment.name, &assignment.value)
            && (array == "BASH_CMDS" || array == "BASH_ALIASES")
        {
            // What the name means from here on.
            let (values, name) = (self.whole(&word.value), self.whole(index));
            if let ([value], [name]) = (values.as_slice(), name.as_slice())
                && let (Some(text), Some(name)) = (value.exact(), name.exact())
            {
                self.state.aliases.insert(name, text);
            } else {
                self.ask(array, "which program a name means is not known");
            }
            return;
        }
        let mut variable = match &assignment.value {
            AssignmentValue::Scalar(word) => Variable {
                values: self.scalar(word),
                is_list: is_element,
                is_any: is_element,
                ..Variable::default()
            },
            AssignmentValue::Array(elements) => {
                let mut list = Variable {
                    is_list: true,
                    ..Variable::default()
                };
                for (key, word) in elements {
                    if let Some(key) = key {
                        drop(self.whole(&key.value));
                        list.is_any = true;
                    }
                    let (values, is_forked) = self.expand(&word.value);
                    list.values.extend(values);
                    list.is_any |= is_forked;
                }
                list
            }
        };
        if let Some(known) = self.state.variables.get(name) {
            if is_element || (assignment.append && variable.is_list) {
                // Which one it replaces does not matter: each of them is possible.
                let mut all = known.values.clone();
                all.append(&mut variable.values);
                variable.values = all;
                variable.is_list = true;
                variable.is_any |= known.is_any || known.may_be_unset;
            } else if assignment.append {
                let mut all = Vec::new();
                for first in &known.values {
                    for second in &variable.values {
                        let mut value = first.clone();
                        value.extend(second);
                        all.push(value);
                    }
                }
                variable.values = all;
            }
        }
        self.assign_variable(name, variable);
    }

    /// Names that are declared: with `-i` their values are arithmetic.
    fn declared(&mut self, argv: &[Value]) {
        let is_option = |value: &&Value| value.prefix().starts_with(['-', '+']);
        let is_integer = argv[1..]
            .iter()
            .take_while(is_option)
            .any(|value| value.prefix().starts_with('-') && value.prefix().contains('i'));
        for value in argv[1..].iter().skip_while(is_option) {
            let Some(text) = value.exact() else { continue };
            let (name, body) = text.split_once('=').unwrap_or((&text, ""));
            self.subscript(&Value::text(name));
            if is_integer {
                self.arithmetic(body);
            }
        }
    }

    fn scalar(&mut self, word: &Word) -> Vec<Value> {
        self.whole(&word.value)
    }

    /// A command of the shell: a function or an alias, where the name is one, or a program.
    fn invoke(&mut self, argv: &[Value]) -> Output {
        let Some((name, arguments)) = argv.split_first() else {
            return Output::Nothing;
        };
        let Some(name) = name.exact() else {
            return self.run(argv);
        };
        let Some(function) = self.state.functions.get(&name).cloned() else {
            return self.aliased(&name, argv);
        };
        let call = |walk: &mut Self| walk.call(&name, &function, arguments);
        // A name that is a path is a function for some shells only.
        if function.may_be_program || name.contains('/') {
            self.either(call, |walk| walk.run_if_known(argv))
        } else {
            call(self)
        }
    }

    /// Shells that read a script expand aliases, or do not; both count.
    fn aliased(&mut self, name: &str, argv: &[Value]) -> Output {
        let Some(text) = self.state.aliases.get(name).cloned() else {
            return self.run(argv);
        };
        // It does not expand itself.
        self.state.aliases.remove(name);
        let rest: Vec<String> = argv[1..].iter().map(|it| quote(&it.shown())).collect();
        let script = format!("{text} {}", rest.join(" "));
        let output = self.either(|walk| walk.script(&script), |walk| walk.run_if_known(argv));
        self.state.aliases.insert(name.to_owned(), text);
        output
    }

    /// Calls a function.
    fn call(&mut self, name: &str, function: &Function, arguments: &[Value]) -> Output {
        if self.state.calls.iter().any(|known| known == name) {
            if self.state.is_parallel {
                self.refuse(name, "starts itself again and again, without end");
            }
            return Output::Unknown(format!("the function {name}"));
        }
        if self.state.calls.len() >= DEPTH_MAX || function.bodies.len() > BODIES_MAX {
            self.ask(name, "functions call each other deeply");
            return Output::Unknown(format!("the function {name}"));
        }
        let positional = self.state.positional.take();
        let locals = std::mem::take(&mut self.state.locals);
        self.pass(arguments.to_vec());
        self.state.calls.push(name.to_owned());
        let before = self.state.clone();
        let mut output: Option<Output> = None;
        for body in &function.bodies {
            let enter = |walk: &mut Self| {
                let FunctionBody(compound, redirects) = &*body.tree;
                walk.redirected(redirects.as_ref(), |walk| walk.compound(compound))
            };
            output = Some(match output {
                None => enter(self),
                Some(output) => {
                    let after = std::mem::replace(&mut self.state, before.clone());
                    let other = enter(self);
                    self.merge(after);
                    output.or(other)
                }
            });
        }
        self.end_locals();
        self.state.calls.pop();
        self.state.locals = locals;
        self.state.positional = positional;
        output.unwrap_or(Output::Nothing)
    }
}
