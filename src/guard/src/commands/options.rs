//! Options and operands of a command line.

use crate::value::Value;

/// A command line after its program's name, taken apart as `getopt_long` does.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Options, without their dashes, with their values.
    pub(crate) flags: Vec<(String, Option<Value>)>,
    /// Everything else.
    pub(crate) operands: Vec<Value>,
    /// How many of the operands came before each of the options.
    before: Vec<usize>,
}

impl Options {
    /// Takes arguments apart. `short` names the letters and `long` the words that take a value.
    /// With `stop` the first operand ends the options, as it does for programs that run others.
    pub(crate) fn parse(arguments: &[Value], short: &str, long: &[&str], stop: bool) -> Self {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.prefix().to_owned();
            if text == "--" && argument.exact().is_some() {
                options.operands.extend(rest.cloned());
                break;
            }
            if let Some(word) = text.strip_prefix("--") {
                let (name, value) = match word.split_once('=') {
                    Some((name, _)) => (name, Some(argument.after(2 + name.len() + 1))),
                    None => (word, None),
                };
                let value = match value {
                    None if long.contains(&name) => rest.next().cloned(),
                    value => value,
                };
                options.flag(name, value);
            } else if text.len() > 1 && text.starts_with('-') {
                for (at, letter) in text.char_indices().skip(1) {
                    let end = at + letter.len_utf8();
                    if short.contains(letter) {
                        let attached = argument.after(end);
                        let is_attached = end < text.len() || attached.0.len() > 1;
                        let value = if is_attached {
                            Some(attached)
                        } else {
                            rest.next().cloned()
                        };
                        options.flag(&letter.to_string(), value);
                        break;
                    }
                    options.flag(&letter.to_string(), None);
                }
            } else {
                options.operands.push(argument.clone());
                if stop {
                    options.operands.extend(rest.cloned());
                    break;
                }
            }
        }
        options
    }

    fn flag(&mut self, name: &str, value: Option<Value>) {
        self.flags.push((name.to_owned(), value));
        self.before.push(self.operands.len());
    }

    /// Values of these options that come before an operand, and behind the one before it.
    pub(crate) fn values_before(&self, names: &[&str], operand: usize) -> Vec<Value> {
        let places = self.flags.iter().zip(&self.before);
        let found = places
            .filter(|((name, _), before)| **before == operand && names.contains(&name.as_str()));
        found.filter_map(|((_, value), _)| value.clone()).collect()
    }

    /// Whether one of these options is there.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        self.flags
            .iter()
            .any(|(name, _)| names.contains(&name.as_str()))
    }

    /// The values of these options.
    pub(crate) fn values(&self, names: &[&str]) -> Vec<Value> {
        let found = self
            .flags
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        found.filter_map(|(_, value)| value.clone()).collect()
    }
}
