//! Databases in a file.

use crate::commands::Line;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

impl Walk<'_> {
    /// Judges `sqlite3`.
    pub(super) fn in_sqlite(&mut self, line: &Line<'_>) -> bool {
        match line.name {
            "sqlite3" => {
                // Its words have one dash too: `-cmd`.
                let at = line
                    .arguments
                    .windows(2)
                    .filter(|pair| pair[0].prefix().ends_with("-cmd"));
                let commands: Vec<String> = at.map(|pair| pair[1].shown()).collect();
                let operands = line.options("", &["cmd", "init", "separator"]).operands;
                if let Some((database, rest)) = operands.split_first() {
                    let reads = !rest.is_empty()
                        && rest.iter().all(|value| {
                            let text = value.shown().to_lowercase();
                            text.starts_with("select")
                                || text.starts_with(".schema")
                                || text.starts_with(".tables")
                                || text.starts_with(".dump")
                        });
                    if !reads && database.exact().as_deref() != Some(":memory:") {
                        self.act(Act::Write, database, &line.shown);
                    }
                    let mut texts: Vec<String> = rest.iter().map(Value::shown).collect();
                    if let Output::Text(text) = &self.state.stdin {
                        texts.extend(text.lines().map(str::to_owned));
                    }
                    texts.extend(commands);
                    for text in texts {
                        self.sqlite_command(text.trim(), line);
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// A command of SQLite's own, which begins with a dot.
    pub(super) fn sqlite_command(&mut self, text: &str, line: &Line<'_>) {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let last = rest.rsplit(char::is_whitespace).next().unwrap_or_default();
        let last = last.trim_matches(['"', '\'']);
        match name {
            ".shell" | ".system" => drop(self.text_as_script(&Value::text(rest), line)),
            ".output" | ".once" | ".log" | ".save" | ".backup" | ".clone" | ".trace"
            | ".archive" => match rest.trim_matches(['"', '\'']).strip_prefix('|') {
                Some(command) => drop(self.text_as_script(&Value::text(command), line)),
                None if last.is_empty() || matches!(last, "off" | "on" | "stdout") => {}
                None => self.act(Act::Write, &Value::text(last), &line.shown),
            },
            ".import" if rest.starts_with('|') => {
                drop(self.text_as_script(&Value::text(&rest[1..]), line));
            }
            ".load" => self.ask(&line.shown, "it loads code"),
            _ => {}
        }
    }
}
