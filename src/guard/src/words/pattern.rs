//! Patterns, as `${X%PATTERN}` takes them off.

/// What makes a text a pattern.
pub(super) const PATTERN: [char; 5] = ['*', '?', '[', '\\', '('];

/// Comparisons of characters that one expansion may take.
const WORK_MAX: usize = 1 << 24;

/// One character of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Any text.
    Text,
    /// Any character.
    One,
    /// A character of these ranges, or of no other.
    Of(Vec<(char, char)>, bool),
}

impl Piece {
    fn is(&self, c: char) -> bool {
        match self {
            Self::Text => false,
            Self::One => true,
            Self::Of(ranges, is_among) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) == *is_among
            }
        }
    }
}

/// The pieces of a pattern. Named classes, alternatives and backslashes are not understood.
fn pieces(pattern: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::Text,
            '?' => Piece::One,
            '\\' | '(' => return None,
            '[' => {
                // A bracket that comes first is one of the characters.
                let rest = chars.as_str();
                let is_among = !rest.starts_with(['!', '^']);
                let body = if is_among { rest } else { &rest[1..] };
                let end = body.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
                let class: Vec<char> = body[..end].chars().collect();
                if class.contains(&'[') {
                    return None;
                }
                chars = body[end + 1..].chars();
                let mut ranges = Vec::new();
                let mut class = class.as_slice();
                while let [from, rest @ ..] = class {
                    if let ['-', to, rest @ ..] = rest {
                        ranges.push((*from, *to));
                        class = rest;
                    } else {
                        ranges.push((*from, *from));
                        class = rest;
                    }
                }
                Piece::Of(ranges, is_among)
            }
            c => Piece::Of(vec![(c, c)], true),
        });
    }
    Some(pieces)
}

/// Takes off what a pattern matches at one end: as little as possible, or as much.
pub(super) fn cut(text: &str, pattern: &str, front: bool, most: bool) -> Option<String> {
    let pieces = pieces(pattern)?;
    let work = text.len().saturating_mul(text.len());
    if work.saturating_mul(pieces.len()) > WORK_MAX {
        return None;
    }
    let mut ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    ends.push(text.len());
    if front == most {
        ends.reverse();
    }
    for at in ends {
        let (head, tail) = text.split_at(at);
        if front && matches(head, &pieces) {
            return Some(tail.to_owned());
        }
        if !front && matches(tail, &pieces) {
            return Some(head.to_owned());
        }
    }
    Some(text.to_owned())
}

fn matches(text: &str, pattern: &[Piece]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut piece) = (0, 0);
    // Where the last `*` is, and what it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(piece) {
            Some(Piece::Text) => {
                star = Some((piece, at));
                piece += 1;
            }
            Some(one) if one.is(text[at]) => {
                at += 1;
                piece += 1;
            }
            _ => {
                let Some((place, taken)) = star else {
                    return false;
                };
                star = Some((place, taken + 1));
                (at, piece) = (taken + 1, place + 1);
            }
        }
    }
    pattern[piece..].iter().all(|piece| *piece == Piece::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_taken_off() {
        let check = |text, pattern, front, most, left: &str| {
            assert_eq!(
                cut(text, pattern, front, most).as_deref(),
                Some(left),
                "{text} {pattern}"
            );
        };
        check("a/b/c.tar.gz", ".*", false, false, "a/b/c.tar");
        check("a/b/c.tar.gz", ".*", false, true, "a/b/c");
        check("a/b/c", "*/", true, false, "b/c");
        check("a/b/c", "*/", true, true, "c");
        check("build-1.2", "-[0-9]*", false, false, "build");
        check("build-1.2", "[!0-9]?", false, false, "build-1");
        check("a]b", "[]]b", false, false, "a");
        check("/workspace/build", "[w]*", false, true, "/");
        check("a", "b", true, false, "a");
        for pattern in ["[[:digit:]]", "@(a|b)", "\\*", "[a"] {
            assert_eq!(cut("a", pattern, true, false), None, "{pattern}");
        }
        assert_eq!(cut(&"a".repeat(9_000), "a*", true, true), None);
    }
}
