//! Package managers of a project.

use crate::commands::Line;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

impl Walk<'_> {
    /// Judges a package manager, if this is one.
    pub(super) fn in_project(&mut self, line: &Line<'_>) -> bool {
        match line.name {
            "npm" | "yarn" | "pnpm" => {
                let long = ["prefix", "cwd", "dir"];
                let options = line.options("C", &long);
                let into = [&options.values(&long)[..], &options.values(&["C"])[..]].concat();
                self.each(Act::Write, &into, line);
                if let Some(Output::Text(text)) = self.script_text(&Value::text("package.json")) {
                    for script in scripts_of_package(&text) {
                        drop(self.apart(|walk| walk.script(&script)));
                    }
                }
                if options.has(&["g", "global"]) {
                    self.refuse(
                        &line.shown,
                        "changes what is installed outside the workspace",
                    );
                }
            }

            _ => return false,
        }
        true
    }
}

/// The commands that a `package.json` names.
fn scripts_of_package(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("\"scripts\"") else {
        return Vec::new();
    };
    let inner = rest.split_once('}').map_or(rest, |(inner, _)| inner);
    // Names and commands take turns between the quotes.
    let texts: Vec<&str> = inner.split('"').skip(1).step_by(2).collect();
    let commands = texts.iter().skip(1).step_by(2);
    commands.map(|text| text.replace("\\\\", "\\")).collect()
}
