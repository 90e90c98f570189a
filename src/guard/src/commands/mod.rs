//! What programs do with their arguments.

mod files;
mod git;
mod lists;
mod options;
mod remote;
mod wrappers;

use crate::findings::Act;
use crate::place::Place;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

pub(crate) use options::Options;

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
        if let Some(output) = self.call(&program, arguments) {
            return output;
        }
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(text) = self.state.aliases.get(&program).cloned() {
            // It does not expand itself.
            self.state.aliases.remove(&program);
            let rest: Vec<String> = arguments
                .iter()
                .map(|value| quote(&value.shown()))
                .collect();
            let output = self.script(&format!("{text} {}", rest.join(" ")));
            self.state.aliases.insert(program, text);
            return output;
        }
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
        self.known(&line).unwrap_or_else(|| unknown(&line.shown))
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
            None => is_own.then(|| unknown(&line.shown)),
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
            self.code(language, text, &line.shown)
        } else {
            let arguments = line.arguments.to_vec();
            self.apart(|walk| {
                walk.state.positional = Some(arguments);
                walk.script(text)
            })
        }
    }

    fn known(&mut self, line: &Line<'_>) -> Option<Output> {
        if let Some(output) = self.builtin(line) {
            return Some(output);
        }
        if let Some(output) = self.wrapper(line) {
            return Some(output);
        }
        if let Some(output) = self.interpreter(line) {
            return Some(output);
        }
        if let Some(output) = self.listing(line) {
            return Some(output);
        }
        if line.name == "git" {
            return Some(self.git(line));
        }
        if self.system(line) || self.remote(line) || self.changes(line) {
            return Some(unknown(&line.shown));
        }
        None
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
                match target {
                    Some(value) if value.exact().as_deref() == Some("-") => {
                        let before = self.state.cwd_before.clone();
                        self.state.cwd_before = std::mem::replace(&mut self.state.cwd, before);
                    }
                    Some(value) => {
                        let value = value.clone();
                        self.change_directory(&value);
                    }
                    None if line.name == "pushd" => {
                        let before = self.state.cwd_before.clone();
                        self.state.cwd_before = std::mem::replace(&mut self.state.cwd, before);
                    }
                    None => {
                        let home = self.state.variables.get("HOME");
                        let home = home.and_then(|home| home.values.first().cloned());
                        self.change_directory(&home.unwrap_or_else(|| Value::unknown("$HOME")));
                    }
                }
                Some(Output::Nothing)
            }
            "popd" => {
                // Which one it was is not kept: either of the two.
                let before = self.state.cwd_before.clone();
                for directory in before {
                    if !self.state.cwd.contains(&directory) {
                        self.state.cwd.push(directory);
                    }
                }
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
                        drop(self.apart(|walk| walk.script(&text)));
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
                self.state.aliases.clear();
                Some(Output::Nothing)
            }
            "set" => {
                let at = arguments
                    .iter()
                    .position(|value| value.exact().as_deref() == Some("--"));
                if let Some(at) = at {
                    self.state.positional = Some(arguments[at + 1..].to_vec());
                } else if arguments
                    .first()
                    .is_some_and(|value| !value.prefix().starts_with(['-', '+']))
                {
                    self.state.positional = Some(arguments.to_vec());
                }
                Some(Output::Nothing)
            }
            "shift" => {
                // By how many is not followed: what is left is any of them.
                if let Some(values) = &mut self.state.positional
                    && !values.is_empty()
                {
                    let by = arguments.first().and_then(Value::exact);
                    let by = by.and_then(|by| by.parse().ok()).unwrap_or(1);
                    values.drain(..std::cmp::min(by, values.len()));
                }
                Some(Output::Nothing)
            }
            "unset" => {
                for value in arguments {
                    if let Some(name) = value.exact() {
                        self.state.variables.remove(&name);
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
                let mut names = options.values(&["a"]);
                names.extend(options.operands);
                let whole = names.len() == 1;
                for name in &names {
                    if let Some(name) = name.exact() {
                        let values = if whole {
                            values.clone()
                        } else {
                            vec![Value::unknown(format!("${name}"))]
                        };
                        self.assign(&name, values, false);
                    }
                }
                Some(Output::Nothing)
            }
            "mapfile" | "readarray" => {
                let options = line.options("dnOsuCc", &[]);
                let name = options.operands.first().and_then(Value::exact);
                let name = name.unwrap_or_else(|| "MAPFILE".to_owned());
                let values = self.state.stdin.items();
                self.assign(&name, values, true);
                Some(Output::Nothing)
            }
            "getopts" | "let" => {
                for value in arguments {
                    if let Some(text) = value.exact() {
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
            "jobs" => Some(Output::Items(vec![Value(vec![Part::Job])])),
            ":" | "true" | "false" | "[" | "test" | "return" | "break" | "continue" | "exit"
            | "wait" | "fg" | "bg" | "umask" | "ulimit" | "shopt" | "type" | "hash" | "help"
            | "complete" | "bind" | "history" | "fc" | "disown" | "times" | "export"
            | "declare" | "local" | "readonly" | "typeset" => Some(Output::Nothing),
            _ => None,
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
