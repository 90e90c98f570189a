//! Walks a command as a shell would, with values that may be unknown.

use std::collections::HashMap;
use std::rc::Rc;

use brush_parser::ast::{
    AndOr, Assignment, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem,
    CompoundCommand, CompoundList, ExtendedTestExpr, FunctionBody, IoFileRedirectKind,
    IoFileRedirectTarget, IoRedirect, Pipeline, Program, RedirectList, SeparatorOperator,
    SimpleCommand, Word,
};

use crate::judge::{Unreadable, parse};
use crate::place::{Directories, Place, places};
use crate::value::{Output, Part, VALUES_MAX, Value};
use crate::verdict::FINDINGS_MAX;
use crate::{Context, Decision, Finding, Verdict};

/// Simple commands that are looked at, loops and functions unrolled.
const STEPS_MAX: usize = 5_000;
/// Scripts within scripts, functions within functions.
const DEPTH_MAX: usize = 24;
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

/// What a shell knows at one point.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) variables: HashMap<String, Variable>,
    pub(crate) cwd: Directories,
    pub(crate) cwd_before: Directories,
    pub(crate) positional: Option<Vec<Value>>,
    pub(crate) stdin: Output,
    pub(crate) aliases: HashMap<String, String>,
    functions: HashMap<String, Rc<FunctionBody>>,
    /// Links that the command made: from where, to where.
    pub(crate) links: HashMap<String, String>,
    /// Files that the command wrote, and what is in them.
    pub(crate) files: HashMap<String, Output>,
    /// The functions in which this point lies.
    calls: Vec<String>,
    /// Whether it runs beside something else of this command.
    is_parallel: bool,
}

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Remove,
    Write,
    Change,
    Create,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Self::Remove => "removes",
            Self::Write => "writes to",
            Self::Change => "changes the mode or owner of",
            Self::Create => "creates",
        }
    }
}

