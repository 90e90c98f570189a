//! What programs do with their arguments.

mod clients;
mod each;
mod elsewhere;
mod files;
mod git;
mod interpreters;
mod lists;
mod machine;
mod options;
mod readers;
mod shells;
mod table;
mod wrappers;

use crate::findings::Act;
use crate::place::Place;
use crate::shell::{RUNS_MAX, Walk};
use crate::value::{Output, Part, VALUES_MAX, Value};

pub(crate) use options::Options;
pub(crate) use shells::is_shell;
use table::Tabled;

/// One command line: its program, its arguments, and how it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a [Value],
    pub(crate) shown: String,
}

impl Line<'_> {
    fn options(&self, short: &str, long: &[&str]) -> Options {
        Options::parse(self.arguments, short, long, false)
    }

    /// Options of a program that runs another one: they end at its name.
    fn leading(&self, short: &str, long: &[&str]) -> Options {
        Options::parse(self.arguments, short, long, true)
    }

    fn texts(&self) -> Vec<String> {
        self.arguments.iter().map(Value::shown).collect()
    }

    /// What comes before `--`.
    fn before_end(&self) -> impl Iterator<Item = &Value> {
        let is_end = |value: &&Value| value.exact().as_deref() == Some("--");
        self.arguments
            .iter()
            .take_while(move |value| !is_end(value))
    }

    /// Whether one of these options is there: before `--`, and not where it may be the value of the
    /// option in front of it.
    fn has_option(&self, words: &[&str]) -> bool {
        let mut may_be_value = false;
        for value in self.before_end() {
            let text = value.exact().unwrap_or_default();
            if !may_be_value && words.contains(&text.as_str()) {
                return true;
            }
            may_be_value = text.len() > 1 && text.starts_with('-') && !text.contains('=');
        }
        false
    }

    /// Whether it only says how it is used.
    fn is_about_itself(&self) -> bool {
        self.has_option(&["--help", "--version"])
    }

    fn has(&self, words: &[&str]) -> bool {
        self.arguments
            .iter()
            .any(|value| words.contains(&value.exact().unwrap_or_default().as_str()))
    }
}

/// How a command line is shown.
pub(crate) fn shown(argv: &[Value]) -> String {
    let words = argv.iter().map(|value| {
        let word = value.shown();
        let plain = |c: char| !c.is_whitespace() && !"'\"\\$`;|&<>()".contains(c);
        let is_known = value.exact().is_some();
        if !is_known || (!word.is_empty() && word.chars().all(plain)) {
            word
        } else {
            format!("'{word}'")
        }
    });
    crate::findings::shorten(&words.collect::<Vec<_>>().join(" "))
}

