//! Programs that run code of another language: interpreters, `awk`, `make`.

use super::{Line, plain_text, unknown};
use crate::code::Language;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

/// What Python is started with.
enum Start<'a> {
    /// `-c CODE`, and its arguments.
    Code(Value, &'a [Value]),
    /// `-m MODULE`, and its arguments.
    Module(Value, &'a [Value]),
    /// A file and its arguments, or nothing.
    File(&'a [Value]),
}

impl<'a> Start<'a> {
    fn of(arguments: &'a [Value]) -> Self {
        let mut rest = arguments;
        while let Some((first, mut after)) = rest.split_first() {
            let text = first.prefix();
            if text == "--" {
                return Self::File(after);
            }
            if text.len() < 2 || !text.starts_with('-') {
                return Self::File(rest);
            }
            if let Some(at) = text
                .find(['c', 'm', 'W', 'X'])
                .filter(|_| !text.starts_with("--"))
            {
                let mut value = first.after(at + 1);
                if value.shown().is_empty() {
                    let Some((next, others)) = after.split_first() else {
                        return Self::File(&[]);
                    };
                    (value, after) = (next.clone(), others);
                }
                match &text[at..=at] {
                    "c" => return Self::Code(value, after),
                    "m" => return Self::Module(value, after),
                    _ => {}
                }
            } else if text == "--check-hash-based-pycs" {
                after = after.get(1..).unwrap_or_default();
            }
            rest = after;
        }
        Self::File(rest)
    }
}

impl Walk<'_> {
    /// A makefile that the command itself wrote: its recipes are lines for a shell.
    pub(super) fn makefile(&mut self, options: &super::Options, line: &Line<'_>) {
        let mut files = options.values(&["f", "file", "makefile"]);
        if files.is_empty() {
            files.extend(["GNUmakefile", "makefile", "Makefile"].map(Value::text));
        }
        let mut texts: Vec<Output> = options
            .values(&["eval"])
            .iter()
            .filter_map(plain_text)
            .map(Output::Text)
            .collect();
        self.apart(|walk| {
            for directory in options.values(&["C", "directory"]) {
                walk.change_directory(&directory);
            }
            texts.extend(files.iter().filter_map(|file| walk.script_text(file)));
            for text in texts {
                match text {
                    Output::Text(text) => {
                        walk.steps += text.len() / 256;
                        for recipe in recipes(&text) {
                            if walk.is_exhausted() {
                                break;
                            }
                            drop(walk.apart(|walk| walk.script(&recipe)));
                        }
                    }
                    Output::Items(_) | Output::Unknown(_) => {
                        walk.ask(&line.shown, "what it makes is not known");
                    }
                    Output::Nothing | Output::File => {}
                }
            }
        });
    }

    /// Programs that run code of another language.
    pub(crate) fn interpreter(&mut self, line: &Line<'_>) -> Option<Output> {
        let language = Language::of_program(line.name)?;
        if language == Language::Awk {
            return Some(self.awk(line));
        }
        if language == Language::Python {
            return Some(self.python(line));
        }
        let flags: &[&str] = match language {
            Language::Perl | Language::Ruby | Language::Lua | Language::R => &["e", "E"],
            Language::Julia => &["e", "E", "eval", "print"],
            Language::Node => &["e", "p", "eval", "print"],
            Language::Php => &["r"],
            Language::Python | Language::Awk => &[],
        };
        let short = match language {
            Language::Perl => "eEI",
            Language::Ruby => "erIC",
            Language::Lua | Language::R => "el",
            Language::Julia => "eELpt",
            Language::Node => "epr",
            Language::Php => "rdfBRE",
            Language::Python | Language::Awk => "",
        };
        let stops = matches!(language, Language::Node | Language::Php);
        let options = if stops && !line.has(&["-c"]) {
            line.leading(short, &["eval", "print", "require"])
        } else {
            line.options(short, &["eval", "print", "require"])
        };
        let mut codes: Vec<Value> = options.values(flags);
        if let [command, code, ..] = options.operands.as_slice()
            && line.name == "deno"
            && command.exact().as_deref() == Some("eval")
        {
            codes.push(code.clone());
        }
        let arguments: Vec<Value> = if codes.is_empty() {
            options.operands.iter().skip(1).cloned().collect()
        } else {
            options.operands.clone()
        };
        let in_place = matches!(language, Language::Perl | Language::Ruby)
            && options.flags.iter().any(|(name, _)| name == "i");
        if in_place {
            self.each(Act::Write, &options.operands, line);
            self.edited_in_place(&options.operands);
        }
        if !codes.is_empty() {
            for code in codes {
                match plain_text(&code) {
                    Some(text) => {
                        drop(self.code(language, &text, &arguments, &line.shown));
                    }
                    None => self.ask(&line.shown, "it runs a text that is not known"),
                }
            }
            return Some(unknown(&line.shown));
        }
        Some(self.program_of(language, &options.operands, line))
    }

    /// `python`, with code, a module or a file; what follows is that one's own.
    fn python(&mut self, line: &Line<'_>) -> Output {
        match Start::of(line.arguments) {
            Start::Code(code, arguments) => match plain_text(&code) {
                Some(text) => {
                    drop(self.code(Language::Python, &text, arguments, &line.shown));
                }
                None => self.ask(&line.shown, "it runs a text that is not known"),
            },
            Start::Module(module, arguments) => {
                return self.python_module(&module, arguments, line);
            }
            Start::File(operands) => return self.program_of(Language::Python, operands, line),
        }
        unknown(&line.shown)
    }

    /// An interpreter with a file and its arguments, or with code that it reads.
    fn program_of(&mut self, language: Language, operands: &[Value], line: &Line<'_>) -> Output {
        let arguments = operands.get(1..).unwrap_or_default();
        let file = operands
            .first()
            .filter(|file| file.exact().as_deref() != Some("-"));
        let content = match file {
            Some(file) => self.script_text(file),
            None if line.has_option(&["--version", "-V", "-v", "--help", "-h"]) => None,
            None => Some(self.state.stdin.clone()),
        };
        if let Some(file) = file {
            self.set_up(file, arguments, line);
        }
        match content {
            Some(Output::Text(text)) => {
                drop(self.code(language, &text, arguments, &line.shown));
            }
            Some(Output::Items(_) | Output::Unknown(_)) => {
                self.ask(&line.shown, "it runs a text that is not known");
            }
            Some(Output::Nothing | Output::File) | None => {}
        }
        unknown(&line.shown)
    }

    /// `setup.py install`: where to, when it is told.
    fn set_up(&mut self, file: &Value, arguments: &[Value], line: &Line<'_>) {
        let long = [
            "prefix",
            "root",
            "home",
            "install-dir",
            "install-lib",
            "install-scripts",
        ];
        let is_setup = file.exact().is_some_and(|file| file.ends_with("setup.py"));
        if is_setup && line.has(&["install", "develop"]) {
            let into = super::Options::parse(arguments, "d", &long, false).values(&long);
            self.each(Act::Write, &into, line);
        }
    }

    /// A module that the command itself wrote, if it is one.
    fn written_module(&mut self, module: &Value, arguments: &[Value], line: &Line<'_>) -> bool {
        let Some(name) = module.exact() else {
            return false;
        };
        let path = name.replace('.', "/");
        let mut is_written = false;
        for file in [".py", "/__init__.py", "/__main__.py"] {
            match self.script_text(&Value::text(format!("{path}{file}"))) {
                Some(Output::Text(text)) => {
                    drop(self.code(Language::Python, &text, arguments, &line.shown));
                }
                Some(Output::Items(_) | Output::Unknown(_)) => {
                    self.ask(&line.shown, "it runs a text that is not known");
                }
                Some(Output::Nothing | Output::File) | None => continue,
            }
            is_written = true;
        }
        is_written
    }

    /// `-m MODULE`.
    fn python_module(&mut self, module: &Value, arguments: &[Value], line: &Line<'_>) -> Output {
        if self.written_module(module, arguments, line) {
            return unknown(&line.shown);
        }
        match module.exact().as_deref() {
            Some("pip" | "pip3") => {
                let mut argv = vec![Value::text("pip")];
                argv.extend(arguments.iter().cloned());
                self.run(&argv)
            }
            Some("venv" | "virtualenv") => {
                let options = super::Options::parse(arguments, "p", &["prompt", "python"], false);
                self.each(Act::Create, &options.operands, line);
                unknown(&line.shown)
            }
            Some("zipfile" | "tarfile") => {
                let extracts = ["-e", "--extract"];
                let at = arguments
                    .iter()
                    .position(|value| extracts.contains(&value.prefix()));
                if let Some(at) = at {
                    let into = arguments.get(at + 2).cloned();
                    self.act(
                        Act::Write,
                        &into.unwrap_or_else(|| Value::text(".")),
                        &line.shown,
                    );
                } else if let Some(archive) = arguments.get(1)
                    && matches!(arguments[0].prefix(), "-c" | "--create")
                {
                    self.act(Act::Write, archive, &line.shown);
                }
                unknown(&line.shown)
            }
            Some("timeit" | "cProfile" | "profile") => {
                let options = super::Options::parse(arguments, "nrsuo", &["number", "setup"], true);
                let mut codes = options.values(&["s", "setup"]);
                if module.exact().as_deref() == Some("timeit") {
                    codes.extend(options.operands);
                }
                for code in codes.iter().filter_map(plain_text) {
                    drop(self.code(Language::Python, &code, &[], &line.shown));
                }
                unknown(&line.shown)
            }
            Some("json.tool") => {
                let operands = super::Options::parse(arguments, "", &["indent"], false).operands;
                if let Some(into) = operands.get(1) {
                    self.act(Act::Write, into, &line.shown);
                }
                unknown(&line.shown)
            }
            _ => unknown(&line.shown),
        }
    }

    fn awk(&mut self, line: &Line<'_>) -> Output {
        let long = [
            "field-separator",
            "assign",
            "file",
            "source",
            "include",
            "exec",
        ];
        let options = line.leading("FvfeiEl", &long);
        let is_edited = options
            .values(&["i", "include"])
            .iter()
            .any(|value| value.exact().as_deref() == Some("inplace"));
        let mut texts = String::new();
        for value in options.values(&["v", "assign"]) {
            // As if the program began with it.
            if let Some((name, text)) = value.exact().as_deref().and_then(|it| it.split_once('=')) {
                let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
                texts.extend([name, " = \"", &quoted, "\";\n"]);
            }
        }
        let mut has_program = false;
        for code in options.values(&["e", "source"]) {
            has_program = true;
            texts.push_str(&plain_text(&code).unwrap_or_default());
            texts.push('\n');
        }
        for file in options.values(&["f", "file", "E", "exec"]) {
            has_program = true;
            match self.script_text(&file) {
                Some(Output::Text(text)) => texts.push_str(&text),
                Some(Output::Items(_) | Output::Unknown(_)) => {
                    self.ask(&line.shown, "it runs a text that is not known");
                }
                Some(Output::Nothing | Output::File) | None => {}
            }
        }
        let mut files = options.operands.as_slice();
        if !has_program && let Some((program, rest)) = files.split_first() {
            files = rest;
            match plain_text(program) {
                Some(text) => texts.push_str(&text),
                None => self.ask(&line.shown, "it runs a text that is not known"),
            }
        }
        if is_edited {
            self.each(Act::Write, files, line);
        }
        drop(self.code(Language::Awk, &texts, &[], &line.shown));
        // Fields of lines that are paths; a text in the program would be put beside them.
        match &self.state.stdin {
            Output::Items(items)
                if !texts.contains(['"', '=']) && !has_program && files.is_empty() =>
            {
                Output::Items(items.clone())
            }
            _ => unknown(&line.shown),
        }
    }
}

/// The lines of a makefile that a shell is given.
fn recipes(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let recipe = match line.strip_prefix('\t') {
            Some(recipe) => recipe,
            // `target: ; recipe`, and `$(shell recipe)`.
            None => match (line.split_once(';'), line.split_once("$(shell ")) {
                (_, Some((_, recipe))) => recipe.strip_suffix(')').unwrap_or(recipe),
                (Some((target, recipe)), None) if target.contains(':') => recipe,
                _ => continue,
            },
        };
        all.push(shell_line(recipe.trim_start_matches(['@', '-', '+', ' '])));
    }
    all
}

/// A recipe as the shell gets it: `$(NAME)` is a variable, and `$$` is `$`.
fn shell_line(recipe: &str) -> String {
    let mut line = String::new();
    let mut rest = recipe;
    while let Some(at) = rest.find('$') {
        line.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
            .filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
        if let Some((name, after)) = name {
            line.extend(["${", name, "}"]);
            rest = after;
        } else {
            line.push('$');
            rest = rest.strip_prefix('$').unwrap_or(rest);
        }
    }
    line.push_str(rest);
    line
}
