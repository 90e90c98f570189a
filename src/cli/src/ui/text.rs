//! Text with a meaning, and text that is safe on a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

/// What a piece of text means; on a terminal it has a style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Dim,
    Good,
    Warning,
    Bad,
    Added,
    Removed,
    Position,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Good => colour(AnsiColor::Green).bold(),
            Self::Warning => colour(AnsiColor::Yellow).bold(),
            Self::Bad => colour(AnsiColor::Red).bold(),
            Self::Added => colour(AnsiColor::Green),
            Self::Removed => colour(AnsiColor::Red),
            Self::Position => colour(AnsiColor::Cyan),
        }
    }
}

/// Pieces of text, each with its tone. What they hold is made safe when they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<(Tone, String)>);

impl Text {
    /// No text yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub(crate) fn with(mut self, tone: Tone, piece: impl Into<String>) -> Self {
        self.0.push((tone, piece.into()));
        self
    }

    /// Adds a piece without a style.
    pub(crate) fn plain(self, piece: impl Into<String>) -> Self {
        self.with(Tone::Plain, piece)
    }

    /// The text as bytes for a stream.
    pub(crate) fn render(&self, colour: bool, is_terminal: bool) -> String {
        let mut rendered = String::new();
        for (tone, piece) in &self.0 {
            let piece = if is_terminal {
                printable(piece)
            } else {
                piece.clone()
            };
            if colour && *tone != Tone::Plain && !piece.is_empty() {
                let style = tone.style();
                // A style that spans lines colours the margin of some terminals.
                for line in piece.split_inclusive('\n') {
                    let (line, end) = line.strip_suffix('\n').map_or((line, ""), |l| (l, "\n"));
                    let _ = write!(rendered, "{style}{line}{style:#}{end}");
                }
            } else {
                rendered.push_str(&piece);
            }
        }
        rendered
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new().plain(text)
    }
}

/// Whether a character may move the cursor or change the terminal.
fn steers(character: char) -> bool {
    character.is_control() && character != '\n' && character != '\t'
}

/// Whether a character is not seen, or reorders what is: text that looks harmless can hide another.
///
/// Those without which emoji and some scripts cannot be written are not among them: U+200C, U+200D
/// and U+FE0F. Source: Unicode Technical Standard 39, and the property `Default_Ignorable_Code_Point`.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0e}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A text without what could steer a terminal, and with what cannot be seen as its number.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_unicode());
        } else if !steers(character) {
            shown.push(character);
        }
    }
    shown
}

/// JSON in which what could steer a terminal is escaped: it can only stand in strings.
pub(crate) fn escaped_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) || is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A text as part of one line, cut to a number of characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&words, most)
}

/// A text in which each line after the first has a prefix: none can be taken for one of ours.
pub(crate) fn continued(text: &str, prefix: &str) -> String {
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    let text = text.trim_end().replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(ends).collect();
    lines.join(&format!("\n{prefix}"))
}

/// At most so many characters, the last of them `…` when something is missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Makes a stream of bytes safe, wherever it is cut.
#[derive(Debug, Default)]
pub(crate) struct StreamFilter {
    /// The beginning of a character whose end has not come yet.
    partial: Vec<u8>,
}

impl StreamFilter {
    /// The printable text of the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.partial);
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break;
                }
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(length) = error.error_len() else {
                        self.partial = invalid.to_vec();
                        break;
                    };
                    text.push('\u{fffd}');
                    rest = &invalid[length..];
                }
            }
        }
        printable(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        let check = |text: &str, expected: &str| {
            assert_eq!(printable(text), expected, "{text:?}");
            let whole = Text::from(text).render(true, true);
            assert_eq!(whole, expected);
        };
        check("plain\ttext\n", "plain\ttext\n");
        check("\u{1b}[2J\u{1b}]0;title\u{7}x", "[2J]0;titlex");
        check("a\r\nb\rc", "a\nbc");
        check("\u{9b}31mred", "31mred");
        check("abc\u{202e}fed", "abc\\u{202e}fed");
        check("a\u{200b}b\u{ad}\u{e0041}", "a\\u{200b}b\\u{ad}\\u{e0041}");
        check("👩\u{200d}💻❤\u{fe0f}", "👩\u{200d}💻❤\u{fe0f}");
        check("\u{0}\u{8}\u{7f}", "");
        check("日本 é", "日本 é");
    }

    #[test]
    fn bytes_that_are_not_for_a_terminal_stay_as_they_are() {
        assert_eq!(Text::from("\u{1b}[2J").render(false, false), "\u{1b}[2J");
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let value = serde_json::json!("a\u{9b}b\u{202e}c\u{7f}d\n\u{1b}\u{e0041}");
        let escaped = escaped_json(&value.to_string());
        assert_eq!(printable(&escaped), escaped);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            value
        );
    }

    #[test]
    fn styles_end_with_their_line() {
        let text = Text::new().with(Tone::Bad, "a\nb").plain("c");
        assert_eq!(text.render(false, true), "a\nbc");
        let styled = text.render(true, true);
        assert_eq!(styled.matches("\u{1b}[0m").count(), 2, "{styled:?}");
    }

    #[test]
    fn a_line_is_told_from_ours() {
        assert_eq!(continued("a", "| "), "a");
        assert_eq!(continued("a\n\nb\r\nc\rd\n", "| "), "a\n| \n| b\n| c\n| d");
    }

    #[test]
    fn lines_are_cut_by_characters() {
        assert_eq!(one_line(" a\n b ", 10), "a b");
        assert_eq!(one_line("äöüß", 4), "äöüß");
        assert_eq!(one_line("äöüßx", 4), "äöü…");
        assert_eq!(one_line("", 4), "");
    }

    proptest::proptest! {
        #[test]
        fn where_a_stream_is_cut_does_not_matter(bytes: Vec<u8>, at: proptest::sample::Index) {
            let at = at.index(bytes.len() + 1);
            let mut whole = StreamFilter::default();
            let mut cut = StreamFilter::default();
            let expected = whole.feed(&bytes);
            let text = cut.feed(&bytes[..at]) + &cut.feed(&bytes[at..]);
            proptest::prop_assert_eq!(text, expected);
        }
    }
}
