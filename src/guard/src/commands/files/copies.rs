//! Moves, copies and links: what is known of a file goes along.

use crate::commands::Line;
use crate::findings::Act;
use crate::place::Place;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

/// Links of one command that are carried along when a directory is moved.
const LINKS_MAX: usize = 64;

/// Words of options of `rsync` that take a value.
const RSYNC_VALUES: &[&str] = &[
    "address",
    "backup-dir",
    "block-size",
    "bwlimit",
    "checksum-choice",
    "checksum-seed",
    "chmod",
    "chown",
    "compare-dest",
    "compress-choice",
    "compress-level",
    "contimeout",
    "copy-as",
    "copy-dest",
    "debug",
    "early-input",
    "exclude",
    "exclude-from",
    "files-from",
    "filter",
    "groupmap",
    "iconv",
    "include",
    "include-from",
    "info",
    "link-dest",
    "log-file",
    "log-file-format",
    "max-alloc",
    "max-delete",
    "max-size",
    "min-size",
    "modify-window",
    "only-write-batch",
    "out-format",
    "outbuf",
    "partial-dir",
    "password-file",
    "port",
    "protocol",
    "read-batch",
    "remote-option",
    "rsh",
    "rsync-path",
    "skip-compress",
    "sockopts",
    "stderr",
    "stop-after",
    "stop-at",
    "suffix",
    "temp-dir",
    "timeout",
    "usermap",
    "write-batch",
];

impl Walk<'_> {
    pub(super) fn moved(&mut self, line: &Line<'_>) {
        let options = line.options("tS", &["target-directory", "suffix"]);
        if line.name == "rename" {
            let files = options.operands.get(1..).unwrap_or_default().to_vec();
            self.each(Act::Write, &files, line);
            return;
        }
        let into = options.values(&["t", "target-directory"]);
        let mut sources = options.operands;
        let target = if into.is_empty() {
            sources.pop()
        } else {
            into.into_iter().next()
        };
        self.each(Act::Remove, &sources, line);
        if let Some(target) = target {
            if matches!(self.places(&target).as_slice(), [Place::Stream]) {
                // It is replaced and not written to.
                self.act(Act::Remove, &target, &line.shown);
            }
            self.act(Act::Write, &target, &line.shown);
            self.carry(&sources, &target, true);
        }
    }

    pub(super) fn copied(&mut self, line: &Line<'_>) {
        let mut options = line.options("tS", &["target-directory", "suffix"]);
        let into = options.values(&["t", "target-directory"]);
        let mut sources = std::mem::take(&mut options.operands);
        let is_ln = matches!(line.name, "ln" | "link" | "symlink");
        let is_symbolic =
            options.has(&["s", "symbolic", "symbolic-link"]) || line.name == "symlink";
        let is_link = is_ln || is_symbolic || options.has(&["l", "link"]);
        // Several come into one directory, each under its name.
        let mut is_directory = !into.is_empty();
        let target = match into.into_iter().next() {
            Some(target) => Some(target),
            // `ln TARGET` makes a link here.
            None if is_ln && sources.len() == 1 => Some(Value::text(".")),
            None => sources.pop(),
        };
        let Some(target) = target else { return };
        is_directory |=
            sources.len() > 1 || target.prefix() == "." || target.prefix().ends_with('/');
        self.act(Act::Write, &target, &line.shown);
        if is_link {
            for source in &sources {
                self.link(source, &target, is_symbolic, is_directory, line);
            }
        }
        if !is_ln {
            let keeps_links = options.has(&[
                "a",
                "d",
                "P",
                "r",
                "R",
                "archive",
                "no-dereference",
                "recursive",
            ]) && !options.has(&["L", "dereference"]);
            self.carry(&sources, &target, keeps_links);
        }
    }

    /// A link is made, at this path or in this directory.
    fn link(
        &mut self,
        source: &Value,
        target: &Value,
        is_symbolic: bool,
        is_directory: bool,
        line: &Line<'_>,
    ) {
        let (Some(mut to), Some(mut from)) = (source.exact(), self.path(target)) else {
            if source.mystery().is_some() {
                self.ask(&line.shown, "where the link leads is not known");
            }
            return;
        };
        if !is_symbolic {
            // A hard link leads where it says from here.
            to = self.path(source).unwrap_or(to);
        }
        if is_directory {
            let name = to
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            from = format!("{}/{name}", from.trim_end_matches('/'));
        }
        self.state.links.insert(from, to);
    }

    /// What is known of a file's content goes with it, and so do links.
    pub(super) fn carry(&mut self, sources: &[Value], target: &Value, keeps_links: bool) {
        for source in sources {
            if keeps_links && let (Some(from), Some(to)) = (self.path(source), self.path(target)) {
                self.carry_links(&from, &to);
            }
            let known = self
                .path(source)
                .and_then(|path| self.state.files.get(&path).cloned());
            if let Some(content) = known {
                let mut inside = target.clone();
                inside.push(Part::Text("/".to_owned()));
                let name = source.shown();
                let name = name.rsplit('/').next().unwrap_or_default().to_owned();
                inside.push(Part::Text(name));
                self.remember(&[target.clone(), inside], &content);
            }
        }
    }

    /// Links at or below a path that is moved or copied. The new path may be the thing itself, or the
    /// directory into which it comes.
    pub(super) fn carry_links(&mut self, from: &str, to: &str) {
        let name = from.rsplit('/').next().unwrap_or_default();
        let mut carried = Vec::new();
        for (link, target) in &self.state.links {
            let Some(rest) = link.strip_prefix(from) else {
                continue;
            };
            if rest.is_empty() || rest.starts_with('/') {
                carried.push((format!("{to}{rest}"), target.clone()));
                carried.push((format!("{to}/{name}{rest}"), target.clone()));
            }
        }
        carried.truncate(LINKS_MAX);
        self.state.links.extend(carried);
    }

    pub(super) fn synchronised(&mut self, line: &Line<'_>) {
        let is_rsync = line.name == "rsync";
        let short = if is_rsync { "efTBM@" } else { "cDFiJloPSX" };
        let options = line.options(short, RSYNC_VALUES);
        if is_rsync {
            for program in options.values(&["e", "rsh"]) {
                self.text_as_script(&program, line);
            }
            let written = options.values(&[
                "log-file",
                "backup-dir",
                "partial-dir",
                "temp-dir",
                "T",
                "write-batch",
                "only-write-batch",
            ]);
            self.each(Act::Write, &written, line);
        }
        let mut operands = options.operands.clone();
        let Some(target) = operands.pop() else { return };
        let is_remote = |value: &Value| {
            let text = value.prefix();
            text.split('/').next().unwrap_or_default().contains(':')
        };
        if is_remote(&target) {
            self.ask(&line.shown, "it works on another machine");
        } else if options.has(&["n", "dry-run"]) {
            return;
        } else {
            let act = if line.shown.contains("--del") {
                Act::Remove
            } else {
                Act::Write
            };
            self.act(act, &target, &line.shown);
            self.remember(&[target], &Output::Unknown("what was copied".to_owned()));
        }
        if options.has(&["remove-source-files", "remove-sent-files"]) {
            self.each(Act::Remove, &operands, line);
        }
    }
}
