//! Texts of words: braces, escapes, numbers.

use brush_parser::word::{BraceExpressionMember, BraceExpressionOrText};

/// Words that one brace expression may give.
pub(super) const BRACES_MAX: usize = 64;

/// Digits of a number behind `~` or in braces. Source: the parser keeps it in 64 bits.
const NUMBER_MAX: usize = 18;

/// Whether there is a number for which the parser of words has no room.
pub(super) fn has_long_number(raw: &str) -> bool {
    let mut digits = 0_usize;
    let mut before = ' ';
    raw.chars().any(|c| {
        if c.is_ascii_digit() {
            digits += usize::from(digits > 0 || "~+-.{".contains(before));
        } else {
            digits = 0;
        }
        before = c;
        digits > NUMBER_MAX
    })
}

/// The words of a brace expression, a few more than [`BRACES_MAX`] at most.
pub(super) fn unfolded(pieces: &[BraceExpressionOrText], depth: usize) -> Vec<String> {
    let mut words = vec![String::new()];
    for piece in pieces {
        let next: Vec<String> = match piece {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => members
                .iter()
                .take(BRACES_MAX + 1)
                .flat_map(|member| match member {
                    // Numbers and letters: the first and the last say where they lead.
                    BraceExpressionMember::NumberSequence { start, end, .. } => {
                        vec![start.to_string(), end.to_string()]
                    }
                    BraceExpressionMember::CharSequence { start, end, .. } => {
                        vec![start.to_string(), end.to_string()]
                    }
                    BraceExpressionMember::Child(pieces) if depth < 8 => {
                        unfolded(pieces, depth + 1)
                    }
                    BraceExpressionMember::Child(_) => vec!["$NESTED".to_owned()],
                })
                .collect(),
        };
        let mut all = Vec::new();
        for word in &words {
            for next in &next {
                if all.len() <= BRACES_MAX {
                    all.push(format!("{word}{next}"));
                }
            }
        }
        words = all;
    }
    words
}

/// Decodes the inside of `$'...'`.
pub(crate) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(c) = chars.next() else {
            bytes.push(b'\\');
            break;
        };
        let mut number = |radix: u32, digits: usize, first: Option<char>| {
            let mut value = first.and_then(|c| c.to_digit(radix));
            let mut taken = usize::from(value.is_some());
            while taken < digits
                && let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix))
            {
                value = Some(value.unwrap_or(0).wrapping_mul(radix).wrapping_add(digit));
                taken += 1;
                chars.next();
            }
            value
        };
        match c {
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            'r' => bytes.push(b'\r'),
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'e' | 'E' => bytes.push(27),
            'f' => bytes.push(12),
            'v' => bytes.push(11),
            'c' => {
                chars.next();
            }
            'x' => bytes.extend(number(16, 2, None).and_then(|value| u8::try_from(value).ok())),
            'u' | 'U' => {
                let value = number(16, if c == 'u' { 4 } else { 8 }, None);
                if let Some(c) = value.and_then(char::from_u32) {
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            '0'..='7' => {
                let value = number(8, 3, Some(c)).unwrap_or(0);
                bytes.push(u8::try_from(value & 0xff).unwrap_or(0));
            }
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
