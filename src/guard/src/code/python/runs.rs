//! Programs and code that Python runs.

use super::calls::Given;
use super::value::Val;
use super::{Python, judge_in};
use crate::value::{Part, Value};

impl Python<'_, '_> {
    /// A program is run: a text by a shell, a list as it is.
    pub(super) fn run(&mut self, command: &Val, name: &str, given: &Given) -> Val {
        let stdin = given.named(&["input"]);
        let cwd = given.named(&["cwd"]);
        let before = (self.walk.state.stdin.clone(), self.walk.state.cwd.clone());
        if let Some(stdin) = stdin {
            self.walk.state.stdin = stdin.output();
        }
        if let Some(Val::Text(cwd)) = cwd {
            self.walk.change_directory(&cwd);
        }
        for command in command.each() {
            match command {
                Val::Text(text) => {
                    if let Some(text) = text_of(text) {
                        self.walk.text_as_script_of(&text, self.shown);
                    } else {
                        let why = format!("what `{name}` runs is not known");
                        self.walk.ask(self.shown, &why);
                    }
                }
                Val::List(words) => {
                    if let Some((program, words)) = words.split_first() {
                        self.run_words(program, words);
                    }
                }
                Val::Plain => {}
                _ => {
                    let why = format!("what `{name}` runs is not known");
                    self.walk.ask(self.shown, &why);
                }
            }
        }
        (self.walk.state.stdin, self.walk.state.cwd) = before;
        Val::unknown("the output of a program")
    }

    pub(super) fn run_words(&mut self, program: &Val, words: &[Val]) {
        if !self.walk.enter() {
            return;
        }
        let count = words.iter().map(|word| word.each().len()).max();
        // Words that may be several things: one after the other.
        for at in 0..count.unwrap_or(1).clamp(1, 8) {
            let mut argv = vec![program.word()];
            for word in words {
                let all = word.each();
                match all.get(at % all.len().max(1)) {
                    Some(Val::List(items)) => argv.extend(items.iter().map(Val::word)),
                    Some(word) => argv.push(word.word()),
                    None => {}
                }
            }
            drop(self.walk.apart(|walk| walk.run(&argv)));
        }
        self.walk.leave();
    }

    /// Code that is a value.
    pub(super) fn evaluate(&mut self, code: &Val, name: &str) -> Val {
        for code in code.each() {
            match code {
                Val::Text(text) => {
                    if let Some(text) = text.exact() {
                        let scope = self.scope.clone();
                        if let Some(after) = judge_in(self.walk, &text, scope, self.shown) {
                            self.scope = after;
                        }
                    } else {
                        let why = format!("what `{name}` runs is not known");
                        self.walk.ask(self.shown, &why);
                    }
                }
                // A program of the workspace, or what nobody passes.
                Val::File | Val::Plain | Val::Function(_) => {}
                _ => {
                    let why = format!("what `{name}` runs is not known");
                    self.walk.ask(self.shown, &why);
                }
            }
        }
        match code {
            Val::Text(_) if name != "compile" => Val::Named("builtins".to_owned()),
            Val::Text(_) => Val::Plain,
            other => other.clone(),
        }
    }
}

/// A text for a shell, in which what is not known stands for a word of its own.
fn text_of(value: &Value) -> Option<String> {
    let mut text = String::new();
    for (index, part) in value.0.iter().enumerate() {
        match part {
            Part::Text(part) | Part::Glob(part) => text.push_str(part),
            Part::Name | Part::Job => text.push('0'),
            Part::Below => text.push_str("./found"),
            // Which program it is must be known.
            Part::Unknown(_) if index == 0 => return None,
            // Within single quotes nothing is expanded.
            Part::Unknown(_) if text.matches('\'').count() % 2 == 1 => {
                text.push_str("'\"$GUARD_UNKNOWN\"'");
            }
            Part::Unknown(_) => text.push_str("$GUARD_UNKNOWN"),
        }
    }
    Some(text)
}
