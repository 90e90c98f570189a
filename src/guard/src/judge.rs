//! From a command's text to a verdict, within bounds.

use brush_parser::ast::Program;
use brush_parser::{ParserOptions, Token, parse_tokens, uncached_tokenize_str};

use crate::depth::{are_nested, is_too_deep};
use crate::shell::Walk;
use crate::{Context, Verdict};

/// Bytes of a command that are read; beyond it the answer is "cannot tell".
pub const LENGTH_MAX: usize = 128 << 10;
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

/// Whether a redirection is of a descriptor that no process has; the parser cannot hold its number.
fn is_beyond_descriptors(tokens: &[Token]) -> bool {
    matches!(tokens, [Token::Word(number, _), Token::Operator(operator, _)]
        if operator.starts_with(['<', '>'])
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && number.parse::<i32>().is_err())
}

/// Parses a script, unless it is deeply nested.
pub(crate) fn parse(text: &str) -> Result<Program, Unreadable> {
    if is_too_deep(text) {
        return Err(Unreadable::Deep);
    }
    let options = options();
    let tokens = uncached_tokenize_str(text, &options.tokenizer_options())
        .map_err(|_| Unreadable::Syntax)?;
    if are_nested(&tokens) {
        return Err(Unreadable::Deep);
    }
    if tokens.windows(2).any(is_beyond_descriptors) {
        return Err(Unreadable::Syntax);
    }
    parse_tokens(&tokens, &options)
        .or_else(|error| match without_select(&tokens) {
            Some(tokens) => parse_tokens(&tokens, &options),
            None => Err(error),
        })
        .map_err(|_| Unreadable::Syntax)
}

/// `select` loops as `for` does, and the parser does not know it.
fn without_select(tokens: &[Token]) -> Option<Vec<Token>> {
    let mut begins = true;
    let mut is_changed = false;
    let tokens = tokens.iter().map(|token| match token {
        Token::Word(word, span) if begins && word == "select" => {
            begins = false;
            is_changed = true;
            Token::Word("for".to_owned(), span.clone())
        }
        Token::Word(word, _) => {
            begins = matches!(word.as_str(), "do" | "then" | "else" | "{" | "!" | "time");
            token.clone()
        }
        Token::Operator(operator, _) => {
            begins = !operator.starts_with(['<', '>']);
            token.clone()
        }
    });
    let tokens = tokens.collect();
    is_changed.then_some(tokens)
}
