//! What can be known of Python source without running it.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{Expr, Stmt};
use ruff_python_parser::{Mode, lexer};

/// A syntax error, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
}

/// Tokens of one logical line that can nest or chain: the tree that they make is walked and dropped
/// recursively.
const NESTING_MAX: usize = 3_000;
/// Blocks within blocks. Source: the compiler of `CPython` takes 100 levels.
const INDENT_MAX: usize = 100;
/// Twenty KiB for each of [`NESTING_MAX`] levels.
const STACK_BYTES: usize = 64 << 20;

/// Whether the tree of this source would be too deep to be walked. The lexer does not recurse.
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

/// Does something with a tree on a stack that holds its depth.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

/// The first syntax error, if the parser sees one. The sandbox's own compiler has the last word.
pub(crate) fn syntax_error(source: &str) -> Option<SyntaxError> {
    if is_too_deep(source) {
        return None;
    }
    let error = on_a_large_stack(|| ruff_python_parser::parse_module(source).err())??;
    let at = usize::from(error.location.start()).min(source.len());
    let line = source[..at].lines().count().max(1);
    Some(SyntaxError {
        line,
        message: error.error.to_string(),
    })
}

/// What a file imports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Imports {
    /// Absolute dotted module names, `from` targets included as candidates.
    modules: BTreeSet<String>,
    /// Whether it imports by a name that is computed, or relatively, or cannot be parsed.
    is_open: bool,
    /// Attributes of something that is called `tools`.
    of_tools: BTreeSet<String>,
    /// Whether it seems to set variables of its environment.
    sets_variables: bool,
}

/// Whether this is `os.environ`, by whatever name `os` goes.
fn is_environ(expr: &Expr) -> bool {
    match expr {
        Expr::Name(name) => name.id.as_str() == "environ",
        Expr::Attribute(attribute) => attribute.attr.as_str() == "environ",
        _ => false,
    }
}

/// Whether something of that name sets variables: of `os`, or of what reads them from a file.
fn sets_variables(name: &str) -> bool {
    matches!(name, "putenv" | "unsetenv" | "load_dotenv")
}

impl<'a> Visitor<'a> for Imports {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Import(import) => {
                for alias in &import.names {
                    self.modules.insert(alias.name.to_string());
                    self.is_open |=
                        alias.name.starts_with("importlib") || alias.name.starts_with("runpy");
                }
            }
            Stmt::ImportFrom(import) => {
                self.is_open |= import.level > 0;
                if let Some(module) = &import.module {
                    self.is_open |= module.starts_with("importlib") || module.starts_with("runpy");
                    self.modules.insert(module.to_string());
                    for alias in &import.names {
                        // By another name it cannot be told what becomes of it.
                        let is_renamed = alias.asname.is_some() && alias.name.as_str() == "environ";
                        self.sets_variables |= is_renamed || sets_variables(&alias.name);
                        self.modules.insert(format!("{module}.{}", alias.name));
                    }
                }
            }
            _ => {}
        }
        visitor::walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr {
            self.is_open |= matches!(name.id.as_str(), "__import__" | "exec" | "eval");
        }
        if let Expr::Attribute(attribute) = expr
            && let Expr::Name(name) = attribute.value.as_ref()
            && name.id.as_str() == "tools"
            && !attribute.attr.starts_with("__")
        {
            self.of_tools.insert(attribute.attr.to_string());
        }
        self.sets_variables |= match expr {
            Expr::Subscript(one) => !one.ctx.is_load() && is_environ(&one.value),
            Expr::Attribute(one) => {
                let changes = ["update", "setdefault", "pop", "popitem", "clear"];
                sets_variables(&one.attr)
                    || (is_environ(&one.value) && changes.contains(&one.attr.as_str()))
            }
            _ => false,
        };
        visitor::walk_expr(self, expr);
    }
}

fn imports(source: &str) -> Imports {
    let open = || Imports {
        is_open: true,
        ..Imports::default()
    };
    if is_too_deep(source) {
        return open();
    }
    let found = on_a_large_stack(|| {
        let module = ruff_python_parser::parse_module(source).ok()?;
        let mut imports = Imports::default();
        for stmt in module.suite() {
            imports.visit_stmt(stmt);
        }
        Some(imports)
    });
    found.flatten().unwrap_or_else(open)
}

/// The modules that a source file names in its imports, wherever they are, and what else may be one:
/// `from a import b` names `a` and `a.b`. None for one that cannot be parsed, or that sets variables of its
/// environment, which what it imports may read.
pub(crate) fn named_modules(source: &str) -> Option<BTreeSet<String>> {
    if is_too_deep(source) {
        return None;
    }
    let found = on_a_large_stack(|| {
        let module = ruff_python_parser::parse_module(source).ok()?;
        let mut imports = Imports::default();
        for stmt in module.suite() {
            imports.visit_stmt(stmt);
        }
        Some(imports)
    });
    let found = found??;
    (!found.sets_variables).then_some(found.modules)
}

/// The files that could satisfy `import a.b.c`, outermost first.
pub(crate) fn module_files(module: &str) -> Vec<String> {
    let parts: Vec<&str> = module.split('.').collect();
    (1..=parts.len())
        .flat_map(|count| {
            let path = parts[..count].join("/");
            [format!("{path}.py"), format!("{path}/__init__.py")]
        })
        .collect()
}

/// What a source file asks of the world outside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// Names that it takes from the modules `tools` and `llm`; `llm` for any use of that one.
    pub(crate) tools: BTreeSet<String>,
    /// The outermost names of the modules that it imports.
    pub(crate) modules: BTreeSet<String>,
    /// How many arguments its `main` must and may have; none when it defines no such function.
    pub(crate) main: Option<(usize, usize)>,
}

