//! What a Python file says of itself in comments: the block `# /// script`.
//!
//! Source: PEP 723, inline script metadata.

use serde::Deserialize;

/// Bytes of a block; hundreds of requirements fit.
const BLOCK_MAX: usize = 64 << 10;

/// What of the block is read; other fields are for other tools.
#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    dependencies: Vec<String>,
}

/// The requirements that a file names in its block, or none.
///
/// # Errors
/// What is wrong with the block, in words.
pub fn script_requirements(source: &str) -> Result<Vec<String>, String> {
    let mut lines = source.lines().map(str::trim_end);
    let mut found: Option<String> = None;
    while lines.by_ref().any(|line| line == "# /// script") {
        let mut text = String::new();
        let mut is_closed = false;
        for line in lines.by_ref() {
            if line == "# ///" {
                is_closed = true;
                break;
            }
            let Some(content) = line.strip_prefix('#') else {
                break;
            };
            text.push_str(content.strip_prefix(' ').unwrap_or(content));
            text.push('\n');
            if text.len() > BLOCK_MAX {
                return Err(format!(
                    "its `script` block is longer than {BLOCK_MAX} bytes"
                ));
            }
        }
        // What is not closed is a comment.
        if is_closed && found.replace(text).is_some() {
            return Err("it has two `script` blocks".to_owned());
        }
    }
    let Some(text) = found else {
        return Ok(Vec::new());
    };
    let block: Block = toml::from_str(&text)
        .map_err(|error| format!("its `script` block is not valid: {}", error.message()))?;
    Ok(block.dependencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_names_requirements() {
        let check = |source: &str, expected: Result<&[&str], &str>| {
            let found = script_requirements(source);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{source}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                _ => panic!("{source}: {found:?}"),
            }
        };
        check("x = 1\n", Ok(&[]));
        check(
            "#!/bin/x\n# /// script\n# requires-python = \">=3.11\"\n# dependencies = [\n#   \"a>=1\",\n#\n#   'b',\n# ]\n# ///\nx = 1\n",
            Ok(&["a>=1", "b"]),
        );
        check("# /// script\n# dependencies = ['a']\nx = 1\n", Ok(&[]));
        check("# /// other\n# x = 1\n# ///\n", Ok(&[]));
        check(
            "# /// script\n# dependencies = 'a'\n# ///\n",
            Err("not valid"),
        );
        check(
            "# /// script\n# ///\n# /// script\n# ///\n",
            Err("two `script` blocks"),
        );
        let long = format!("# /// script\n{}# ///\n", "# x\n".repeat(40_000));
        check(&long, Err("longer than"));
    }
}
