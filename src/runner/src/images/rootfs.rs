//! From what mmdebstrap wrote to a layer that is the same wherever and whenever it is made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

use tar::EntryType;

use super::layer::{Content, Kind, Layer, Node, Written};
use super::recipe::Bootstrap;

/// Where dpkg says what is installed.
const DPKG_STATUS: &[u8] = b"var/lib/dpkg/status";

/// A base's only layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rootfs {
    pub(super) layer: Written,
    /// `NAME=VERSION` of each package, sorted.
    pub(super) packages: Vec<String>,
}

/// Writes the archive again: sorted, without times, devices, caches and what else differs or is not
/// needed.
pub(super) fn normalise(raw: &File, recipe: &Bootstrap, out: impl Write) -> io::Result<Rootfs> {
    let mut tree = Tree::read(raw, recipe)?;
    let layer = tree.take_layer();
    let written = layer.write(Some(raw), out)?;
    Ok(Rootfs {
        layer: written,
        packages: tree.packages,
    })
}

/// What the archive holds and we keep.
struct Tree<'a> {
    recipe: &'a Bootstrap,
    kept: BTreeMap<Vec<u8>, Node>,
    /// Directories that stay only if something in them does.
    dropped: BTreeMap<Vec<u8>, Node>,
    /// Every regular file, kept or not, because a kept name may be a link to it.
    files: BTreeMap<Vec<u8>, Node>,
    /// Further names by the name of the file.
    links: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    packages: Vec<String>,
}

impl<'a> Tree<'a> {
    fn read(raw: &File, recipe: &'a Bootstrap) -> io::Result<Self> {
        let mut tree = Self {
            recipe,
            kept: BTreeMap::new(),
            dropped: BTreeMap::new(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            packages: Vec::new(),
        };
        let mut reader = raw;
        reader.seek(SeekFrom::Start(0))?;
        for entry in tar::Archive::new(reader).entries_with_seek()? {
            tree.add(&mut entry?)?;
        }
        Ok(tree)
    }

    fn add(&mut self, entry: &mut tar::Entry<'_, impl io::Read>) -> io::Result<()> {
        let path = plain(&entry.path_bytes())?;
        if path.is_empty() {
            return Ok(());
        }
        let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        let header = entry.header();
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File(Content::Range {
                offset: entry.raw_file_position(),
                size: entry.size(),
            }),
            EntryType::Symlink => Kind::Symlink(target.unwrap_or_default()),
            EntryType::Link => {
                let target = plain(&target.unwrap_or_default())?;
                self.links.entry(target).or_default().push(path);
                return Ok(());
            }
            // An engine makes the devices that a container may have.
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Ok(()),
            other => {
                let path = String::from_utf8_lossy(&path).into_owned();
                return Err(invalid(format!("`{path}` is of the kind {other:?}")));
            }
        };
        let node = Node {
            // Nothing in a sandbox gains privileges, so nothing needs to carry them.
            mode: header.mode()? & 0o1777,
            uid: header.uid()?,
            gid: header.gid()?,
            kind,
        };
        if path == DPKG_STATUS {
            let mut status = String::new();
            entry.read_to_string(&mut status)?;
            self.packages = packages(&status);
        }
        match &node.kind {
            Kind::File(_) => {
                self.files.insert(path.clone(), node.clone());
            }
            Kind::Directory | Kind::Symlink(_) | Kind::Hardlink(_) => {}
        }
        if self.keeps(&path, &node.kind) {
            self.kept.insert(path, node);
        } else if node.kind == Kind::Directory {
            self.dropped.insert(path, node);
        }
        Ok(())
    }

    fn keeps(&self, path: &[u8], kind: &Kind) -> bool {
        let mut parts = path.split(|byte| *byte == b'/');
        let listed = |name: &[u8], list: &[String]| list.iter().any(|item| item.as_bytes() == name);
        if parts.any(|name| listed(name, &self.recipe.drop_named)) {
            return false;
        }
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if matches!(kind, Kind::File(_)) && listed(last, &self.recipe.keep_named) {
            return true;
        }
        !self.recipe.drop.iter().any(|drop| {
            let drop = drop.as_bytes();
            match drop.strip_suffix(b"/") {
                Some(folder) => {
                    path.starts_with(drop) || (path == folder && *kind != Kind::Directory)
                }
                None => path
                    .strip_prefix(drop)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
            }
        })
    }

    fn take_layer(&mut self) -> Layer {
        self.keep_links();
        let mut kept = std::mem::take(&mut self.kept);
        let paths: Vec<Vec<u8>> = kept.keys().cloned().collect();
        for path in paths {
            let mut end = path.len();
            while let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') {
                end = slash;
                if let Some(node) = self.dropped.remove(&path[..end]) {
                    kept.insert(path[..end].to_vec(), node);
                }
            }
        }
        Layer(kept)
    }

    /// Of the names of one file, the first that is kept becomes the file and the others its links.
    fn keep_links(&mut self) {
        for (target, others) in std::mem::take(&mut self.links) {
            let Some(node) = self.files.get(&target).cloned() else {
                continue;
            };
            let mut names: Vec<Vec<u8>> = others;
            names.push(target);
            names.retain(|name| self.keeps(name, &node.kind));
            names.sort();
            names.dedup();
            let mut names = names.into_iter();
            let Some(first) = names.next() else {
                continue;
            };
            for name in names {
                let kind = Kind::Hardlink(first.clone());
                self.kept.insert(
                    name,
                    Node {
                        kind,
                        ..node.clone()
                    },
                );
            }
            self.kept.insert(first, node);
        }
    }
}

