//! Programs that run other programs: shells, `env`, `xargs`, `find`, and their kin.

use super::shells::is_shell;
use super::{Line, plain_text, unknown};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

/// Whether a command line for another machine is made of programs that only read.
pub(super) fn only_reads(command: &str) -> bool {
    const READERS: &[&str] = &[
        "ls",
        "cat",
        "df",
        "du",
        "free",
        "uptime",
        "hostname",
        "whoami",
        "id",
        "uname",
        "date",
        "ps",
        "head",
        "tail",
        "grep",
        "wc",
        "sort",
        "uniq",
        "stat",
        "pwd",
        "w",
        "who",
        "last",
        "lsblk",
        "lscpu",
        "nproc",
        "nvidia-smi",
        "journalctl",
        "echo",
        "true",
        "which",
        "ss",
        "netstat",
        "dmesg",
        "cut",
        "md5sum",
        "sha256sum",
    ];
    let is_plain = !command.contains(['$', '`', '>', '<', '(', '\n']);
    let mut parts = command
        .split(['|', ';', '&'])
        .filter(|part| !part.trim().is_empty());
    let reads = |part: &str| {
        let first = part.split_whitespace().next().unwrap_or_default();
        READERS.contains(&first.trim_matches(['"', '\'']))
    };
    !command.trim().is_empty() && is_plain && parts.all(reads)
}

