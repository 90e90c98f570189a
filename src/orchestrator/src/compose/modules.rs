//! Names of modules.

use std::collections::BTreeSet;

use spec::{SubagentName, WorkspacePath};

/// The name under which a subagent is imported.
pub(crate) fn module_name(name: &SubagentName) -> String {
    name.as_str().replace('-', "_")
}

/// What the files of a program are imported as: those in its root, and beside its entry file.
pub(crate) fn importable<'a>(
    entry: &'a WorkspacePath,
    files: impl IntoIterator<Item = &'a WorkspacePath>,
) -> BTreeSet<&'a [u8]> {
    let entry = entry.as_bytes();
    let beside = entry.iter().rposition(|byte| *byte == b'/');
    let beside = beside.map_or(&entry[..0], |at| &entry[..=at]);
    let mut names = BTreeSet::new();
    for path in files {
        let below = [Some(path.as_bytes()), path.as_bytes().strip_prefix(beside)];
        for path in below.into_iter().flatten() {
            let mut parts = path.splitn(2, |byte| *byte == b'/');
            match (parts.next(), parts.next()) {
                (Some(folder), Some(_)) => {
                    names.insert(folder);
                }
                (Some(file), None) => {
                    names.extend(file.strip_suffix(b".py"));
                }
                (None, _) => {}
            }
        }
    }
    names
}

/// Whether the standard library has a module of this name.
pub(crate) fn is_standard(module: &str) -> bool {
    STANDARD.split(' ').any(|name| name == module)
}

/// Source: `sys.stdlib_module_names` of Python 3.11, of which 3.13 has all but a few: those that
/// can be a subagent's.
const STANDARD: &str = "\
    abc aifc antigravity argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb \
    binascii bisect builtins bz2 calendar cgi cgitb chunk cmath cmd code codecs codeop \
    collections colorsys compileall concurrent configparser contextlib contextvars copy copyreg \
    crypt csv ctypes curses dataclasses datetime dbm decimal difflib dis distutils doctest email \
    encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib \
    functools gc genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac \
    html http idlelib imaplib imghdr imp importlib inspect io ipaddress itertools json keyword \
    lib2to3 linecache locale logging lzma mailbox mailcap marshal math mimetypes mmap \
    modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath nturl2path numbers \
    opcode operator optparse os ossaudiodev pathlib pdb pickle pickletools pipes pkgutil \
    platform plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr \
    pydoc pydoc_data pyexpat queue quopri random re readline reprlib resource rlcompleter runpy \
    sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket \
    socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string \
    stringprep struct subprocess sunau symtable sys sysconfig syslog tabnanny tarfile telnetlib \
    tempfile termios textwrap this threading time timeit tkinter token tokenize tomllib trace \
    traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uu uuid \
    venv warnings wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp \
    zipfile zipimport zlib zoneinfo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_root_and_beside_the_entry_file_is_importable() {
        let path = |text: &str| WorkspacePath::from_text(text).unwrap();
        let files = [
            "a.py",
            "b.txt",
            "pkg/c.py",
            "sub/main.py",
            "sub/d.py",
            "sub/e/f.py",
        ];
        let files = files.map(path);
        let names = |entry| -> Vec<String> {
            let entry = path(entry);
            let names = importable(&entry, &files).into_iter();
            names
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        assert_eq!(names("a.py"), ["a", "pkg", "sub"]);
        assert_eq!(names("sub/main.py"), ["a", "d", "e", "main", "pkg", "sub"]);
    }

    #[test]
    fn the_standard_library_is_known() {
        for name in ["abc", "json", "statistics", "zoneinfo"] {
            assert!(is_standard(name), "{name}");
        }
        assert!(!is_standard("csv_cleaner"));
    }
}
