//! Text that others wrote, made safe to show.

/// At most `max` characters of a text, with control and non-ASCII characters escaped.
///
/// For hostile words inside messages that reach terminals and logs.
pub fn printable(text: &str, max: usize) -> String {
    text.chars()
        .take(max)
        .flat_map(char::escape_default)
        .collect()
}