impl Walk<'_> {
    /// Runs what a wrapper would run, or gives `None` when this is none.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    pub(crate) fn wrapper(&mut self, line: &Line<'_>) -> Option<Output> {
        if is_shell(line.name) {
            return Some(self.nested_shell(line));
        }
        Some(match line.name {
            "env" => self.env(line),
            "start-stop-daemon" => {
                let long = [
                    "exec", "startas", "pidfile", "name", "chdir", "chuid", "signal",
                ];
                let options = line.options("xapndcguNkPs", &long);
                let mut words = options.values(&["x", "a", "exec", "startas"]);
                words.truncate(1);
                words.extend(options.operands);
                self.run(&words)
            }
            "capsh" => {
                let at = line
                    .arguments
                    .iter()
                    .position(|value| value.exact().as_deref() == Some("--"));
                let Some(at) = at else {
                    return Some(unknown(&line.shown));
                };
                let mut words = vec![Value::text("bash")];
                words.extend(line.arguments[at + 1..].iter().cloned());
                self.run(&words)
            }
            "chroot" => {
                let options = line.leading("", &["userspec", "groups"]);
                match options.operands.split_first() {
                    // Within another root each path is outside.
                    Some((_, inner)) if !inner.is_empty() => self.run(inner),
                    _ => {
                        self.ask(&line.shown, "a shell in another root reads its commands");
                        unknown(&line.shown)
                    }
                }
            }
            "flock" => {
                let options = line.leading("wEc", &["timeout", "command", "conflict-exit-code"]);
                if let Some(text) = options.values(&["c", "command"]).first() {
                    return Some(self.text_as_script(&text.clone(), line));
                }
                let rest = options.operands.get(1..).unwrap_or_default();
                match rest {
                    [flag, text, ..] if flag.exact().as_deref() == Some("-c") => {
                        let text = text.clone();
                        self.text_as_script(&text, line)
                    }
                    rest => self.run(rest),
                }
            }
            "script" | "su" | "runuser" if !line.is_about_itself() => {
                let options = line.options("cmtEsgGIOBTu", &["command", "shell"]);
                if line.name == "script" {
                    self.each(Act::Write, &options.operands, line);
                }
                if let Some(text) = options.values(&["c", "command"]).first() {
                    let text = text.clone();
                    self.text_as_script(&text, line)
                } else {
                    if line.name != "script" {
                        self.ask(&line.shown, "another user's shell reads its commands");
                    }
                    unknown(&line.shown)
                }
            }
            "xargs" => self.xargs(line),
            "parallel" => self.parallel(line),
            "find" => self.find_files(line),
            "fd" | "fdfind" => {
                let at = line.arguments.iter().position(|value| {
                    matches!(
                        value.exact().as_deref(),
                        Some("-x" | "-X" | "--exec" | "--exec-batch")
                    )
                });
                let roots = line.options("tedEjcS", &["type", "extension"]).operands;
                let found = self.located(
                    roots
                        .get(1..)
                        .filter(|rest| !rest.is_empty())
                        .unwrap_or(&[Value::text(".")]),
                    line,
                );
                if let Some(at) = at {
                    let mut inner = line.arguments[at + 1..].to_vec();
                    inner.extend(found.items());
                    self.run(&inner);
                }
                found
            }
            "make" | "gmake" => {
                let options = line.options("CfIjoW", &["directory", "file", "makefile", "eval"]);
                for value in options.values(&["C", "directory"]) {
                    self.act(Act::Write, &value, &line.shown);
                }
                self.makefile(&options, line);
                for value in &options.operands {
                    let text = value.shown();
                    let to = text
                        .split_once('=')
                        .filter(|(name, _)| matches!(*name, "DESTDIR" | "PREFIX" | "prefix"));
                    if let Some((name, _)) = to {
                        self.act(Act::Write, &value.after(name.len() + 1), &line.shown);
                    }
                    if let Some((name, body)) = text.split_once('=')
                        && name == "SHELL"
                    {
                        self.run(&[Value::text(body)]);
                    }
                }
                unknown(&line.shown)
            }
            "ssh" => {
                let options = line.leading("bcDEeFIiJLlmOopQRSWw", &[]);
                if let Some(option) = options
                    .values(&["o"])
                    .iter()
                    .filter_map(Value::exact)
                    .find_map(|text| text.strip_prefix("ProxyCommand=").map(str::to_owned))
                {
                    drop(self.apart(|walk| walk.script(&option)));
                }
                let command: Vec<String> =
                    options.operands.iter().skip(1).map(Value::shown).collect();
                let is_login_only = options
                    .operands
                    .first()
                    .is_some_and(|host| host.prefix().starts_with("git@"));
                let looks = options.has(&["V", "G", "Q"])
                    || (command.is_empty() && is_login_only)
                    || only_reads(&command.join(" "));
                if !looks {
                    self.ask(&line.shown, "it works on another machine");
                }
                unknown(&line.shown)
            }
            "gdb" | "lldb" => {
                let words = line.texts();
                let codes = words.windows(2).filter(|pair| {
                    matches!(
                        pair[0].as_str(),
                        "-ex" | "-iex" | "--ex" | "-eval-command" | "-o"
                    )
                });
                for code in codes.map(|pair| pair[1].trim().to_owned()) {
                    let end = code
                        .find(|c: char| !c.is_alphanumeric())
                        .unwrap_or(code.len());
                    let (name, rest) = code.split_at(end);
                    match name {
                        "shell" | "sh" | "make" | "platform" | "" if !code.is_empty() => {
                            let rest = rest.trim_start_matches(['!', ' ']);
                            drop(self.text_as_script(&Value::text(rest), line));
                        }
                        "python" | "py" | "pi" | "source" | "call" | "print" | "p" | "pipe"
                        | "script" | "guile" | "dump" | "restore" | "eval" | "compile"
                            if name.len() > 1 && code.contains(['(', '|', '"', '/']) =>
                        {
                            self.ask(&line.shown, "the code that it runs is not understood");
                        }
                        _ => {}
                    }
                }
                unknown(&line.shown)
            }
            "tclsh" | "expect" | "guile" | "erl" | "ghci" | "pwsh" | "racket" | "sbcl"
            | "scala" | "groovy" | "jshell" | "ocaml" | "osascript" | "octave" | "elixir"
            | "iex" | "swipl" => {
                let is_code =
                    line.has(&["-e", "-c", "-ex", "-x", "--eval", "-eval", "-E", "-Command"]);
                let reads = !matches!(self.state.stdin, Output::Nothing | Output::File);
                if is_code || reads {
                    self.ask(&line.shown, "the code that it runs is not understood");
                }
                unknown(&line.shown)
            }
            "sftp" | "lftp" | "ftp" | "ncftp" | "mosh" | "rsh" | "pdsh" | "pssh" | "clush" => {
                if line.name != "sftp" || !matches!(self.state.stdin, Output::Nothing) {
                    self.ask(&line.shown, "it works on another machine");
                }
                unknown(&line.shown)
            }
            "at" | "batch" => {
                self.ask(&line.shown, "what it runs later is not known");
                unknown(&line.shown)
            }
            _ => return None,
        })
    }

    pub(super) fn words_as_script(&mut self, words: &[Value], line: &Line<'_>) -> Output {
        let texts: Option<Vec<String>> = words.iter().map(plain_text).collect();
        if let Some(texts) = texts {
            self.in_other_shell(|walk| walk.script(&texts.join(" ")))
        } else {
            self.ask(&line.shown, "it runs a text that is not known");
            unknown(&line.shown)
        }
    }

    /// A text that a shell of its own runs.
    pub(crate) fn text_as_script(&mut self, text: &Value, line: &Line<'_>) -> Output {
        if let Some(text) = plain_text(text) {
            self.within_program(|walk| walk.script(&text))
        } else if let Some(script) = self.with_variables(text) {
            self.within_program(|walk| walk.script(&script))
        } else {
            let source = text.mystery().unwrap_or("what is found").to_owned();
            let source = crate::findings::shorten(&source);
            self.ask(
                &line.shown,
                &format!("it runs `{source}`, which is not known"),
            );
            unknown(&line.shown)
        }
    }

    /// Does what a program that is no shell would run.
    pub(crate) fn within_program<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.in_other_shell(|walk| {
            walk.state.is_within_program = true;
            work(walk)
        })
    }

    fn env(&mut self, line: &Line<'_>) -> Output {
        let options = line.leading("uCS", &["unset", "chdir", "split-string"]);
        let mut inner = options.operands.clone();
        if inner
            .first()
            .is_some_and(|first| first.exact().as_deref() == Some("-"))
        {
            // It stands for `-i`.
            inner.remove(0);
        }
        self.apart(|walk| {
            if let Some(directory) = options.values(&["C", "chdir"]).first() {
                walk.change_directory(&directory.clone());
            }
            if let Some(text) = options.values(&["S", "split-string"]).first() {
                let Some(text) = plain_text(text) else {
                    walk.ask(&line.shown, "it runs a text that is not known");
                    return unknown(&line.shown);
                };
                let rest: Vec<String> = inner
                    .iter()
                    .map(|value| super::quote(&value.shown()))
                    .collect();
                return walk.script(&format!("{text} {}", rest.join(" ")));
            }
            let rest = without_assignments(&inner);
            for assignment in &inner[..inner.len() - rest.len()] {
                if let Some((name, _)) = assignment.prefix().split_once('=') {
                    let value = assignment.after(name.len() + 1);
                    walk.assign(name, vec![value], false);
                }
            }
            if rest.is_empty() {
                return unknown(&line.shown);
            }
            walk.run(rest)
        })
    }
}

/// `A=1 B=2 program ...`: from the program on.
pub(super) fn without_assignments(words: &[Value]) -> &[Value] {
    let is_assignment = |value: &Value| {
        let name = value.prefix().split('=').next().unwrap_or_default();
        value.prefix().contains('=')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let count = words
        .iter()
        .take_while(|value| is_assignment(value))
        .count();
    &words[count..]
}
