//! Programs that change files: what they change.

use super::{Line, plain_text};
use crate::code::{Language, editors, sed};
use crate::findings::Act;
use crate::place::Place;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

/// Links of one command that are carried along when a directory is moved.
const LINKS_MAX: usize = 64;

impl Walk<'_> {
    /// Judges a program that changes files, if this is one.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each program, a table in essence"
    )]
    pub(crate) fn changes(&mut self, line: &Line<'_>) -> bool {
        if line.has(&["--help", "--version"]) {
            return false;
        }
        match line.name {
            "mv" | "rename" => self.moved(line),
            "cp" | "ln" | "link" | "symlink" => self.copied(line),
            "install" => {
                let options =
                    line.options("mogtS", &["mode", "owner", "group", "target-directory"]);
                let into = options.values(&["t", "target-directory"]);
                if !into.is_empty() {
                    self.each(Act::Write, &into, line);
                } else if options.has(&["d", "directory"]) {
                    self.each(Act::Create, &options.operands, line);
                } else if let Some(last) = options.operands.last() {
                    self.act(Act::Write, last, &line.shown);
                }
            }
            "rsync" | "scp" => self.synchronised(line),
            "mkfifo" => {
                let pipes = line.options("mZ", &["mode"]).operands;
                self.each(Act::Create, &pipes, line);
                self.remember(
                    &pipes,
                    &Output::Unknown("what is sent through a pipe".to_owned()),
                );
            }
            "mknod" => self.refuse(&line.shown, "makes a device"),
            "tee" | "sponge" => {
                let options = line.options("", &[]);
                self.each(Act::Write, &options.operands, line);
                let content = self.state.stdin.clone();
                self.remember(&options.operands, &content);
            }
            "chmod" | "chown" | "chgrp" | "setfacl" | "chattr" | "chcon" | "setcap" => {
                let options = line.options("mMxXp", &["reference", "from", "modify", "remove"]);
                let named = options.has(&["reference", "m", "M", "x", "X", "modify", "remove"])
                    && line.name != "chmod";
                // `chmod -x FILE` has its mode among the options.
                let mode_is_flag = line.name == "chmod"
                    && line.arguments.iter().any(|value| {
                        let text = value.prefix();
                        text.len() > 1
                            && text.starts_with('-')
                            && text[1..].chars().all(|c| "rwxXst".contains(c))
                    });
                let skip = usize::from(!named && !mode_is_flag && !options.has(&["reference"]));
                let targets = if line.name == "chmod" && mode_is_flag {
                    line.arguments
                        .iter()
                        .filter(|value| !value.prefix().starts_with('-'))
                        .cloned()
                        .collect()
                } else {
                    options.operands.get(skip..).unwrap_or_default().to_vec()
                };
                self.each(Act::Change, &targets, line);
            }
            "dd" | "dcfldd" | "dc3dd" => {
                for value in line.arguments {
                    if value.prefix().starts_with("of=") {
                        self.act(Act::Write, &value.after(3), &line.shown);
                        let content = Output::Unknown(format!("the output of `{}`", line.shown));
                        self.remember(&[value.after(3)], &content);
                    }
                }
            }
            "sed" | "gsed" => self.edited(line),
            "ed" | "red" => {
                let operands = line.options("p", &["prompt"]).operands;
                self.each(Act::Write, &operands, line);
                match self.state.stdin.clone() {
                    Output::Text(text) => self.edits(editors::of_script(&text), line),
                    Output::Items(_) | Output::Unknown(_) => {
                        self.ask(&line.shown, "an editor can run any command");
                    }
                    Output::Nothing | Output::File => {}
                }
            }
            "ex" | "vi" | "vim" | "nvim" | "view" | "gvim" => {
                let options = line.options("cuSTp", &["cmd"]);
                let (commands, files): (Vec<Value>, Vec<Value>) = options
                    .operands
                    .iter()
                    .cloned()
                    .partition(|value| value.prefix().starts_with('+'));
                self.each(Act::Write, &files, line);
                let mut texts = options.values(&["c", "cmd"]);
                texts.extend(commands.iter().map(|command| command.after(1)));
                for text in texts.iter().map(plain_text) {
                    match text {
                        Some(text) => self.edits(editors::of_command(&text), line),
                        None => self.ask(&line.shown, "an editor can run any command"),
                    }
                }
                match self.state.stdin.clone() {
                    Output::Text(text) => self.edits(editors::of_script(&text), line),
                    Output::Items(_) | Output::Unknown(_) => {
                        self.ask(&line.shown, "an editor can run any command");
                    }
                    Output::Nothing | Output::File => {}
                }
            }
            "emacs" | "nano" | "emacsclient" => {
                let options = line.options("flu", &["eval", "load", "funcall"]);
                self.each(Act::Write, &options.operands, line);
                if options.has(&["eval", "execute", "f", "funcall"]) {
                    self.ask(&line.shown, "an editor can run any command");
                }
            }
            "m4" | "dc" => {
                let mut texts = vec![self.state.stdin.clone()];
                for value in line
                    .options("eDIU", &["expression"])
                    .values(&["e", "expression"])
                {
                    texts.push(value.exact().map_or(Output::Nothing, Output::Text));
                }
                for file in line.options("eDIU", &["expression"]).operands {
                    texts.extend(self.script_text(&file));
                }
                let runs = if line.name == "dc" { "!" } else { "syscmd" };
                let is_code = texts.iter().any(|text| match text {
                    Output::Text(text) => text.contains(runs),
                    _ => false,
                });
                if is_code {
                    self.ask(&line.shown, "its input runs commands");
                }
            }
            "gzip" | "gunzip" | "bzip2" | "bunzip2" | "xz" | "unxz" | "zstd" | "unzstd"
            | "compress" | "uncompress" | "lzma" => {
                let options = line.options("SoT", &["suffix"]);
                if !options.has(&[
                    "c",
                    "stdout",
                    "to-stdout",
                    "l",
                    "list",
                    "t",
                    "test",
                    "k",
                    "keep",
                ]) {
                    self.each(Act::Write, &options.operands, line);
                }
                let into = options.values(&["o"]);
                self.each(Act::Write, &into, line);
            }
            "tar" | "bsdtar" | "gtar" => self.archived(line),
            "7z" | "7za" | "7zr" | "unrar" | "rar" => {
                let command = line.arguments.first().and_then(Value::exact);
                let mut into: Vec<Value> = line
                    .arguments
                    .iter()
                    .filter(|value| value.prefix().starts_with("-o"))
                    .map(|value| value.after(2))
                    .collect();
                match command.as_deref() {
                    Some("x" | "e") if into.is_empty() => into.push(Value::text(".")),
                    Some("a" | "d" | "u" | "rn" | "m") => {
                        let operands = line.options("", &[]).operands;
                        into.extend(operands.get(1).cloned());
                    }
                    _ => {}
                }
                self.each(Act::Write, &into, line);
            }
            "unzip" => {
                let options = line.options("dxP", &[]);
                if !options.has(&["l", "t", "p", "v", "Z"]) {
                    let into = options.values(&["d"]);
                    self.each(Act::Write, &into, line);
                    if into.is_empty() {
                        self.act(Act::Write, &Value::text("."), &line.shown);
                    }
                }
            }
            "zip" => {
                let options = line.options("bnxiPt", &["unzip-command"]);
                if options.has(&["m"]) {
                    let rest = options.operands.get(1..).unwrap_or_default().to_vec();
                    self.each(Act::Remove, &rest, line);
                }
                if line.texts().iter().any(|text| text.starts_with("-TT")) {
                    self.ask(&line.shown, "it runs a program that it is given");
                }
            }
            "cpio" => {
                let options = line.options("DFHOIRC", &["directory", "file", "format"]);
                let mut into = options.values(&["D", "O", "directory"]);
                if options.has(&["i", "p", "extract"]) {
                    into.extend(options.operands.last().cloned());
                    if into.is_empty() {
                        into.push(Value::text("."));
                    }
                }
                self.each(Act::Write, &into, line);
            }
            "ar" => {
                let into = line.options("", &["output"]).values(&["output"]);
                self.each(Act::Write, &into, line);
                if let Some(archive) = line.arguments.get(1) {
                    let archive = archive.clone();
                    self.act(Act::Write, &archive, &line.shown);
                }
            }
            "curl" => {
                let options = line.options(
                    "oHdXuAebcDFTUwxmKrYyzCEQ",
                    &[
                        "output",
                        "output-dir",
                        "header",
                        "data",
                        "request",
                        "user",
                        "cookie-jar",
                        "dump-header",
                        "form",
                        "config",
                        "data-raw",
                        "data-binary",
                        "max-time",
                        "upload-file",
                        "user-agent",
                        "proxy",
                        "trace",
                        "stderr",
                        "cacert",
                        "cert",
                        "key",
                        "retry",
                        "write-out",
                        "url",
                    ],
                );
                let into = options.values(&[
                    "o",
                    "output",
                    "output-dir",
                    "c",
                    "cookie-jar",
                    "D",
                    "dump-header",
                    "trace",
                    "stderr",
                ]);
                self.each(Act::Write, &into, line);
                self.remember(&into, &Output::Unknown("what was downloaded".to_owned()));
                if options.has(&["O", "remote-name", "J"]) {
                    self.act(Act::Write, &Value::text("."), &line.shown);
                    self.downloaded(&options.operands);
                }
            }
            "wget" => {
                let options = line.options(
                    "OPoaTtUeiBQwl",
                    &[
                        "output-document",
                        "directory-prefix",
                        "output-file",
                        "append-output",
                        "timeout",
                        "tries",
                        "user-agent",
                        "header",
                        "post-data",
                        "post-file",
                        "use-askpass",
                    ],
                );
                let into = options.values(&[
                    "O",
                    "P",
                    "o",
                    "a",
                    "output-document",
                    "directory-prefix",
                    "output-file",
                    "append-output",
                ]);
                let files: Vec<Value> = into
                    .iter()
                    .filter(|value| value.exact().as_deref() != Some("-"))
                    .cloned()
                    .collect();
                self.each(Act::Write, &files, line);
                if files.is_empty() {
                    self.act(Act::Write, &Value::text("."), &line.shown);
                }
                self.remember(&files, &Output::Unknown("what was downloaded".to_owned()));
                self.downloaded(&options.operands);
            }
            "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" | "ld" | "as" | "rustc" | "go"
            | "ffmpeg" | "pandoc" | "openssl" | "base64" | "xxd" | "objcopy" | "strip"
            | "javac" | "protoc" | "dot" | "gpg" | "age" | "ssh-keygen" | "jq" | "yq" => {
                let into: Vec<Value> = Self::outputs(line);
                self.each(Act::Write, &into, line);
                if line.name == "openssl" || line.name == "gpg" {
                    let content = Output::Unknown("what was decoded".to_owned());
                    self.remember(&into, &content);
                }
                if matches!(line.name, "strip" | "objcopy") {
                    let operands = line.options("oRKNIOFjG", &["output-target"]).operands;
                    self.each(Act::Write, &operands, line);
                }
                if line.name == "ffmpeg"
                    && let Some(last) = line.arguments.last()
                {
                    self.act(Act::Write, last, &line.shown);
                }
            }
            "ddrescue" | "partimage" => {
                let operands = line.options("bcimnorsSX", &[]).operands;
                self.each(Act::Write, operands.get(1..).unwrap_or_default(), line);
            }
            "mkfs" | "mke2fs" | "mkswap" | "mkdosfs" | "mkfs.ext2" | "mkfs.ext3" | "mkfs.ext4"
            | "mkfs.xfs" | "mkfs.btrfs" | "mkfs.vfat" | "mkfs.fat" | "mkfs.ntfs" | "mkfs.f2fs"
            | "mkntfs" => {
                // `-F` forces for most of them, and takes a number for those of FAT.
                let is_fat = ["fat", "dos"].iter().any(|it| line.name.contains(it))
                    || line.has(&["vfat", "fat", "msdos"]);
                let short = if is_fat {
                    "tLFnisrRfbmM"
                } else {
                    "tLbNiIOEUmCdgGJoT"
                };
                let mut targets = line.options(short, &["type"]).operands;
                // A device is overwritten wherever it stands.
                let is_device = |value: &&Value| value.prefix().starts_with("/dev/");
                targets.extend(line.arguments.iter().filter(is_device).cloned());
                self.each(Act::Write, &targets, line);
            }
            "sqlite3" => {
                // Its words have one dash too: `-cmd`.
                let at = line
                    .arguments
                    .windows(2)
                    .filter(|pair| pair[0].prefix().ends_with("-cmd"));
                let commands: Vec<String> = at.map(|pair| pair[1].shown()).collect();
                let operands = line.options("", &["cmd", "init", "separator"]).operands;
                if let Some((database, rest)) = operands.split_first() {
                    let reads = !rest.is_empty()
                        && rest.iter().all(|value| {
                            let text = value.shown().to_lowercase();
                            text.starts_with("select")
                                || text.starts_with(".schema")
                                || text.starts_with(".tables")
                                || text.starts_with(".dump")
                        });
                    if !reads && database.exact().as_deref() != Some(":memory:") {
                        self.act(Act::Write, database, &line.shown);
                    }
                    let mut texts: Vec<String> = rest.iter().map(Value::shown).collect();
                    if let Output::Text(text) = &self.state.stdin {
                        texts.extend(text.lines().map(str::to_owned));
                    }
                    texts.extend(commands);
                    for text in texts {
                        self.sqlite_command(text.trim(), line);
                    }
                }
            }
            "npm" | "yarn" | "pnpm" => {
                let long = ["prefix", "cwd", "dir"];
                let options = line.options("C", &long);
                let into = [&options.values(&long)[..], &options.values(&["C"])[..]].concat();
                self.each(Act::Write, &into, line);
                if let Some(Output::Text(text)) = self.script_text(&Value::text("package.json")) {
                    for script in scripts_of_package(&text) {
                        drop(self.apart(|walk| walk.script(&script)));
                    }
                }
                if options.has(&["g", "global"]) {
                    self.refuse(
                        &line.shown,
                        "changes what is installed outside the workspace",
                    );
                }
            }
            _ => return false,
        }
        true
    }

    /// Keeps what is written into files of the command's own.
    pub(crate) fn remember(&mut self, files: &[Value], content: &Output) {
        for file in files {
            if let Some(path) = self.path(file) {
                self.keep_file(path, content.clone());
            }
        }
    }

    /// Files that a download names after its address.
    fn downloaded(&mut self, addresses: &[Value]) {
        for address in addresses {
            if let Some(text) = address.exact() {
                let name = text.split(['?', '#']).next().unwrap_or_default();
                let name = name
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                let content = Output::Unknown("what was downloaded".to_owned());
                self.remember(&[Value::text(name)], &content);
            }
        }
    }

    /// Files after `-o`, `-out` or `--output`.
    fn outputs(line: &Line<'_>) -> Vec<Value> {
        let mut into = Vec::new();
        let mut rest = line.arguments.iter();
        while let Some(value) = rest.next() {
            match value.prefix() {
                "-o" | "-out" | "--output" | "--out" | "-keyout" | "-f"
                    if value.exact().is_some()
                        && (value.prefix() != "-f" || line.name == "ssh-keygen") =>
                {
                    into.extend(rest.next().cloned());
                }
                text if text.starts_with("--output=") => into.push(value.after(9)),
                text if text.starts_with("-o")
                    && matches!(line.name, "gcc" | "g++" | "cc" | "clang" | "c++" | "ld")
                    && text.len() > 2 =>
                {
                    into.push(value.after(2));
                }
                _ => {}
            }
        }
        if line.name == "xxd" {
            into.clear();
            let operands = line.options("clos", &[]).operands;
            into.extend(operands.get(1).cloned());
        }
        into
    }

    fn moved(&mut self, line: &Line<'_>) {
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

    fn copied(&mut self, line: &Line<'_>) {
        let mut options = line.options("tS", &["target-directory", "suffix"]);
        let into = options.values(&["t", "target-directory"]);
        let mut sources = std::mem::take(&mut options.operands);
        let links = matches!(line.name, "ln" | "link" | "symlink");
        let target = match into.into_iter().next() {
            Some(target) => Some(target),
            // `ln TARGET` makes a link here.
            None if links && sources.len() == 1 => Some(Value::text(".")),
            None => sources.pop(),
        };
        let Some(target) = target else { return };
        self.act(Act::Write, &target, &line.shown);
        if !links {
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
            return;
        }
        let [source] = sources.as_slice() else { return };
        let (Some(mut to), Some(mut from)) = (source.exact(), self.path(&target)) else {
            if source.mystery().is_some() {
                self.ask(&line.shown, "where the link leads is not known");
            }
            return;
        };
        if !options
            .flags
            .iter()
            .any(|(name, _)| name == "s" || name == "symbolic")
        {
            // A hard link leads where it says from here.
            to = self.path(source).unwrap_or(to);
        }
        if target.prefix() == "." || target.prefix().ends_with('/') {
            let name = to
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            from = format!("{from}/{name}");
        }
        self.state.links.insert(from, to);
    }

    /// What is known of a file's content goes with it, and so do links.
    fn carry(&mut self, sources: &[Value], target: &Value, keeps_links: bool) {
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
    fn carry_links(&mut self, from: &str, to: &str) {
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

    fn synchronised(&mut self, line: &Line<'_>) {
        let options = line.options(
            "efTBMPiFlocJS",
            &[
                "rsh",
                "rsync-path",
                "exclude",
                "include",
                "filter",
                "files-from",
                "log-file",
                "backup-dir",
                "exclude-from",
            ],
        );
        let is_rsync = line.name == "rsync";
        if is_rsync {
            for program in options.values(&["e", "rsh"]) {
                self.text_as_script(&program, line);
            }
            let logs = options.values(&["log-file", "backup-dir"]);
            self.each(Act::Write, &logs, line);
        }
        // `-P` and `-i` of rsync take no value.
        let mut operands = line
            .arguments
            .iter()
            .filter(|value| !value.prefix().starts_with('-'))
            .cloned()
            .collect::<Vec<_>>();
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
        if options.has(&["remove-source-files"]) {
            self.each(Act::Remove, &operands, line);
        }
    }

    fn archived(&mut self, line: &Line<'_>) {
        let mut arguments = line.arguments.to_vec();
        // `tar xzf a.tgz`: the first word needs no dash.
        if let Some(first) = arguments.first_mut()
            && !first.prefix().starts_with('-')
            && let Some(text) = first.exact()
        {
            *first = Value::text(format!("-{text}"));
        }
        let long = [
            "file",
            "directory",
            "checkpoint-action",
            "to-command",
            "use-compress-program",
            "exclude",
            "transform",
            "files-from",
            "info-script",
            "new-volume-script",
            "rsh-command",
            "one-top-level",
            "owner",
            "group",
        ];
        let options = super::Options::parse(&arguments, "fCITXbHgKLNVF", &long, false);
        for program in options.values(&[
            "to-command",
            "use-compress-program",
            "I",
            "info-script",
            "new-volume-script",
            "F",
            "rsh-command",
        ]) {
            self.text_as_script(&program, line);
        }
        for action in options.values(&["checkpoint-action"]) {
            if let Some(text) = plain_text(&action)
                && let Some(command) = text.strip_prefix("exec=")
            {
                let command = Value::text(command);
                self.text_as_script(&command, line);
            }
        }
        let extracts = options.has(&["x", "extract", "get"]);
        let creates = options.has(&["c", "r", "u", "A", "create", "append", "update", "delete"]);
        let archives = options.values(&["f", "file"]);
        let archives: Vec<Value> = archives
            .into_iter()
            .filter(|value| value.exact().as_deref() != Some("-"))
            .collect();
        if creates {
            self.each(Act::Write, &archives, line);
            if options.has(&["remove-files"]) {
                self.each(Act::Remove, &options.operands, line);
            }
        }
        if extracts && !options.has(&["O", "to-stdout"]) {
            if options.has(&["P", "absolute-names"]) {
                self.refuse(
                    &line.shown,
                    "writes to absolute paths, wherever the archive says",
                );
            }
            let mut into = options.values(&["C", "directory", "one-top-level"]);
            if into.is_empty() {
                into.push(Value::text("."));
            }
            self.each(Act::Write, &into, line);
        }
    }

    /// `sed`: its files with `-i`, and what its script writes or runs.
    fn edited(&mut self, line: &Line<'_>) {
        let options = line.options("efls", &["expression", "file", "line-length"]);
        // What is attached to `-i` is a suffix, and no options.
        let in_place = line.arguments.iter().any(|value| {
            let text = value.prefix();
            text.starts_with("--in-place")
                || (text.starts_with('-')
                    && !text.starts_with("--")
                    && text
                        .split(['e', 'f'])
                        .next()
                        .unwrap_or_default()
                        .contains('i'))
        });
        let mut scripts = options.values(&["e", "expression"]);
        let mut operands = options.operands.clone();
        let files = options.values(&["f", "file"]);
        if scripts.is_empty() && files.is_empty() && !operands.is_empty() {
            scripts.push(operands.remove(0));
        }
        if in_place {
            self.each(Act::Write, &operands, line);
        }
        let mut texts: Vec<String> = scripts.iter().filter_map(plain_text).collect();
        for file in &files {
            match self.script_text(file) {
                Some(Output::Text(text)) => texts.push(text),
                Some(Output::Items(_) | Output::Unknown(_)) => {
                    self.ask(&line.shown, "its script is not known");
                }
                Some(Output::Nothing | Output::File) | None => {}
            }
        }
        let script = texts.join("\n");
        self.steps += script.len() / 256;
        for effect in sed::effects(&script) {
            match effect {
                sed::Effect::Write(file) => {
                    self.act(Act::Write, &Value::text(file), &line.shown);
                }
                sed::Effect::Run(command) => {
                    drop(self.text_as_script(&Value::text(command), line));
                }
                sed::Effect::RunLine => self.ask(&line.shown, "it runs what the lines become"),
            }
        }
    }

    /// A command of SQLite's own, which begins with a dot.
    fn sqlite_command(&mut self, text: &str, line: &Line<'_>) {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let last = rest.rsplit(char::is_whitespace).next().unwrap_or_default();
        let last = last.trim_matches(['"', '\'']);
        match name {
            ".shell" | ".system" => drop(self.text_as_script(&Value::text(rest), line)),
            ".output" | ".once" | ".log" | ".save" | ".backup" | ".clone" | ".trace"
            | ".archive" => match rest.trim_matches(['"', '\'']).strip_prefix('|') {
                Some(command) => drop(self.text_as_script(&Value::text(command), line)),
                None if last.is_empty() || matches!(last, "off" | "on" | "stdout") => {}
                None => self.act(Act::Write, &Value::text(last), &line.shown),
            },
            ".import" if rest.starts_with('|') => {
                drop(self.text_as_script(&Value::text(&rest[1..]), line));
            }
            ".load" => self.ask(&line.shown, "it loads code"),
            _ => {}
        }
    }

    /// The text of a script that a program reads from a file, or from standard input.
    pub(crate) fn script_text(&self, file: &Value) -> Option<Output> {
        let exact = file.exact();
        if matches!(exact.as_deref(), Some("-" | "/dev/stdin" | "/dev/fd/0")) {
            return Some(self.state.stdin.clone());
        }
        let path = self.path(file).or(exact)?;
        self.state.files.get(&path).cloned()
    }

    /// What commands of an editor do.
    fn edits(&mut self, effects: impl IntoIterator<Item = editors::Effect>, line: &Line<'_>) {
        for effect in effects {
            match effect {
                editors::Effect::Write(file) => {
                    self.act(Act::Write, &Value::text(file), &line.shown);
                }
                editors::Effect::Run(command) => {
                    drop(self.text_as_script(&Value::text(command), line));
                }
                editors::Effect::Code => {
                    self.ask(
                        &line.shown,
                        "it runs code of the editor, which is not understood",
                    );
                }
            }
        }
    }

    /// Code of another language.
    pub(crate) fn code(
        &mut self,
        language: Language,
        text: &str,
        arguments: &[Value],
        shown: &str,
    ) -> Output {
        self.steps += 1 + text.len() / 256;
        if !self.is_exhausted() {
            crate::code::judge(self, language, text, arguments, shown);
        }
        Output::Unknown(format!("the output of `{shown}`"))
    }
}

/// The commands that a `package.json` names.
fn scripts_of_package(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("\"scripts\"") else {
        return Vec::new();
    };
    let inner = rest.split_once('}').map_or(rest, |(inner, _)| inner);
    // Names and commands take turns between the quotes.
    let texts: Vec<&str> = inner.split('"').skip(1).step_by(2).collect();
    let commands = texts.iter().skip(1).step_by(2);
    commands.map(|text| text.replace("\\\\", "\\")).collect()
}
