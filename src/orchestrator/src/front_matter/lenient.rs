//! Front matter that is no YAML, read line by line.
//!
//! The reference implementation writes `description: **Problem Category**: ...` as it comes, and
//! whatever follows on further lines.

use super::FrontMatter;

/// Keys that have a text.
const TEXTS: &[&str] = &["name", "description", "entry_file"];
/// Keys with a structure: a guess at them could grant what nobody meant.
const STRUCTURED: &[&str] = &[
    "skills",
    "allowed-tools",
    "depends",
    "egress",
    "limits",
    "python",
    "requirements",
];

/// Reads `key: text` lines; a line without one of the keys goes on with the text before it.
///
/// `None` when a key has a structure, or none of the keys is there.
pub(super) fn read(matter: &str) -> Option<FrontMatter> {
    let mut found: [Option<String>; 3] = [None, None, None];
    let mut at = None;
    for line in matter.lines() {
        let key = line
            .split_once(':')
            .map(|(key, rest)| (key.trim_end(), rest));
        if let Some((key, rest)) = key {
            if STRUCTURED.contains(&key) {
                return None;
            }
            if let Some(index) = TEXTS.iter().position(|text| *text == key) {
                // The first one counts: what follows may be a description that quotes another.
                if found[index].is_none() {
                    found[index] = Some(rest.trim().to_owned());
                    at = Some(index);
                    continue;
                }
            }
        }
        if let Some(text) = at.and_then(|index: usize| found[index].as_mut()) {
            text.push('\n');
            text.push_str(line.trim_end());
        }
    }
    let [name, description, entry_file] = found.map(|text| text.map(|text| plain(text.trim())));
    if name.is_none() && description.is_none() {
        return None;
    }
    Some(FrontMatter {
        name,
        description,
        entry_file,
        ..FrontMatter::default()
    })
}

/// A text without the quotes around it.
fn plain(text: &str) -> String {
    if let Ok(text) = serde_json::from_str::<String>(text) {
        return text;
    }
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    inner.map_or_else(|| text.to_owned(), |text| text.replace("''", "'"))
}
