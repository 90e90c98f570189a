//! What names stand for, and what a call is given.

use std::collections::HashMap;

use super::Language;
use super::table::{Call, call};
use super::tokens::Token;
use crate::findings::Act;

/// Other names for modules and functions: `import os as o`, `from os import remove as r`, `f = os.remove`.
pub(super) fn other_names(tokens: &[Token]) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for window in tokens.windows(3) {
        let (name, other) = match window {
            [Token::Name(name), Token::Name(word), Token::Name(other)] if word == "as" => {
                (name, other)
            }
            [Token::Name(other), Token::Mark('='), Token::Name(name)] if name.contains('.') => {
                (name, other)
            }
            // `const { rmSync: remove } = require("fs")`.
            [Token::Name(name), Token::Mark(':'), Token::Name(other)]
                if call(Language::Node, name).is_some_and(|(_, is_unsure)| !is_unsure) =>
            {
                (name, other)
            }
            _ => continue,
        };
        names.insert(other.clone(), name.clone());
    }
    names
}

/// A name as it is known to all.
pub(super) fn real_name(name: &str, names: &HashMap<String, String>) -> String {
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    match (names.get(first), rest) {
        (Some(real), Some(rest)) => format!("{real}.{rest}"),
        (Some(real), None) => real.clone(),
        (None, _) => name.to_owned(),
    }
}

/// Whether a function gives the paths that a text names, or those in it.
pub(super) fn is_listing(name: &str) -> bool {
    matches!(
        name,
        "glob"
            | "fs.readdirSync"
            | "readdirSync"
            | "fs.globSync"
            | "globSync"
            | "glob.sync"
            | "Dir.glob"
            | "Pathname.glob"
            | "Dir.entries"
            | "Dir.children"
            | "Dir.each_child"
            | "list.files"
    )
}

/// The name that each path of a listing gets: `for (const NAME of ...)`, `for my NAME (...)`,
/// `.each { |NAME| ...`, `.forEach(NAME => ...`.
pub(super) fn name_of_each(tokens: &[Token], at: usize) -> Option<String> {
    let is_blank = |name: &str| {
        matches!(
            name,
            "of" | "in"
                | "my"
                | "our"
                | "const"
                | "let"
                | "var"
                | "each"
                | "forEach"
                | "map"
                | "do"
        )
    };
    let mut before = tokens[..at].iter().rev().take(4);
    if let Some(Token::Name(name)) = before.find(|token| {
        matches!(token, Token::Name(name) if !is_blank(name) && !matches!(name.as_str(), "for" | "foreach"))
            || matches!(token, Token::LineEnd | Token::Mark('{' | '}'))
    }) && tokens[..at]
        .iter()
        .rev()
        .take(6)
        .any(|token| matches!(token, Token::Name(name) if name == "for" || name == "foreach"))
    {
        return Some(name.clone());
    }
    let is_loop = tokens[..at]
        .iter()
        .rev()
        .take(3)
        .any(|token| matches!(token, Token::Name(name) if name == "for" || name == "foreach"));
    if is_loop {
        return Some("$_".to_owned());
    }
    // Behind its brackets, up to the first name.
    let mut behind = tokens[at + 1..]
        .iter()
        .skip_while(|token| !matches!(token, Token::Mark(')' | ']')))
        .skip(1)
        .take(6);
    behind.find_map(|token| match token {
        Token::Name(name) if !is_blank(name) => Some(name.clone()),
        _ => None,
    })
}

/// The path whose content the name at this place lists: `glob("/etc/*")`, `Dir["/etc/*"]`.
fn listed(tokens: &[Token], at: usize) -> Option<&String> {
    match (tokens.get(at)?, tokens.get(at + 1), tokens.get(at + 2)) {
        (Token::Name(name), Some(Token::Mark('(')), Some(Token::Text(path, false)))
        | (Token::Name(name), Some(Token::Text(path, false)), _)
            if is_listing(name) =>
        {
            Some(path)
        }
        (Token::Name(name), Some(Token::Mark('[')), Some(Token::Text(path, false)))
            if name == "Dir" =>
        {
            Some(path)
        }
        _ => None,
    }
}

