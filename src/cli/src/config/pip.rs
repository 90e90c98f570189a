//! pip's own configuration files, as far as they say where packages come from.

use std::path::{Path, PathBuf};

use crate::environment::{self as env, Environment};

/// Bytes of a configuration file that is read.
const FILE_MAX: u64 = 1 << 20;
/// The sections that hold for what we do; the later one goes over the earlier one.
const SECTIONS: [&str; 2] = ["global", "download"];

/// The index that pip is configured to use on this machine. Files that cannot be read say nothing,
/// as to pip.
pub(super) fn index_url(environment: &Environment) -> Option<String> {
    let global = Path::new("/etc");
    let mut files = files(environment, global).into_iter().rev();
    files.find_map(|path| {
        let fits = |found: std::fs::Metadata| found.is_file() && found.len() <= FILE_MAX;
        let text = std::fs::metadata(&path).is_ok_and(fits);
        let text = text
            .then(|| std::fs::read_to_string(&path).ok())
            .flatten()?;
        value(&text, "index-url")
    })
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

/// What a file says of a key, in the form that Python's `configparser` reads.
fn value(text: &str, wanted: &str) -> Option<String> {
    let mut found: [Option<String>; SECTIONS.len()] = Default::default();
    let mut section = None;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = SECTIONS.iter().position(|known| *known == name.0);
            continue;
        }
        let Some((key, said)) = line.split_once(['=', ':']) else {
            continue;
        };
        // pip takes `index_url` and `--index-url` for the same.
        let key = key.trim().trim_start_matches("--").to_ascii_lowercase();
        if let Some(section) = section
            && key.replace('_', "-") == wanted
        {
            let said = said.trim();
            found[section] = (!said.is_empty()).then(|| said.to_owned());
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
        check("[global]\nextra-index-url = https://a\n", None);
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
            index_url(&Environment::of(&set, ""))
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
