//! Python: its syntax tree is walked with values that may be unknown, as the shell's is.
//!
//! Branches are all taken, loops once, and functions are called with what is passed to them. A
//! function that nobody calls is walked too, with parameters that decide nothing.

mod calls;
mod effects;
mod expr;
mod files;
mod imports;
mod library;
mod lists;
mod runs;
mod text;
mod value;

use std::collections::HashMap;
use std::rc::Rc;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Expr, Stmt, StmtFor, StmtFunctionDef};
use ruff_python_parser::{Mode, lexer};

use crate::shell::Walk;
use crate::value::Value;
use lists::Added;
use value::{Function, Val};

/// Bytes of code that are read.
const LENGTH_MAX: usize = 64 << 10;
/// Tokens of one line that can nest or chain: the tree is built and dropped recursively. Source: a
/// level takes up to 20 KiB of the stack in a debug build.
const NESTING_MAX: usize = 2_000;
/// Blocks within blocks. Source: the compiler of `CPython` takes 100 levels.
const INDENT_MAX: usize = 60;
/// Expressions within expressions that are looked into.
const DEPTH_MAX: usize = 100;
/// Functions within functions.
const CALLS_MAX: usize = 8;
/// Expressions and statements that are looked at, functions unrolled.
const STEPS_MAX: usize = 20_000;
/// Steps that count as one of the shell's.
const STEPS_OF_SHELL: usize = 50;

/// Names that are kept: functions copy them.
const NAMES_MAX: usize = 1_000;
/// Elements of a loop that are walked one by one.
const UNROLLED_MAX: usize = 8;

/// Names and their values.
type Scope = HashMap<String, Val>;

/// The walk through one text.
struct Python<'w, 'a> {
    walk: &'w mut Walk<'a>,
    shown: &'w str,
    scope: Scope,
    /// Functions that were not called so far, and classes' methods among them.
    waiting: Vec<Rc<Function>>,
    /// Methods of the code's classes, by their names.
    methods: HashMap<String, Rc<Function>>,
    calls: Vec<String>,
    returned: Option<Val>,
    /// What lists have got, in its order.
    added: Vec<Added>,
    /// What those of the function that ended last have got that are its parameters.
    of_parameters: Vec<(String, Val)>,
    depth: usize,
    steps: usize,
    /// Whether this point lies in a branch or a loop.
    branches: usize,
    loops: usize,
    /// Loops of this point whose rounds are walked one by one.
    unrolled: usize,
}

/// Judges code; `false` when it does not parse.
pub(super) fn judge(walk: &mut Walk<'_>, text: &str, arguments: &[Value], shown: &str) -> bool {
    let mut scope = Scope::new();
    let mut argv = vec![Val::Plain];
    argv.extend(arguments.iter().cloned().map(Val::Text));
    scope.insert("sys.argv".to_owned(), Val::List(argv));
    judge_in(walk, text, scope, shown).is_some()
}

/// Judges code in a scope, and gives the scope after it.
fn judge_in(walk: &mut Walk<'_>, text: &str, scope: Scope, shown: &str) -> Option<Scope> {
    if text.len() > LENGTH_MAX || is_too_deep(text) {
        walk.ask(shown, "the code is long or deeply nested");
        return Some(scope);
    }
    let module = ruff_python_parser::parse_module(text).ok()?;
    if !walk.enter() {
        return Some(scope);
    }
    let mut python = Python {
        walk,
        shown,
        scope,
        waiting: Vec::new(),
        methods: HashMap::new(),
        calls: Vec::new(),
        returned: None,
        added: Vec::new(),
        of_parameters: Vec::new(),
        depth: 0,
        steps: 0,
        branches: 0,
        loops: 0,
        unrolled: 0,
    };
    python.block(module.suite());
    python.rest();
    let scope = std::mem::take(&mut python.scope);
    let steps = python.steps / STEPS_OF_SHELL;
    walk.steps += steps;
    walk.leave();
    Some(scope)
}

/// Whether the tree would be too deep to be built. The lexer does not recurse.
fn is_too_deep(source: &str) -> bool {
    let mut lexer = lexer::lex(source, Mode::Module);
    let (mut nesting, mut indent) = (0_usize, 0_usize);
    loop {
        match lexer.next_token() {
            TokenKind::EndOfFile => return false,
            TokenKind::Newline => nesting = 0,
            TokenKind::Indent => indent += 1,
            TokenKind::Dedent => indent = indent.saturating_sub(1),
            TokenKind::Name
            | TokenKind::Int
            | TokenKind::Float
            | TokenKind::Complex
            | TokenKind::String
            | TokenKind::FStringMiddle
            | TokenKind::FStringEnd
            | TokenKind::Comma
            | TokenKind::Comment
            | TokenKind::NonLogicalNewline
            | TokenKind::Rpar
            | TokenKind::Rsqb
            | TokenKind::Rbrace
            | TokenKind::None
            | TokenKind::True
            | TokenKind::False => {}
            _ => nesting += 1,
        }
        if nesting > NESTING_MAX || indent > INDENT_MAX {
            return true;
        }
    }
}

