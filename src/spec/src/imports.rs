//! Modules that a sandbox imports while it waits for its run.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// Names of Python modules, each once, sorted; dotted where they are below a package.
///
/// Nothing but names fits: what is anything else is left out, and so is what is too much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Imports(BTreeSet<String>);

impl Imports {
    /// None.
    pub const NONE: Self = Self(BTreeSet::new());

    /// Those of these texts that are names of modules, as many as may be.
    pub fn of<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        Self::NONE.and(names)
    }

    /// These, and as many of the others as there is room for.
    #[must_use]
    pub fn and<T: AsRef<str>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        let mut bytes: usize = self.0.iter().map(|name| name.len() + 1).sum();
        for name in names {
            let name = name.as_ref();
            if self.0.len() >= limits::IMPORTS {
                break;
            }
            let fits = bytes + name.len() < limits::IMPORTS_BYTES;
            if fits && is_module(name) && self.0.insert(name.to_owned()) {
                bytes += name.len() + 1;
            }
        }
        self
    }

    /// The same without those that another one brings along: a package comes before what is in it.
    #[must_use]
    pub fn innermost(&self) -> Self {
        let has_more = |name: &&String| {
            let inside = format!("{name}.");
            self.0.iter().any(|other| other.starts_with(&inside))
        };
        Self(
            self.0
                .iter()
                .filter(|name| !has_more(name))
                .cloned()
                .collect(),
        )
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Whoever writes it may be hostile: what is too much is read and never held.
impl<'de> Deserialize<'de> for Imports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Imports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of modules")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Imports, A::Error> {
                let mut imports = Imports::NONE;
                while let Some(name) = names.next_element::<String>()? {
                    imports = imports.and([name]);
                }
                Ok(imports)
            }
        }

        deserializer.deserialize_seq(Names)
    }
}

/// Whether a text is the name of a module: identifiers of plain letters, joined by dots.
fn is_module(text: &str) -> bool {
    let is_identifier = |part: &str| {
        let mut bytes = part.bytes();
        let first = bytes.next();
        first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split('.').all(is_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_modules_are_taken() {
        let names = [
            "pandas",
            "matplotlib.pyplot",
            "pandas",
            "_a1.B",
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "1a",
            "a b",
            "a,b",
            "a\nb",
            "a;b",
            "a=b",
            "mödul",
            "../a",
            "a\0",
        ];
        let imports = Imports::of(names);
        let found: Vec<_> = imports.names().collect();
        assert_eq!(found, ["_a1.B", "matplotlib.pyplot", "pandas"]);
    }

    #[test]
    fn what_is_too_much_is_left_out() {
        let many = (0..10_000).map(|number| format!("m{number:04}"));
        let imports = Imports::of(many);
        assert_eq!(imports.names().count(), limits::IMPORTS);
        let long = ["a".repeat(limits::IMPORTS_BYTES), "b".to_owned()];
        assert_eq!(Imports::of(&long), Imports::of(["b"]));
        // Those that were there stay, whatever comes.
        let more = Imports::of(["z"]).and((0..10_000).map(|number| format!("a{number:04}")));
        assert!(more.names().any(|name| name == "z"));
    }

    #[test]
    fn a_package_comes_with_what_is_in_it() {
        let imports = Imports::of(["a", "a.b", "a.b.c", "a.d", "ab", "e"]);
        assert_eq!(
            imports.innermost(),
            Imports::of(["a.b.c", "a.d", "ab", "e"])
        );
    }

    #[test]
    fn what_is_read_is_checked() {
        let read: Imports = serde_json::from_str(r#"["b", "a b", "a", "b"]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["a","b"]"#);
    }
}
