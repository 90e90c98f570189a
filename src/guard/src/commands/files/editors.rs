//! Editors of lines and of screens: their files, and what their commands run.

use crate::code::{editors, sed};
use crate::commands::{Line, plain_text};
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

impl Walk<'_> {
    /// Judges an editor, if this is one.
    pub(super) fn in_editor(&mut self, line: &Line<'_>) -> bool {
        match line.name {
            "sed" | "gsed" => self.edited(line),
            "ed" | "red" => {
                let operands = line.options("p", &["prompt"]).operands;
                self.each(Act::Write, &operands, line);
                match self.state.stdin.clone() {
                    Output::Text(text) => self.edits(editors::of_script(&text), line),
                    Output::Items(_) | Output::Unknown(_) => {
                        self.ask(&line.shown, "an editor can run any command");
                    }
                    Output::Nothing | Output::File => {}
                }
            }
            "ex" | "vi" | "vim" | "nvim" | "view" | "gvim" => {
                let options = line.options("cuSTp", &["cmd"]);
                let (commands, files): (Vec<Value>, Vec<Value>) = options
                    .operands
                    .iter()
                    .cloned()
                    .partition(|value| value.prefix().starts_with('+'));
                self.each(Act::Write, &files, line);
                let mut texts = options.values(&["c", "cmd"]);
                texts.extend(commands.iter().map(|command| command.after(1)));
                for text in texts.iter().map(plain_text) {
                    match text {
                        Some(text) => self.edits(editors::of_command(&text), line),
                        None => self.ask(&line.shown, "an editor can run any command"),
                    }
                }
                match self.state.stdin.clone() {
                    Output::Text(text) => self.edits(editors::of_script(&text), line),
                    Output::Items(_) | Output::Unknown(_) => {
                        self.ask(&line.shown, "an editor can run any command");
                    }
                    Output::Nothing | Output::File => {}
                }
            }
            "emacs" | "nano" | "emacsclient" => {
                let options = line.options("flu", &["eval", "load", "funcall"]);
                self.each(Act::Write, &options.operands, line);
                if options.has(&["eval", "execute", "f", "funcall"]) {
                    self.ask(&line.shown, "an editor can run any command");
                }
            }
            "m4" | "dc" => {
                let mut texts = vec![self.state.stdin.clone()];
                for value in line
                    .options("eDIU", &["expression"])
                    .values(&["e", "expression"])
                {
                    texts.push(value.exact().map_or(Output::Nothing, Output::Text));
                }
                for file in line.options("eDIU", &["expression"]).operands {
                    texts.extend(self.script_text(&file));
                }
                let runs = if line.name == "dc" { "!" } else { "syscmd" };
                let is_code = texts.iter().any(|text| match text {
                    Output::Text(text) => text.contains(runs),
                    _ => false,
                });
                if is_code {
                    self.ask(&line.shown, "its input runs commands");
                }
            }
            _ => return false,
        }
        true
    }

    /// What these files hold is another text now.
    pub(in crate::commands) fn edited_in_place(&mut self, files: &[Value]) {
        for file in files {
            let path = self.path(file);
            if let Some(path) = path.filter(|path| self.state.files.contains_key(path)) {
                self.keep_file(path, Output::Unknown("what an edit made".to_owned()));
            }
        }
    }

    /// `sed`: its files with `-i`, and what its script writes or runs.
    pub(super) fn edited(&mut self, line: &Line<'_>) {
        let options = line.options("efls", &["expression", "file", "line-length"]);
        // What is attached to `-i` is a suffix, and no options.
        let in_place = line.arguments.iter().any(|value| {
            let text = value.prefix();
            text.starts_with("--in-place")
                || (text.starts_with('-')
                    && !text.starts_with("--")
                    && text
                        .split(['e', 'f'])
                        .next()
                        .unwrap_or_default()
                        .contains('i'))
        });
        let mut scripts = options.values(&["e", "expression"]);
        let mut operands = options.operands.clone();
        let files = options.values(&["f", "file"]);
        if scripts.is_empty() && files.is_empty() && !operands.is_empty() {
            scripts.push(operands.remove(0));
        }
        if in_place {
            self.each(Act::Write, &operands, line);
            self.edited_in_place(&operands);
        }
        let mut texts: Vec<String> = scripts.iter().filter_map(plain_text).collect();
        for file in &files {
            match self.script_text(file) {
                Some(Output::Text(text)) => texts.push(text),
                Some(Output::Items(_) | Output::Unknown(_)) => {
                    self.ask(&line.shown, "its script is not known");
                }
                Some(Output::Nothing | Output::File) | None => {}
            }
        }
        let script = texts.join("\n");
        self.steps += script.len() / 256;
        for effect in sed::effects(&script) {
            match effect {
                sed::Effect::Write(file) => {
                    self.act(Act::Write, &Value::text(file), &line.shown);
                }
                sed::Effect::Run(command) => {
                    drop(self.text_as_script(&Value::text(command), line));
                }
                sed::Effect::RunLine => self.ask(&line.shown, "it runs what the lines become"),
            }
        }
    }

    /// What commands of an editor do.
    pub(super) fn edits(
        &mut self,
        effects: impl IntoIterator<Item = editors::Effect>,
        line: &Line<'_>,
    ) {
        for effect in effects {
            match effect {
                editors::Effect::Write(file) => {
                    self.act(Act::Write, &Value::text(file), &line.shown);
                }
                editors::Effect::Run(command) => {
                    drop(self.text_as_script(&Value::text(command), line));
                }
                editors::Effect::Code => {
                    self.ask(
                        &line.shown,
                        "it runs code of the editor, which is not understood",
                    );
                }
            }
        }
    }
}
