//! Variables and what their expansions make of them.

use brush_parser::word::{
    Parameter, ParameterExpr, ParameterTestType, ParameterTransformOp, SpecialParameter,
    SubstringMatchKind,
};

use crate::shell::Walk;
use crate::value::{Part, Value};

impl Walk<'_> {
    /// The values of a parameter, whether they are a list, and whether it is set.
    fn lookup(&mut self, parameter: &Parameter) -> (Vec<Value>, bool, Option<bool>) {
        let unknown = |shown: String| (vec![Value::unknown(shown)], false, None);
        match parameter {
            Parameter::Positional(0) => (vec![Value::name()], false, Some(true)),
            Parameter::Positional(number) => match &self.state.positional {
                Some(positional) if positional.is_any => {
                    (positional.values.clone(), false, Some(true))
                }
                Some(positional) => {
                    let index = usize::try_from(*number).unwrap_or(usize::MAX);
                    match positional.values.get(index.wrapping_sub(1)) {
                        Some(value) => (vec![value.clone()], false, Some(true)),
                        None => (vec![Value::default()], false, Some(false)),
                    }
                }
                None => unknown(format!("${number}")),
            },
            Parameter::Special(SpecialParameter::AllPositionalParameters { .. }) => {
                match &self.state.positional {
                    Some(positional) => {
                        let values = positional.values.clone();
                        let is_set = !values.is_empty();
                        (values, true, Some(is_set))
                    }
                    None => unknown("$@".to_owned()),
                }
            }
            Parameter::Special(SpecialParameter::LastBackgroundProcessId) => {
                (vec![Value(vec![Part::Job])], false, Some(true))
            }
            Parameter::Special(_) => (vec![Value::name()], false, Some(true)),
            Parameter::Named(name) => self.named(name),
            Parameter::NamedWithIndex { name, index } => {
                self.arithmetic(index);
                if name == "BASH_SOURCE" && !self.state.variables.contains_key(name) {
                    // The script's own name, as `$0` is.
                    return (vec![Value::name()], false, Some(true));
                }
                let variable = self.state.variables.get(name);
                match (variable, index.parse::<usize>()) {
                    (Some(variable), Ok(index)) if variable.is_list => {
                        match variable.values.get(index) {
                            Some(value) => (vec![value.clone()], false, Some(true)),
                            None => (vec![Value::default()], false, Some(false)),
                        }
                    }
                    // One of them.
                    (Some(variable), _) => (variable.values.clone(), false, Some(true)),
                    (None, _) => unknown(format!("${{{name}[{index}]}}")),
                }
            }
            Parameter::NamedWithAllIndices { name, .. } => match self.state.variables.get(name) {
                Some(variable) => (variable.values.clone(), true, Some(true)),
                None => unknown(format!("${{{name}[@]}}")),
            },
        }
    }

    fn named(&self, name: &str) -> (Vec<Value>, bool, Option<bool>) {
        if let Some(variable) = self.state.variables.get(name) {
            let values = if variable.is_list {
                variable.values.iter().take(1).cloned().collect()
            } else {
                variable.values.clone()
            };
            let empty = values.iter().all(|value| value.0.is_empty());
            return (values, false, Some(!empty));
        }
        match name {
            "PWD" | "OLDPWD" => {
                let directories = if name == "PWD" {
                    &self.state.cwd
                } else {
                    &self.state.cwd_before
                };
                let values = directories.iter().map(|directory| match directory {
                    Some(directory) => Value::text(directory.clone()),
                    None => Value::unknown(format!("${name}")),
                });
                (values.collect(), false, Some(true))
            }
            "IFS" => (vec![Value::text(" \t\n")], false, Some(true)),
            "TMPDIR" => (vec![Value::text("/tmp")], false, None),
            "RANDOM" | "SECONDS" | "LINENO" | "UID" | "EUID" | "PPID" | "BASHPID" | "HOSTNAME"
            | "SHLVL" | "BASH_SOURCE" | "EPOCHSECONDS" => (vec![Value::name()], false, Some(true)),
            _ => (vec![Value::unknown(format!("${name}"))], false, None),
        }
    }

    /// What an expansion of a parameter gives, and whether it is a list of words.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    pub(super) fn parameter(&mut self, expr: &ParameterExpr) -> (Vec<Value>, bool) {
        match expr {
            ParameterExpr::Parameter {
                parameter,
                indirect: false,
            } => {
                let (values, list, _) = self.lookup(parameter);
                (values, list)
            }
            ParameterExpr::Parameter {
                parameter,
                indirect: true,
            } => (self.indirect(parameter), false),
            ParameterExpr::UseDefaultValues {
                parameter,
                indirect,
                default_value,
                test_type,
            }
            | ParameterExpr::AssignDefaultValues {
                parameter,
                indirect,
                default_value,
                test_type,
            } => {
                let assigns = matches!(expr, ParameterExpr::AssignDefaultValues { .. });
                let default = self.whole(default_value.as_deref().unwrap_or_default());
                if *indirect {
                    let mut values = self.indirect(parameter);
                    values.extend(default);
                    return (values, false);
                }
                let (mut values, list, set) = self.lookup(parameter);
                match set {
                    Some(true) => return (values, list),
                    // What is set to nothing keeps it, where only being set is asked for.
                    Some(false) if matches!(test_type, ParameterTestType::Unset) => {
                        values.extend(default.clone());
                    }
                    // In a sandbox a variable that nobody has set is not set.
                    Some(false) | None => values.clone_from(&default),
                }
                if assigns && let Parameter::Named(name) = parameter {
                    self.assign(name, default, false);
                }
                (values, false)
            }
            ParameterExpr::IndicateErrorIfNullOrUnset {
                parameter,
                error_message,
                ..
            } => {
                drop(self.whole(error_message.as_deref().unwrap_or_default()));
                let (values, list, _) = self.lookup(parameter);
                (values, list)
            }
            ParameterExpr::UseAlternativeValue {
                parameter,
                alternative_value,
                ..
            } => {
                let mut values = self.whole(alternative_value.as_deref().unwrap_or_default());
                let (_, _, set) = self.lookup(parameter);
                match set {
                    Some(true) => {}
                    Some(false) => values = vec![Value::default()],
                    None => values.push(Value::default()),
                }
                (values, false)
            }
            ParameterExpr::ParameterLength { .. } => (vec![Value::name()], false),
            ParameterExpr::RemoveSmallestSuffixPattern {
                parameter, pattern, ..
            } => self.trimmed(parameter, pattern.as_deref(), |text, pattern| {
                cut(text, pattern, false, false)
            }),
            ParameterExpr::RemoveLargestSuffixPattern {
                parameter, pattern, ..
            } => self.trimmed(parameter, pattern.as_deref(), |text, pattern| {
                cut(text, pattern, false, true)
            }),
            ParameterExpr::RemoveSmallestPrefixPattern {
                parameter, pattern, ..
            } => self.trimmed(parameter, pattern.as_deref(), |text, pattern| {
                cut(text, pattern, true, false)
            }),
            ParameterExpr::RemoveLargestPrefixPattern {
                parameter, pattern, ..
            } => self.trimmed(parameter, pattern.as_deref(), |text, pattern| {
                cut(text, pattern, true, true)
            }),
            ParameterExpr::ReplaceSubstring {
                parameter,
                pattern,
                replacement,
                match_kind,
                ..
            } => {
                let to = self.whole(replacement.as_deref().unwrap_or_default());
                let to = match to.as_slice() {
                    [one] => one.exact(),
                    _ => None,
                };
                self.trimmed(parameter, Some(pattern), |text, pattern| {
                    let to = to.as_ref()?;
                    if pattern.contains(['*', '?', '[']) {
                        return None;
                    }
                    Some(match match_kind {
                        SubstringMatchKind::Anywhere => text.replace(pattern, to),
                        SubstringMatchKind::FirstOccurrence => text.replacen(pattern, to, 1),
                        SubstringMatchKind::Prefix | SubstringMatchKind::Suffix => return None,
                    })
                })
            }
            ParameterExpr::Substring {
                parameter,
                offset,
                length,
                ..
            } => {
                self.arithmetic(&offset.value);
                let from = offset.value.trim().parse::<usize>().ok();
                let count = match length {
                    Some(length) => {
                        self.arithmetic(&length.value);
                        length.value.trim().parse::<usize>().ok()
                    }
                    None => Some(usize::MAX),
                };
                self.trimmed(parameter, None, |text, _| {
                    Some(text.chars().skip(from?).take(count?).collect())
                })
            }
            ParameterExpr::UppercasePattern {
                parameter,
                pattern: None,
                ..
            } => self.trimmed(parameter, None, |text, _| Some(text.to_uppercase())),
            ParameterExpr::LowercasePattern {
                parameter,
                pattern: None,
                ..
            } => self.trimmed(parameter, None, |text, _| Some(text.to_lowercase())),
            ParameterExpr::Transform {
                parameter,
                op: ParameterTransformOp::PromptExpand,
                ..
            } => {
                let (values, list, _) = self.lookup(parameter);
                for text in values.iter().filter_map(Value::exact) {
                    self.prompt(&text);
                }
                let shown = values.into_iter().map(|value| match value.exact() {
                    Some(text) if !text.contains(['$', '`', '\\']) => value,
                    _ => Value::unknown("a prompt"),
                });
                (shown.collect(), list)
            }
            ParameterExpr::UppercaseFirstChar { parameter, .. }
            | ParameterExpr::UppercasePattern { parameter, .. }
            | ParameterExpr::LowercaseFirstChar { parameter, .. }
            | ParameterExpr::LowercasePattern { parameter, .. }
            | ParameterExpr::Transform { parameter, .. } => {
                self.trimmed(parameter, None, |_, _| None)
            }
            ParameterExpr::VariableNames { .. } | ParameterExpr::MemberKeys { .. } => {
                (vec![Value::name()], false)
            }
        }
    }

    fn indirect(&mut self, parameter: &Parameter) -> Vec<Value> {
        let (names, _, _) = self.lookup(parameter);
        match names.as_slice() {
            [name] => match name.exact() {
                Some(name) => self.named(&name).0,
                None => vec![Value::unknown(format!("${{!{parameter}}}"))],
            },
            _ => vec![Value::unknown("an indirect variable".to_owned())],
        }
    }

    /// A parameter's values after a change of their text.
    fn trimmed(
        &mut self,
        parameter: &Parameter,
        pattern: Option<&str>,
        change: impl Fn(&str, &str) -> Option<String>,
    ) -> (Vec<Value>, bool) {
        let pattern = match pattern {
            None => Some(String::new()),
            Some(raw) => match self.whole(raw).as_slice() {
                [one] => one.exact(),
                _ => None,
            },
        };
        let (values, list, _) = self.lookup(parameter);
        let changed = values.into_iter().map(|value| {
            let changed = pattern
                .as_deref()
                .and_then(|pattern| change(&value.exact()?, pattern));
            match changed {
                Some(text) => Value::text(text),
                None => self.roughly(value, pattern.as_deref() == Some("*/")),
            }
        });
        (changed.collect(), list)
    }

    /// What is left to know of a value that was cut somewhere.
    fn roughly(&self, value: Value, is_last_part: bool) -> Value {
        let plain = value.0.iter().all(|part| match part {
            Part::Text(text) | Part::Glob(text) => !text.contains('/') && text != "..",
            Part::Name | Part::Job => true,
            Part::Below | Part::Unknown(_) => false,
        });
        let unknown = value.mystery().map(str::to_owned);
        if plain || (is_last_part && unknown.is_none()) {
            return Value::name();
        }
        if let Some(why) = unknown {
            return Value::unknown(why);
        }
        let inside = self.places(&value).iter().all(|place| {
            matches!(place, crate::place::Place::Inside(path) if *path != self.context.workspace)
        });
        if inside { Value::below() } else { value }
    }
}

/// Takes off what a pattern matches at one end: as little as possible, or as much. Patterns other
/// than `*` between literal texts are not understood.
fn cut(text: &str, pattern: &str, front: bool, most: bool) -> Option<String> {
    if pattern.contains(['?', '[', '\\']) {
        return None;
    }
    let fits = |piece: &str| matches(piece, pattern);
    let ends: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    if ends.len() > 4_096 {
        return None;
    }
    let longest_first = front == most;
    let mut order: Vec<usize> = ends;
    if longest_first {
        order.reverse();
    }
    for at in order {
        let (head, tail) = text.split_at(at);
        if front && fits(head) {
            return Some(tail.to_owned());
        }
        if !front && fits(tail) {
            return Some(head.to_owned());
        }
    }
    Some(text.to_owned())
}

fn matches(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
