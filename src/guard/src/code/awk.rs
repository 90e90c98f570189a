//! What a program of `awk` writes to, and what it reads from.

use super::arguments::{Argument, Known, argument};
use super::tokens::Token;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

/// `print > "file"` and `print | "command"`.
pub(super) fn output(walk: &mut Walk<'_>, tokens: &[Token], at: usize, known: &Known, shown: &str) {
    // `"command" | getline`, and `||` is none of this.
    let reads = matches!(tokens[at], Token::Mark('|'))
        && matches!(tokens.get(at + 1), Some(Token::Name(name)) if name == "getline");
    if reads {
        let before = at.checked_sub(1).map(|at| &tokens[at]);
        match before.map(|token| argument(&[token], known)) {
            Some(Argument::Text(text)) => walk.text_as_script_of(&text, shown),
            // A bracket closes an expression, a name may be anything.
            Some(Argument::Texts(_) | Argument::Filled(_) | Argument::Open) | None => {
                walk.ask(shown, "which program it reads from is not known");
            }
        }
        return;
    }
    let is_or =
        |at: Option<usize>| at.is_some_and(|at| matches!(tokens.get(at), Some(Token::Mark('|'))));
    if matches!(tokens[at], Token::Mark('|')) && (is_or(Some(at + 1)) || is_or(at.checked_sub(1))) {
        return;
    }
    let mut depth = 0_i32;
    let prints = tokens[..at]
        .iter()
        .rev()
        .take_while(|token| !matches!(token, Token::LineEnd | Token::Mark('{')))
        .any(|token| {
            match token {
                Token::Mark(')') => depth += 1,
                Token::Mark('(') => depth -= 1,
                _ => {}
            }
            matches!(token, Token::Name(name) if name == "print" || name == "printf") && depth >= 0
        });
    if !prints {
        return;
    }
    let runs = matches!(tokens[at], Token::Mark('|'));
    let mut next = at + 1;
    while matches!(tokens.get(next), Some(Token::Mark('>' | '&'))) {
        next += 1;
    }
    let ends = matches!(
        tokens.get(next + 1),
        None | Some(Token::LineEnd | Token::Mark('}'))
    );
    match tokens.get(next) {
        Some(token @ (Token::Text(_, false) | Token::Name(_))) if runs => {
            match argument(&[token], known) {
                Argument::Text(text) if ends => {
                    // What it reads is made of the lines.
                    let stdin = Output::Unknown("what awk writes".to_owned());
                    let before = std::mem::replace(&mut walk.state.stdin, stdin);
                    walk.text_as_script_of(&text, shown);
                    walk.state.stdin = before;
                }
                Argument::Text(_) | Argument::Texts(_) | Argument::Filled(_) | Argument::Open => {
                    walk.ask(shown, "which program it writes to is not known");
                }
            }
        }
        Some(name @ Token::Name(_)) if ends => {
            if let Argument::Text(text) = argument(&[name], known) {
                walk.act(Act::Write, &Value::text(text), shown);
            }
        }
        Some(Token::Text(text, false)) if ends || text.starts_with('/') => {
            walk.act(Act::Write, &Value::text(text), shown);
        }
        // Names from the lines: files beside each other.
        _ if !runs => {}
        _ => walk.ask(shown, "which program it writes to is not known"),
    }
}
