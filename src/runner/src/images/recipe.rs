//! What goes into an image of ours: the harness, the shims, and how a base is made.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};
use spec::{Digest, canonical_json};

use super::ImageError;
use super::join::join;

/// Counts changes of how an image is put together, in this code: another number, other images.
const FORMAT: u32 = 1;

/// How many bytes of a wrong value an error shows.
const SHOWN: usize = 60;

/// The harness in an image: its parts, joined.
pub(super) const HARNESS: &str = "harness.py";
/// Folders of modules.
const PARTS: &str = "harness/";
const SHIMS: &str = "shims/";

/// The folder `images/base`, as it was when this program was built.
#[derive(RustEmbed)]
#[folder = "../../images/base"]
struct Embedded;

/// Everything of ours that decides what an image is.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// Our Python sources by path, such as `harness.py` and `shims/tools.py`.
    pub(super) sources: BTreeMap<String, String>,
    pub(super) settings: Settings,
}

/// `recipe.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The base that is pulled when nothing else is asked for.
    pub(super) image: String,
    pub(super) bootstrap: Bootstrap,
    /// Folders of the standard library that stay without bytecode.
    pub(super) bytecode_skip: Vec<String>,
}

/// How a base is made from the distribution's packages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bootstrap {
    pub(super) suite: String,
    pub(super) variant: String,
    pub(super) include: Vec<String>,
    /// Paths that are left out; one that ends in `/` stays as an empty directory.
    pub(super) drop: Vec<String>,
    /// Names that are left out wherever they are.
    pub(super) drop_named: Vec<String>,
    /// Names of files that stay in spite of `drop`.
    pub(super) keep_named: Vec<String>,
}

impl Recipe {
    /// The embedded files, each replaced by the file of the same path in the folder if there is one.
    pub(super) fn load(overrides: Option<&Path>) -> Result<Self, ImageError> {
        let mut files = BTreeMap::new();
        for path in Embedded::iter() {
            if let Some(file) = Embedded::get(&path) {
                files.insert(path.into_owned(), file.data.into_owned());
            }
        }
        let folder = overrides.unwrap_or(Path::new("images/base"));
        if overrides.is_some() {
            read_folder(folder, "", &mut files)?;
            for below in [PARTS, SHIMS] {
                read_folder(&folder.join(below), below, &mut files)?;
            }
        }
        let wrong = |path: &str, why: String| ImageError::Format {
            path: folder.join(path),
            why,
        };
        let settings = files.remove("recipe.json").unwrap_or_default();
        let settings: Settings = serde_json::from_slice(&settings)
            .map_err(|error| wrong("recipe.json", error.to_string()))?;
        settings.check().map_err(|why| wrong("recipe.json", why))?;
        if files.contains_key(HARNESS) {
            return Err(wrong(
                HARNESS,
                "its parts are replaced, in harness/NAME.py".to_owned(),
            ));
        }
        let (mut sources, mut parts) = (BTreeMap::new(), BTreeMap::new());
        for (path, bytes) in files {
            let (part, shim) = (module_in(PARTS, &path), module_in(SHIMS, &path));
            if part.is_none() && shim.is_none() {
                continue;
            }
            let text =
                String::from_utf8(bytes).map_err(|_| wrong(&path, "it is not UTF-8".to_owned()))?;
            if let Some(part) = part {
                parts.insert(part.to_owned(), text);
            } else {
                sources.insert(path, text);
            }
        }
        let harness = join(&parts).map_err(|why| wrong(PARTS, why))?;
        sources.insert(HARNESS.to_owned(), harness);
        Ok(Self { sources, settings })
    }

    /// The digest of our part of an image: the sources, and how bytecode is made.
    pub(super) fn digest(&self) -> Digest {
        digest(&(FORMAT, &self.sources, &self.settings.bytecode_skip))
    }
}

impl Settings {
    /// Says which field holds what no recipe needs.
    ///
    /// Suite, variant and packages become arguments of a program that runs on the host, where
    /// anything but a plain name could be an option that runs another one.
    fn check(&self) -> Result<(), String> {
        let one = |field: &str, value: &String, plain: fn(&str) -> bool| {
            if plain(value) {
                return Ok(());
            }
            let value = spec::printable(value, SHOWN);
            Err(format!("`{value}` is not allowed in `{field}`"))
        };
        let all = |field: &str, values: &[String], plain: fn(&str) -> bool| {
            values.iter().try_for_each(|value| one(field, value, plain))
        };
        let from = &self.bootstrap;
        one("bootstrap.suite", &from.suite, is_package)?;
        one("bootstrap.variant", &from.variant, is_package)?;
        all("bootstrap.include", &from.include, is_package)?;
        all("bootstrap.drop", &from.drop, is_path)?;
        all("bootstrap.drop_named", &from.drop_named, is_name)?;
        all("bootstrap.keep_named", &from.keep_named, is_name)?;
        all("bytecode_skip", &self.bytecode_skip, is_name)
    }
}

impl Bootstrap {
    /// The digest of what decides a bootstrapped base, apart from the packages of the day.
    pub(super) fn digest(&self, architecture: &str) -> Digest {
        digest(&(FORMAT, self, architecture))
    }
}

