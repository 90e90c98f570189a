//! Variables and what their expansions make of them.

use brush_parser::word::{
    Parameter, ParameterExpr, ParameterTestType, ParameterTransformOp, SpecialParameter,
    SubstringMatchKind,
};

use super::pattern::{PATTERN, cut};
use super::text::unescaped;
use crate::commands::quote;
use crate::shell::Walk;
use crate::value::{Part, Value};

/// What the values of a parameter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One word, which is one of them.
    One,
    /// A word for each of them.
    List,
    /// A word for each of them, of which it is not known where it stands.
    Any,
}

impl Shape {
    /// Of all that a list holds.
    fn of_all(is_any: bool) -> Self {
        if is_any { Self::Any } else { Self::List }
    }
}

/// Whether a parameter is set to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsSet {
    Yes,
    No,
    /// On some of the ways to this point, or it is not known to what.
    Perhaps,
    /// Nobody has set it here: in a sandbox it is not set.
    Unheard,
}

impl IsSet {
    fn of(values: &[Value]) -> Self {
        let may_be_empty =
            |value: &Value| value.0.iter().all(|part| matches!(part, Part::Unknown(_)));
        if values.iter().all(|value| value.0.is_empty()) {
            Self::No
        } else if values.iter().any(may_be_empty) {
            Self::Perhaps
        } else {
            Self::Yes
        }
    }
}

/// What is known of a parameter.
struct Found {
    values: Vec<Value>,
    shape: Shape,
    set: IsSet,
}

impl Found {
    fn of(values: Vec<Value>, shape: Shape) -> Self {
        let set = IsSet::of(&values);
        Self { values, shape, set }
    }

    /// A number, or a name.
    fn name() -> Self {
        Self::of(vec![Value::name()], Shape::One)
    }

    fn unset() -> Self {
        Self::of(vec![Value::default()], Shape::One)
    }

    fn unheard(shown: String) -> Self {
        Self {
            values: vec![Value::unknown(shown)],
            shape: Shape::One,
            set: IsSet::Unheard,
        }
    }

    fn but_perhaps_unset(mut self, may_be_unset: bool) -> Self {
        if may_be_unset && self.set == IsSet::Yes {
            self.set = IsSet::Perhaps;
        }
        self
    }
}

