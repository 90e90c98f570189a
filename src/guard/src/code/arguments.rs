//! What names stand for, and what a call is given.

use std::collections::HashMap;

use super::Language;
use super::table::call;
use super::tokens::Token;

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

/// Names that stand for plain texts: given once, or each element of a plain list.
pub(super) type Known = HashMap<String, Option<Vec<String>>>;

pub(super) fn constants(tokens: &[Token]) -> Known {
    let mut known = Known::new();
    let mut learn = |name: &String, value: Option<Vec<String>>| {
        let changed = known.get(name).is_some_and(|known| *known != value);
        known.insert(name.clone(), if changed { None } else { value });
    };
    for (at, token) in tokens.iter().enumerate() {
        let path = match (token, tokens.get(at + 1), tokens.get(at + 2)) {
            (Token::Name(name), Some(Token::Mark('(')), Some(Token::Text(path, false)))
            | (Token::Name(name), Some(Token::Text(path, false)), _)
                if is_listing(name) =>
            {
                path
            }
            (Token::Name(name), Some(Token::Mark('[')), Some(Token::Text(path, false)))
                if name == "Dir" =>
            {
                path
            }
            _ => continue,
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
        Some(Token::Name(name)) => name.starts_with(['$', '@']) || name == "my" || is_listing(name),
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
        ] if matches!(name.as_str(), "path.join" | "path.resolve" | "File.join") => {
            let parts = inner.split(|token| **token == Token::Mark(','));
            let parts = parts.map(|part| match part {
                [one] => text(one),
                _ => None,
            });
            match parts.collect::<Option<Vec<String>>>() {
                Some(parts) => Argument::Text(parts.join("/")),
                None => Argument::Open,
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
                    [Token::Mark('+'), next] => match text(next) {
                        Some(text) => all.push_str(&text),
                        None => return Argument::Open,
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
