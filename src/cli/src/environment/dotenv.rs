//! The file `.env`: `KEY=VALUE` lines, comments, quotes, `export`.

use std::collections::BTreeMap;
use std::path::Path;

/// A file that is larger is not one that a person wrote.
const SIZE_MAX: u64 = 1 << 20;

/// The variables of a file, and what was not understood. A file that is not there is empty.
pub(super) fn read(path: &Path) -> (BTreeMap<String, String>, Vec<String>) {
    // Python projects often have a folder of this name; a FIFO would not return.
    let is_file = std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file);
    let Some(metadata) = is_file else {
        return Default::default();
    };
    let ignored = |why: String| (BTreeMap::new(), vec![format!("`.env` is ignored: {why}")]);
    if metadata.len() > SIZE_MAX {
        return ignored("it is larger than 1 MiB".to_owned());
    }
    match std::fs::read(path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => ignored(error.to_string()),
    }
}

/// Reads variables. A line that is none of the known forms is skipped and named, because the file
/// may belong to another program.
pub(super) fn parse(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let mut variables = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut number = 1;
    while !rest.is_empty() {
        let line_length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let mut used = line_length;
        match assignment(rest) {
            Ok(Some((name, value, length))) => {
                variables.insert(name, value);
                used = length;
            }
            Ok(None) => {}
            Err(why) => warnings.push(format!("line {number} of `.env` is ignored: {why}")),
        }
        number += rest[..used].matches('\n').count();
        rest = &rest[used..];
    }
    (variables, warnings)
}

/// One assignment at the beginning of a text: name, value, and how much of the text it took up to
/// the end of its line. `None` for an empty line or a comment.
fn assignment(text: &str) -> Result<Option<(String, String, usize)>, &'static str> {
    let line_end = text.find('\n').unwrap_or(text.len());
    let line = text[..line_end].trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let equals = text[..line_end].find('=').ok_or("it has no `=`")?;
    let name = text[..equals].trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err("it does not begin with a name");
    }
    let after = &text[equals + 1..];
    let blank = after.len() - after.trim_start_matches([' ', '\t']).len();
    let value_at = equals + 1 + blank;
    let (value, end) = match text[value_at..].chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (value, length) = quoted(&text[value_at + 1..], quote)?;
            (value, value_at + 1 + length)
        }
        _ => (
            unquoted(&text[value_at.min(line_end)..line_end]).to_owned(),
            line_end,
        ),
    };
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
    let behind = text[end..line_end].trim();
    if !behind.is_empty() && !behind.starts_with('#') {
        return Err("there is something behind the closing quote");
    }
    Ok(Some((
        name.to_owned(),
        value,
        (line_end + 1).min(text.len()),
    )))
}

/// A value in quotes, and how many bytes it took with the closing one. It may span lines.
fn quoted(text: &str, quote: char) -> Result<(String, usize), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Ok((value, at + 1)),
            '\\' if quote == '"' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, escaped @ ('"' | '\\' | '$' | '`'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            _ => value.push(character),
        }
    }
    Err("its quote is not closed")
}

/// A value without quotes: a `#` behind a blank begins a comment.
fn unquoted(text: &str) -> &str {
    let comment = text
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || text[..*at].ends_with([' ', '\t'])));
    text[..comment.map_or(text.len(), |(at, _)| at)].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_line_is_understood() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let (variables, warnings) = parse(text);
            let expected = expected.iter();
            let expected: BTreeMap<_, _> = expected
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!((variables, warnings), (expected, Vec::new()), "{text:?}");
        };
        check("", &[]);
        check("\n\n# A=1\n   # B=2", &[]);
        check("A=1", &[("A", "1")]);
        check("\u{feff}A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]);
        check("export A = some words  # why\n", &[("A", "some words")]);
        check("A=\nB=2", &[("A", ""), ("B", "2")]);
        check("A= # nothing\nB=2", &[("A", ""), ("B", "2")]);
        check("A=http://x/#part", &[("A", "http://x/#part")]);
        check("A=a=b", &[("A", "a=b")]);
        check("A='a # $b \\n' # why", &[("A", "a # $b \\n")]);
        check(
            r#"A="a \"b\" \\ \n \$HOME \x""#,
            &[("A", "a \"b\" \\ \n $HOME \\x")],
        );
        check(
            "A=\"one\ntwo\" # why\nB=2",
            &[("A", "one\ntwo"), ("B", "2")],
        );
        check("A=1\nA=2", &[("A", "2")]);
        check("_a1=é", &[("_a1", "é")]);
    }

    #[test]
    fn what_is_not_understood_is_named_and_the_rest_is_read() {
        let check = |line: &str| {
            let (variables, warnings) = parse(&format!("X=1\n{line}\nA=1\n"));
            assert_eq!(variables.get("A").map(String::as_str), Some("1"), "{line}");
            assert!(
                warnings.len() == 1 && warnings[0].contains("line 2"),
                "{warnings:?}"
            );
            // What a line says may be a key.
            assert!(!warnings[0].contains("secret"), "{warnings:?}");
        };
        check("secret");
        check("=secret");
        check("1A=secret");
        check("a-b=secret");
        check("K=\"secret");
        check("K='secret");
        check("K=\"secret\"secret");
        check("source secret.sh");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[A-B= \"'\\\\#\n\r\té]{0,40}") {
            let (variables, _) = parse(&text);
            proptest::prop_assert!(variables.len() <= text.matches('=').count());
        }

        #[test]
        fn a_quoted_value_is_read_back(value: String) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let (variables, warnings) = parse(&format!("A=\"{escaped}\"\nB=1"));
            proptest::prop_assert_eq!(variables.get("A"), Some(&value));
            proptest::prop_assert!(warnings.is_empty());
        }
    }

    #[test]
    fn a_folder_of_that_name_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Default::default());
        assert_eq!(read(&folder.path().join("none")), Default::default());
    }
}
