//! What words become: quotes, variables, substitutions, braces, patterns.

use std::collections::HashSet;

use brush_parser::word::{
    BraceExpressionMember, BraceExpressionOrText, Parameter, ParameterExpr, ParameterTestType,
    ParameterTransformOp, SpecialParameter, SubstringMatchKind, TildeExpr, WordPiece,
    WordPieceWithSource,
};

use crate::depth::{has_deep_braces, is_too_deep};
use crate::judge::options;
use crate::shell::Walk;
use crate::value::{Part, VALUES_MAX, Value};

/// Words that one brace expression may give.
const BRACES_MAX: usize = 64;

/// Digits of a number behind `~` or in braces. Source: the parser keeps it in 64 bits.
const NUMBER_MAX: usize = 18;

/// Words under construction: what is finished, and what the current one may be.
struct Builder {
    done: Vec<Value>,
    open: Vec<Value>,
    /// Whether something of the current word is there, such as empty quotes.
    begun: bool,
    /// Whether some word has several possible values.
    forked: bool,
}

impl Builder {
    fn new() -> Self {
        Self {
            done: Vec::new(),
            open: vec![Value::default()],
            begun: false,
            forked: false,
        }
    }

    fn push(&mut self, part: &Part) {
        self.begun = true;
        for value in &mut self.open {
            value.push(part.clone());
        }
    }

    /// One of these comes next, whole.
    fn either(&mut self, values: &[Value]) {
        self.begun = true;
        match values {
            [] => {}
            [one] => self.open.iter_mut().for_each(|value| value.extend(one)),
            many => {
                self.forked = true;
                if self.open.len() * many.len() > VALUES_MAX {
                    self.push(&Part::Unknown("one of many values".to_owned()));
                    return;
                }
                let mut all = Vec::new();
                for value in &self.open {
                    for next in many {
                        let mut value = value.clone();
                        value.extend(next);
                        all.push(value);
                    }
                }
                self.open = all;
            }
        }
    }

    fn cut(&mut self) {
        if self.begun {
            self.done.append(&mut self.open);
        }
        self.open = vec![Value::default()];
        self.begun = false;
    }

    /// What an expansion without quotes gives: split at blanks, with patterns in it.
    fn split(&mut self, value: &Value, separators: &str) {
        for part in &value.0 {
            let Part::Text(text) = part else {
                self.push(part);
                continue;
            };
            let mut rest = text.as_str();
            while let Some(at) = rest.find(|c| separators.contains(c)) {
                for part in patterns(&rest[..at]) {
                    self.push(&part);
                }
                self.cut();
                let next = rest[at..].chars().next().map_or(1, char::len_utf8);
                rest = &rest[at + next..];
            }
            for part in patterns(rest) {
                self.push(&part);
            }
        }
    }

    fn finish(mut self) -> (Vec<Value>, bool) {
        self.cut();
        (self.done, self.forked)
    }
}

/// Whether there is a number for which the parser of words has no room.
fn has_long_number(raw: &str) -> bool {
    let mut digits = 0_usize;
    let mut before = ' ';
    raw.chars().any(|c| {
        if c.is_ascii_digit() {
            digits += usize::from(digits > 0 || "~+-.{".contains(before));
        } else {
            digits = 0;
        }
        before = c;
        digits > NUMBER_MAX
    })
}

/// Text without quotes: what is in front of a pattern, and the pattern.
fn patterns(text: &str) -> Vec<Part> {
    let is_pattern = text.contains(['*', '?']) || (text.contains('[') && text.contains(']'));
    if text.is_empty() {
        return Vec::new();
    }
    if !is_pattern || text == "[" || text == "[[" {
        return vec![Part::Text(text.to_owned())];
    }
    let at = text.find(['*', '?', '[']).unwrap_or(0);
    let (before, pattern) = text.split_at(at);
    let mut parts = Vec::new();
    if !before.is_empty() {
        parts.push(Part::Text(before.to_owned()));
    }
    parts.push(Part::Glob(pattern.to_owned()));
    parts
}

