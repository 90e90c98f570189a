//! Programs that run other programs: shells, `env`, `xargs`, `find`, and their kin.

use super::{Line, plain_text, unknown};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

pub(crate) fn is_shell(name: &str) -> bool {
    matches!(
        name,
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "mksh" | "ash" | "rbash" | "fish" | "csh" | "tcsh"
    )
}

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
            "script" | "su" | "runuser" if !line.has(&["--help", "--version"]) => {
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
            self.apart(|walk| walk.script(&texts.join(" ")))
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

    /// A script in which a part is not known: that part as a variable, whose value is not known.
    /// Where it may be quoted, or comes from elsewhere, nothing can be told.
    fn with_variables(&mut self, text: &Value) -> Option<String> {
        let mut script = String::new();
        for (at, part) in text.0.iter().enumerate() {
            match part {
                Part::Unknown(why) => {
                    let is_variable = why.starts_with('$') && !why.starts_with("$(");
                    if !is_variable && !matches!(why.as_str(), "the content of a file") {
                        return None;
                    }
                    let name = format!("GUARD_PART_{at}");
                    script.extend(["${", &name, "}"]);
                    self.assign(&name, vec![Value::unknown(why.clone())], false);
                }
                part => script.push_str(&plain_text(&Value(vec![part.clone()]))?),
            }
        }
        (!script.contains(['\'', '\\', '`']) && !script.contains("eval")).then_some(script)
    }

    /// Does what a program that is no shell would run.
    pub(crate) fn within_program<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.apart(|walk| {
            walk.state.is_within_program = true;
            work(walk)
        })
    }

    fn nested_shell(&mut self, line: &Line<'_>) -> Output {
        self.shell_starts();
        let mut rest = line.arguments.iter();
        let mut is_command = false;
        let mut reads_stdin = false;
        let mut operands: Vec<Value> = Vec::new();
        while let Some(argument) = rest.next() {
            let text = argument.prefix();
            if !operands.is_empty() || !text.starts_with(['-', '+']) {
                operands.push(argument.clone());
            } else if text == "--" || text == "-" {
                operands.extend(rest.by_ref().cloned());
            } else if matches!(text, "--rcfile" | "--init-file") {
                if let Some(file) = rest.next().cloned() {
                    drop(self.apart(|walk| walk.sourced(&file, line)));
                }
            } else if text.starts_with("--") {
            } else {
                let letters = &text[1..];
                is_command |= letters.contains('c');
                reads_stdin |= letters.contains('s') && !letters.contains('c');
                if letters.ends_with(['o', 'O']) {
                    rest.next();
                }
            }
        }
        if !is_command && !operands.is_empty() && !reads_stdin {
            let file = operands.remove(0);
            return self.script_file(&file, &operands, line);
        }
        if is_command {
            let Some((text, arguments)) = operands.split_first() else {
                return Output::Nothing;
            };
            let Some(script) = plain_text(text) else {
                return self.text_as_script(text, line);
            };
            let arguments = arguments.to_vec();
            return self.apart(|walk| {
                let mut script = script;
                // `$0` is the first of them, and no positional parameter.
                if let Some(zero) = arguments.first() {
                    let value = zero.clone();
                    walk.assign("GUARD_ZERO", vec![value], false);
                    script = script.replace("${0}", "${GUARD_ZERO}");
                    script = script.replace("$0", "${GUARD_ZERO}");
                }
                walk.state.positional = Some(arguments.get(1..).unwrap_or_default().to_vec());
                walk.script(&script)
            });
        }
        if line.has(&["--version", "--help"]) {
            return unknown(&line.shown);
        }
        let stdin = self.state.stdin.clone();
        match stdin {
            Output::Nothing if self.state.is_within_program => {
                self.ask(&line.shown, "a shell within a program reads its commands");
                unknown(&line.shown)
            }
            Output::Nothing | Output::File => unknown(&line.shown),
            Output::Text(text) => self.apart(|walk| {
                walk.state.stdin = Output::Nothing;
                walk.script(&text)
            }),
            Output::Items(items) => {
                for item in &items {
                    self.text_as_script(item, line);
                }
                unknown(&line.shown)
            }
            Output::Unknown(source) => {
                let source = crate::findings::shorten(&source);
                let why = format!("it runs what it reads, and {source} is not known");
                self.ask(&line.shown, &why);
                unknown(&line.shown)
            }
        }
    }

    /// A shell runs a file.
    fn script_file(&mut self, file: &Value, arguments: &[Value], line: &Line<'_>) -> Output {
        let exact = file.exact();
        if matches!(exact.as_deref(), Some("/dev/stdin" | "/dev/fd/0")) {
            let stdin = self.state.stdin.clone();
            return self.written_script(&stdin, line);
        }
        let path = self.path(file).or(exact);
        match path.and_then(|path| self.state.files.get(&path).cloned()) {
            Some(Output::Text(text)) => {
                let arguments = arguments.to_vec();
                self.apart(|walk| {
                    walk.state.positional = Some(arguments);
                    walk.script(&text)
                })
            }
            Some(content) => self.written_script(&content, line),
            None if file.mystery().is_some() => {
                self.ask(&line.shown, "which file it runs is not known");
                unknown(&line.shown)
            }
            None => unknown(&line.shown),
        }
    }

    fn env(&mut self, line: &Line<'_>) -> Output {
        let options = line.leading("uCS", &["unset", "chdir", "split-string"]);
        let inner = options.operands.clone();
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

    /// What comes in as arguments.
    fn incoming(&self) -> Vec<Value> {
        match &self.state.stdin {
            Output::Text(text) => {
                let words = text.split([' ', '\t', '\n', '\0']);
                let words = words.filter(|word| !word.is_empty()).take(64);
                words
                    .map(|word| Value::text(word.trim_matches(['"', '\''])))
                    .collect()
            }
            other => other.items(),
        }
    }

    fn xargs(&mut self, line: &Line<'_>) -> Output {
        let long = [
            "arg-file",
            "delimiter",
            "replace",
            "max-args",
            "max-procs",
            "max-lines",
            "max-chars",
            "eof",
        ];
        let options = line.leading("aEIdLnPs", &long);
        let mut mark = options
            .values(&["I", "replace", "J"])
            .first()
            .and_then(Value::exact);
        if mark.is_none() && options.has(&["i", "replace"]) {
            mark = Some("{}".to_owned());
        }
        let is_split = options.has(&["0", "null", "d", "delimiter"]);
        let items = if let [file] = options.values(&["a", "arg-file"]).as_slice() {
            self.lines_of(file)
        } else if mark.is_some() || is_split {
            // Each line is one argument.
            self.state.stdin.items()
        } else {
            self.incoming()
        };
        self.applied(&options.operands, &items, mark.as_deref(), line)
    }

    /// The lines of a file, where the command wrote it.
    fn lines_of(&self, file: &Value) -> Vec<Value> {
        let known = self.path(file);
        let known = known.and_then(|path| self.state.files.get(&path));
        known.map_or_else(
            || vec![Value::unknown("a line of a file")],
            |content| match content {
                Output::Text(text) => text.split_whitespace().map(Value::text).collect(),
                other => other.items(),
            },
        )
    }

    fn parallel(&mut self, line: &Line<'_>) -> Output {
        let at = line
            .arguments
            .iter()
            .position(|value| value.exact().is_some_and(|text| text.starts_with(":::")));
        let (command, items) = match at {
            Some(at) => (&line.arguments[..at], line.arguments[at + 1..].to_vec()),
            None => (line.arguments, self.state.stdin.items()),
        };
        let options = super::Options::parse(
            command,
            "jaINnPS",
            &["jobs", "arg-file", "delay", "timeout"],
            true,
        );
        let items = match options.values(&["a", "arg-file"]).as_slice() {
            [file] => self.lines_of(file),
            _ => items,
        };
        let operands = options.operands;
        if operands.is_empty() {
            for item in &items {
                self.text_as_script(item, line);
            }
            return unknown(&line.shown);
        }
        // GNU parallel gives its words to a shell.
        if let [one] = operands.as_slice()
            && let Some(text) = plain_text(one)
            && text.contains(' ')
        {
            let marked = if text.contains("{}") {
                text
            } else {
                format!("{text} {{}}")
            };
            self.assign("GUARD_ITEM", items.clone(), false);
            let script = marked.replace("{}", "${GUARD_ITEM}");
            return self.apart(|walk| walk.script(&script));
        }
        let has_mark = operands.iter().any(|value| value.shown().contains("{}"));
        self.applied(&operands, &items, has_mark.then_some("{}"), line)
    }

    /// Runs a command with each of these as an argument: in place of the mark, or at its end.
    fn applied(
        &mut self,
        command: &[Value],
        items: &[Value],
        mark: Option<&str>,
        line: &Line<'_>,
    ) -> Output {
        if command.is_empty() {
            return Output::Items(items.to_vec());
        }
        let Some(mark) = mark else {
            let mut argv = command.to_vec();
            // Without any input the command runs once as it is.
            if items.is_empty() {
                return self.run(&argv);
            }
            argv.extend(items.iter().cloned());
            return self.run(&argv);
        };
        let none = [Value::default()];
        let items = if items.is_empty() { &none } else { items };
        let mut output = Output::Nothing;
        for item in items.iter().take(16) {
            let argv: Vec<Value> = command
                .iter()
                .map(|word| replaced(word, mark, item))
                .collect();
            output = output.then(self.run(&argv));
        }
        if items.len() > 16 {
            self.ask(&line.shown, "it runs very many times");
        }
        output
    }

    fn find_files(&mut self, line: &Line<'_>) -> Output {
        let is_expression = |value: &Value| {
            let text = value.prefix();
            (text.starts_with('-') && text.len() > 1) || matches!(text, "(" | "!" | ")" | ",")
        };
        let mut arguments = line.arguments;
        let mut follows = line.has(&["-follow"]);
        while let Some((first, rest)) = arguments.split_first()
            && first.exact().is_some_and(|text| {
                matches!(text.as_str(), "-H" | "-L" | "-P") || text.starts_with("-O")
            })
        {
            follows |= first.exact().as_deref() == Some("-L");
            arguments = rest;
        }
        let count = arguments
            .iter()
            .position(is_expression)
            .unwrap_or(arguments.len());
        let (roots, expression) = arguments.split_at(count);
        let mut all_roots = roots.to_vec();
        if line.has(&["-files0-from"]) {
            all_roots.push(Value::unknown("a path of a list"));
        } else if roots.is_empty() {
            all_roots.push(Value::text("."));
        }
        if follows {
            all_roots.push(Value::unknown("where the links below lead"));
        }
        let roots: &[Value] = &all_roots;
        let found = self.located(roots, line);
        let mut output = found.clone();
        let mut rest = expression.iter();
        while let Some(word) = rest.next() {
            let Some(word) = word.exact() else { continue };
            match word.as_str() {
                "-delete" => {
                    // Only what is below the roots goes, and the roots themselves.
                    for root in roots {
                        self.act(Act::Remove, root, &line.shown);
                    }
                }
                "-exec" | "-execdir" | "-ok" | "-okdir" => {
                    let inner: Vec<Value> = rest
                        .by_ref()
                        .take_while(|value| !matches!(value.exact().as_deref(), Some(";" | "+")))
                        .cloned()
                        .collect();
                    // In the directory of each file a name is enough.
                    for item in found.items() {
                        let argv: Vec<Value> = inner
                            .iter()
                            .map(|word| replaced(word, "{}", &item))
                            .collect();
                        self.within_program(|walk| walk.run(&argv));
                    }
                    output = unknown(&line.shown);
                }
                "-fprint" | "-fprint0" | "-fls" | "-fprintf" => {
                    if let Some(file) = rest.next() {
                        self.act(Act::Write, file, &line.shown);
                    }
                }
                "-printf" => output = unknown(&line.shown),
                "-name" | "-iname" | "-path" | "-wholename" | "-ipath" | "-regex" | "-iregex"
                | "-newer" | "-type" | "-size" | "-mtime" | "-mmin" | "-user" | "-group"
                | "-perm" | "-maxdepth" | "-mindepth" | "-lname" | "-samefile" | "-fstype"
                | "-ctime" | "-atime" => {
                    rest.next();
                }
                _ => {}
            }
        }
        output
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

/// A word with the mark replaced.
fn replaced(word: &Value, mark: &str, item: &Value) -> Value {
    let mut value = Value::default();
    for part in &word.0 {
        match part {
            Part::Text(text) if !mark.is_empty() => {
                for (index, piece) in text.split(mark).enumerate() {
                    if index > 0 {
                        value.extend(item);
                    }
                    if !piece.is_empty() {
                        value.push(Part::Text(piece.to_owned()));
                    }
                }
            }
            part => value.push(part.clone()),
        }
    }
    value
}
