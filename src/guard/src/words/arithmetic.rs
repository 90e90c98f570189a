//! Texts that a shell evaluates once more: arithmetic, subscripts, prompts.

use std::collections::HashSet;

use crate::shell::Walk;
use crate::value::{VALUES_MAX, Value};

impl Walk<'_> {
    /// An arithmetic expression can hold substitutions; its value is a number. What a name in it
    /// stands for is an expression again: `x='a[$(reboot)]'; echo $((x))` reboots. It may be itself, in an
    /// expansion: `x='$((x))'`.
    pub(crate) fn arithmetic(&mut self, expr: &str) {
        if self.enter() {
            let mut seen = HashSet::new();
            self.arithmetic_of(expr, &mut seen);
            self.leave();
        }
    }

    fn arithmetic_of(&mut self, expr: &str, seen: &mut HashSet<String>) {
        let mut texts = vec![expr.to_owned()];
        if expr.contains(['$', '`']) {
            let values = self.document(expr);
            texts.extend(values.iter().filter_map(Value::exact));
        }
        for text in texts {
            let names = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            for name in names.filter(|name| !name.is_empty()) {
                if seen.len() >= VALUES_MAX || !seen.insert(name.to_owned()) {
                    continue;
                }
                let values = self.state.variables.get(name).map(|it| it.values.clone());
                for value in values.into_iter().flatten() {
                    if let Some(text) = value.exact() {
                        self.arithmetic_of(&text, seen);
                    }
                }
            }
        }
    }

    /// A word that names a variable: what is between its brackets is arithmetic, quoted or not.
    pub(crate) fn subscript(&mut self, word: &Value) {
        if let Some(text) = word.exact()
            && let Some((_, index)) = text.split_once('[')
        {
            self.arithmetic(index.strip_suffix(']').unwrap_or(index));
        }
    }

    /// A text that a prompt is made of: substitutions in it are carried out when it is shown.
    pub(crate) fn prompt(&mut self, text: &str) {
        if text.contains(['$', '`']) && self.enter() {
            drop(self.apart(|walk| walk.document(text)));
            self.leave();
        }
    }
}