/// The path without leading and trailing `./` and `/`.
fn plain(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(invalid(format!("`{path}` leads out of the archive")));
            }
            name => {
                if !plain.is_empty() {
                    plain.push(b'/');
                }
                plain.extend_from_slice(name);
            }
        }
    }
    Ok(plain)
}

/// The packages that dpkg's status file lists as installed.
fn packages(status: &str) -> Vec<String> {
    let mut packages: Vec<String> = status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let installed = field("Status")? == "install ok installed";
            installed.then(|| Some(format!("{}={}", field("Package")?, field("Version")?)))?
        })
        .collect();
    packages.sort();
    packages
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: b\nStatus: install ok installed\nVersion: 2-1\n\n\
                          Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                          Package: a\nStatus: install ok installed\nDescription: x\n Version: 9\nVersion: 1:1\n";

    fn recipe() -> Bootstrap {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Bootstrap {
            suite: "suite".to_owned(),
            variant: "essential".to_owned(),
            include: Vec::new(),
            drop: texts(&["var/log/", "usr/share/doc", "etc/hostname", "bin/a"]),
            drop_named: texts(&["__pycache__"]),
            keep_named: texts(&["copyright"]),
        }
    }

    /// An archive as mmdebstrap writes it, with its entries in this order and at this time.
    fn raw(order: impl Fn(&mut Vec<usize>), mtime: u64) -> File {
        let entries: &[(&str, EntryType, &str)] = &[
            ("./", EntryType::Directory, ""),
            ("./dev/", EntryType::Directory, ""),
            ("./dev/null", EntryType::Char, ""),
            ("./bin/", EntryType::Directory, ""),
            ("./bin/a", EntryType::Regular, "shared"),
            ("./bin/c", EntryType::Link, "./bin/a"),
            ("./bin/b", EntryType::Link, "./bin/a"),
            ("./etc/", EntryType::Directory, ""),
            (
                "./etc/hostname",
                EntryType::Regular,
                "of the machine that built it",
            ),
            ("./lib", EntryType::Symlink, "usr/lib"),
            ("./usr/", EntryType::Directory, ""),
            ("./usr/share/", EntryType::Directory, ""),
            ("./usr/share/doc/", EntryType::Directory, ""),
            ("./usr/share/doc/a/", EntryType::Directory, ""),
            ("./usr/share/doc/a/copyright", EntryType::Regular, "free"),
            ("./usr/share/doc/a/changes", EntryType::Regular, "many"),
            ("./usr/share/doc/b/", EntryType::Directory, ""),
            ("./usr/share/doc-base", EntryType::Regular, "other"),
            ("./usr/share/__pycache__/", EntryType::Directory, ""),
            ("./usr/share/__pycache__/x.pyc", EntryType::Regular, "bytes"),
            ("./var/log/", EntryType::Directory, ""),
            ("./var/log/dpkg.log", EntryType::Regular, "today"),
            ("./var/lib/dpkg/status", EntryType::Regular, STATUS),
        ];
        let mut sequence: Vec<usize> = (0..entries.len()).collect();
        order(&mut sequence);
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        for index in sequence {
            let (path, kind, content) = entries[index];
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o4755);
            header.set_mtime(mtime + index as u64);
            header.set_uid(0);
            header.set_gid(0);
            let data = match kind {
                EntryType::Regular => content,
                EntryType::Symlink | EntryType::Link => {
                    header.set_link_name(content).unwrap();
                    ""
                }
                _ => "",
            };
            header.set_size(data.len() as u64);
            builder
                .append_data(&mut header, path, data.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        tar::Archive::new(bytes)
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                assert_eq!(entry.header().mode().unwrap(), 0o755);
                if content == STATUS {
                    return path;
                }
                format!("{path} {target}{content}").trim_end().to_owned()
            })
            .collect()
    }

    #[test]
    fn what_differs_or_is_not_needed_is_left_out() {
        let mut bytes = Vec::new();
        let rootfs = normalise(&raw(|_| (), 7), &recipe(), &mut bytes).unwrap();
        assert_eq!(
            names(&bytes),
            [
                "bin/",
                "bin/b shared",
                "bin/c bin/b",
                "dev/",
                "etc/",
                "lib usr/lib",
                "usr/",
                "usr/share/",
                "usr/share/doc/",
                "usr/share/doc-base other",
                "usr/share/doc/a/",
                "usr/share/doc/a/copyright free",
                "var/lib/dpkg/status",
                "var/log/",
            ]
        );
        assert_eq!(rootfs.packages, ["a=1:1", "b=2-1"]);
    }

    #[test]
    fn order_and_time_do_not_matter() {
        let mut first = Vec::new();
        let mut second = Vec::new();
        let one = normalise(&raw(|_| (), 7), &recipe(), &mut first).unwrap();
        let other = normalise(&raw(|order| order.reverse(), 99), &recipe(), &mut second).unwrap();
        assert_eq!(one, other);
        assert_eq!(first, second);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        assert_eq!(plain(b"./a//b/").unwrap(), b"a/b");
        assert_eq!(plain(b"/").unwrap(), b"");
        assert!(plain(b"a/../b").is_err());
    }
}