/// A function that is given to another one, which calls it with what it lists: what it does, the
/// paths, and whether the name may mean something else. `each(&File.method(:delete))`,
/// `each(&:unlink)`, `forEach(fs.unlinkSync)`, `array_map("unlink", ...)`.
pub(super) fn passed_on(
    language: Language,
    tokens: &[Token],
    at: usize,
    name: &str,
    known: &Known,
) -> Option<(Act, Vec<Argument>, bool)> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let after = |on: usize| tokens.get(at + on);
    let is_symbol = matches!(before(1), Some(Token::Mark(':')))
        && matches!(before(2), Some(Token::Mark('&')))
        && language == Language::Ruby;
    let is_argument = matches!(before(1), Some(Token::Mark('(' | ',')))
        && matches!(after(1), Some(Token::Mark(')' | ',')));
    let function = match (name.strip_suffix("method"), after(1), after(2), after(3)) {
        (
            Some(owner),
            Some(Token::Mark('(')),
            Some(Token::Mark(':')),
            Some(Token::Name(method)),
        ) => format!("{owner}{method}"),
        _ => match (after(1), after(2)) {
            (Some(Token::Mark('(')), Some(Token::Text(function, false)))
                if matches!(name, "array_map" | "array_walk" | "call_user_func") =>
            {
                function.clone()
            }
            _ if is_symbol || is_argument => name.to_owned(),
            _ => return None,
        },
    };
    let (act, is_unsure) = match call(language, &function)? {
        (Call::Remove, is_unsure) => (Act::Remove, is_unsure),
        (Call::Write, is_unsure) => (Act::Write, is_unsure),
        (Call::Change, is_unsure) => (Act::Change, is_unsure),
        _ => return None,
    };
    // What is listed in the same statement, or under a name whose method it is given to.
    let is_end = |token: &Token| *token == Token::LineEnd;
    let start = tokens[..at].iter().rposition(is_end).map_or(0, |at| at + 1);
    let end = tokens[at..].iter().position(is_end);
    let end = end.map_or(tokens.len(), |end| at + end);
    let mut paths: Vec<Argument> = (start..end)
        .filter_map(|at| listed(tokens, at).cloned())
        .map(Argument::Text)
        .collect();
    if paths.is_empty()
        && let Some(Token::Name(method)) = before(2)
        && let Some((object, _)) = method.rsplit_once('.')
        && let Some(Some(texts)) = known.get(object)
    {
        paths.push(Argument::Texts(texts.clone()));
    }
    if paths.is_empty() {
        paths.push(Argument::Open);
    }
    Some((act, paths, is_unsure))
}

/// Names that stand for plain texts: given once, or each element of a plain list.
pub(super) type Known = HashMap<String, Option<Vec<String>>>;

pub(super) fn constants(tokens: &[Token]) -> Known {
    let mut known = Known::new();
    let mut learn = |name: &String, value: Option<Vec<String>>| {
        let changed = known.get(name).is_some_and(|known| *known != value);
        known.insert(name.clone(), if changed { None } else { value });
    };
    for at in 0..tokens.len() {
        let Some(path) = listed(tokens, at) else {
            continue;
        };
        if let Some(name) = name_of_each(tokens, at) {
            learn(&name, Some(vec![path.clone()]));
        }
    }
    for (at, window) in tokens.windows(4).enumerate() {
        match window {
            // The list was learnt above, and so is one that is kept under a name.
            [
                Token::Name(name),
                Token::Mark('='),
                Token::Name(function),
                _,
            ] if is_listing(function) => {
                let path = tokens[at + 3..]
                    .iter()
                    .take(2)
                    .find_map(|token| match token {
                        Token::Text(path, false) => Some(vec![path.clone()]),
                        _ => None,
                    });
                learn(name, path);
            }
            [
                Token::Name(word),
                Token::Name(_),
                Token::Name(of),
                Token::Name(function),
            ] if word == "const" && of == "of" && is_listing(function) => {}
            [Token::Name(name), Token::Mark('='), value, after] => {
                let value = match (value, after) {
                    (Token::Text(text, false), Token::LineEnd) => Some(vec![text.clone()]),
                    _ => None,
                };
                learn(name, value);
            }
            [
                Token::Name(word),
                Token::Name(name),
                Token::Name(of),
                Token::Mark('[' | '('),
            ] if word == "for" && (of == "in" || of == "of") => {
                learn(name, list(&tokens[at + 4..]));
            }
            _ => {}
        }
    }
    known
}

/// The texts of a list, from behind its opening bracket.
pub(super) fn list(tokens: &[Token]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text, false) => texts.push(text.clone()),
            Token::Mark(',') | Token::LineEnd => {}
            Token::Mark(']' | ')') => return Some(texts),
            Token::Text(_, true) | Token::Name(_) | Token::Ticks(_) | Token::Mark(_) => {
                return None;
            }
        }
    }
    None
}

/// One argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Text(String),
    Texts(Vec<String>),
    /// A text in which something is filled in.
    Filled(String),
    Open,
}