impl Python<'_, '_> {
    fn is_exhausted(&mut self) -> bool {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.walk.is_exhausted() {
            self.walk.ask(self.shown, "the code takes too many steps");
            return true;
        }
        false
    }

    /// What nobody has called: its parameters are as if nobody passed anything.
    fn rest(&mut self) {
        while let Some(function) = self.waiting.pop() {
            if self.is_exhausted() {
                return;
            }
            self.enter_function(&function, None);
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        for statement in body {
            if self.is_exhausted() {
                return;
            }
            self.statement(statement);
        }
    }

    /// The body of a loop: once more where lists have grown in it.
    fn round(&mut self, body: &[Stmt], of: Option<&StmtFor>) {
        let count = self.added.len();
        self.block(body);
        if self.added.len() > count {
            if let Some(of) = of {
                let items = self.eval(&of.iter);
                self.bind(&of.target, items.element());
            }
            self.block(body);
        }
    }

    fn branch(&mut self, body: &[Stmt]) {
        self.branches += 1;
        self.block(body);
        self.branches -= 1;
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::FunctionDef(function) => {
                let function = self.function(function);
                let name = function.name.clone();
                self.waiting.push(function.clone());
                self.scope.insert(name, Val::Function(function));
            }
            Stmt::ClassDef(class) => {
                for inner in &class.body {
                    if let Stmt::FunctionDef(function) = inner {
                        let function = self.function(function);
                        self.methods.insert(function.name.clone(), function.clone());
                        if function.name == "__init__" {
                            let made = Val::Function(function.clone());
                            self.scope.insert(class.name.to_string(), made);
                        }
                        self.waiting.push(function);
                    } else {
                        self.statement(inner);
                    }
                }
            }
            Stmt::Return(it) => {
                if let Some(value) = &it.value {
                    let value = self.eval(value);
                    self.returned = Some(match self.returned.take() {
                        Some(before) => before.or(value),
                        None => value,
                    });
                }
            }
            Stmt::Assign(it) => {
                let value = self.eval(&it.value);
                for target in &it.targets {
                    self.bind(target, value.clone());
                }
            }
            Stmt::AugAssign(it) => {
                let before = self.eval(&it.target);
                let value = self.eval(&it.value);
                let value = match (&before, &value) {
                    (Val::List(a), Val::List(b)) => Val::List(a.iter().chain(b).cloned().collect()),
                    (Val::Text(_), _) | (_, Val::Text(_)) => before.then(&value),
                    _ => value,
                };
                self.bind(&it.target, value);
            }
            Stmt::AnnAssign(it) => {
                if let Some(value) = &it.value {
                    let value = self.eval(value);
                    self.bind(&it.target, value);
                }
            }
            Stmt::For(it) => {
                let items = self.eval(&it.iter);
                self.branches += 1;
                match items {
                    // Few elements that are known: one after the other.
                    Val::List(items)
                        if (1..=UNROLLED_MAX).contains(&items.len()) && self.unrolled < 2 =>
                    {
                        self.unrolled += 1;
                        for item in items {
                            self.forget(&it.target);
                            self.bind(&it.target, item);
                            self.block(&it.body);
                        }
                        self.unrolled -= 1;
                    }
                    items => {
                        self.bind(&it.target, items.element());
                        self.round(&it.body, Some(it));
                    }
                }
                self.block(&it.orelse);
                self.branches -= 1;
            }
            Stmt::While(it) => {
                self.eval(&it.test);
                self.loops += 1;
                self.branches += 1;
                self.round(&it.body, None);
                self.branches -= 1;
                self.loops -= 1;
                self.branch(&it.orelse);
            }
            Stmt::If(it) => {
                self.eval(&it.test);
                self.branch(&it.body);
                for clause in &it.elif_else_clauses {
                    if let Some(test) = &clause.test {
                        self.eval(test);
                    }
                    self.branch(&clause.body);
                }
            }
            Stmt::With(it) => {
                for item in &it.items {
                    let value = self.eval(&item.context_expr);
                    if let Some(target) = &item.optional_vars {
                        self.bind(target, value);
                    }
                }
                self.block(&it.body);
            }
            Stmt::Match(it) => {
                self.eval(&it.subject);
                for case in &it.cases {
                    self.branch(&case.body);
                }
            }
            Stmt::Try(it) => {
                self.block(&it.body);
                for handler in &it.handlers {
                    let ruff_python_ast::ExceptHandler::ExceptHandler(handler) = handler;
                    self.branch(&handler.body);
                }
                self.branch(&it.orelse);
                self.block(&it.finalbody);
            }
            Stmt::Import(it) => {
                for alias in &it.names {
                    let name = alias.name.to_string();
                    let as_module = alias
                        .asname
                        .as_ref()
                        .map_or(name.clone(), ToString::to_string);
                    self.imported(&name, &as_module);
                    let first = name.split('.').next().unwrap_or_default().to_owned();
                    let (as_name, real) = match &alias.asname {
                        Some(other) => (other.to_string(), name),
                        None => (first.clone(), first),
                    };
                    self.scope.insert(as_name, Val::Named(real));
                }
            }
            Stmt::ImportFrom(it) => {
                let module = it.module.as_ref().map(ToString::to_string);
                let module = module.unwrap_or_default();
                let written = self.written_module(&module);
                for alias in &it.names {
                    let name = alias.name.to_string();
                    if name == "*" {
                        for known in library::all_of(&module) {
                            let real = Val::Named(format!("{module}.{known}"));
                            self.scope.insert((*known).to_owned(), real);
                        }
                        for (name, value) in written.clone() {
                            self.set(name, value);
                        }
                        continue;
                    }
                    let as_name = alias
                        .asname
                        .as_ref()
                        .map_or(name.clone(), ToString::to_string);
                    let module = [module.as_str(), &name].join(".");
                    // A name in it, or a module below it.
                    let real = if let Some(value) = written.get(&name) {
                        value.clone()
                    } else {
                        self.imported(module.trim_start_matches('.'), &as_name);
                        Val::Named(module)
                    };
                    self.scope.insert(as_name, real);
                }
            }
            Stmt::Expr(it) => drop(self.eval(&it.value)),
            Stmt::Assert(it) => drop(self.eval(&it.test)),
            Stmt::Raise(it) => {
                if let Some(value) = &it.exc {
                    self.eval(value);
                }
            }
            Stmt::IpyEscapeCommand(_)
            | Stmt::Delete(_)
            | Stmt::TypeAlias(_)
            | Stmt::Global(_)
            | Stmt::Nonlocal(_)
            | Stmt::Pass(_)
            | Stmt::Break(_)
            | Stmt::Continue(_) => {}
        }
    }

