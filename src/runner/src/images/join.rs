//! Puts the parts of the harness together. A sandbox starts one file: finding and loading sixteen takes
//! longer than everything that they do before a run.

use std::collections::{BTreeMap, BTreeSet};

/// The part that is started; it comes last.
const MAIN: &str = "main";

/// One text of `main` and all that it imports from its siblings, each after what it needs itself. The
/// imports of siblings (`from .NAME import ...`) are left out: what they name is in the same text.
///
/// # Errors
/// Why, where a part imports one that is not there, or gives something another name.
pub(super) fn join(parts: &BTreeMap<String, String>) -> Result<String, String> {
    let mut joined = Joined {
        parts,
        seen: BTreeSet::new(),
        text: String::new(),
    };
    joined.add(MAIN, "the image")?;
    Ok(joined.text)
}

struct Joined<'a> {
    parts: &'a BTreeMap<String, String>,
    seen: BTreeSet<String>,
    text: String,
}

impl Joined<'_> {
    fn add(&mut self, name: &str, by: &str) -> Result<(), String> {
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let source = self.parts.get(name);
        let source = source.ok_or_else(|| format!("{by} needs `harness/{name}.py`"))?;
        let (mut own, mut is_import) = (String::new(), false);
        for line in source.lines() {
            if let Some(import) = line.strip_prefix("from .") {
                let (sibling, names) = import.split_once(" import ").unwrap_or((import, ""));
                if names.contains(" as ") {
                    return Err(format!(
                        "`harness/{name}.py` gives what it imports from `.{sibling}` another name"
                    ));
                }
                self.add(sibling, &format!("`harness/{name}.py`"))?;
                is_import = names.starts_with('(') && !names.contains(')');
            } else if is_import {
                is_import = !line.contains(')');
            } else {
                own.push_str(line);
                own.push('\n');
            }
        }
        self.text.push_str(&own);
        Ok(())
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
        let renamed = [("main", "from .a import x as y\n"), ("a", "x = 1\n")];
        let renamed = join(&parts(&renamed)).unwrap_err();
        assert!(renamed.contains("another name"), "{renamed}");
        assert_eq!(
            join(&BTreeMap::new()).unwrap_err(),
            "the image needs `harness/main.py`"
        );
    }
}
