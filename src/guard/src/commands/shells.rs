//! Shells within the shell.

use super::{Line, plain_text, unknown};
use crate::shell::Walk;
use crate::value::{Output, Part, VALUES_MAX, Value};

pub(crate) fn is_shell(name: &str) -> bool {
    matches!(
        name,
        "sh" | "bash"
            | "dash"
            | "zsh"
            | "ksh"
            | "mksh"
            | "ash"
            | "yash"
            | "rbash"
            | "fish"
            | "csh"
            | "tcsh"
    )
}

impl Walk<'_> {
    /// A script in which a part is not known: that part as a variable, whose value is not known.
    /// Where it may be quoted, or comes from elsewhere, nothing can be told.
    pub(super) fn with_variables(&mut self, text: &Value) -> Option<String> {
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

    pub(super) fn nested_shell(&mut self, line: &Line<'_>) -> Output {
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
            return self.in_other_shell(|walk| {
                let mut script = script;
                // `$0` is the first of them, and no positional parameter.
                if let Some(zero) = arguments.first() {
                    let value = zero.clone();
                    walk.assign("GUARD_ZERO", vec![value], false);
                    script = script.replace("${0}", "${GUARD_ZERO}");
                    script = script.replace("$0", "${GUARD_ZERO}");
                }
                walk.pass(arguments.get(1..).unwrap_or_default().to_vec());
                walk.script(&script)
            });
        }
        if line.is_about_itself() {
            return unknown(&line.shown);
        }
        let stdin = self.state.stdin.clone();
        match stdin {
            Output::Nothing if self.state.is_within_program => {
                self.ask(&line.shown, "a shell within a program reads its commands");
                unknown(&line.shown)
            }
            Output::Nothing | Output::File => unknown(&line.shown),
            Output::Text(text) => self.in_other_shell(|walk| {
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
    pub(super) fn script_file(
        &mut self,
        file: &Value,
        arguments: &[Value],
        line: &Line<'_>,
    ) -> Output {
        let exact = file.exact();
        if matches!(exact.as_deref(), Some("/dev/stdin" | "/dev/fd/0")) {
            let stdin = self.state.stdin.clone();
            return self.written_script(&stdin, line);
        }
        let path = self.path(file).or(exact);
        match path.and_then(|path| self.state.files.get(&path).cloned()) {
            Some(Output::Text(text)) => {
                let arguments = arguments.to_vec();
                self.in_other_shell(|walk| {
                    walk.pass(arguments);
                    walk.script(&text)
                })
            }
            Some(content) => self.written_script(&content, line),
            None if file.mystery().is_some() => {
                self.ask(&line.shown, "which file it runs is not known");
                unknown(&line.shown)
            }
            None => {
                for content in self.written_like(file) {
                    self.in_other_shell(|walk| drop(walk.written_script(&content, line)));
                }
                unknown(&line.shown)
            }
        }
    }

    /// What the command wrote to files that a pattern, or a search, may find.
    fn written_like(&self, file: &Value) -> Vec<Output> {
        if file.exact().is_some() {
            return Vec::new();
        }
        let prefix = file.prefix().trim_start_matches("./");
        let suffix = match file.0.last() {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        let may_be = |path: &&String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let begins = prefix.ends_with('/') || path.contains(prefix);
            begins && (path.ends_with(suffix) || name.ends_with(suffix))
        };
        let mut paths: Vec<_> = self.state.files.keys().filter(may_be).collect();
        paths.sort_unstable();
        let contents = paths.into_iter().map(|path| self.state.files[path].clone());
        contents.take(VALUES_MAX).collect()
    }
}