/// The digest of a value's canonical JSON.
pub(super) fn digest<T: Serialize>(value: &T) -> Digest {
    let json = canonical_json(value).expect("texts and small numbers have a JSON form");
    Digest::of(&json)
}

/// A name of a package, a suite or a variant. Source: Debian Policy, 5.6.1.
fn is_package(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(byte) || b"+.-".contains(&byte))
}

/// One plain component of a path.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(plain)
}

/// A path below the root, perhaps with a `/` at its end.
fn is_path(text: &str) -> bool {
    text.strip_suffix('/')
        .unwrap_or(text)
        .split('/')
        .all(is_name)
}

/// The name of the module in `FOLDER/NAME.py`, where it can be imported.
fn module_in<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let name = path.strip_prefix(folder)?.strip_suffix(".py")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

/// Reads the files directly in a folder; those below the first need not be there.
fn read_folder(
    folder: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), ImageError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => {
            return Ok(());
        }
        Err(error) => return Err(ImageError::file("read", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(ImageError::file("read", folder))?;
        let path = entry.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && path.is_file()
        {
            let bytes = std::fs::read(&path).map_err(ImageError::file("read", &path))?;
            files.insert(format!("{prefix}{name}"), bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_recipe_is_whole() {
        let recipe = Recipe::load(None).unwrap();
        let names: Vec<&str> = recipe.sources.keys().map(String::as_str).collect();
        assert_eq!(names, ["harness.py", "shims/llm.py", "shims/tools.py"]);
        assert_eq!(recipe.settings.image, "python:3.13-slim");
    }

    #[test]
    fn a_recipe_cannot_pass_options_to_programs_of_the_host() {
        let settings = Recipe::load(None).unwrap().settings;
        let check = |field: &str, change: &dyn Fn(&mut Settings)| {
            let mut settings = settings.clone();
            change(&mut settings);
            let folder = tempfile::tempdir().unwrap();
            let json = serde_json::to_vec(&settings).unwrap();
            std::fs::write(folder.path().join("recipe.json"), json).unwrap();
            let error = Recipe::load(Some(folder.path())).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        };
        for bad in [
            "",
            "-",
            "--setup-hook=touch /x",
            "a b",
            "a,b",
            "a=1",
            "./a.deb",
            "?any",
            "~i",
            "A",
            "a\nb",
            "a\0",
            "é",
        ] {
            check("bootstrap.suite", &|to| to.bootstrap.suite = bad.to_owned());
            check("bootstrap.variant", &|to| {
                to.bootstrap.variant = bad.to_owned();
            });
            check("bootstrap.include", &|to| {
                to.bootstrap.include.push(bad.to_owned());
            });
        }
        for bad in ["", "/", "/etc", "../etc", "etc/../x", "etc//x", "a b"] {
            check("bootstrap.drop", &|to| {
                to.bootstrap.drop.push(bad.to_owned());
            });
            check("bootstrap.drop_named", &|to| {
                to.bootstrap.drop_named.push(bad.to_owned());
            });
            check("bootstrap.keep_named", &|to| {
                to.bootstrap.keep_named.push(bad.to_owned());
            });
            check("bytecode_skip", &|to| {
                to.bytecode_skip.push(bad.to_owned());
            });
        }
        for good in [
            "trixie",
            "stable-updates",
            "libstdc++6",
            "python3.13",
            "0ad",
        ] {
            assert!(is_package(good), "{good}");
        }
    }

    #[test]
    fn a_folder_replaces_files_and_changes_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let load = || Recipe::load(Some(folder.path()));
        let embedded = Recipe::load(None).unwrap();
        assert_eq!(load().unwrap().digest(), embedded.digest());

        std::fs::create_dir(folder.path().join("shims")).unwrap();
        std::fs::write(folder.path().join("shims/tools.py"), "own = 1\n").unwrap();
        std::fs::write(folder.path().join("shims/not-a-name.py"), "").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let changed = load().unwrap();
        assert_eq!(changed.sources["shims/tools.py"], "own = 1\n");
        assert_eq!(changed.sources.len(), embedded.sources.len());
        assert_ne!(changed.digest(), embedded.digest());

        std::fs::create_dir(folder.path().join("harness")).unwrap();
        std::fs::write(folder.path().join("harness/relay.py"), "own = 2\n").unwrap();
        let harness = &load().unwrap().sources["harness.py"];
        assert!(harness.contains("\nown = 2\n") && !harness.contains("class Relay"));
        std::fs::write(
            folder.path().join("harness/relay.py"),
            "from .gone import x\n",
        )
        .unwrap();
        let error = load().unwrap_err().to_string();
        assert!(error.contains("`harness/gone.py`"), "{error}");
        std::fs::remove_file(folder.path().join("harness/relay.py")).unwrap();
        std::fs::write(folder.path().join("harness.py"), "").unwrap();
        assert!(load().unwrap_err().to_string().contains("harness/NAME.py"));
        std::fs::remove_file(folder.path().join("harness.py")).unwrap();

        std::fs::write(folder.path().join("recipe.json"), "{}").unwrap();
        assert!(matches!(load(), Err(ImageError::Format { .. })));
        assert!(Recipe::load(Some(Path::new("/nonexistent"))).is_err());
    }
}
