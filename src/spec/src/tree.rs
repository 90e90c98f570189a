//! Workspace trees: which files, with which content.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, canonical_json, limits};

/// A file's path inside a workspace: bytes, relative, without `.`, `..` or empty components.
///
/// As text, bytes that are not UTF-8, control characters and `%` are written `%XX`, so that the
/// text is printable, unambiguous and parsed back to the same bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePath(Vec<u8>);

/// Why bytes are not a path inside a workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Empty, absolute, or with an empty, `.` or `..` component, or a NUL byte.
    #[error("`{0}` is not a path inside a workspace")]
    Outside(String),
    /// More bytes or components than [`limits::PATH_BYTES`] and [`limits::PATH_DEPTH`] allow.
    #[error("`{0}` is too long or too deep")]
    TooLong(String),
}

impl WorkspacePath {
    /// Checks bytes as they come from a file system or a sandbox.
    ///
    /// # Errors
    /// [`PathError`] when they could name anything outside, or are too long.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, PathError> {
        let bad =
            |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.len() > 255;
        if bytes.contains(&0) || bytes.split(|b| *b == b'/').any(bad) {
            return Err(PathError::Outside(escape(&bytes[..bytes.len().min(120)])));
        }
        let depth = bytes.split(|b| *b == b'/').count();
        if bytes.len() > limits::PATH_BYTES || depth > limits::PATH_DEPTH {
            return Err(PathError::TooLong(escape(&bytes[..bytes.len().min(120)])));
        }
        Ok(Self(bytes))
    }

    /// Reads the escaped text form.
    ///
    /// # Errors
    /// [`PathError`] as [`Self::from_bytes`], and for a `%` without two hex digits.
    pub fn from_text(text: &str) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            if byte != b'%' {
                bytes.push(byte);
                rest = tail;
                continue;
            }
            let decoded = tail
                .get(..2)
                .and_then(|hex| std::str::from_utf8(hex).ok())
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            match decoded {
                Some(value) => bytes.push(value),
                None => return Err(PathError::Outside(text.to_owned())),
            }
            rest = &tail[2..];
        }
        Self::from_bytes(bytes)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }
}

/// Writes bytes as printable text, see [`WorkspacePath`].
fn escape(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_control() || is_bidi_control(character) {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Characters that reorder what a terminal shows. Source: Unicode Standard Annex 9.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl Serialize for WorkspacePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WorkspacePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_text(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// One regular file of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it is, relative to the workspace.
    pub path: WorkspacePath,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// Whether its owner may execute it; no other permission is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// A set of files with unique paths, none of which lies below another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tree {
    entries: Vec<FileEntry>,
}

/// Why entries are not a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is in the tree twice, or is both a file and a folder")]
pub struct TreeError(WorkspacePath);

impl Tree {
    /// The media type of a stored tree.
    pub const MEDIA_TYPE: &str = "application/vnd.agentfactory.tree.v1+json";

    /// Sorts the entries and checks that they can exist together.
    ///
    /// # Errors
    /// [`TreeError`] with the first path that cannot.
    pub fn from_entries(mut entries: Vec<FileEntry>) -> Result<Self, TreeError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let paths: std::collections::BTreeSet<&[u8]> =
            entries.iter().map(|e| e.path.as_bytes()).collect();
        if paths.len() != entries.len() {
            let twice = entries.windows(2).find(|pair| pair[0].path == pair[1].path);
            if let Some(pair) = twice {
                return Err(TreeError(pair[0].path.clone()));
            }
        }
        for entry in &entries {
            let bytes = entry.path.as_bytes();
            let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/');
            for (at, _) in slashes {
                if paths.contains(&bytes[..at]) {
                    return Err(TreeError(entry.path.clone()));
                }
            }
        }
        Ok(Self { entries })
    }

    /// The files, sorted by path.
    pub fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    /// The file at a path.
    pub fn find(&self, path: &WorkspacePath) -> Option<&FileEntry> {
        self.entries
            .binary_search_by(|entry| entry.path.cmp(path))
            .ok()
            .map(|at| &self.entries[at])
    }

    /// The bytes that are stored and hashed for this tree.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            media_type: &'static str,
            files: Vec<WireFile<'a>>,
        }
        #[derive(Serialize)]
        struct WireFile<'a> {
            path: &'a WorkspacePath,
            // A string, because canonical numbers are doubles.
            size: String,
            digest: Digest,
            executable: bool,
        }
        let files = self.entries.iter().map(|entry| WireFile {
            path: &entry.path,
            size: entry.size.to_string(),
            digest: entry.digest,
            executable: entry.executable,
        });
        let wire = Wire {
            media_type: Self::MEDIA_TYPE,
            files: files.collect(),
        };
        canonical_json(&wire).expect("strings, booleans and lists have a canonical form")
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// A description of what is wrong: not this format, or not a tree.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TreeFormatError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Wire {
            media_type: String,
            files: Vec<WireFile>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WireFile {
            path: WorkspacePath,
            size: String,
            digest: Digest,
            executable: bool,
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(TreeFormatError::Json)?;
        if wire.media_type != Self::MEDIA_TYPE {
            return Err(TreeFormatError::MediaType(wire.media_type));
        }
        let entries = wire.files.into_iter().map(|file| {
            let size = file
                .size
                .parse()
                .map_err(|_| TreeFormatError::Size(file.size.clone()))?;
            Ok(FileEntry {
                path: file.path,
                size,
                digest: file.digest,
                executable: file.executable,
            })
        });
        Self::from_entries(entries.collect::<Result<_, _>>()?).map_err(TreeFormatError::Tree)
    }

    /// The tree's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The tree after a run: `removed` paths go, `changed` files replace or join.
    ///
    /// # Errors
    /// [`TreeError`] when the result could not exist.
    pub fn apply(
        &self,
        changed: &[FileEntry],
        removed: &[WorkspacePath],
    ) -> Result<Self, TreeError> {
        let mut entries = self.entries.clone();
        let gone: std::collections::BTreeSet<_> = removed
            .iter()
            .chain(changed.iter().map(|entry| &entry.path))
            .collect();
        entries.retain(|entry| !gone.contains(&entry.path));
        entries.extend_from_slice(changed);
        Self::from_entries(entries)
    }
}

