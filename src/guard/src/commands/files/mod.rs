//! Programs that change files: what they change.

mod archives;
mod copies;
mod databases;
mod devices;
mod downloads;
mod editors;
mod projects;

use super::Line;
use crate::code::Language;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

impl Walk<'_> {
    /// Judges a program that changes files, if this is one.
    pub(crate) fn changes(&mut self, line: &Line<'_>) -> bool {
        if line.is_about_itself() {
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
            "tee" | "sponge" => {
                let options = line.options("", &[]);
                self.each(Act::Write, &options.operands, line);
                let content = self.state.stdin.clone();
                let appends = options.has(&["a", "append"]);
                for file in &options.operands {
                    if let Some(path) = self.path(file) {
                        self.write_file(path, content.clone(), appends);
                    }
                }
            }
            "chmod" | "chown" | "chgrp" | "setfacl" | "chattr" | "chcon" | "setcap" => {
                let options = line.options("mMxXp", &["reference", "from", "modify", "remove"]);
                let named = options.has(&["reference", "m", "M", "x", "X", "modify", "remove"])
                    && line.name != "chmod";
                // `chmod -x FILE` has its mode among the options.
                // `chattr -i FILE`, too.
                let flags = match line.name {
                    "chmod" => "rwxXst",
                    "chattr" => "aAcCdDeijmsStTux",
                    _ => "",
                };
                let mode_is_flag = line.arguments.iter().any(|value| {
                    let flag = value.prefix().strip_prefix('-').unwrap_or_default();
                    !flag.is_empty() && flag.chars().all(|c| flags.contains(c))
                });
                let skip = usize::from(!named && !mode_is_flag && !options.has(&["reference"]));
                let targets = if mode_is_flag {
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
            _ => {
                return self.in_editor(line)
                    || self.packed(line)
                    || self.fetched_by_web(line)
                    || self.on_device(line)
                    || self.in_project(line)
                    || self.in_sqlite(line);
            }
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

    /// The text of a script that a program reads from a file, or from standard input.
    pub(crate) fn script_text(&self, file: &Value) -> Option<Output> {
        let exact = file.exact();
        if matches!(exact.as_deref(), Some("-" | "/dev/stdin" | "/dev/fd/0")) {
            return Some(self.state.stdin.clone());
        }
        let path = self.path(file).or(exact)?;
        self.state.files.get(&path).cloned()
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
