//! Programs that run another one for each of many things: `xargs`, `parallel`, `find`.

use super::{Line, plain_text, unknown};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Part, VALUES_MAX, Value};
use crate::words::unescaped;

/// Arguments that come in and are told apart.
fn few(mut items: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut all: Vec<Value> = items.by_ref().take(VALUES_MAX).collect();
    if items.next().is_some() {
        all.push(Value::unknown("one of many arguments"));
    }
    all
}

/// The arguments that `xargs` takes from a text: quotes and backslashes are as a shell has them. Those
/// of a mark are whole lines.
fn words(text: &str, are_lines: bool) -> impl Iterator<Item = Value> {
    let mut chars = text.chars();
    std::iter::from_fn(move || {
        let mut word = String::new();
        let (mut has_begun, mut quote) = (false, None);
        for c in chars.by_ref() {
            match (quote, c) {
                (Some('\\'), c) => {
                    word.push(c);
                    quote = None;
                }
                (Some(open), c) if open == c => quote = None,
                (Some(_), c) => word.push(c),
                (None, '\'' | '"' | '\\') => {
                    has_begun = true;
                    quote = Some(c);
                }
                (None, '\n' | '\0') if has_begun => break,
                (None, ' ' | '\t') if has_begun && !are_lines => break,
                (None, ' ' | '\t' | '\n' | '\0') if !has_begun => {}
                (None, c) => {
                    has_begun = true;
                    word.push(c);
                }
            }
        }
        has_begun.then(|| Value::text(word))
    })
}

impl Walk<'_> {
    pub(super) fn xargs(&mut self, line: &Line<'_>) -> Output {
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
        let is_split = options.has(&["0", "null"]);
        let input = match options.values(&["a", "arg-file"]).as_slice() {
            [file] => self.input_of(file),
            _ => self.state.stdin.clone(),
        };
        let delimiter = match options.values(&["d", "delimiter"]).as_slice() {
            [] => None,
            [text, ..] => Some(text.exact().map(|text| unescaped(&text))),
        };
        let items = match (&input, delimiter) {
            (Output::Text(text), Some(Some(delimiter))) => {
                let mut items = few(text.split(delimiter.as_str()).map(Value::text));
                items.retain(|item| !item.0.is_empty());
                items
            }
            (Output::Text(_), Some(None)) => vec![Value::unknown("a part of a text")],
            (Output::Text(text), None) if !is_split => few(words(text, mark.is_some())),
            // Each line is one argument.
            (input, _) => input.items(),
        };
        self.applied(&options.operands, &items, mark.as_deref(), line)
    }

    /// What is in a file, where the command wrote it.
    fn input_of(&self, file: &Value) -> Output {
        self.script_text(file)
            .unwrap_or_else(|| Output::Unknown("a line of a file".to_owned()))
    }

    /// `::: ARGUMENT...` and `:::: FILE...`, one behind the other.
    fn sources(&self, words: &[Value]) -> Vec<Value> {
        let mut all = Vec::new();
        let mut are_files = false;
        for word in words {
            match word.exact().as_deref() {
                Some(":::" | ":::+") => are_files = false,
                Some("::::" | "::::+") => are_files = true,
                _ if are_files => all.extend(self.input_of(word).items()),
                _ => all.push(word.clone()),
            }
        }
        all
    }

    pub(super) fn parallel(&mut self, line: &Line<'_>) -> Output {
        let is_mark = |value: &Value| value.exact().is_some_and(|text| text.starts_with(":::"));
        let at = line.arguments.iter().position(is_mark);
        let (command, items) = match at {
            Some(at) => (&line.arguments[..at], self.sources(&line.arguments[at..])),
            None => (line.arguments, self.state.stdin.items()),
        };
        let options = super::Options::parse(
            command,
            "jaINnPS",
            &["jobs", "arg-file", "delay", "timeout"],
            true,
        );
        let items = match options.values(&["a", "arg-file"]).as_slice() {
            [file] => self.input_of(file).items(),
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
    pub(super) fn applied(
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

    pub(super) fn find_files(&mut self, line: &Line<'_>) -> Output {
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

/// A word with the mark replaced.
pub(super) fn replaced(word: &Value, mark: &str, item: &Value) -> Value {
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