/// The walk through one command.
pub(crate) struct Walk<'a> {
    pub(crate) context: &'a Context,
    pub(crate) state: State,
    findings: Vec<Finding>,
    pub(crate) steps: usize,
    depth: usize,
    streams: usize,
    kept: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
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
            context,
            state: State {
                variables,
                cwd_before: cwd.clone(),
                cwd,
                positional: None,
                stdin: Output::Nothing,
                aliases: HashMap::new(),
                functions: HashMap::new(),
                links: HashMap::new(),
                files: HashMap::new(),
                calls: Vec::new(),
                is_parallel: false,
            },
            findings: Vec::new(),
            steps: 0,
            depth: 0,
            streams: 0,
            kept: 0,
        }
    }

    pub(crate) fn verdict(self) -> Verdict {
        Verdict::of(self.findings)
    }

    // --- Findings ---

    pub(crate) fn find(
        &mut self,
        decision: Decision,
        reason: String,
        command: &str,
        path: Option<String>,
    ) {
        let finding = Finding {
            decision,
            reason,
            command: shorten(command),
            path,
        };
        if self.findings.contains(&finding) {
            return;
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else if self.findings.iter().all(|known| known.decision < decision) {
            self.findings.pop();
            self.findings.push(finding);
        }
    }

    /// What a part of the command does cannot be told.
    pub(crate) fn ask(&mut self, command: &str, why: &str) {
        let reason = format!("cannot tell what `{}` changes: {why}", shorten(command));
        self.find(Decision::Ask, reason, command, None);
    }

    /// A part of the command does something that is not about a path.
    pub(crate) fn refuse(&mut self, command: &str, what: &str) {
        let reason = format!("`{}` {what}", shorten(command));
        self.find(Decision::Refuse, reason, command, None);
    }

    pub(crate) fn places(&self, value: &Value) -> Vec<Place> {
        places(value, &self.state.cwd, &self.state.links, self.context)
    }

    /// A path's plain form, when it is known exactly.
    pub(crate) fn path(&self, value: &Value) -> Option<String> {
        value.exact()?;
        match self.places(value).as_slice() {
            [
                Place::Inside(path)
                | Place::Scratch(path)
                | Place::HomeItself(path)
                | Place::Home(path, _)
                | Place::Outside(path),
            ] => Some(path.clone()),
            _ => None,
        }
    }

    /// Something is done to a path.
    #[expect(
        clippy::match_same_arms,
        reason = "in the order of the places, what is refused first"
    )]
    pub(crate) fn act(&mut self, act: Act, value: &Value, command: &str) {
        let mut target = value.clone();
        if act != Act::Remove && !target.0.is_empty() {
            // What is at the end of a link is meant.
            target.push(Part::Text("/".to_owned()));
        }
        let shown = shorten(command);
        let verb = act.verb();
        let removes = act == Act::Remove;
        for place in self.places(&target) {
            let (decision, path, why) = match place {
                Place::Stream => continue,
                Place::Inside(path) => (Decision::Allow, path, ""),
                Place::Scratch(path) if removes => {
                    (Decision::Refuse, path, ", the scratch directory itself")
                }
                Place::Scratch(path) => (Decision::Allow, path, ""),
                Place::HomeItself(path) if removes => {
                    (Decision::Refuse, path, ", the whole home directory")
                }
                Place::HomeItself(path) => (Decision::Allow, path, ""),
                Place::Home(path, rest) if is_obeyed(&rest) => (
                    Decision::Refuse,
                    path,
                    ", which decides what later programs do",
                ),
                Place::Home(path, rest) if removes && !is_cache(&rest) => (
                    Decision::Ask,
                    path,
                    ", which is in the home directory and not in the workspace",
                ),
                Place::Home(path, _) => (Decision::Allow, path, ""),
                Place::Outside(path)
                    if path.starts_with("/dev/tcp/") || path.starts_with("/dev/udp/") =>
                {
                    (Decision::Refuse, path, ", a connection to another machine")
                }
                Place::Outside(path) if path.starts_with("/dev/") => {
                    (Decision::Refuse, path, ", which is a device")
                }
                Place::Outside(path) => {
                    (Decision::Refuse, path, ", which is outside the workspace")
                }
                Place::Named(path, _) if !removes => (Decision::Allow, path, ""),
                Place::Named(_, why) | Place::Unknown(why) => {
                    let why = if why.starts_with('$') {
                        format!("the value of `{}` is not known", shorten(&why))
                    } else {
                        format!("{} is not known", shorten(&why))
                    };
                    let reason = format!("cannot tell what `{shown}` {verb}: {why}");
                    self.find(Decision::Ask, reason, command, None);
                    continue;
                }
            };
            let path = shorten(&path);
            let reason = format!("`{shown}` {verb} {path}{why}");
            self.find(decision, reason, command, Some(path));
        }
    }

    // --- State ---

    pub(crate) fn assign(&mut self, name: &str, values: Vec<Value>, is_list: bool) {
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
    fn can_keep(&mut self, size: usize) -> bool {
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
    fn merge(&mut self, other: State) {
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
        self.state.functions.extend(other.functions);
        self.keep(other.links, other.files);
    }

    fn keep(&mut self, links: HashMap<String, String>, files: HashMap<String, Output>) {
        self.state.links.extend(links);
        self.state.files.extend(files);
    }

    /// Does something in a shell of its own: only the files that it writes remain.
    pub(crate) fn apart<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.state.clone();
        let result = work(self);
        let after = std::mem::replace(&mut self.state, before);
        self.keep(after.links, after.files);
        result
    }

    /// Goes one level down, where that is allowed.
    pub(crate) fn enter(&mut self) -> bool {
        self.steps += 1;
        if self.depth >= DEPTH_MAX || self.is_exhausted() {
            self.ask("", "it is deeply nested");
            return false;
        }
        self.depth += 1;
        true
    }

    /// Comes back from [`Self::enter`].
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// A script that code of another language gives to a shell.
    pub(crate) fn text_as_script_of(&mut self, text: &str, shown: &str) {
        if self.depth >= DEPTH_MAX {
            self.ask(shown, "it is deeply nested");
            return;
        }
        drop(self.apart(|walk| walk.script(text)));
    }

    /// Whether it has taken too many steps; then that is among what it found.
    pub(crate) fn is_exhausted(&mut self) -> bool {
        if self.steps > STEPS_MAX {
            self.find(
                Decision::Ask,
                "cannot tell what this changes: it has too many steps".to_owned(),
                "",
                None,
            );
            return true;
        }
        false
    }

    // --- Scripts ---

    /// Judges a script in this shell.
    pub(crate) fn script(&mut self, text: &str) -> Output {
        if self.depth >= DEPTH_MAX {
            self.ask(text, "it is deeply nested");
            return Output::Unknown("a script".to_owned());
        }
        if self.is_exhausted() {
            return Output::Unknown("a script".to_owned());
        }
        // A script counts by its length: parsing is what takes time.
        self.steps += 1 + text.len() / 256;
        self.depth += 1;
        let output = match parse(text) {
            Ok(program) => self.program(&program),
            Err(why) => {
                let why: Unreadable = why;
                self.ask(text, why.as_str());
                Output::Unknown("a script".to_owned())
            }
        };
        self.depth -= 1;
        output
    }

    /// The output of a command substitution.
    pub(crate) fn substitution(&mut self, text: &str) -> Output {
        let output = self.apart(|walk| walk.script(text));
        match output {
            Output::Unknown(_) => Output::Unknown(format!("$({})", shorten(text))),
            known => known,
        }
    }

    fn program(&mut self, program: &Program) -> Output {
        let mut output = Output::Nothing;
        for list in &program.complete_commands {
            output = output.then(self.list(list));
        }
        output
    }

    fn list(&mut self, list: &CompoundList) -> Output {
        let mut output = Output::Nothing;
        for item in &list.0 {
            if self.is_exhausted() {
                break;
            }
            let is_background = matches!(item.1, SeparatorOperator::Async);
            let was_parallel = self.state.is_parallel;
            self.state.is_parallel |= is_background;
            output = output.then(self.pipeline(&item.0.first));
            for next in &item.0.additional {
                match next {
                    AndOr::And(pipeline) => output = output.then(self.pipeline(pipeline)),
                    AndOr::Or(pipeline) => {
                        let before = self.state.clone();
                        output = output.then(self.pipeline(pipeline));
                        self.merge(before);
                    }
                }
            }
            self.state.is_parallel = was_parallel;
        }
        output
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Output {
        if let [only] = pipeline.seq.as_slice() {
            return self.command(only);
        }
        let mut output = self.state.stdin.clone();
        for command in &pipeline.seq {
            output = self.apart(|walk| {
                walk.state.stdin = output;
                walk.state.is_parallel = true;
                walk.command(command)
            });
        }
        output
    }

    fn command(&mut self, command: &Command) -> Output {
        if self.is_exhausted() {
            return Output::Unknown("a command".to_owned());
        }
        self.steps += 1;
        if self.depth >= 2 * DEPTH_MAX {
            self.ask("", "it is deeply nested");
            return Output::Unknown("a command".to_owned());
        }
        self.depth += 1;
        let output = match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                self.redirected(redirects.as_ref(), |walk| walk.compound(compound))
            }
            Command::Function(function) => {
                let name = function.fname.value.clone();
                let body = Rc::new(function.body.clone());
                self.state.functions.insert(name, body);
                Output::Nothing
            }
            Command::ExtendedTest(test, redirects) => self.redirected(redirects.as_ref(), |walk| {
                walk.test(&test.expr);
                Output::Nothing
            }),
        };
        self.depth -= 1;
        output
    }

    /// Only its substitutions matter.
    fn test(&mut self, test: &ExtendedTestExpr) {
        match test {
            ExtendedTestExpr::And(a, b) | ExtendedTestExpr::Or(a, b) => {
                self.test(a);
                self.test(b);
            }
            ExtendedTestExpr::Not(a) | ExtendedTestExpr::Parenthesized(a) => self.test(a),
            ExtendedTestExpr::UnaryTest(_, word) => drop(self.whole(&word.value)),
            ExtendedTestExpr::BinaryTest(_, a, b) => {
                drop(self.whole(&a.value));
                drop(self.whole(&b.value));
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) -> Output {
        match compound {
            CompoundCommand::Arithmetic(arithmetic) => {
                self.arithmetic(&arithmetic.expr.value);
                self.as_subshells(&arithmetic.expr.value);
                Output::Nothing
            }
            CompoundCommand::ArithmeticForClause(clause) => {
                let parts = [&clause.initializer, &clause.condition, &clause.updater];
                for expr in parts.into_iter().flatten() {
                    self.arithmetic(&expr.value);
                    if let Some((name, _)) = expr.value.split_once('=') {
                        self.assign(name.trim(), vec![Value::name()], false);
                    }
                }
                self.repeated(|walk| walk.list(&clause.body.list))
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(subshell) => self.apart(|walk| walk.list(&subshell.list)),
            CompoundCommand::ForClause(clause) => {
                let mut values = Vec::new();
                match &clause.values {
                    Some(words) => {
                        for word in words {
                            values.extend(self.expand(&word.value).0);
                        }
                    }
                    None => match &self.state.positional {
                        Some(positional) => values.clone_from(positional),
                        None => values.push(Value::unknown("$@")),
                    },
                }
                if values.is_empty() {
                    // Nothing is done, unless the list was not understood.
                    values.push(Value::default());
                }
                self.assign(&clause.variable_name, values, false);
                self.repeated(|walk| walk.list(&clause.body.list))
            }
            CompoundCommand::CaseClause(clause) => {
                drop(self.whole(&clause.value.value));
                let before = self.state.clone();
                let mut output = Output::Nothing;
                for case in &clause.cases {
                    for pattern in &case.patterns {
                        drop(self.whole(&pattern.value));
                    }
                    if let Some(list) = &case.cmd {
                        let others = std::mem::replace(&mut self.state, before.clone());
                        output = output.then(self.list(list));
                        self.merge(others);
                    }
                }
                output
            }
            CompoundCommand::IfClause(clause) => {
                let mut output = self.list(&clause.condition);
                let before = self.state.clone();
                output = output.then(self.list(&clause.then));
                let mut has_else = false;
                for other in clause.elses.iter().flatten() {
                    let then = std::mem::replace(&mut self.state, before.clone());
                    if let Some(condition) = &other.condition {
                        output = output.then(self.list(condition));
                    } else {
                        has_else = true;
                    }
                    output = output.then(self.list(&other.body));
                    self.merge(then);
                }
                if !has_else {
                    self.merge(before);
                }
                output
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => self
                .repeated(|walk| {
                    let condition = walk.list(&clause.0);
                    condition.then(walk.list(&clause.1.list))
                }),
            CompoundCommand::Coprocess(coprocess) => self.apart(|walk| {
                walk.state.is_parallel = true;
                walk.command(&coprocess.body)
            }),
        }
    }

    /// `((...))` is arithmetic for one shell and two subshells for another: what it would do as
    /// these counts where it would be refused.
    fn as_subshells(&mut self, text: &str) {
        let findings = std::mem::take(&mut self.findings);
        if self.enter() {
            if parse(text).is_ok() {
                drop(self.apart(|walk| walk.script(text)));
            }
            self.leave();
        }
        let found = std::mem::replace(&mut self.findings, findings);
        for finding in found {
            if finding.decision == Decision::Refuse {
                self.find(
                    finding.decision,
                    finding.reason,
                    &finding.command,
                    finding.path,
                );
            }
        }
    }

    /// A loop's body: not at all, once, or again after what it did.
    fn repeated(&mut self, mut body: impl FnMut(&mut Self) -> Output) -> Output {
        let before = self.state.clone();
        let mut output = body(self);
        self.merge(before.clone());
        output = output.then(body(self));
        self.merge(before);
        match output {
            // How often is not known.
            Output::Text(_) => Output::Items(output.items()),
            other => other,
        }
    }

    fn redirected(
        &mut self,
        redirects: Option<&RedirectList>,
        body: impl FnOnce(&mut Self) -> Output,
    ) -> Output {
        let redirects: Vec<&IoRedirect> = redirects.iter().flat_map(|list| &list.0).collect();
        let stdin = self.state.stdin.clone();
        let into = self.redirects(&redirects);
        let output = body(self);
        self.state.stdin = stdin;
        self.written(into, output)
    }

    fn written(&mut self, into: Option<Vec<Value>>, output: Output) -> Output {
        let Some(into) = into else { return output };
        for value in into {
            if let Some(path) = self.path(&value) {
                self.keep_file(path, output.clone());
            }
        }
        Output::Nothing
    }

    /// Carries out redirections: sets standard input, and gives where standard output goes.
    fn redirects(&mut self, redirects: &[&IoRedirect]) -> Option<Vec<Value>> {
        let mut into = None;
        for redirect in redirects {
            let shown = shorten(&redirect.to_string());
            let shown = shown.trim();
            match redirect {
                IoRedirect::File(fd, kind, target) => {
                    let writes = match kind {
                        IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => false,
                        IoFileRedirectKind::Write
                        | IoFileRedirectKind::Append
                        | IoFileRedirectKind::ReadAndWrite
                        | IoFileRedirectKind::Clobber
                        | IoFileRedirectKind::DuplicateOutput => true,
                    };
                    let values = match target {
                        IoFileRedirectTarget::Filename(word) => self.expand(&word.value).0,
                        IoFileRedirectTarget::Duplicate(word) => {
                            let values = self.expand(&word.value).0;
                            let is_fd = |value: &Value| {
                                value.exact().is_some_and(|text| {
                                    text.chars().all(|c| c.is_ascii_digit() || c == '-')
                                }) || value.0 == [Part::Name]
                            };
                            values.into_iter().filter(|value| !is_fd(value)).collect()
                        }
                        IoFileRedirectTarget::Fd(_) => Vec::new(),
                        IoFileRedirectTarget::ProcessSubstitution(_, subshell) => {
                            let output = self.apart(|walk| {
                                if writes {
                                    walk.state.stdin =
                                        Output::Unknown("the output of a command".to_owned());
                                }
                                walk.list(&subshell.list)
                            });
                            if !writes {
                                self.state.stdin = output;
                            }
                            continue;
                        }
                    };
                    for value in &values {
                        let text = value.prefix();
                        if text.starts_with("/dev/tcp/") || text.starts_with("/dev/udp/") {
                            self.refuse(shown, "connects to another machine");
                        } else if writes {
                            self.act(Act::Write, value, shown);
                        }
                    }
                    if !writes && !values.is_empty() && fd.is_none_or(|fd| fd == 0) {
                        let file = values.first().and_then(|value| self.path(value));
                        let known = file.and_then(|path| self.state.files.get(&path));
                        self.state.stdin = known.cloned().unwrap_or(Output::File);
                        if values
                            .iter()
                            .any(|value| value.exact().as_deref() == Some("/dev/null"))
                        {
                            self.state.stdin = Output::Nothing;
                        }
                    }
                    if writes && fd.is_none_or(|fd| fd == 1) && !values.is_empty() {
                        into = Some(values);
                    }
                }
                IoRedirect::HereDocument(_, document) => {
                    let body = &document.doc.value;
                    let body = if document.remove_tabs {
                        let lines = body.split('\n').map(|line| line.trim_start_matches('\t'));
                        lines.collect::<Vec<_>>().join("\n")
                    } else {
                        body.clone()
                    };
                    self.state.stdin = if document.requires_expansion {
                        let values = self.document(&body);
                        text_of(&values)
                    } else {
                        Output::Text(body)
                    };
                }
                IoRedirect::HereString(_, word) => {
                    let values = self.whole(&word.value);
                    self.state.stdin = text_of(&values).then(Output::Text("\n".to_owned()));
                }
                IoRedirect::OutputAndError(word, _) => {
                    let values = self.expand(&word.value).0;
                    for value in &values {
                        self.act(Act::Write, value, shown);
                    }
                    into = Some(values);
                }
            }
        }
        into
    }

    // --- Simple commands ---

    fn simple(&mut self, simple: &SimpleCommand) -> Output {
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        let mut argv: Vec<Value> = Vec::new();
        let mut names = 0;
        if let Some(word) = &simple.word_or_name {
            let (values, forked) = self.expand(&word.value);
            names = if forked { values.len() } else { 0 };
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
                CommandPrefixOrSuffixItem::Word(word) => argv.extend(self.expand(&word.value).0),
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
            for assignment in assignments {
                self.assignment(assignment);
            }
            self.state.stdin = stdin;
            return self.written(into, Output::Nothing);
        }
        let before: Vec<(String, Option<Variable>)> = assignments
            .iter()
            .filter_map(|assignment| match &assignment.name {
                AssignmentName::VariableName(name) => Some(name.clone()),
                AssignmentName::ArrayElementName(..) => None,
            })
            .map(|name| {
                let known = self.state.variables.get(&name).cloned();
                (name, known)
            })
            .collect();
        for assignment in assignments {
            self.assignment(assignment);
        }
        let first = argv[0].exact();
        if matches!(
            first.as_deref(),
            Some("export" | "declare" | "local" | "readonly" | "typeset")
        ) {
            for assignment in &declared {
                self.assignment(assignment);
            }
            let is_reference = argv.iter().any(|value| {
                let text = value.prefix();
                text.starts_with('-') && text.contains('n')
            });
            for assignment in declared {
                if is_reference && let AssignmentName::VariableName(name) = &assignment.name {
                    self.assign(name, vec![Value::unknown(format!("${name}"))], false);
                }
            }
            self.state.stdin = stdin;
            return self.written(into, Output::Nothing);
        }
        let mut output = self.run(&argv);
        // The word that names the program may be one of several.
        for other in 1..names.min(8) {
            output = output.then(self.run(&argv[other..]));
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

    fn assignment(&mut self, assignment: &Assignment) {
        let (name, is_element) = match &assignment.name {
            AssignmentName::VariableName(name) => (name, false),
            AssignmentName::ArrayElementName(name, index) => {
                self.arithmetic(index);
                (name, true)
            }
        };
        let (mut values, mut is_list) = match &assignment.value {
            AssignmentValue::Scalar(word) => (self.scalar(word), is_element),
            AssignmentValue::Array(elements) => {
                let mut values = Vec::new();
                for (key, word) in elements {
                    if let Some(key) = key {
                        drop(self.whole(&key.value));
                    }
                    values.extend(self.expand(&word.value).0);
                }
                (values, true)
            }
        };
        if let Some(known) = self.state.variables.get(name) {
            if is_element || (assignment.append && is_list) {
                // Which one it replaces does not matter: each of them is possible.
                let mut all = known.values.clone();
                all.append(&mut values);
                values = all;
                is_list = true;
            } else if assignment.append {
                let mut all = Vec::new();
                for first in &known.values {
                    for second in &values {
                        let mut value = first.clone();
                        value.extend(second);
                        all.push(value);
                    }
                }
                values = all;
            }
        }
        self.assign(name, values, is_list);
    }

    fn scalar(&mut self, word: &Word) -> Vec<Value> {
        self.whole(&word.value)
    }

    /// Calls a function.
    pub(crate) fn call(&mut self, name: &str, arguments: &[Value]) -> Option<Output> {
        let body = self.state.functions.get(name)?.clone();
        if self.state.calls.iter().any(|known| known == name) {
            if self.state.is_parallel {
                self.refuse(name, "starts itself again and again, without end");
            }
            return Some(Output::Unknown(format!("the function {name}")));
        }
        if self.state.calls.len() >= DEPTH_MAX {
            self.ask(name, "functions call each other deeply");
            return Some(Output::Unknown(format!("the function {name}")));
        }
        let positional = self.state.positional.replace(arguments.to_vec());
        self.state.calls.push(name.to_owned());
        let output = self.redirected(body.1.as_ref(), |walk| walk.compound(&body.0));
        self.state.calls.pop();
        self.state.positional = positional;
        Some(output)
    }
}

/// Values as the text that a program reads.
fn text_of(values: &[Value]) -> Output {
    match values {
        [one] => match one.exact() {
            Some(text) => Output::Text(text),
            None => Output::Items(vec![one.clone()]),
        },
        many => Output::Items(many.to_vec()),
    }
}

/// Files of a home that programs obey.
fn is_obeyed(rest: &str) -> bool {
    let first = rest.split('/').next().unwrap_or_default();
    matches!(
        first,
        ".ssh"
            | ".gnupg"
            | ".aws"
            | ".kube"
            | ".bashrc"
            | ".bash_profile"
            | ".bash_login"
            | ".bash_logout"
            | ".profile"
            | ".zshrc"
            | ".zshenv"
            | ".zprofile"
            | ".netrc"
    )
}

/// Parts of a home that tools fill again.
fn is_cache(rest: &str) -> bool {
    let first = rest.split('/').next().unwrap_or_default();
    matches!(first, ".cache" | ".npm" | ".local" | ".cargo" | ".config")
}

/// A part of a command as it is shown: one line, nothing that moves the cursor, not long.
pub(crate) fn shorten(text: &str) -> String {
    const LENGTH: usize = 100;
    let text = text.trim();
    let mut shown: String = text
        .chars()
        .take(LENGTH)
        .map(|c| match c {
            c if c.is_control() => ' ',
            // Marks that change the order of what is shown, or show nothing.
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => '?',
            c => c,
        })
        .collect();
    if text.chars().nth(LENGTH).is_some() {
        shown.push_str("...");
    }
    shown
}