impl Walk<'_> {
    /// Judges one command line: the program first.
    pub(crate) fn run(&mut self, argv: &[Value]) -> Output {
        self.run_as(argv, true)
    }

    /// Judges a program that a function or an alias may hide. One that is not known is likely to be
    /// none.
    pub(crate) fn run_if_known(&mut self, argv: &[Value]) -> Output {
        self.run_as(argv, false)
    }

    fn run_as(&mut self, argv: &[Value], is_program: bool) -> Output {
        if self.running >= RUNS_MAX {
            self.ask(&shown(argv), "it is deeply nested");
            return Output::Unknown("a command".to_owned());
        }
        self.running += 1;
        let output = self.run_one(argv, is_program);
        self.running -= 1;
        output
    }

    fn run_one(&mut self, argv: &[Value], is_program: bool) -> Output {
        let Some((first, arguments)) = argv.split_first() else {
            return Output::Nothing;
        };
        // A command that runs the rest of its line looks at all of it, and so does the next.
        self.steps += argv.len() / 16;
        if self.is_exhausted() {
            return Output::Unknown("a command".to_owned());
        }
        let line = shown(argv);
        let Some(program) = first.exact() else {
            // A program of the workspace, found by a pattern or a search.
            if !matches!(first.0.as_slice(), [Part::Below]) {
                let name = crate::findings::shorten(&first.shown());
                self.ask(&line, &format!("which program `{name}` is, is not known"));
            }
            return unknown(&line);
        };
        let name = program.rsplit('/').next().unwrap_or_default();
        let name = if name.starts_with("ld-linux") || name.starts_with("ld-musl") {
            // What loads programs can be told to run one.
            "ld.so".to_owned()
        } else if program.starts_with('-') && program.len() > 1 {
            // `time -f FORMAT` of a shell that has no such word.
            return self.run(&[&[Value::text("time")], argv].concat());
        } else {
            name.to_owned()
        };
        let line = Line {
            name: &name,
            arguments,
            shown: line,
        };
        if program.contains('/')
            && let Some(output) = self.own_program(first, &line)
        {
            return output;
        }
        let before = (!is_program).then(|| self.findings.clone());
        let output = self.known(&line);
        if let (None, Some(before)) = (&output, before) {
            self.findings = before;
        }
        output.unwrap_or_else(|| unknown(&line.shown))
    }

    /// A program of the workspace. What one that was there before does is not known, and it does it
    /// inside the sandbox; one that the command has just written is judged by its text.
    fn own_program(&mut self, program: &Value, line: &Line<'_>) -> Option<Output> {
        let path = self.path(program)?;
        let is_own = matches!(
            self.places(program).as_slice(),
            [Place::Inside(_) | Place::Home(..)]
        );
        match self.state.files.get(&path).cloned() {
            Some(content) => Some(self.written_script(&content, line)),
            None => is_own.then(|| {
                self.outputs_outside(line, false);
                unknown(&line.shown)
            }),
        }
    }

    /// A script whose text is what a command of this same command line wrote.
    pub(crate) fn written_script(&mut self, content: &Output, line: &Line<'_>) -> Output {
        match content {
            Output::Nothing => Output::Nothing,
            Output::File => unknown(&line.shown),
            Output::Text(text) => self.script_of(text, line),
            Output::Items(_) | Output::Unknown(_) => {
                self.ask(&line.shown, "it runs a text that is not known");
                unknown(&line.shown)
            }
        }
    }

    /// A script, in the language that its first line names.
    fn script_of(&mut self, text: &str, line: &Line<'_>) -> Output {
        let first = text.lines().next().unwrap_or_default();
        let language = crate::code::Language::of_shebang(first);
        if let Some(language) = language {
            self.code(language, text, line.arguments, &line.shown)
        } else {
            let arguments = line.arguments.to_vec();
            self.in_other_shell(|walk| {
                walk.pass(arguments);
                walk.script(text)
            })
        }
    }

    fn known(&mut self, line: &Line<'_>) -> Option<Output> {
        if let Some(output) = self.builtin(line) {
            return Some(output);
        }
        if line.name == "command" && line.leading("", &[]).has(&["v", "V"]) {
            return Some(unknown(&line.shown));
        }
        let tabled = self.tabled(line);
        let is_tabled = !matches!(tabled, Tabled::Not);
        if let Tabled::Ran(output) = tabled {
            return Some(output);
        }
        if let Some(output) = self.wrapper(line) {
            return Some(output);
        }
        if let Some(output) = self.interpreter(line) {
            self.outputs_outside(line, false);
            return Some(output);
        }
        if let Some(output) = self.listing(line) {
            return Some(output);
        }
        if line.name == "git" {
            return Some(self.git(line));
        }
        let output = self.elsewhere(line);
        let is_known = output.is_some()
            || self.system(line)
            || self.sometimes(line)
            || self.changes(line)
            || is_tabled;
        self.outputs_outside(line, is_known);
        if !is_known {
            self.not_known(line);
        }
        output.or_else(|| is_known.then(|| unknown(&line.shown)))
    }

    /// Options that name what is written for most programs, where that is somewhere outside. Of
    /// programs that are not known this is all that can be told.
    fn outputs_outside(&mut self, line: &Line<'_>, is_known: bool) {
        const WORDS: &[&str] = &[
            "output",
            "output-file",
            "output-dir",
            "output-directory",
            "output_dir",
            "output_file",
            "outdir",
            "out-dir",
            "out-file",
            "outfile",
            "out",
            "dest",
            "dest-dir",
            "destination",
            "log-file",
            "logfile",
            "save-dir",
            "save-path",
            "export-dir",
            "target-dir",
            "report-dir",
            "install-dir",
        ];
        // For these `-o` says how something is shown.
        let shows = matches!(
            line.name,
            "nm" | "strings" | "od" | "hexdump" | "ps" | "who" | "ls"
        );
        let mut words = line.arguments.iter().peekable();
        while let Some(word) = words.next() {
            let text = word.prefix();
            let value = match text.strip_prefix("--") {
                Some(long) => match long.split_once('=') {
                    Some((name, _)) if WORDS.contains(&name) => Some(word.after(name.len() + 3)),
                    None if WORDS.contains(&long) => words.peek().map(|value| (*value).clone()),
                    _ => None,
                },
                None if text == "-o" && !is_known && !shows => {
                    words.peek().map(|value| (*value).clone())
                }
                None => None,
            };
            if let Some(value) =
                value.filter(|value| value.exact().is_some_and(|it| it.contains('/')))
            {
                self.act(Act::Write, &value, &line.shown);
            }
        }
    }

    /// What is done to each of these paths.
    pub(crate) fn each(&mut self, act: Act, values: &[Value], line: &Line<'_>) {
        for value in values {
            self.act(act, value, &line.shown);
        }
    }

    /// Commands of the shell itself.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    fn builtin(&mut self, line: &Line<'_>) -> Option<Output> {
        let arguments = line.arguments;
        match line.name {
            "cd" | "pushd" | "chdir" => {
                let target = arguments
                    .iter()
                    .find(|value| !matches!(value.prefix(), "-P" | "-L" | "-e" | "--" | "-n"));
                let is_pushed = line.name == "pushd";
                let exact = target.and_then(Value::exact);
                let here = self.state.cwd.clone();
                match target {
                    Some(_) if exact.as_deref() == Some("-") => {
                        let before = self.state.cwd_before.clone();
                        self.state.cwd_before = std::mem::replace(&mut self.state.cwd, before);
                    }
                    Some(_)
                        if is_pushed
                            && exact
                                .as_deref()
                                .is_some_and(|text| text.starts_with(['+', '-'])) =>
                    {
                        self.rotate_directories(exact.as_deref());
                        return Some(Output::Nothing);
                    }
                    Some(value) => {
                        let value = value.clone();
                        self.enter_directory(&value);
                    }
                    None if is_pushed => {
                        self.rotate_directories(None);
                        return Some(Output::Nothing);
                    }
                    None => {
                        let home = self.state.variables.get("HOME");
                        let home = home.and_then(|home| home.values.first().cloned());
                        self.change_directory(&home.unwrap_or_else(|| Value::unknown("$HOME")));
                    }
                }
                if is_pushed && self.state.directories.len() < VALUES_MAX {
                    self.state.directories.push(here);
                }
                Some(Output::Nothing)
            }
            "popd" => {
                let before = self.state.cwd.clone();
                match self.state.directories.pop() {
                    Some(last) if arguments.is_empty() => self.state.cwd = last,
                    Some(last) => {
                        // Which one it takes off does not matter: each of them is possible.
                        self.state.directories.push(last);
                        self.rotate_directories(Some(""));
                    }
                    None => {}
                }
                self.state.cwd_before = before;
                Some(Output::Nothing)
            }
            "eval" => {
                let mut text = String::new();
                for (index, value) in arguments.iter().enumerate() {
                    if index > 0 {
                        text.push(' ');
                    }
                    let Some(part) = plain_text(value) else {
                        self.ask(&line.shown, "it runs a text that is not known");
                        return Some(unknown(&line.shown));
                    };
                    text.push_str(&part);
                }
                Some(self.script(&text))
            }
            "." | "source" => {
                let Some(file) = arguments.first() else {
                    return Some(Output::Nothing);
                };
                let file = file.clone();
                Some(self.sourced(&file, line))
            }
            "trap" => {
                match arguments.first().map(plain_text) {
                    Some(Some(text)) if !text.is_empty() && !text.starts_with('-') => {
                        self.trapped(&text);
                    }
                    Some(None) => self.ask(&line.shown, "it runs a text that is not known"),
                    Some(Some(_)) | None => {}
                }
                Some(Output::Nothing)
            }
            "alias" => {
                for value in arguments {
                    if let Some(text) = plain_text(value)
                        && let Some((name, body)) = text.split_once('=')
                    {
                        self.state.aliases.insert(name.to_owned(), body.to_owned());
                    }
                }
                Some(Output::Nothing)
            }
            "unalias" => {
                if line.has(&["-a"]) {
                    self.state.aliases.clear();
                }
                for name in arguments.iter().filter_map(Value::exact) {
                    self.state.aliases.remove(&name);
                }
                Some(Output::Nothing)
            }
            "set" => {
                let mut rest = arguments;
                while let Some((first, others)) = rest.split_first()
                    && first.prefix().starts_with(['-', '+'])
                {
                    rest = others;
                    if first.exact().as_deref() == Some("--") {
                        self.pass(rest.to_vec());
                        return Some(Output::Nothing);
                    }
                    // `-o` is followed by a name.
                    if first.prefix().ends_with('o') {
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
                if !rest.is_empty() {
                    self.pass(rest.to_vec());
                }
                Some(Output::Nothing)
            }
            "shift" => {
                let by = match arguments {
                    [] => Some(1),
                    [by] => by.exact().and_then(|by| by.parse::<usize>().ok()),
                    _ => None,
                };
                if let Some(positional) = &mut self.state.positional {
                    match by {
                        Some(by) if !positional.is_any => {
                            // By more than there are it does nothing.
                            if by <= positional.values.len() {
                                positional.values.drain(..by);
                            }
                        }
                        // What is left is any of them.
                        _ => positional.is_any = true,
                    }
                }
                Some(Output::Nothing)
            }
            "unset" => {
                let is_of_functions = line.has(&["-f"]);
                for value in arguments {
                    self.subscript(value);
                    let Some(name) = value.exact() else {
                        // Any of them may be gone.
                        for function in self.state.functions.values_mut() {
                            function.may_be_program = true;
                        }
                        continue;
                    };
                    let is_variable = !is_of_functions && self.state.variables.contains_key(&name);
                    if is_variable {
                        self.state.variables.remove(&name);
                    } else if !line.has(&["-v"]) {
                        self.state.functions.remove(&name);
                    }
                }
                Some(Output::Nothing)
            }
            "read" => {
                let options = line.options("adinNptu", &[]);
                let values = self.state.stdin.items();
                let values = if values.is_empty() {
                    vec![Value::unknown("a line that is read")]
                } else {
                    values
                };
                // The words of one line that is known.
                let words: Option<Vec<Value>> = match values.as_slice() {
                    [line] => line.exact().map(|text| {
                        let separators = self.separators();
                        let words = text.split(|c| separators.contains(c));
                        words.take(VALUES_MAX).map(Value::text).collect()
                    }),
                    _ => None,
                };
                for name in options.values(&["a"]).iter().filter_map(Value::exact) {
                    let words = words.clone();
                    let words = words.unwrap_or_else(|| vec![Value::unknown(format!("${name}"))]);
                    self.assign(&name, words, true);
                }
                let names = options.operands;
                let whole = names.len() == 1;
                for (at, name) in names.iter().enumerate() {
                    self.subscript(name);
                    if let Some(name) = name.exact() {
                        let is_last = at + 1 == names.len();
                        let word = words.as_ref().and_then(|words| words.get(at).cloned());
                        let values = match word {
                            _ if whole => values.clone(),
                            Some(word) if !is_last => vec![word],
                            _ => vec![Value::unknown(format!("${name}"))],
                        };
                        self.assign(&name, values, false);
                    }
                }
                Some(Output::Nothing)
            }
            "mapfile" | "readarray" => {
                let options = line.options("dnOsuCc", &[]);
                for callback in options.values(&["C"]) {
                    self.text_as_script(&callback, line);
                }
                let name = options.operands.first().and_then(Value::exact);
                let name = name.unwrap_or_else(|| "MAPFILE".to_owned());
                let values = self.state.stdin.items();
                self.assign(&name, values, true);
                Some(Output::Nothing)
            }
            "getopts" | "let" => {
                for value in arguments {
                    if let Some(text) = value.exact() {
                        if line.name == "let" {
                            self.arithmetic(&text);
                        }
                        let name = text.split('=').next().unwrap_or_default();
                        let value = if line.name == "let" {
                            Value::name()
                        } else {
                            Value::unknown(format!("${name}"))
                        };
                        self.assign(name, vec![value], false);
                    }
                }
                Some(Output::Nothing)
            }
            "test" | "[" => {
                for pair in arguments.windows(2) {
                    if matches!(pair[0].exact().as_deref(), Some("-v" | "-R")) {
                        self.subscript(&pair[1]);
                    }
                }
                Some(Output::Nothing)
            }
            "hash" => {
                // `hash -p FILE NAME`: the name means the file from here on.
                let options = line.options("p", &[]);
                if let Some(file) = options.values(&["p"]).first() {
                    for name in options.operands.iter().filter_map(Value::exact) {
                        self.stands_for(&name, file, line);
                    }
                }
                Some(Output::Nothing)
            }
            "complete" | "compgen" | "bind" => {
                let options = line.options("CFWAGPSXxmqurf", &[]);
                for command in options.values(&["C"]) {
                    self.text_as_script(&command, line);
                }
                for words in options.values(&["W"]).iter().filter_map(plain_text) {
                    self.prompt(&words);
                }
                for binding in options.values(&["x"]) {
                    if let Some((_, command)) = binding.shown().split_once(':') {
                        self.text_as_script(&Value::text(command.trim_matches('"')), line);
                    }
                }
                Some(unknown(&line.shown))
            }
            "enable" => {
                if !line.options("f", &[]).values(&["f"]).is_empty() {
                    self.ask(&line.shown, "it loads code into the shell");
                }
                Some(Output::Nothing)
            }
            "history" => {
                if line.has(&["-c", "-d", "-cw"]) {
                    self.refuse(&line.shown, "removes the record of what was run");
                }
                Some(unknown(&line.shown))
            }
            "fc" => {
                if !line
                    .arguments
                    .iter()
                    .any(|word| word.prefix().starts_with("-l"))
                {
                    self.ask(&line.shown, "it runs again what was run before");
                }
                Some(unknown(&line.shown))
            }
            "jobs" => Some(Output::Items(vec![Value(vec![Part::Job])])),
            ":" | "true" | "false" | "return" | "break" | "continue" | "exit" | "wait" | "fg"
            | "bg" | "umask" | "ulimit" | "shopt" | "type" | "help" | "disown" | "times"
            | "export" | "declare" | "local" | "readonly" | "typeset" => Some(Output::Nothing),
            _ => None,
        }
    }

    /// A name of a program means this file from here on.
    fn stands_for(&mut self, name: &str, file: &Value, line: &Line<'_>) {
        match file.exact() {
            Some(file) => drop(self.state.aliases.insert(name.to_owned(), quote(&file))),
            None => self.ask(&line.shown, "which program the name means is not known"),
        }
    }

    /// `. FILE`: what a file of the workspace holds is not looked at, as for any program there.
    fn sourced(&mut self, file: &Value, line: &Line<'_>) -> Output {
        let path = file.exact();
        let stdin = matches!(
            path.as_deref(),
            Some("/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0")
        );
        let content = if stdin {
            Some(self.state.stdin.clone())
        } else {
            let plain = self.path(file).or(path);
            plain.and_then(|path| self.state.files.get(&path).cloned())
        };
        match content {
            Some(Output::Text(text)) => self.script(&text),
            Some(other) => self.written_script(&other, line),
            None if file.mystery().is_some() => {
                self.ask(&line.shown, "which file it runs is not known");
                unknown(&line.shown)
            }
            None => unknown(&line.shown),
        }
    }
}

/// What a value says where it is text and not a path; patterns stand for themselves.
pub(crate) fn plain_text(value: &Value) -> Option<String> {
    let mut text = String::new();
    for part in &value.0 {
        match part {
            Part::Text(part) | Part::Glob(part) => text.push_str(part),
            // A number or a name cannot begin a command of its own.
            Part::Name | Part::Job => text.push('0'),
            // A file that was found: what its name could do to a shell is not looked at.
            Part::Below => text.push_str("./found"),
            Part::Unknown(_) => return None,
        }
    }
    Some(text)
}

/// Quotes a word for a shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The output of a program that is not looked into.
pub(crate) fn unknown(line: &str) -> Output {
    Output::Unknown(format!("the output of `{line}`"))
}