/// What one source file uses, as far as its text says it; nothing for one that cannot be parsed.
pub(crate) fn uses(source: &str) -> Uses {
    if is_too_deep(source) {
        return Uses::default();
    }
    let found = on_a_large_stack(|| {
        let module = ruff_python_parser::parse_module(source).ok()?;
        let mut imports = Imports::default();
        let mut found = Uses::default();
        for stmt in module.suite() {
            imports.visit_stmt(stmt);
            if let Stmt::FunctionDef(function) = stmt
                && function.name.as_str() == "main"
            {
                let all = &function.parameters;
                let own = all.posonlyargs.iter().chain(&all.args);
                let needed = own.clone().filter(|one| one.default.is_none()).count();
                let most = if all.vararg.is_some() {
                    usize::MAX
                } else {
                    own.count()
                };
                found.main = Some((needed, most));
            }
        }
        for module in &imports.modules {
            let (top, rest) = module.split_once('.').unwrap_or((module, ""));
            found.modules.insert(top.to_owned());
            match (top, rest) {
                ("llm", _) => found.tools.insert("llm".to_owned()),
                ("tools", name) if !name.is_empty() => found.tools.insert(name.to_owned()),
                _ => false,
            };
        }
        if found.modules.contains("tools") {
            found.tools.extend(imports.of_tools);
        }
        Some(found)
    });
    found.flatten().unwrap_or_default()
}

/// The files of a subagent that its entry file needs: those it imports, directly or not.
///
/// `read` gives the text of a file by its path, or `None` when there is no such file. Files that
/// import by a computed name make the answer open: then `true` comes back as the second value, and
/// everything should be kept.
pub(crate) fn import_closure(
    entry: &str,
    mut read: impl FnMut(&str) -> Option<String>,
) -> (BTreeMap<String, String>, bool) {
    let mut found = BTreeMap::new();
    let mut open = false;
    let beside = entry.rfind('/').map_or("", |at| &entry[..=at]);
    let mut queue = vec![entry.to_owned()];
    while let Some(path) = queue.pop() {
        if found.contains_key(&path) || found.len() >= spec::limits::SOURCE_FILES {
            continue;
        }
        let Some(source) = read(&path) else { continue };
        let imports = imports(&source);
        open |= imports.is_open;
        let files = imports.modules.iter();
        for file in files.flat_map(|module| module_files(module)) {
            // The folder of the entry file comes before the root.
            if !beside.is_empty() {
                queue.push(format!("{beside}{file}"));
            }
            queue.push(file);
        }
        found.insert(path, source);
    }
    (found, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closure(files: &[(&str, &str)]) -> (Vec<String>, bool) {
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        let (found, open) = import_closure("main.py", |path| {
            files.get(path).map(|text| (*text).to_owned())
        });
        (found.into_keys().collect(), open)
    }

    #[test]
    fn only_what_the_entry_file_imports_is_found() {
        let files = [
            (
                "main.py",
                "import json, helper\ndef main(q):\n    from pkg.deep import thing\n",
            ),
            ("helper.py", "import os\nimport second"),
            ("second.py", ""),
            ("pkg/__init__.py", ""),
            ("pkg/deep.py", ""),
            ("pkg/other.py", ""),
            ("unrelated.py", ""),
        ];
        let expected = [
            "helper.py",
            "main.py",
            "pkg/__init__.py",
            "pkg/deep.py",
            "second.py",
        ];
        assert_eq!(
            closure(&files),
            (expected.map(str::to_owned).to_vec(), false)
        );
    }

    #[test]
    fn a_computed_import_makes_the_closure_open() {
        for source in [
            "import importlib",
            "__import__('x')",
            "from . import x",
            "exec('import x')",
            "def (",
        ] {
            assert!(closure(&[("main.py", source)]).1, "{source}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        assert_eq!(syntax_error("x = 1\n"), None);
        assert_eq!(syntax_error("x = 1\ny = = 2\n").unwrap().line, 2);
    }

    #[test]
    fn source_that_would_exhaust_the_parser_is_left_to_the_sandbox() {
        let sources = [
            "(".repeat(100_000),
            "-".repeat(100_000),
            "[".repeat(50_000) + &"]".repeat(50_000),
            "not ".repeat(100_000),
            "a if b else ".repeat(100_000),
            "lambda:".repeat(100_000),
            "a.".repeat(100_000),
            "1 ** ".repeat(100_000),
            (0..5_000)
                .map(|depth| " ".repeat(depth) + "if 1:\n")
                .collect(),
            "x = ".to_owned() + &"lambda: \\\n".repeat(20_000) + "1\n",
            "x = ".to_owned() + &"not \\\n".repeat(600_000) + "1\n",
            "x = (".to_owned() + &"1\n+".repeat(200_000) + "1)\n",
            "x = (a".to_owned() + &"()\n.b".repeat(200_000) + ")\n",
            "x = ".to_owned() + &"f'{".repeat(3_000) + "\n",
            "x = ".to_owned() + &"'\"\"\"' + ".repeat(100_000) + "1\n",
            "x = ".to_owned() + &"-".repeat(2_900) + "1\n",
            "if 1: pass\n".to_owned() + &"elif 1: pass\n".repeat(20_000),
        ];
        for source in sources {
            // What is found does not matter; that it ends does.
            drop(syntax_error(&source));
            drop(closure(&[("main.py", &source)]));
        }
    }
}
