//! Words under construction.

use crate::value::{Part, VALUES_MAX, Value};

/// Words under construction: what is finished, and what the current one may be.
pub(super) struct Builder {
    pub(super) done: Vec<Value>,
    pub(super) open: Vec<Value>,
    /// Whether something of the current word is there, such as empty quotes.
    pub(super) begun: bool,
    /// Whether some word has several possible values.
    pub(super) forked: bool,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            done: Vec::new(),
            open: vec![Value::default()],
            begun: false,
            forked: false,
        }
    }

    pub(super) fn push(&mut self, part: &Part) {
        self.begun = true;
        for value in &mut self.open {
            value.push(part.clone());
        }
    }

    /// One of these comes next, whole.
    pub(super) fn either(&mut self, values: &[Value]) {
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

    pub(super) fn cut(&mut self) {
        if self.begun {
            self.done.append(&mut self.open);
        }
        self.open = vec![Value::default()];
        self.begun = false;
    }

    /// What an expansion without quotes gives: split at blanks, with patterns in it.
    pub(super) fn split(&mut self, value: &Value, separators: &str) {
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

    pub(super) fn finish(mut self) -> (Vec<Value>, bool) {
        self.cut();
        (self.done, self.forked)
    }
}

/// Text without quotes: what is in front of a pattern, and the pattern.
pub(super) fn patterns(text: &str) -> Vec<Part> {
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