    fn function(&mut self, function: &StmtFunctionDef) -> Rc<Function> {
        for decorator in &function.decorator_list {
            self.eval(&decorator.expression);
        }
        let mut defaults = HashMap::new();
        for parameter in function.parameters.iter_non_variadic_params() {
            if let Some(default) = &parameter.default {
                let value = self.eval(default);
                defaults.insert(parameter.parameter.name.to_string(), value);
            }
        }
        Rc::new(Function {
            name: function.name.to_string(),
            parameters: Some((*function.parameters).clone()),
            body: function.body.to_vec(),
            expr: None,
            defaults,
        })
    }

    /// A loop's name has no value before each of its rounds.
    fn forget(&mut self, target: &Expr) {
        if let Expr::Name(name) = target {
            self.scope.remove(name.id.as_str());
        }
    }

    /// Gives a name a value; in a branch it may keep the one that it had.
    fn bind(&mut self, target: &Expr, value: Val) {
        match target {
            Expr::Name(name) => self.set(name.id.to_string(), value),
            Expr::Attribute(_) => {
                if let Some(name) = dotted(target) {
                    self.set(name, value);
                }
            }
            Expr::Tuple(it) => self.bind_all(&it.elts, &value),
            Expr::List(it) => self.bind_all(&it.elts, &value),
            Expr::Starred(it) => self.bind(&it.value, value),
            Expr::Subscript(it) => {
                let object = self.eval(&it.value);
                if let Val::Named(name) = &object
                    && name == "os.environ"
                    && let Some(key) = self.eval(&it.slice).exact()
                {
                    let values = vec![value.word()];
                    self.walk.assign(&key, values, false);
                }
                // One more value of the collection.
                if let Some(name) = dotted(&it.value) {
                    self.add_to(name, value);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, name: String, value: Val) {
        if self.scope.len() > NAMES_MAX {
            return;
        }
        let value = match self.scope.get(&name) {
            Some(before) if self.branches > 0 && !matches!(before, Val::Named(_)) => {
                before.clone().or(value)
            }
            _ => value,
        };
        self.scope.insert(name, value);
    }

    fn bind_all(&mut self, targets: &[Expr], value: &Val) {
        for (at, target) in targets.iter().enumerate() {
            let value = match value {
                Val::List(items) if items.len() == targets.len() => items[at].clone(),
                Val::Either(all) => all
                    .iter()
                    .map(|one| match one {
                        Val::List(items) if items.len() == targets.len() => items[at].clone(),
                        other => other.element(),
                    })
                    .fold(Val::Plain, Val::or),
                other => other.element(),
            };
            self.bind(target, value);
        }
    }
}

/// `a.b.c`, when it is nothing but names.
fn dotted(expr: &Expr) -> Option<String> {
    let mut parts = Vec::new();
    let mut expr = expr;
    loop {
        match expr {
            Expr::Name(name) => {
                parts.push(name.id.as_str());
                parts.reverse();
                return Some(parts.join("."));
            }
            Expr::Attribute(it) if parts.len() < 8 => {
                parts.push(it.attr.as_str());
                expr = &it.value;
            }
            _ => return None,
        }
    }
}
