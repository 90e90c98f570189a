//! From a command's text to a verdict, within bounds.

use brush_parser::ast::Program;
use brush_parser::{Parser, ParserOptions};

use crate::shell::Walk;
use crate::{Context, Verdict};

/// Bytes of a command that are read; beyond it the answer is "cannot tell".
pub const LENGTH_MAX: usize = 128 << 10;
/// Brackets within brackets. The parser recurses, and what follows an opening bracket is tried in
/// several ways.
const NESTING_MAX: usize = 40;
/// Source: the parser takes some 100 KiB for each level of a debug build.
const STACK_BYTES: usize = 256 << 20;

/// Judges a command without running it.
///
/// The time is bounded, as is the depth: what is longer than [`LENGTH_MAX`], deeply nested or not
/// valid shell is never allowed.
pub fn judge(command: &str, context: &Context) -> Verdict {
    if command.len() > LENGTH_MAX {
        return Verdict::unread("it is very long");
    }
    if command.contains('\0') {
        return Verdict::unread("it holds a NUL byte");
    }
    let verdict = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                let mut walk = Walk::new(context);
                walk.script(command);
                walk.verdict()
            });
        thread.ok()?.join().ok()
    });
    verdict.unwrap_or_else(|| Verdict::unread("it cannot be read"))
}

/// Why a text could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Deep,
    Syntax,
}

impl Unreadable {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deep => "it is deeply nested",
            Self::Syntax => "it is not valid shell",
        }
    }
}

pub(crate) fn options() -> ParserOptions {
    ParserOptions {
        tilde_expansion_after_colon: false,
        ..ParserOptions::default()
    }
}

/// Parses a script. The nesting is counted first, without regard to quotes: so it is never less
/// than the parser's.
pub(crate) fn parse(text: &str) -> Result<Program, Unreadable> {
    if is_too_deep(text) {
        return Err(Unreadable::Deep);
    }
    let mut parser = Parser::new(text.as_bytes(), &options());
    parser.parse_program().map_err(|_| Unreadable::Syntax)
}

/// Whether brackets or compound commands lie deep within each other.
pub(crate) fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut words) = (0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return true;
        }
    }
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        match word {
            "if" | "do" | "case" => words += 1,
            "fi" | "done" | "esac" => words = words.saturating_sub(1),
            _ => {}
        }
        if words > NESTING_MAX {
            return true;
        }
    }
    // Each `!`, `time` and backslash in backquotes nests too, without a bracket.
    text.matches('`').count() > 4 * NESTING_MAX
}
