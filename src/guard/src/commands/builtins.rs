//! Commands of the shell itself.

use super::{Line, plain_text, quote, unknown};
use crate::shell::Walk;
use crate::value::{Output, Part, VALUES_MAX, Value};

impl Walk<'_> {
    /// What a command of the shell itself gives out; none where it is none.
    pub(super) fn builtin(&mut self, line: &Line<'_>) -> Option<Output> {
        match line.name {
            "cd" | "pushd" | "chdir" => self.change_to(line),
            "popd" => self.pop_directory(line),
            "eval" => return Some(self.eval(line)),
            "." | "source" => {
                if let Some(file) = line.arguments.first() {
                    return Some(self.sourced(file, line));
                }
            }
            "trap" => self.trap(line),
            "alias" => self.alias(line),
            "unalias" => self.unalias(line),
            "set" => self.set(line),
            "shift" => self.shift(line),
            "unset" => self.unset(line),
            "read" => self.read(line),
            "mapfile" | "readarray" => self.mapfile(line),
            "getopts" | "let" => {
                for value in line.arguments {
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
            }
            "test" | "[" => {
                for pair in line.arguments.windows(2) {
                    if matches!(pair[0].exact().as_deref(), Some("-v" | "-R")) {
                        self.subscript(&pair[1]);
                    }
                }
            }
            "hash" => {
                // `hash -p FILE NAME`: the name means the file from here on.
                let options = line.options("p", &[]);
                if let Some(file) = options.values(&["p"]).first() {
                    for name in options.operands.iter().filter_map(Value::exact) {
                        self.stands_for(&name, file, line);
                    }
                }
            }
            "complete" | "compgen" | "bind" => {
                self.completions(line);
                return Some(unknown(&line.shown));
            }
            "enable" => {
                if !line.options("f", &[]).values(&["f"]).is_empty() {
                    self.ask(&line.shown, "it loads code into the shell");
                }
            }
            "history" => {
                if line.has(&["-c", "-d", "-cw"]) {
                    self.refuse(&line.shown, "removes the record of what was run");
                }
                return Some(unknown(&line.shown));
            }
            "fc" => {
                if !line
                    .arguments
                    .iter()
                    .any(|word| word.prefix().starts_with("-l"))
                {
                    self.ask(&line.shown, "it runs again what was run before");
                }
                return Some(unknown(&line.shown));
            }
            // Where a program is; to run it from there is to run it.
            "type" if line.has(&["-p", "-P"]) => return Some(unknown(&line.shown)),
            "jobs" => return Some(Output::Items(vec![Value(vec![Part::Job])])),
            ":" | "true" | "false" | "return" | "break" | "continue" | "exit" | "wait" | "fg"
            | "bg" | "umask" | "ulimit" | "shopt" | "type" | "help" | "disown" | "times"
            | "export" | "declare" | "local" | "readonly" | "typeset" => {}
            _ => return None,
        }
        Some(Output::Nothing)
    }

    /// `cd` and `pushd`.
    fn change_to(&mut self, line: &Line<'_>) {
        let target = line
            .arguments
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
                return;
            }
            Some(value) => {
                let value = value.clone();
                self.enter_directory(&value);
            }
            None if is_pushed => {
                self.rotate_directories(None);
                return;
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
    }

    /// `popd`.
    fn pop_directory(&mut self, line: &Line<'_>) {
        let before = self.state.cwd.clone();
        match self.state.directories.pop() {
            Some(last) if line.arguments.is_empty() => self.state.cwd = last,
            Some(last) => {
                // Which one it takes off does not matter: each of them is possible.
                self.state.directories.push(last);
                self.rotate_directories(Some(""));
            }
            None => {}
        }
        self.state.cwd_before = before;
    }

    /// `eval`: its arguments are one script.
    fn eval(&mut self, line: &Line<'_>) -> Output {
        let mut text = String::new();
        for (index, value) in line.arguments.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            let Some(part) = plain_text(value) else {
                self.ask(&line.shown, "it runs a text that is not known");
                return unknown(&line.shown);
            };
            text.push_str(&part);
        }
        self.script(&text)
    }

    /// `trap`: what runs when the shell ends.
    fn trap(&mut self, line: &Line<'_>) {
        let mut words = line.arguments.iter();
        let first = words.find(|word| word.exact().as_deref() != Some("--"));
        match first.map(plain_text) {
            Some(Some(text)) if !text.is_empty() && !text.starts_with('-') => {
                self.trapped(&text);
            }
            Some(None) => self.ask(&line.shown, "it runs a text that is not known"),
            Some(Some(_)) | None => {}
        }
    }

    /// `alias NAME=TEXT`.
    fn alias(&mut self, line: &Line<'_>) {
        for value in line.arguments {
            if let Some(text) = plain_text(value)
                && let Some((name, body)) = text.split_once('=')
            {
                self.state.aliases.insert(name.to_owned(), body.to_owned());
            }
        }
    }

    /// `unalias`.
    fn unalias(&mut self, line: &Line<'_>) {
        if line.has(&["-a"]) {
            self.state.aliases.clear();
        }
        for name in line.arguments.iter().filter_map(Value::exact) {
            self.state.aliases.remove(&name);
        }
    }

    /// `set`: the operands become the positional parameters.
    fn set(&mut self, line: &Line<'_>) {
        let mut rest = line.arguments;
        while let Some((first, others)) = rest.split_first()
            && first.prefix().starts_with(['-', '+'])
        {
            rest = others;
            if first.exact().as_deref() == Some("--") {
                self.pass(rest.to_vec());
                return;
            }
            // `-o` is followed by a name.
            if first.prefix().ends_with('o') {
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        if !rest.is_empty() {
            self.pass(rest.to_vec());
        }
    }

    /// `shift`.
    fn shift(&mut self, line: &Line<'_>) {
        let by = match line.arguments {
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
    }

    /// `unset`: variables, and functions where no variable has the name.
    fn unset(&mut self, line: &Line<'_>) {
        let is_of_functions = line.has(&["-f"]);
        for value in line.arguments {
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
    }

    /// `read`: the words of a line become variables.
    fn read(&mut self, line: &Line<'_>) {
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
    }

    /// `mapfile`: the lines of the input become an array.
    fn mapfile(&mut self, line: &Line<'_>) {
        let options = line.options("dnOsuCc", &[]);
        for callback in options.values(&["C"]) {
            self.text_as_script(&callback, line);
        }
        let name = options.operands.first().and_then(Value::exact);
        let name = name.unwrap_or_else(|| "MAPFILE".to_owned());
        let values = self.state.stdin.items();
        self.assign(&name, values, true);
    }

    /// `complete`, `compgen` and `bind`: they run commands and expand texts.
    fn completions(&mut self, line: &Line<'_>) {
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
    }

    /// A name of a program means this file from here on.
    fn stands_for(&mut self, name: &str, file: &Value, line: &Line<'_>) {
        match file.exact() {
            Some(file) => drop(self.state.aliases.insert(name.to_owned(), quote(&file))),
            None => self.ask(&line.shown, "which program the name means is not known"),
        }
    }

    /// `. FILE`: what a file of the workspace holds is not looked at, as for any program there.
    pub(super) fn sourced(&mut self, file: &Value, line: &Line<'_>) -> Output {
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
