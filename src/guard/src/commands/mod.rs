//! What programs do with their arguments.

mod builtins;
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
use crate::value::{Output, Part, Value};

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
        if let Some(content) = self.found_first(&program) {
            return self.written_script(&content, &line);
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

    /// What the command wrote to a file that a program's name means, because it changed where programs
    /// are looked for.
    fn found_first(&self, program: &str) -> Option<Output> {
        if program.contains('/') || !self.state.variables.contains_key("PATH") {
            return None;
        }
        let is_it = |path: &&String| path.rsplit('/').next() == Some(program);
        let path = self.state.files.keys().filter(is_it).min()?;
        self.state.files.get(path).cloned()
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
            "outDir",
            "output-path",
            "basetemp",
            "junitxml",
            "junit-xml",
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
