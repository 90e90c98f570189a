//! Puts the parts of the harness together. A sandbox starts one file: finding and loading sixteen takes
//! longer than everything that they do before a run.

use std::collections::{BTreeMap, BTreeSet};

/// The part that is started; it comes last.
const MAIN: &str = "main";

/// One text of `main` and all that it imports from its siblings, each after what it needs itself. The
/// imports of siblings (`from .NAME import ...`) are left out: what they name is in the same text.
///
/// # Errors
/// Why, where a part imports one that is not there or in another form, or defines what another one does.
pub(super) fn join(parts: &BTreeMap<String, String>) -> Result<String, String> {
    let mut joined = Joined {
        parts,
        seen: BTreeSet::new(),
        defined: BTreeMap::new(),
        text: String::new(),
    };
    joined.add(MAIN, "the image")?;
    Ok(joined.text)
}

struct Joined<'a> {
    parts: &'a BTreeMap<String, String>,
    seen: BTreeSet<String>,
    /// Functions and classes, and where they are.
    defined: BTreeMap<String, String>,
    text: String,
}

impl Joined<'_> {
    fn add(&mut self, name: &str, by: &str) -> Result<(), String> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let file = format!("`harness/{name}.py`");
        let source = self.parts.get(name);
        let source = source.ok_or_else(|| format!("{by} needs {file}"))?;
        let (mut own, mut is_import) = (String::new(), false);
        for line in source.lines() {
            let names = if let Some(import) = line.strip_prefix("from .") {
                let (sibling, names) = import.split_once(" import ").unwrap_or((import, ""));
                self.add(sibling, &file)?;
                is_import = names.starts_with('(') && !names.contains(')');
                names
            } else if is_import {
                is_import = !line.contains(')');
                line
            } else if line.trim_start().starts_with("from .") {
                return Err(format!("{file} imports a sibling below its first level"));
            } else {
                self.define(line, &file)?;
                own.push_str(line);
                own.push('\n');
                continue;
            };
            if names.contains(" as ") {
                return Err(format!("{file} gives what it imports another name"));
            }
        }
        self.text.push_str(&own);
        Ok(())
    }

    /// All parts have their names in one space.
    fn define(&mut self, line: &str, file: &str) -> Result<(), String> {
        let mut keywords = ["def ", "class "].iter();
        let Some(rest) = keywords.find_map(|keyword| line.strip_prefix(keyword)) else {
            return Ok(());
        };
        let name = rest.split(['(', ':']).next().unwrap_or_default();
        match self.defined.insert(name.to_owned(), file.to_owned()) {
            None => Ok(()),
            Some(other) => Err(format!("{other} and {file} both define `{name}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        parts.iter().map(owned).collect()
    }

    #[test]
    fn each_part_comes_once_and_after_what_it_needs() {
        let parts = parts(&[
            (
                "main",
                "import os\nfrom .b import (\n    B,\n)\nfrom .a import A\nB()\n",
            ),
            ("b", "from .a import A\nB = A\n"),
            ("a", "A = 1"),
            ("nobody", "1 / 0"),
        ]);
        assert_eq!(join(&parts).unwrap(), "A = 1\nB = A\nimport os\nB()\n");
    }

    #[test]
    fn what_cannot_be_joined_is_named() {
        let missing = join(&parts(&[("main", "from .gone import x\n")])).unwrap_err();
        assert_eq!(missing, "`harness/main.py` needs `harness/gone.py`");
        let check = |main: &str, expected: &str| {
            let why = join(&parts(&[("main", main), ("a", "def x():\n    pass\n")])).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        check("from .a import x as y\n", "another name");
        check("from .a import (\n    x as y,\n)\n", "another name");
        check("def f():\n    from .a import x\n", "below its first level");
        check("from .a import x\ndef x(y): pass\n", "both define `x`");
        assert_eq!(
            join(&BTreeMap::new()).unwrap_err(),
            "the image needs `harness/main.py`"
        );
    }
}
