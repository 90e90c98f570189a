//! Code cut into texts, names and marks, for languages whose plain calls are enough to know.

use super::Language;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, with the dots or colons in it.
    Name(String),
    /// A text; whether something can be filled in.
    Text(String, bool),
    /// A text in backquotes, which some languages run.
    Ticks(String),
    Mark(char),
    LineEnd,
}

/// Tokens of one text: what is longer is "cannot tell".
const TOKENS_MAX: usize = 50_000;

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each kind, a table in essence"
)]
pub(super) fn tokens(language: Language, text: &str) -> Option<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if tokens.len() > TOKENS_MAX {
            return None;
        }
        let next = chars.get(at + 1).copied();
        let starts_operand = !matches!(
            tokens.last(),
            Some(Token::Name(_) | Token::Text(..) | Token::Mark(')' | ']'))
        );
        let hash_comment = matches!(
            language,
            Language::Python
                | Language::Perl
                | Language::Ruby
                | Language::Awk
                | Language::Php
                | Language::R
                | Language::Julia
        );
        let slash_comment = matches!(language, Language::Node | Language::Php);
        match c {
            '\n' | ';' => {
                tokens.push(Token::LineEnd);
                at += 1;
            }
            c if c.is_whitespace() => at += 1,
            '#' if hash_comment && (language != Language::Perl || starts_operand) => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            '-' if language == Language::Lua && next == Some('-') => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            '/' if slash_comment && next == Some('/') => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            '/' if starts_operand
                && matches!(
                    language,
                    Language::Awk | Language::Perl | Language::Ruby | Language::Node
                ) =>
            {
                // A pattern.
                at += 1;
                while let Some(&c) = chars.get(at) {
                    at += 1;
                    match c {
                        '\\' => at += 1,
                        '/' | '\n' => break,
                        _ => {}
                    }
                }
                tokens.push(Token::Text(String::new(), false));
            }
            // `%x(...)` of Ruby.
            '%' if language == Language::Ruby
                && starts_operand
                && next == Some('x')
                && chars.get(at + 2).is_some_and(|c| !c.is_alphanumeric()) =>
            {
                let (value, end) = delimited(&chars, at + 2);
                tokens.push(Token::Ticks(value));
                at = end;
            }
            '\'' | '"' | '`' => {
                let (value, filled, end) = quoted(language, &chars, at);
                let prefix_filled = matches!(tokens.last(), Some(Token::Name(name))
                    if language == Language::Python && matches!(name.as_str(), "f" | "F" | "rf" | "fr"));
                let is_prefixed = matches!(tokens.last(), Some(Token::Name(name))
                    if language == Language::Python
                        && chars.get(at.wrapping_sub(1)).is_some_and(char::is_ascii_alphabetic)
                        && matches!(name.as_str(), "f" | "F" | "rf" | "fr" | "r" | "R" | "b" | "B" | "u" | "rb" | "br"));
                if is_prefixed {
                    tokens.pop();
                }
                at = end;
                if c == '`' && !matches!(language, Language::Node | Language::R) {
                    tokens.push(Token::Ticks(value));
                } else {
                    let filled = filled || (is_prefixed && prefix_filled && value.contains('{'));
                    tokens.push(Token::Text(value, filled));
                }
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' || c == '@' => {
                let start = at;
                while let Some(&c) = chars.get(at) {
                    let joins = (c == '.' || (c == ':' && language != Language::Node))
                        && chars
                            .get(at + 1)
                            .is_some_and(|c| c.is_alphanumeric() || *c == '_' || *c == ':');
                    if c.is_alphanumeric()
                        || "_$@?!".contains(c) && at == start
                        || c == '_'
                        || joins
                    {
                        at += 1;
                    } else {
                        break;
                    }
                }
                at = at.max(start + 1);
                let name: String = chars[start..at].iter().collect();
                // `qx{...}` and `q(...)` of Perl.
                let quotes = language == Language::Perl
                    && matches!(name.as_str(), "qx" | "q" | "qq")
                    && !matches!(tokens.last(), Some(Token::Mark('>' | '{' | '$')));
                if quotes
                    && let Some(mark) = chars.get(at).filter(|c| !c.is_alphanumeric())
                    && !mark.is_whitespace()
                    && !",;=)".contains(*mark)
                {
                    let (value, end) = delimited(&chars, at);
                    let filled = name == "qq" && value.contains(['$', '@']);
                    tokens.push(match name.as_str() {
                        "qx" => Token::Ticks(value),
                        _ => Token::Text(value, filled),
                    });
                    at = end;
                } else {
                    tokens.push(Token::Name(name));
                }
            }
            c => {
                tokens.push(Token::Mark(c));
                at += 1;
            }
        }
    }
    Some(tokens)
}

/// A text between marks of one's own choice, such as brackets: what it says, and its end.
pub(super) fn delimited(chars: &[char], at: usize) -> (String, usize) {
    let open = chars[at];
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '<' => '>',
        other => other,
    };
    let (mut value, mut depth, mut end) = (String::new(), 0_usize, at + 1);
    while let Some(&c) = chars.get(end) {
        end += 1;
        if c == close && depth == 0 {
            break;
        }
        if c == close {
            depth -= 1;
        } else if c == open {
            depth += 1;
        }
        value.push(c);
    }
    (value, end)
}

/// A quoted text from its opening mark: what it says, whether something is filled in, its end.
pub(super) fn quoted(language: Language, chars: &[char], at: usize) -> (String, bool, usize) {
    let mark = chars[at];
    let triple = language == Language::Python
        && chars.get(at + 1) == Some(&mark)
        && chars.get(at + 2) == Some(&mark);
    let mut end = at + if triple { 3 } else { 1 };
    let mut value = String::new();
    let mut filled = false;
    while let Some(&c) = chars.get(end) {
        if c == '\\' {
            if let Some(&next) = chars.get(end + 1) {
                match next {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    // Which character it stands for is not worked out.
                    'x' | 'u' | 'U' | 'N' | '0'..='7' => filled = true,
                    next => value.push(next),
                }
            }
            end += 2;
            continue;
        }
        if c == mark {
            let closes =
                !triple || (chars.get(end + 1) == Some(&mark) && chars.get(end + 2) == Some(&mark));
            if closes {
                end += if triple { 3 } else { 1 };
                return (value, filled, end);
            }
        }
        let interpolates = match language {
            Language::Perl | Language::Php => mark != '\'' && (c == '$' || c == '@'),
            Language::Ruby => mark != '\'' && c == '#' && chars.get(end + 1) == Some(&'{'),
            Language::Node => mark == '`' && c == '$' && chars.get(end + 1) == Some(&'{'),
            Language::Julia => c == '$',
            Language::Python | Language::Lua | Language::Awk | Language::R => false,
        };
        filled |= interpolates;
        value.push(c);
        end += 1;
    }
    (value, true, end)
}