/// Why bytes are not a stored tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeFormatError {
    /// Not JSON of this shape.
    #[error("the tree is not valid JSON of its format")]
    Json(#[source] serde_json::Error),
    /// Another, or a newer, format.
    #[error("the tree has the unknown format `{0}`")]
    MediaType(String),
    /// A size that is not a number.
    #[error("`{0}` is not a file size")]
    Size(String),
    /// The entries contradict each other.
    #[error("the entries contradict each other")]
    Tree(#[source] TreeError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(path: &str, content: &[u8]) -> FileEntry {
        FileEntry {
            path: WorkspacePath::from_text(path).unwrap(),
            size: content.len() as u64,
            digest: Digest::of(content),
            executable: false,
        }
    }

    #[test]
    fn a_path_that_could_leave_the_workspace_is_refused() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\0b",
        ] {
            assert!(WorkspacePath::from_bytes(bad.into()).is_err(), "{bad:?}");
        }
        assert!(WorkspacePath::from_bytes(vec![b'a'; 256]).is_err());
        assert!(
            WorkspacePath::from_bytes(
                "a/".repeat(64)
                    .into_bytes()
                    .iter()
                    .copied()
                    .chain([b'b'])
                    .collect()
            )
            .is_err()
        );
        assert!(WorkspacePath::from_bytes(b"..a/b..".to_vec()).is_ok());
    }

    #[test]
    fn the_same_files_have_the_same_digest_in_any_order() {
        let one = Tree::from_entries(vec![entry("b/c.txt", b"2"), entry("a", b"1")]).unwrap();
        let two = Tree::from_entries(vec![entry("a", b"1"), entry("b/c.txt", b"2")]).unwrap();
        assert_eq!(one.digest(), two.digest());
        assert_eq!(Tree::from_bytes(&one.to_bytes()).unwrap(), one);
    }

    #[test]
    fn a_file_cannot_also_be_a_folder() {
        assert!(Tree::from_entries(vec![entry("a", b""), entry("a/b", b"")]).is_err());
        assert!(Tree::from_entries(vec![entry("a", b""), entry("a", b"")]).is_err());
        assert!(
            Tree::from_entries(vec![entry("a", b""), entry("a.b", b""), entry("ab/c", b"")])
                .is_ok()
        );
    }

    #[test]
    fn applying_a_change_replaces_adds_and_removes() {
        let before = Tree::from_entries(vec![
            entry("keep", b"1"),
            entry("edit", b"1"),
            entry("drop", b"1"),
        ])
        .unwrap();
        let after = before
            .apply(
                &[entry("edit", b"2"), entry("new/x", b"3")],
                &[WorkspacePath::from_text("drop").unwrap()],
            )
            .unwrap();
        let expected = Tree::from_entries(vec![
            entry("keep", b"1"),
            entry("edit", b"2"),
            entry("new/x", b"3"),
        ]);
        assert_eq!(after, expected.unwrap());
    }

    /// Golden: a change of this digest makes every stored tree unreadable under its name.
    #[test]
    fn the_digest_of_a_tree_never_changes() {
        let tree =
            Tree::from_entries(vec![entry("a.txt", b"hello"), entry("b/%25c", b"")]).unwrap();
        assert_eq!(
            String::from_utf8(tree.to_bytes()).unwrap(),
            r#"{"files":[{"digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","executable":false,"path":"a.txt","size":"5"},{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","executable":false,"path":"b/%25c","size":"0"}],"mediaType":"application/vnd.agentfactory.tree.v1+json"}"#
        );
    }

    proptest! {
        #[test]
        fn a_path_is_read_back_from_its_text(bytes: Vec<u8>) {
            if let Ok(path) = WorkspacePath::from_bytes(bytes) {
                let text = path.to_string();
                prop_assert!(!text.chars().any(char::is_control));
                prop_assert_eq!(WorkspacePath::from_text(&text).unwrap(), path);
            }
        }
    }
}