/// The arguments of a call whose name is at `at`: in brackets, or without them.
pub(super) fn arguments(tokens: &[Token], at: usize, known: &Known) -> Option<Vec<Argument>> {
    let bracketed = matches!(tokens.get(at + 1), Some(Token::Mark('(')));
    let mut rest = at + if bracketed { 2 } else { 1 };
    let is_value = match tokens.get(rest) {
        Some(Token::Text(..)) => true,
        Some(Token::Name(name)) => {
            name.starts_with(['$', '@', '0']) || name == "my" || is_listing(name)
        }
        _ => false,
    };
    if !bracketed && !is_value {
        return None;
    }
    let mut all = Vec::new();
    let mut current: Vec<&Token> = Vec::new();
    let mut depth = 0_usize;
    loop {
        let token = tokens.get(rest);
        rest += 1;
        match token {
            None => break,
            Some(Token::LineEnd) if !bracketed => break,
            Some(Token::LineEnd) => {}
            Some(Token::Mark(')' | '}' | ']')) if depth == 0 => break,
            Some(Token::Mark(',')) if depth == 0 => {
                all.push(argument(&current, known));
                current.clear();
            }
            Some(token) => {
                match token {
                    Token::Mark('(' | '[' | '{') => depth += 1,
                    Token::Mark(')' | ']' | '}') => depth -= 1,
                    _ => {}
                }
                current.push(token);
            }
        }
    }
    if !current.is_empty() {
        all.push(argument(&current, known));
    }
    Some(all)
}

pub(super) fn argument(tokens: &[&Token], known: &Known) -> Argument {
    // `name=value` of Python.
    let tokens = match tokens {
        [Token::Name(_), Token::Mark('='), rest @ ..] if !rest.is_empty() => rest,
        tokens => tokens,
    };
    let text = |token: &Token| match token {
        Token::Text(text, false) => Some(text.clone()),
        Token::Name(name) => match known.get(name) {
            Some(Some(texts)) if texts.len() == 1 => texts.first().cloned(),
            _ => None,
        },
        Token::Text(_, true) | Token::Ticks(_) | Token::Mark(_) | Token::LineEnd => None,
    };
    match tokens {
        [Token::Mark('['), inner @ .., Token::Mark(']')] => {
            let texts = inner
                .iter()
                .filter(|token| !matches!(token, Token::Mark(',') | Token::LineEnd))
                .map(|token| text(token))
                .collect::<Option<Vec<String>>>();
            texts.map_or(Argument::Open, Argument::Texts)
        }
        [Token::Name(name)] => match known.get(name).cloned().flatten() {
            Some(texts) => match texts.as_slice() {
                [one] => Argument::Text(one.clone()),
                _ => Argument::Texts(texts),
            },
            None => Argument::Open,
        },
        // A path of Python made from a text.
        [Token::Name(name), Token::Mark('('), inner, Token::Mark(')')]
            if name.ends_with("Path") || name == "str" =>
        {
            text(inner).map_or(Argument::Open, Argument::Text)
        }
        [
            Token::Name(name),
            Token::Mark('('),
            inner @ ..,
            Token::Mark(')'),
        ] if matches!(name.as_str(), "path.join" | "path.resolve" | "File.join")
            || (name.rsplit('.').next() == Some("join")
                && inner.iter().any(|it| **it == Token::Mark(','))) =>
        {
            let parts = inner.split(|token| **token == Token::Mark(','));
            let parts: Vec<Option<String>> = parts
                .map(|part| match part {
                    [Token::Name(name)] if name == "__dirname" => Some(".".to_owned()),
                    [one] => text(one),
                    [Token::Name(name), Token::Mark('('), Token::Mark(')')] => {
                        match name.as_str() {
                            "process.cwd" | "Dir.pwd" => Some(".".to_owned()),
                            "os.tmpdir" | "Dir.tmpdir" => Some("/tmp".to_owned()),
                            _ => None,
                        }
                    }
                    _ => None,
                })
                .collect();
            let begun: Vec<String> = parts.iter().map_while(Clone::clone).collect();
            match begun.len() {
                0 => Argument::Open,
                count if count == parts.len() => Argument::Text(begun.join("/")),
                _ => Argument::Filled(format!("{}/${{...}}", begun.join("/"))),
            }
        }
        // Paths by a pattern.
        [Token::Name(name), inner @ ..] if is_listing(name) => match inner {
            [one @ Token::Text(..)] | [Token::Mark('('), one, ..] => match text(one) {
                Some(path) => Argument::Text(path),
                None => Argument::Open,
            },
            _ => Argument::Open,
        },
        [Token::Text(text, true)] => Argument::Filled(text.clone()),
        [first, rest @ ..] => {
            let Some(mut all) = text(first) else {
                return Argument::Open;
            };
            for pair in rest.chunks(2) {
                match pair {
                    [Token::Mark('+' | '.'), next] => match text(next) {
                        Some(text) => all.push_str(&text),
                        None => return Argument::Filled(format!("{all}${{...}}")),
                    },
                    _ => return Argument::Open,
                }
            }
            Argument::Text(all)
        }
        [] => Argument::Open,
    }
}

/// The text of the path on which a method is called: `Path("x").unlink()`.
pub(super) fn receiver(tokens: &[Token], at: usize, known: &Known) -> Option<Argument> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    match (before(1), before(2), before(3), before(4)) {
        (Some(Token::Mark('.')), Some(Token::Mark(')')), Some(inner), Some(Token::Mark('('))) => {
            Some(argument(&[inner], known))
        }
        (Some(Token::Mark('.')), ..) => Some(Argument::Open),
        _ => None,
    }
}