impl Walk<'_> {
    fn lookup(&mut self, parameter: &Parameter) -> Found {
        match parameter {
            Parameter::Positional(0) => Found::name(),
            Parameter::Positional(number) => match &self.state.positional {
                Some(positional) if positional.is_any => {
                    Found::of(positional.values.clone(), Shape::One).but_perhaps_unset(true)
                }
                Some(positional) => {
                    let index = usize::try_from(*number).unwrap_or(usize::MAX);
                    match positional.values.get(index.wrapping_sub(1)) {
                        Some(value) => Found::of(vec![value.clone()], Shape::One),
                        None => Found::unset(),
                    }
                }
                None => Found::unheard(format!("${number}")),
            },
            Parameter::Special(SpecialParameter::AllPositionalParameters { .. }) => {
                match &self.state.positional {
                    Some(positional) => {
                        Found::of(positional.values.clone(), Shape::of_all(positional.is_any))
                            .but_perhaps_unset(positional.is_any)
                    }
                    None => Found::unheard("$@".to_owned()),
                }
            }
            Parameter::Special(SpecialParameter::LastBackgroundProcessId) => {
                Found::of(vec![Value(vec![Part::Job])], Shape::One)
            }
            Parameter::Special(_) => Found::name(),
            Parameter::Named(name) => self.named(name),
            Parameter::NamedWithIndex { name, index } => {
                self.arithmetic(index);
                if name == "BASH_SOURCE" && !self.state.variables.contains_key(name) {
                    // The script's own name, as `$0` is.
                    return Found::name();
                }
                let Some(variable) = self.state.variables.get(name) else {
                    return Found::unheard(format!("${{{name}[{index}]}}"));
                };
                match index.parse::<usize>() {
                    Ok(index) if variable.is_list && !variable.is_any => {
                        match variable.values.get(index) {
                            Some(value) => Found::of(vec![value.clone()], Shape::One)
                                .but_perhaps_unset(variable.may_be_unset),
                            None => Found::unset(),
                        }
                    }
                    // One of them.
                    _ => Found::of(variable.values.clone(), Shape::One).but_perhaps_unset(true),
                }
            }
            Parameter::NamedWithAllIndices { name, .. } => match self.state.variables.get(name) {
                Some(variable) => {
                    Found::of(variable.values.clone(), Shape::of_all(variable.is_any))
                        .but_perhaps_unset(variable.may_be_unset)
                }
                None => Found::unheard(format!("${{{name}[@]}}")),
            },
        }
    }

    fn named(&self, name: &str) -> Found {
        if let Some(variable) = self.state.variables.get(name) {
            let values = if variable.is_list && !variable.is_any {
                variable.values.iter().take(1).cloned().collect()
            } else {
                variable.values.clone()
            };
            return Found::of(values, Shape::One).but_perhaps_unset(variable.may_be_unset);
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
                Found {
                    values: values.collect(),
                    shape: Shape::One,
                    set: IsSet::Yes,
                }
            }
            "IFS" => Found::of(vec![Value::text(" \t\n")], Shape::One),
            "TMPDIR" => Found {
                set: IsSet::Unheard,
                ..Found::of(vec![Value::text("/tmp")], Shape::One)
            },
            "RANDOM" | "SECONDS" | "LINENO" | "UID" | "EUID" | "PPID" | "BASHPID" | "HOSTNAME"
            | "SHLVL" | "BASH_SOURCE" | "EPOCHSECONDS" => Found::name(),
            _ => Found::unheard(format!("${name}")),
        }
    }

    /// What an expansion of a parameter gives, and as what.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    pub(super) fn parameter(&mut self, expr: &ParameterExpr) -> (Vec<Value>, Shape) {
        match expr {
            ParameterExpr::Parameter {
                parameter,
                indirect: false,
            } => {
                let found = self.lookup(parameter);
                (found.values, found.shape)
            }
            ParameterExpr::Parameter {
                parameter,
                indirect: true,
            } => (self.indirect(parameter), Shape::One),
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
                    return (values, Shape::One);
                }
                let found = self.lookup(parameter);
                let mut values = found.values;
                match found.set {
                    IsSet::Yes => return (values, found.shape),
                    IsSet::Perhaps => values.extend(default.clone()),
                    // What is set to nothing keeps it, where only being set is asked for.
                    IsSet::No if matches!(test_type, ParameterTestType::Unset) => {
                        values.extend(default.clone());
                    }
                    IsSet::No | IsSet::Unheard => values.clone_from(&default),
                }
                if assigns && let Parameter::Named(name) = parameter {
                    let values = match found.set {
                        IsSet::Perhaps => values.clone(),
                        IsSet::Yes | IsSet::No | IsSet::Unheard => default,
                    };
                    self.assign(name, values, false);
                }
                let shape = match (found.set, found.shape) {
                    // The words of the list, or the default.
                    (IsSet::Perhaps, Shape::List | Shape::Any) => Shape::Any,
                    _ => Shape::One,
                };
                (values, shape)
            }
            ParameterExpr::IndicateErrorIfNullOrUnset {
                parameter,
                error_message,
                ..
            } => {
                drop(self.whole(error_message.as_deref().unwrap_or_default()));
                let found = self.lookup(parameter);
                (found.values, found.shape)
            }
            ParameterExpr::UseAlternativeValue {
                parameter,
                alternative_value,
                ..
            } => {
                let mut values = self.whole(alternative_value.as_deref().unwrap_or_default());
                match self.lookup(parameter).set {
                    IsSet::Yes => {}
                    IsSet::No => values = vec![Value::default()],
                    IsSet::Perhaps | IsSet::Unheard => values.push(Value::default()),
                }
                (values, Shape::One)
            }
            ParameterExpr::ParameterLength { .. } => (vec![Value::name()], Shape::One),
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
            } => self.without_front(parameter, pattern.as_deref(), false),
            ParameterExpr::RemoveLargestPrefixPattern {
                parameter, pattern, ..
            } => self.without_front(parameter, pattern.as_deref(), true),
            ParameterExpr::ReplaceSubstring {
                parameter,
                pattern,
                replacement,
                match_kind,
                ..
            } => {
                let to = self.whole(replacement.as_deref().unwrap_or_default());
                let exact = match to.as_slice() {
                    [one] => one.exact(),
                    _ => None,
                };
                let (values, shape) = self.trimmed(parameter, Some(pattern), |text, pattern| {
                    let to = exact.as_ref()?;
                    if pattern.contains(PATTERN) {
                        return None;
                    }
                    Some(match match_kind {
                        SubstringMatchKind::Anywhere => text.replace(pattern, to),
                        SubstringMatchKind::FirstOccurrence => text.replacen(pattern, to, 1),
                        SubstringMatchKind::Prefix => match text.strip_prefix(pattern) {
                            Some(rest) => format!("{to}{rest}"),
                            None => text.to_owned(),
                        },
                        SubstringMatchKind::Suffix => match text.strip_suffix(pattern) {
                            Some(rest) => format!("{rest}{to}"),
                            None => text.to_owned(),
                        },
                    })
                });
                let leads_nowhere = to.iter().all(|to| match to.exact() {
                    Some(to) => to.is_empty() || (!to.contains('/') && to.contains(|c| c != '.')),
                    None => false,
                });
                let is_known = |value: &Value| leads_nowhere || value.exact().is_some();
                let replaced = values.into_iter().map(|value| {
                    if is_known(&value) {
                        value
                    } else {
                        Value::unknown(format!("${{{parameter}}} with other parts"))
                    }
                });
                (replaced.collect(), shape)
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
                let found = self.lookup(parameter);
                if found.shape != Shape::One {
                    return part_of_list(found, parameter, from, count);
                }
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
                let Found { values, shape, .. } = self.lookup(parameter);
                for text in values.iter().filter_map(Value::exact) {
                    self.prompt(&text);
                }
                let shown = values.into_iter().map(|value| match value.exact() {
                    Some(text) if !text.contains(['$', '`', '\\']) => value,
                    _ => Value::unknown("a prompt"),
                });
                (shown.collect(), shape)
            }
            ParameterExpr::Transform {
                parameter,
                op: ParameterTransformOp::ExpandEscapeSequences,
                ..
            } => {
                let Found { values, shape, .. } = self.lookup(parameter);
                let shown = values.into_iter().map(|value| match value.exact() {
                    Some(text) => Value::text(unescaped(&text)),
                    None => Value::unknown(format!("${{{parameter}@E}}")),
                });
                (shown.collect(), shape)
            }
            ParameterExpr::Transform {
                parameter,
                op: ParameterTransformOp::Quoted,
                ..
            } => self.trimmed(parameter, None, |text, _| Some(quote(text))),
            ParameterExpr::Transform {
                parameter,
                op: ParameterTransformOp::ToUpperCase,
                ..
            } => self.trimmed(parameter, None, |text, _| Some(text.to_uppercase())),
            ParameterExpr::Transform {
                parameter,
                op: ParameterTransformOp::ToLowerCase,
                ..
            } => self.trimmed(parameter, None, |text, _| Some(text.to_lowercase())),
            ParameterExpr::UppercaseFirstChar { parameter, .. }
            | ParameterExpr::UppercasePattern { parameter, .. }
            | ParameterExpr::LowercaseFirstChar { parameter, .. }
            | ParameterExpr::LowercasePattern { parameter, .. }
            | ParameterExpr::Transform { parameter, .. } => {
                self.trimmed(parameter, None, |_, _| None)
            }
            ParameterExpr::VariableNames { .. } | ParameterExpr::MemberKeys { .. } => {
                (vec![Value::name()], Shape::One)
            }
        }
    }

    fn indirect(&mut self, parameter: &Parameter) -> Vec<Value> {
        let names = self.lookup(parameter).values;
        match names.as_slice() {
            [name] => match name.exact() {
                Some(name) => self.named(&name).values,
                None => vec![Value::unknown(format!("${{!{parameter}}}"))],
            },
            _ => vec![Value::unknown("an indirect variable".to_owned())],
        }
    }

    /// A parameter's values without what a pattern matches in front.
    fn without_front(
        &mut self,
        parameter: &Parameter,
        pattern: Option<&str>,
        most: bool,
    ) -> (Vec<Value>, Shape) {
        let text = self.whole(pattern.unwrap_or_default());
        let text = match text.as_slice() {
            [one] => one.exact().filter(|text| !text.contains(PATTERN)),
            _ => None,
        };
        let before = self.lookup(parameter).values;
        let (mut values, shape) = self.trimmed(parameter, pattern, |text, pattern| {
            cut(text, pattern, true, most)
        });
        // A value that is known only in front: what is left of that.
        for (value, before) in values.iter_mut().zip(&before) {
            if let Some(text) = &text
                && before.exact().is_none()
                && before.prefix().starts_with(text.as_str())
            {
                *value = before.after(text.len());
            }
        }
        (values, shape)
    }

    /// A parameter's values after a change of their text.
    fn trimmed(
        &mut self,
        parameter: &Parameter,
        pattern: Option<&str>,
        change: impl Fn(&str, &str) -> Option<String>,
    ) -> (Vec<Value>, Shape) {
        let pattern = match pattern {
            None => Some(String::new()),
            Some(raw) => match self.whole(raw).as_slice() {
                [one] => one.exact(),
                _ => None,
            },
        };
        let Found { values, shape, .. } = self.lookup(parameter);
        let changed = values.into_iter().map(|value| {
            let changed = pattern
                .as_deref()
                .and_then(|pattern| change(&value.exact()?, pattern));
            match changed {
                Some(text) => Value::text(text),
                None => self.roughly(value, pattern.as_deref() == Some("*/")),
            }
        });
        (changed.collect(), shape)
    }

    /// What is left to know of a value that was cut somewhere.
    fn roughly(&self, value: Value, is_last_part: bool) -> Value {
        let is_text = |part: &Part| matches!(part, Part::Text(text) | Part::Glob(text) if text.contains(".."));
        let is_absolute = value.prefix().starts_with('/') && value.exact().is_some();
        if value.0.iter().any(is_text) || (is_absolute && !is_last_part) {
            // A part of it may lead upwards, or to what it lies in.
            return Value::unknown(format!("a part of {}", value.shown()));
        }
        let plain = value.0.iter().all(|part| match part {
            Part::Text(text) | Part::Glob(text) => !text.contains('/'),
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

/// Some elements of a list: all of them where it is not known which.
fn part_of_list(
    found: Found,
    parameter: &Parameter,
    from: Option<usize>,
    count: Option<usize>,
) -> (Vec<Value>, Shape) {
    let (Shape::List, Some(from), Some(count)) = (found.shape, from, count) else {
        return (found.values, Shape::Any);
    };
    let is_array = matches!(parameter, Parameter::NamedWithAllIndices { .. });
    // Before the first parameter comes `$0`.
    let (from, count) = match from {
        from if is_array => (from, count),
        0 => (0, count.saturating_sub(1)),
        from => (from - 1, count),
    };
    let part = found.values.into_iter().skip(from).take(count);
    (part.collect(), Shape::List)
}
