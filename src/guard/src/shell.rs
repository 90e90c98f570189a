//! Walks a command as a shell would, with values that may be unknown.

use brush_parser::ast::{
    AndOr, AndOrList, BinaryPredicate, CaseItemPostAction, Command, CompoundCommand, CompoundList,
    ExtendedTestExpr, Pipeline, Program, SeparatorOperator, UnaryPredicate,
};

use crate::findings::shorten;
use crate::judge::{Unreadable, parse};
use crate::state::{Body, Function, State};
use crate::value::{Output, Value};
use crate::{Context, Decision, Finding, Verdict};

/// Simple commands that are looked at, loops and functions unrolled.
const STEPS_MAX: usize = 5_000;
/// Traps that are carried out at the end.
const TRAPS_MAX: usize = 64;
/// Scripts within scripts, functions within functions.
pub(crate) const DEPTH_MAX: usize = 24;

/// Command lines within command lines, such as `env nice timeout 1 make`.
pub(crate) const RUNS_MAX: usize = 100;

/// The walk through one command.
pub(crate) struct Walk<'a> {
    pub(crate) context: &'a Context,
    pub(crate) state: State,
    pub(crate) findings: Vec<Finding>,
    pub(crate) steps: usize,
    pub(crate) depth: usize,
    /// Command lines that run the rest of theirs, one within the other.
    pub(crate) running: usize,
    pub(crate) streams: usize,
    pub(crate) kept: usize,
    /// Whether some word of the command that is looked at stands for several, of which one is there.
    pub(crate) is_forked: bool,
    /// Texts that are carried out at the end.
    traps: Vec<String>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self {
            context,
            state: State::new(context),
            findings: Vec::new(),
            steps: 0,
            depth: 0,
            running: 0,
            streams: 0,
            kept: 0,
            is_forked: false,
            traps: Vec::new(),
        }
    }

    /// What was found, after the traps that are carried out at the end.
    pub(crate) fn verdict(mut self) -> Verdict {
        for text in std::mem::take(&mut self.traps) {
            drop(self.apart(|walk| walk.script(&text)));
        }
        Verdict::of(self.findings)
    }

    /// A trap is carried out at any time from here on. What its variables and functions are may
    /// only be known at the end, so that what cannot be told yet is looked at again there.
    pub(crate) fn trapped(&mut self, text: &str) {
        let before = self.findings.clone();
        drop(self.apart(|walk| walk.script(text)));
        let is_new = |finding: &Finding| !before.contains(finding);
        let refuses = |finding: &Finding| finding.decision == Decision::Refuse;
        if !self.findings.iter().any(|it| is_new(it) && refuses(it)) {
            self.findings = before;
        }
        if self.traps.len() < TRAPS_MAX {
            self.traps.push(text.to_owned());
        } else {
            self.ask(text, "there are many traps");
        }
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
        drop(self.within_program(|walk| walk.script(text)));
    }

    /// Whether it has taken too many steps; then that is among what it found.
    pub(crate) fn is_exhausted(&mut self) -> bool {
        if self.steps > STEPS_MAX {
            self.find(
                Decision::Ask,
                "cannot tell what this changes: it has too many steps",
                "",
                None,
            );
            return true;
        }
        false
    }

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

    pub(crate) fn list(&mut self, list: &CompoundList) -> Output {
        let mut output = Output::Nothing;
        for item in &list.0 {
            if self.is_exhausted() {
                break;
            }
            let is_background = matches!(item.1, SeparatorOperator::Async);
            let was_parallel = self.state.is_parallel;
            self.state.is_parallel |= is_background;
            output = output.then(self.and_or(&item.0));
            self.state.is_parallel = was_parallel;
        }
        output
    }

    /// What follows `&&` is left out where something has failed, and what follows `||` where not.
    fn and_or(&mut self, list: &AndOrList) -> Output {
        let mut output = self.pipeline(&list.first);
        // What is known where the list has failed so far, if it is not the same.
        let mut failed: Option<State> = None;
        for next in &list.additional {
            if self.is_exhausted() {
                break;
            }
            let before = self.state.clone();
            match next {
                AndOr::And(pipeline) => {
                    output = output.then(self.pipeline(pipeline));
                    let mut either = failed.unwrap_or(before);
                    either.merge(self.state.clone());
                    failed = Some(either);
                }
                AndOr::Or(pipeline) => {
                    if let Some(failed) = failed {
                        self.state = failed;
                    }
                    output = output.then(self.pipeline(pipeline));
                    failed = Some(self.state.clone());
                    self.merge(before);
                }
            }
        }
        if let Some(failed) = failed {
            self.merge(failed);
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
                let function = Function {
                    bodies: vec![Body::new(&function.body)],
                    may_be_program: false,
                };
                self.state.functions.insert(name, function);
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
            ExtendedTestExpr::UnaryTest(predicate, word) => {
                for value in self.whole(&word.value) {
                    if matches!(
                        predicate,
                        UnaryPredicate::ShellVariableIsSetAndAssigned
                            | UnaryPredicate::ShellVariableIsSetAndNameRef
                    ) {
                        self.subscript(&value);
                    }
                }
            }
            ExtendedTestExpr::BinaryTest(predicate, a, b) => {
                let is_arithmetic = matches!(
                    predicate,
                    BinaryPredicate::ArithmeticEqualTo
                        | BinaryPredicate::ArithmeticNotEqualTo
                        | BinaryPredicate::ArithmeticLessThan
                        | BinaryPredicate::ArithmeticLessThanOrEqualTo
                        | BinaryPredicate::ArithmeticGreaterThan
                        | BinaryPredicate::ArithmeticGreaterThanOrEqualTo
                );
                for word in [a, b] {
                    for value in self.whole(&word.value) {
                        if let Some(text) = value.exact().filter(|_| is_arithmetic) {
                            self.arithmetic(&text);
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn compound(&mut self, compound: &CompoundCommand) -> Output {
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
                        Some(positional) => values.clone_from(&positional.values),
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
                // What an item leaves to the next one.
                let mut fallen: Option<State> = None;
                let mut output = Output::Nothing;
                for case in &clause.cases {
                    for pattern in &case.patterns {
                        drop(self.whole(&pattern.value));
                    }
                    if let Some(list) = &case.cmd {
                        let others = std::mem::replace(&mut self.state, before.clone());
                        if let Some(fallen) = fallen.take() {
                            self.merge(fallen);
                        }
                        output = output.then(self.list(list));
                        if !matches!(case.post_action, CaseItemPostAction::ExitCase) {
                            fallen = Some(self.state.clone());
                        }
                        self.merge(others);
                    }
                }
                output
            }
            CompoundCommand::IfClause(clause) => {
                let mut output = self.list(&clause.condition);
                // What is known where no condition has held so far.
                let mut otherwise = self.state.clone();
                output = output.then(self.list(&clause.then));
                let mut has_else = false;
                for other in clause.elses.iter().flatten() {
                    let others = std::mem::replace(&mut self.state, otherwise.clone());
                    if let Some(condition) = &other.condition {
                        output = output.then(self.list(condition));
                        otherwise = self.state.clone();
                    } else {
                        has_else = true;
                    }
                    output = output.then(self.list(&other.body));
                    self.merge(others);
                }
                if !has_else {
                    self.merge(otherwise);
                }
                output
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => self
                .repeated(|walk| {
                    let condition = walk.list(&clause.0);
                    condition.then(walk.list(&clause.1.list))
                }),
            CompoundCommand::Coprocess(coprocess) => {
                let name = coprocess.name.as_ref().map(|name| name.value.clone());
                let name = name.unwrap_or_else(|| "COPROC".to_owned());
                let source = shorten(&coprocess.body.to_string());
                drop(self.apart(|walk| {
                    walk.state.is_parallel = true;
                    walk.state.stdin = Output::Unknown(format!("what `{source}` is sent"));
                    walk.command(&coprocess.body)
                }));
                // The numbers of its streams.
                self.assign(&name, vec![Value::name(), Value::name()], true);
                Output::Nothing
            }
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
                    &finding.reason,
                    &finding.command,
                    finding.path,
                );
            }
        }
    }
}
