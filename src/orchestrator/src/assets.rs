//! Skills and prompts: inside the program, and replaceable by a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

/// The repository's `skills` folder, as it was at build time.
#[derive(RustEmbed)]
#[folder = "../../skills"]
struct Embedded;

/// Where skills and prompts are read from.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    overrides: Option<PathBuf>,
}

/// Why a skill or prompt could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetError {
    /// Neither in the folder nor in the program.
    #[error("there is no asset `{0}`")]
    Missing(String),
    /// A file of the configured folder cannot be read.
    #[error("`{path}` could not be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not have its form.
    #[error("`{name}` is not valid: {why}")]
    Invalid {
        /// Which asset.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// A `SKILL.md`: front matter and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SkillDoc {
    /// The name that the front matter gives.
    pub(crate) name: String,
    /// One or two sentences.
    pub(crate) description: String,
    /// Everything below the front matter.
    pub(crate) body: String,
}

#[derive(serde::Deserialize)]
struct FrontMatter {
    name: String,
    description: String,
}

/// Takes a `SKILL.md` apart.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn parse_skill_doc(text: &str) -> Result<SkillDoc, String> {
    let rest = text
        .strip_prefix("---\n")
        .ok_or("it does not begin with `---`")?;
    let (matter, body) = rest
        .split_once("\n---\n")
        .ok_or("its front matter does not end with `---`")?;
    let matter: FrontMatter = serde_saphyr::from_str(matter).map_err(|error| error.to_string())?;
    Ok(SkillDoc {
        name: matter.name,
        description: matter.description,
        body: body.trim_start_matches('\n').to_owned(),
    })
}

impl Assets {
    /// Uses the assets of the program, and those of a folder instead where it has them.
    pub fn new(overrides: Option<PathBuf>) -> Self {
        Self { overrides }
    }

    /// The text of one asset, by its path in the `skills` folder.
    ///
    /// # Errors
    /// [`AssetError::Missing`] and [`AssetError::Unreadable`].
    pub fn text(&self, name: &str) -> Result<String, AssetError> {
        if let Some(folder) = &self.overrides {
            let path = folder.join(Path::new(name));
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(AssetError::Unreadable { path, source }),
            }
        }
        let file = Embedded::get(name).ok_or_else(|| AssetError::Missing(name.to_owned()))?;
        String::from_utf8(file.data.into_owned()).map_err(|_| AssetError::Invalid {
            name: name.to_owned(),
            why: "it is not UTF-8".to_owned(),
        })
    }

    /// A prompt with its `{{names}}` filled in.
    ///
    /// # Errors
    /// As [`Self::text`]; [`AssetError::Invalid`] when it names a value that is not there.
    pub(crate) fn prompt(
        &self,
        name: &str,
        values: &BTreeMap<&str, String>,
    ) -> Result<String, AssetError> {
        let file = format!("prompts/{name}.md");
        let text = self.text(&file)?;
        fill(&text, values).map_err(|why| AssetError::Invalid { name: file, why })
    }

    /// The documentation of a meta or tool skill.
    ///
    /// # Errors
    /// As [`Self::text`]; [`AssetError::Invalid`] for broken front matter.
    pub(crate) fn skill(&self, kind: &str, name: &str) -> Result<SkillDoc, AssetError> {
        let file = format!("{kind}/{name}/SKILL.md");
        let text = self.text(&file)?;
        parse_skill_doc(&text).map_err(|why| AssetError::Invalid { name: file, why })
    }
}

/// Replaces each `{{name}}` once; what a value contains is not looked at again.
pub(crate) fn fill(template: &str, values: &BTreeMap<&str, String>) -> Result<String, String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) = after.split_once("}}").ok_or("a `{{` is not closed")?;
        let value = values
            .get(name.trim())
            .ok_or_else(|| format!("unknown value `{name}`"))?;
        out.push_str(before);
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_once() {
        let values = BTreeMap::from([("a", "{{b}}".to_owned()), ("b", "2".to_owned())]);
        assert_eq!(
            fill("x {{a}} y {{ b }} z", &values).unwrap(),
            "x {{b}} y 2 z"
        );
        assert!(fill("{{c}}", &values).is_err());
        assert!(fill("{{a", &values).is_err());
    }

    #[test]
    fn front_matter_is_taken_apart() {
        let doc = parse_skill_doc("---\nname: a\ndescription: \"b: c\"\n---\n\n# Body\n").unwrap();
        assert_eq!(
            (
                doc.name.as_str(),
                doc.description.as_str(),
                doc.body.as_str()
            ),
            ("a", "b: c", "# Body\n")
        );
        for bad in [
            "",
            "name: a",
            "---\nname: a\n",
            "---\nname: a\ndescription: b: c\n---\n",
        ] {
            assert!(parse_skill_doc(bad).is_err(), "{bad:?}");
        }
    }
}
