//! pip's own configuration, as far as it says where packages come from.

use std::io;
use std::path::{Path, PathBuf};

use crate::environment::{self as env, Environment};

/// Bytes of a configuration file that is read.
const FILE_MAX: u64 = 4 << 20;
/// The sections that hold for what we do; the later one goes over the earlier one.
const SECTIONS: [&str; 2] = ["global", "download"];
/// Settings that change what pip takes, or from where, and that are not used here: what holds instead.
/// Source: pip, options of `pip download`.
const IGNORED: &[(&str, &str)] = &[
    ("extra-index-url", "one index alone is asked"),
    ("find-links", "the index alone is asked"),
    ("no-index", "the index is asked for what is not cached"),
    ("trusted-host", "every certificate is checked"),
    ("client-cert", "the index sees no certificate"),
    (
        "keyring-provider",
        "passwords are those in the index's address and in the netrc file",
    ),
    (
        "constraint",
        "write the versions into the requirements instead",
    ),
    ("no-binary", "wheels alone are taken"),
    (
        "pre",
        "a version before the release is taken where a requirement names one",
    ),
    ("no-deps", "what a distribution requires is taken too"),
    (
        "uploaded-prior-to",
        "write the versions into the requirements instead",
    ),
];
/// What pip takes for `false`. Source: Python, `distutils.util.strtobool`.
const FALSE: [&str; 7] = ["", "n", "no", "f", "false", "off", "0"];

/// What pip is configured to do on this machine.
#[derive(Debug)]
pub(super) struct PipSettings<'a> {
    environment: &'a Environment,
    /// Files with their content; each goes over those before.
    files: Vec<(PathBuf, String)>,
}

/// A setting and where it is from.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    value: String,
    /// The variable, or the file.
    place: String,
}

impl<'a> PipSettings<'a> {
    /// Reads pip's files. Those that cannot be read say nothing, as to pip.
    pub(super) fn read(environment: &'a Environment) -> Self {
        Self::read_with(environment, Path::new("/etc"))
    }

    fn read_with(environment: &'a Environment, global: &Path) -> Self {
        let files = files(environment, global).into_iter();
        let files = files.filter_map(|path| {
            let text = String::from_utf8(read(&path).ok()?).ok()?;
            Some((path, text))
        });
        Self {
            environment,
            files: files.collect(),
        }
    }

    /// The index that its files name.
    pub(super) fn index_url(&self) -> Option<String> {
        self.of_files("index-url").map(|said| said.value)
    }

    /// The proxy that goes over those of all programs.
    pub(super) fn proxy(&self) -> Option<String> {
        self.setting("proxy").map(|said| said.value)
    }

    /// The file with the authorities that the index's certificate may come from.
    pub(super) fn cert(&self) -> Option<PathBuf> {
        let file = PathBuf::from(self.setting("cert")?.value);
        match (file.strip_prefix("~"), self.environment.user_home()) {
            (Ok(below), Some(home)) => Some(home.join(below)),
            _ => Some(file),
        }
    }

    /// What is set and not used here, for people. Values may hold passwords, and are not repeated.
    pub(super) fn ignored(&self) -> Vec<String> {
        let all = IGNORED.iter().filter_map(|(key, instead)| {
            let said = self.setting(key)?;
            let is_off = FALSE.contains(&said.value.to_ascii_lowercase().as_str());
            let is_off = is_off || (*key == "keyring-provider" && said.value == "disabled");
            let place = said.place;
            (!is_off).then(|| format!("pip's `{key}` ({place}) is not used here: {instead}"))
        });
        all.collect()
    }

    /// What the environment says of a key, else what the files say.
    fn setting(&self, key: &str) -> Option<Said> {
        // Source: pip, "Configuration".
        let name = format!("PIP_{}", key.replace('-', "_").to_ascii_uppercase());
        match self.environment.text(&name) {
            Some(value) => Some(Said { value, place: name }),
            None => self.of_files(key),
        }
    }

    fn of_files(&self, key: &str) -> Option<Said> {
        self.files.iter().rev().find_map(|(path, text)| {
            Some(Said {
                value: value(text, key)?,
                place: path.display().to_string(),
            })
        })
    }
}

/// The content of a plain file of a sane size.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() || found.len() > FILE_MAX {
        return Err(io::Error::other("it is no file, or larger than 4 MiB"));
    }
    std::fs::read(path)
}

/// The files that pip reads, each going over the one before. Source: pip, "Configuration".
fn files(environment: &Environment, global: &Path) -> Vec<PathBuf> {
    let own = environment.path(env::PIP_CONFIG_FILE);
    if own.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let mut files = vec![global.join("xdg/pip/pip.conf"), global.join("pip.conf")];
    // One that is named stands in for the user's.
    if own.as_ref().is_none_or(|own| !own.exists()) {
        let legacy = environment.user_home();
        files.extend(legacy.map(|home| home.join(".pip/pip.conf")));
        let folder = environment.config_dir();
        files.extend(folder.map(|folder| folder.join("pip/pip.conf")));
    }
    let active = environment.path(env::VIRTUAL_ENV);
    files.extend(active.map(|folder| folder.join("pip.conf")));
    files.extend(own);
    files
}