impl Walk<'_> {
    /// The words that a word becomes, and whether they are alternatives.
    pub(crate) fn expand(&mut self, raw: &str) -> (Vec<Value>, bool) {
        let mut words = Vec::new();
        let mut forked = false;
        for raw in self.braces(raw) {
            let mut builder = Builder::new();
            for piece in self.pieces(&raw) {
                self.piece(&piece, false, &mut builder);
            }
            let (some, fork) = builder.finish();
            words.extend(some);
            forked |= fork;
        }
        (words, forked)
    }

    /// The values that a word may have where it is not split, such as in an assignment.
    pub(crate) fn whole(&mut self, raw: &str) -> Vec<Value> {
        let pieces = self.pieces(raw);
        self.joined(&pieces)
    }

    /// The values of a here-document's body.
    pub(crate) fn document(&mut self, raw: &str) -> Vec<Value> {
        let pieces = if is_too_deep(raw) || has_long_number(raw) {
            None
        } else {
            brush_parser::word::parse_heredoc(raw, &options()).ok()
        };
        match pieces {
            Some(pieces) => {
                let mut builder = Builder::new();
                for piece in &pieces {
                    self.piece(&piece.piece, true, &mut builder);
                }
                builder.open
            }
            None => vec![self.unreadable(raw)],
        }
    }

    fn joined(&mut self, pieces: &[WordPiece]) -> Vec<Value> {
        let mut builder = Builder::new();
        for piece in pieces {
            // A pattern stays what it is, and nothing is split.
            match piece {
                WordPiece::Text(text) => builder.push(&Part::Text(text.clone())),
                piece => self.piece(piece, true, &mut builder),
            }
        }
        builder.open
    }

    fn unreadable(&mut self, raw: &str) -> Value {
        let shown: String = raw.chars().take(40).collect();
        self.ask(&shown, "a word of it cannot be read");
        Value::unknown(shown)
    }

    fn pieces(&mut self, raw: &str) -> Vec<WordPiece> {
        if is_too_deep(raw) || has_long_number(raw) {
            return vec![WordPiece::SingleQuotedText(self.unreadable(raw).shown())];
        }
        if let Ok(pieces) = brush_parser::word::parse(raw, &options()) {
            pieces.into_iter().map(|piece| piece.piece).collect()
        } else {
            let value = self.unreadable(raw);
            vec![WordPiece::SingleQuotedText(value.shown())]
        }
    }

    fn braces(&mut self, raw: &str) -> Vec<String> {
        if !raw.contains('{') || is_too_deep(raw) {
            return vec![raw.to_owned()];
        }
        if has_deep_braces(raw) || has_long_number(raw) {
            return vec![self.unreadable(raw).shown()];
        }
        let Ok(Some(pieces)) = brush_parser::word::parse_brace_expansions(raw, &options()) else {
            return vec![raw.to_owned()];
        };
        let words = unfolded(&pieces, 0);
        if words.len() > BRACES_MAX {
            // More than will be looked at one by one: as if each stood for any.
            self.ask(raw, "it stands for very many words");
        }
        words
    }

    fn piece(&mut self, piece: &WordPiece, quoted: bool, builder: &mut Builder) {
        match piece {
            WordPiece::Text(text) if quoted => builder.push(&Part::Text(text.clone())),
            WordPiece::Text(text) => {
                for part in patterns(text) {
                    builder.push(&part);
                }
            }
            WordPiece::SingleQuotedText(text) => builder.push(&Part::Text(text.clone())),
            WordPiece::AnsiCQuotedText(text) => builder.push(&Part::Text(unescaped(text))),
            WordPiece::DoubleQuotedSequence(pieces)
            | WordPiece::GettextDoubleQuotedSequence(pieces) => {
                builder.push(&Part::Text(String::new()));
                self.quoted(pieces, builder);
            }
            WordPiece::TildeExpansion(tilde) => builder.push(&self.tilde(tilde)),
            WordPiece::ParameterExpansion(expr) => {
                let (values, list) = self.parameter(expr);
                self.insert(&values, list, quoted, builder);
            }
            WordPiece::CommandSubstitution(text) => {
                let values = self.substitution(text).values();
                self.insert(&values, false, quoted, builder);
            }
            WordPiece::BackquotedCommandSubstitution(text) => {
                let text = text
                    .replace("\\`", "`")
                    .replace("\\$", "$")
                    .replace("\\\\", "\\");
                let values = self.substitution(&text).values();
                self.insert(&values, false, quoted, builder);
            }
            WordPiece::EscapeSequence(text) => {
                let text = text.strip_prefix('\\').unwrap_or(text);
                if text != "\n" {
                    builder.push(&Part::Text(text.to_owned()));
                }
            }
            WordPiece::ArithmeticExpression(expr) => {
                self.arithmetic(&expr.value);
                builder.push(&Part::Name);
            }
        }
    }

    fn quoted(&mut self, pieces: &[WordPieceWithSource], builder: &mut Builder) {
        for piece in pieces {
            self.piece(&piece.piece, true, builder);
        }
    }

    /// An arithmetic expression can hold substitutions; its value is a number. What a name in it
    /// stands for is an expression again: `x='a[$(reboot)]'; echo $((x))` reboots.
    pub(crate) fn arithmetic(&mut self, expr: &str) {
        let mut seen = HashSet::new();
        self.arithmetic_of(expr, &mut seen);
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

    /// Values that an expansion gave: one of them, or when it is a list, one word for each.
    fn insert(&mut self, values: &[Value], list: bool, quoted: bool, builder: &mut Builder) {
        let separators = self.separators();
        if list && values.is_empty() {
            return;
        }
        if list {
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    builder.cut();
                }
                if quoted {
                    builder.either(std::slice::from_ref(value));
                } else {
                    builder.split(value, &separators);
                }
            }
            return;
        }
        match (values, quoted) {
            (values, true) => builder.either(values),
            ([one], false) => builder.split(one, &separators),
            (many, false) => {
                builder.forked = true;
                for (index, value) in many.iter().enumerate() {
                    if index > 0 {
                        builder.cut();
                    }
                    builder.split(value, &separators);
                }
            }
        }
    }

    pub(crate) fn separators(&self) -> String {
        let ifs = self.state.variables.get("IFS");
        let ifs = ifs.and_then(|ifs| ifs.values.first()?.exact());
        ifs.unwrap_or_else(|| " \t\n".to_owned())
    }

    fn tilde(&self, tilde: &TildeExpr) -> Part {
        let cwd = |cwd: &crate::place::Directories| match cwd.as_slice() {
            [Some(one)] => Part::Text(one.clone()),
            _ => Part::Unknown("the directory".to_owned()),
        };
        let nowhere = || Part::Unknown("a directory of the stack".to_owned());
        match tilde {
            TildeExpr::Home => match self.state.variables.get("HOME") {
                Some(home) if home.values.len() == 1 => match home.values[0].exact() {
                    Some(home) => Part::Text(home),
                    None => Part::Unknown("~".to_owned()),
                },
                _ => Part::Unknown("~".to_owned()),
            },
            TildeExpr::UserHome(user) if user == "root" => Part::Text("/root".to_owned()),
            TildeExpr::UserHome(user) => Part::Text(format!("/home/{user}")),
            TildeExpr::WorkingDir => cwd(&self.state.cwd),
            TildeExpr::OldWorkingDir => cwd(&self.state.cwd_before),
            TildeExpr::NthDirFromTopOfDirStack { n, .. } => match n {
                0 => cwd(&self.state.cwd),
                n => {
                    let at = self.state.directories.len().checked_sub(*n);
                    at.map_or_else(nowhere, |at| cwd(&self.state.directories[at]))
                }
            },
            TildeExpr::NthDirFromBottomOfDirStack { n } => match self.state.directories.get(*n) {
                Some(directory) => cwd(directory),
                None if self.state.directories.len() == *n => cwd(&self.state.cwd),
                None => nowhere(),
            },
        }
    }

    /// The values of a parameter, whether they are a list, and whether it is set.
    fn lookup(&mut self, parameter: &Parameter) -> (Vec<Value>, bool, Option<bool>) {
        let unknown = |shown: String| (vec![Value::unknown(shown)], false, None);
        match parameter {
            Parameter::Positional(0) => (vec![Value::name()], false, Some(true)),
            Parameter::Positional(number) => match &self.state.positional {
                Some(values) => {
                    let index = usize::try_from(*number).unwrap_or(usize::MAX);
                    match values.get(index.wrapping_sub(1)) {
                        Some(value) => (vec![value.clone()], false, Some(true)),
                        None => (vec![Value::default()], false, Some(false)),
                    }
                }
                None => unknown(format!("${number}")),
            },
            Parameter::Special(SpecialParameter::AllPositionalParameters { .. }) => {
                match &self.state.positional {
                    Some(values) => (values.clone(), true, Some(!values.is_empty())),
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
            | "SHLVL" | "EPOCHSECONDS" => (vec![Value::name()], false, Some(true)),
            _ => (vec![Value::unknown(format!("${name}"))], false, None),
        }
    }

    /// What an expansion of a parameter gives, and whether it is a list of words.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    fn parameter(&mut self, expr: &ParameterExpr) -> (Vec<Value>, bool) {
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

/// The words of a brace expression, a few more than [`BRACES_MAX`] at most.
fn unfolded(pieces: &[BraceExpressionOrText], depth: usize) -> Vec<String> {
    let mut words = vec![String::new()];
    for piece in pieces {
        let next: Vec<String> = match piece {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => members
                .iter()
                .take(BRACES_MAX + 1)
                .flat_map(|member| match member {
                    // Numbers and letters: the first and the last say where they lead.
                    BraceExpressionMember::NumberSequence { start, end, .. } => {
                        vec![start.to_string(), end.to_string()]
                    }
                    BraceExpressionMember::CharSequence { start, end, .. } => {
                        vec![start.to_string(), end.to_string()]
                    }
                    BraceExpressionMember::Child(pieces) if depth < 8 => {
                        unfolded(pieces, depth + 1)
                    }
                    BraceExpressionMember::Child(_) => vec!["$NESTED".to_owned()],
                })
                .collect(),
        };
        let mut all = Vec::new();
        for word in &words {
            for next in &next {
                if all.len() <= BRACES_MAX {
                    all.push(format!("{word}{next}"));
                }
            }
        }
        words = all;
    }
    words
}

/// Decodes the inside of `$'...'`.
pub(crate) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(c) = chars.next() else {
            bytes.push(b'\\');
            break;
        };
        let mut number = |radix: u32, digits: usize, first: Option<char>| {
            let mut value = first.and_then(|c| c.to_digit(radix));
            let mut taken = usize::from(value.is_some());
            while taken < digits
                && let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix))
            {
                value = Some(value.unwrap_or(0).wrapping_mul(radix).wrapping_add(digit));
                taken += 1;
                chars.next();
            }
            value
        };
        match c {
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            'r' => bytes.push(b'\r'),
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'e' | 'E' => bytes.push(27),
            'f' => bytes.push(12),
            'v' => bytes.push(11),
            'c' => {
                chars.next();
            }
            'x' => bytes.extend(number(16, 2, None).and_then(|value| u8::try_from(value).ok())),
            'u' | 'U' => {
                let value = number(16, if c == 'u' { 4 } else { 8 }, None);
                if let Some(c) = value.and_then(char::from_u32) {
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            '0'..='7' => {
                let value = number(8, 3, Some(c)).unwrap_or(0);
                bytes.push(u8::try_from(value & 0xff).unwrap_or(0));
            }
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
