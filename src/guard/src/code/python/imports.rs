//! Modules that the command itself wrote.

use super::{Python, Scope, judge_in};
use crate::value::Output;

/// Files of one name that are looked at.
const FILES_MAX: usize = 8;

impl Python<'_, '_> {
    /// Walks a module that the command wrote, wherever it lies, and gives the names in it.
    pub(super) fn written_module(&mut self, module: &str) -> Scope {
        let path = module.replace('.', "/");
        let ends = [format!("/{path}.py"), format!("/{path}/__init__.py")];
        let is_module = |file: &&String| ends.iter().any(|end| file.ends_with(end));
        let mut files: Vec<String> = self
            .walk
            .state
            .files
            .keys()
            .filter(is_module)
            .cloned()
            .collect();
        files.sort();
        files.truncate(FILES_MAX);
        let mut names = Scope::new();
        for file in files {
            let text = match self.walk.state.files.get(&file) {
                Some(Output::Text(text)) => text.clone(),
                Some(Output::Items(_) | Output::Unknown(_)) => {
                    self.walk
                        .ask(self.shown, "it runs a text that is not known");
                    continue;
                }
                Some(Output::Nothing | Output::File) | None => continue,
            };
            // Modules may import each other.
            if self.walk.state.calls.contains(&file) {
                continue;
            }
            self.walk.state.calls.push(file);
            names.extend(judge_in(self.walk, &text, Scope::new(), self.shown).unwrap_or_default());
            self.walk.state.calls.pop();
        }
        names
    }

    /// `import MODULE`: its names are behind its own.
    pub(super) fn imported(&mut self, module: &str, as_name: &str) {
        for (name, value) in self.written_module(module) {
            self.set(format!("{as_name}.{name}"), value);
        }
    }
}
