//! Archives: where they are unpacked, and what they run meanwhile.

use crate::commands::{Line, Options, plain_text};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::Value;

/// Letters of options of `tar` that take a value.
const TAR_VALUES: &str = "fCITXbHgKLNVF";

impl Walk<'_> {
    /// Judges a program that packs or unpacks, if this is one.
    pub(super) fn packed(&mut self, line: &Line<'_>) -> bool {
        match line.name {
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
            _ => return false,
        }
        true
    }

    /// What `tar` removes when it has packed it: each from the directory that was named last.
    fn packed_away(&mut self, options: &Options, line: &Line<'_>) {
        if options.has(&["T", "files-from"]) {
            self.ask(&line.shown, "which files it removes is not known");
        }
        self.apart(|walk| {
            for (at, operand) in options.operands.iter().enumerate() {
                for directory in options.values_before(&["C", "directory"], at) {
                    walk.change_directory(&directory);
                }
                walk.act(Act::Remove, operand, &line.shown);
            }
        });
    }

    pub(super) fn archived(&mut self, line: &Line<'_>) {
        let arguments = with_dashes(line.arguments);
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
        let options = Options::parse(&arguments, TAR_VALUES, &long, false);
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
                self.packed_away(&options, line);
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
}

/// `tar xzf a.tgz`: the first word needs no dash, and the values of its letters follow in their order.
fn with_dashes(arguments: &[Value]) -> Vec<Value> {
    let letters = arguments.first().and_then(Value::exact);
    let Some(letters) = letters.filter(|text| !text.starts_with('-')) else {
        return arguments.to_vec();
    };
    let mut rest = arguments[1..].iter().cloned();
    let mut all = Vec::new();
    for letter in letters.chars() {
        all.push(Value::text(format!("-{letter}")));
        if TAR_VALUES.contains(letter) {
            all.extend(rest.next());
        }
    }
    all.extend(rest);
    all
}
