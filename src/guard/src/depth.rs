//! How deep a text is nested, counted before the parser recurses into it.

use brush_parser::Token;

/// Brackets and compound commands within each other. The parser recurses for each.
const NESTING_MAX: usize = 40;
/// Of what the parser tries in two ways, so that the time doubles with each level.
const DOUBLED_MAX: usize = 10;
/// Substitutions in one text, closed or not: each may be a level, because a bracket that seems to
/// close it may be quoted. Source: a level takes some 100 KiB of the stack in a debug build.
const SUBSTITUTIONS_MAX: usize = 1_000;

/// Whether a text may be deep, before it is cut into tokens.
pub(crate) fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut is_escaped) = (0_usize, false);
    for c in text.chars() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' if !is_escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return true;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    let substitutions: usize = ["$(", "${", "$[", "<(", ">("]
        .iter()
        .map(|opener| text.matches(opener).count())
        .sum();
    // A backslash in backquotes nests too, without a bracket.
    substitutions > SUBSTITUTIONS_MAX || text.matches('`').count() > 4 * NESTING_MAX
}

/// Whether the braces of a word are too many to be tried, each in several ways. A brace that closes
/// another counts only where it cannot be quoted.
pub(crate) fn has_deep_braces(word: &str) -> bool {
    let is_plain = !word.contains(['\'', '"', '\\', '$', '`']);
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in word.chars() {
        match c {
            '{' => depth += 1,
            '}' if is_plain => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > DOUBLED_MAX
}

/// What a token opened that another must close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Bracket,
    /// A bracket in which arithmetic or a regular expression may be.
    Doubled,
    Brace,
    If,
    Loop,
    Do,
    Case,
    Test,
}

/// Whether what the tokens make up is nested deeply. It is never less than what the parser comes to:
/// what closes something is believed only where the parser cannot take it for an argument.
pub(crate) fn are_nested(tokens: &[Token]) -> bool {
    let mut open: Vec<Open> = Vec::new();
    let (mut bangs, mut coprocesses, mut operators) = (0_usize, 0_usize, 0_usize);
    // Whether a command may begin here, and whether one that was open may end here.
    let (mut begins, mut ends) = (true, false);
    let mut is_bracket = false;
    for (at, token) in tokens.iter().enumerate() {
        let was_bracket = std::mem::take(&mut is_bracket);
        let text = token.to_str();
        bangs = if text == "!" { bangs + 1 } else { 0 };
        match token {
            Token::Operator(..) => {
                match text {
                    "(" => {
                        is_bracket = true;
                        let is_doubled =
                            was_bracket || matches!(open.last(), Some(Open::Doubled | Open::Test));
                        open.push(if is_doubled {
                            Open::Doubled
                        } else {
                            Open::Bracket
                        });
                    }
                    ")" => {
                        if matches!(open.last(), Some(Open::Bracket | Open::Doubled)) {
                            open.pop();
                        }
                    }
                    "&&" | "||" if open.contains(&Open::Test) => operators += 1,
                    _ => {}
                }
                begins = !text.starts_with(['<', '>']) && !text.starts_with("&>");
                ends = text.starts_with([';', '\n']) || text == "&";
            }
            Token::Word(..) => {
                let closed: &[Open] = match text {
                    "fi" => &[Open::If],
                    "done" => &[Open::Do, Open::Loop],
                    "esac" => &[Open::Case],
                    "}" => &[Open::Brace],
                    _ => &[],
                };
                let is_closer = ends && closed.first().is_some_and(|one| open.last() == Some(one));
                let may_begin = begins;
                begins = matches!(
                    text,
                    "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "{" | "!" | "time"
                        | "-p" | "coproc"
                ) || is_closer
                    // The name of a function or a coprocess comes before its body.
                    || at.checked_sub(1).is_some_and(|before| {
                        matches!(tokens[before].to_str(), "coproc" | "function")
                    });
                ends = is_closer;
                if is_closer {
                    for one in closed {
                        if open.last() == Some(one) {
                            open.pop();
                        }
                    }
                } else if text == "]]" && open.last() == Some(&Open::Test) {
                    open.pop();
                    // What follows may be a closer only after a separator.
                } else if may_begin {
                    match text {
                        "if" => open.push(Open::If),
                        "while" | "until" => open.push(Open::Loop),
                        "do" => open.push(Open::Do),
                        "case" => open.push(Open::Case),
                        "{" => open.push(Open::Brace),
                        "coproc" => coprocesses += 1,
                        "[[" if open.last() != Some(&Open::Test) => {
                            open.push(Open::Test);
                            operators = 0;
                        }
                        _ => {}
                    }
                }
            }
        }
        let count = |kinds: &[Open]| open.iter().filter(|one| kinds.contains(one)).count();
        if open.len() + coprocesses > NESTING_MAX
            || bangs.max(operators) > NESTING_MAX
            || count(&[Open::Doubled]) > DOUBLED_MAX
            || count(&[Open::Case]) > DOUBLED_MAX
        {
            return true;
        }
    }
    false
}