/// What a file says of a key, in the form that Python's `configparser` reads; the lines of a value
/// that has several have a space between them.
fn value(text: &str, wanted: &str) -> Option<String> {
    let mut found: [Option<String>; SECTIONS.len()] = Default::default();
    let mut section = None;
    // How far the last key is from the margin, and in which section if it is the wanted one: lines that
    // are farther go on with its value.
    let mut last: Option<(usize, Option<usize>)> = None;
    for line in text.lines() {
        let margin = line.len() - line.trim_start().len();
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = SECTIONS.iter().position(|known| *known == name.0);
            last = None;
            continue;
        }
        if let Some((of_key, wanted)) = last
            && margin > of_key
        {
            if let Some(section) = wanted {
                let before = found[section].take().unwrap_or_default();
                found[section] = Some(format!("{before} {line}").trim().to_owned());
            }
            continue;
        }
        let Some((key, said)) = line.split_once(['=', ':']) else {
            continue;
        };
        // pip takes `index_url` and `--index-url` for the same.
        let key = key.trim().trim_start_matches("--").to_ascii_lowercase();
        last = Some((margin, None));
        if let Some(section) = section
            && key.replace('_', "-") == wanted
        {
            let said = said.trim();
            found[section] = (!said.is_empty()).then(|| said.to_owned());
            last = Some((margin, Some(section)));
        }
    }
    found.into_iter().rev().flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_pip_reads_it() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(value(text, "index-url").as_deref(), expected, "{text}");
        };
        check(
            "[global]\nindex-url = https://a/simple\n",
            Some("https://a/simple"),
        );
        check(
            "[global]\n  Index_URL: https://a:8/s \n",
            Some("https://a:8/s"),
        );
        check("[global]\n# index-url = https://a\n", None);
        check("[install]\nindex-url = https://a\n", None);
        check("index-url = https://a\n", None);
        check("[global]\nindex-url =\n", None);
        check("[global]\nindex-url =\n  https://a\n", Some("https://a"));
        check("[global]\nextra-index-url = https://a\n", None);
        check(
            "[global]\nextra-index-url =\n  https://b\n  index-url = https://c\n",
            None,
        );
        check(
            "[download]\nindex-url = https://b\n[global]\nindex-url = https://a\n",
            Some("https://b"),
        );
    }

    #[test]
    fn one_file_goes_over_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, index: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("[global]\nindex-url = {index}\n")).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let home = folder.path().to_str().unwrap();
        let found = |more: &[(&str, &str)]| {
            let set = [&[("HOME", home)], more].concat();
            let environment = Environment::of(&set, "");
            PipSettings::read_with(&environment, Path::new("/none")).index_url()
        };
        let own = write("own.conf", "https://own");
        write(".pip/pip.conf", "https://legacy");
        assert_eq!(found(&[]).as_deref(), Some("https://legacy"));
        write(".config/pip/pip.conf", "https://user");
        assert_eq!(found(&[]).as_deref(), Some("https://user"));
        assert_eq!(
            found(&[("PIP_CONFIG_FILE", &own)]).as_deref(),
            Some("https://own")
        );
        assert_eq!(found(&[("PIP_CONFIG_FILE", "/dev/null")]), None);
        write("venv/pip.conf", "https://venv");
        let venv = format!("{home}/venv");
        assert_eq!(
            found(&[("VIRTUAL_ENV", &venv)]).as_deref(),
            Some("https://venv")
        );
    }

    #[test]
    fn what_is_set_and_not_used_is_said_without_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pip.conf");
        let text = "[global]\nextra-index-url =\n  https://u:s3cret@a/simple\n  https://b/simple\n\
                    no-index = false\nproxy = http://of-file:3128\ntimeout = 60\n\
                    [download]\nfind_links = /wheels\n[install]\npre = yes\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let read = |more: &[(&str, &str)]| {
            let set = [&[("HOME", "/h"), ("PIP_CONFIG_FILE", path)], more].concat();
            let environment = Environment::of(&set, "");
            let settings = PipSettings::read_with(&environment, Path::new("/none"));
            (settings.ignored(), settings.proxy(), settings.cert())
        };
        let (ignored, proxy, cert) = read(&[]);
        let expected = [
            format!("pip's `extra-index-url` ({path}) is not used here: one index alone is asked"),
            format!("pip's `find-links` ({path}) is not used here: the index alone is asked"),
        ];
        assert_eq!(ignored, expected);
        assert_eq!(proxy.as_deref(), Some("http://of-file:3128"));
        assert_eq!(cert, None);
        let (ignored, proxy, cert) = read(&[
            ("PIP_PROXY", "http://of-environment:3128"),
            ("PIP_CERT", "/ca.pem"),
            ("PIP_TRUSTED_HOST", "a"),
            ("PIP_PRE", "0"),
            ("PIP_KEYRING_PROVIDER", "disabled"),
        ]);
        assert_eq!(ignored.len(), 3);
        assert!(ignored[2].contains("`trusted-host` (PIP_TRUSTED_HOST)"));
        assert_eq!(proxy.as_deref(), Some("http://of-environment:3128"));
        assert_eq!(cert.as_deref(), Some(Path::new("/ca.pem")));
    }

    #[test]
    fn files_are_in_the_order_of_pip() {
        let environment = Environment::of(&[("HOME", "/h"), ("VIRTUAL_ENV", "/v")], "");
        let names = files(&environment, Path::new("/etc"));
        let names: Vec<_> = names.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "/etc/xdg/pip/pip.conf",
                "/etc/pip.conf",
                "/h/.pip/pip.conf",
                "/h/.config/pip/pip.conf",
                "/v/pip.conf"
            ]
        );
    }
}
