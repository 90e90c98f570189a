//! What is known of a word's value without running anything.

/// A stretch of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Exactly this.
    Text(String),
    /// A pattern that the shell replaces by names of files.
    Glob(String),
    /// The path of something inside the workspace or scratch space.
    Below,
    /// Something without a slash that is neither `.` nor `..`: a number, a date, a name.
    Name,
    /// The id of a process that this command started.
    Job,
    /// Anything; the text says where it comes from.
    Unknown(String),
}

/// A value: its stretches one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) Vec<Part>);

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self(vec![Part::Unknown(why.into())])
    }

    pub(crate) fn below() -> Self {
        Self(vec![Part::Below])
    }

    pub(crate) fn name() -> Self {
        Self(vec![Part::Name])
    }

    pub(crate) fn push(&mut self, part: Part) {
        if matches!(&part, Part::Text(text) if text.is_empty()) {
            return;
        }
        if self.0.len() > PARTS_MAX || self.size() > TEXT_MAX {
            self.0 = vec![Part::Unknown("a long value".to_owned())];
            return;
        }
        if let (Part::Text(new), Some(Part::Text(last))) = (&part, self.0.last_mut()) {
            last.push_str(new);
        } else {
            self.0.push(part);
        }
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        for part in &other.0 {
            self.push(part.clone());
        }
    }

    /// What it costs to keep, in bytes.
    pub(crate) fn size(&self) -> usize {
        let size = |part: &Part| match part {
            Part::Text(text) | Part::Glob(text) | Part::Unknown(text) => text.len(),
            Part::Below | Part::Name | Part::Job => 0,
        };
        self.0.iter().map(|part| 32 + size(part)).sum()
    }

    /// The value, when it is known to the letter. A pattern is: it may match nothing.
    pub(crate) fn exact(&self) -> Option<String> {
        let mut all = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => all.push_str(text),
                Part::Glob(_) | Part::Below | Part::Name | Part::Job | Part::Unknown(_) => {
                    return None;
                }
            }
        }
        Some(all)
    }

    /// What is known of its beginning.
    pub(crate) fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Where something in it comes from that is not known.
    pub(crate) fn mystery(&self) -> Option<&str> {
        self.0.iter().find_map(|part| match part {
            Part::Unknown(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// The value without its first `count` bytes of known text.
    pub(crate) fn after(&self, count: usize) -> Self {
        let mut rest = self.clone();
        if let Some(Part::Text(text)) = rest.0.first_mut() {
            *text = text.get(count..).unwrap_or_default().to_owned();
        }
        rest
    }

    /// The value as people would write it.
    pub(crate) fn shown(&self) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) | Part::Glob(text) => text.as_str(),
                Part::Below | Part::Name | Part::Job => "...",
                Part::Unknown(why) => why.as_str(),
            })
            .collect()
    }
}

/// What a command writes to standard output, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nothing.
    Nothing,
    /// Exactly this.
    Text(String),
    /// Lines, each of them one of these.
    Items(Vec<Value>),
    /// The content of a file that was there before.
    File,
    /// Anything; the text says where it comes from.
    Unknown(String),
}

/// Stretches of one value.
const PARTS_MAX: usize = 64;
/// Bytes of one value or output that are kept.
const TEXT_MAX: usize = 1 << 18;
/// Values that one word or one output may have.
pub(crate) const VALUES_MAX: usize = 64;

impl Output {
    /// What it costs to keep, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Nothing | Self::File => 0,
            Self::Text(text) | Self::Unknown(text) => text.len(),
            Self::Items(items) => items.iter().map(Value::size).sum(),
        }
    }

    /// This, then that.
    pub(crate) fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
            (Self::File, _) | (_, Self::File) => Self::Unknown("the content of a file".to_owned()),
            (Self::Text(mut first), Self::Text(second)) => {
                if first.len() + second.len() > TEXT_MAX {
                    return Self::Unknown("a long text".to_owned());
                }
                first.push_str(&second);
                Self::Text(first)
            }
            (first, second) => {
                let mut items = first.items();
                items.extend(second.items());
                items.dedup();
                if items.len() > VALUES_MAX {
                    return Self::Unknown("a long list".to_owned());
                }
                Self::Items(items)
            }
        }
    }

    /// This or that.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (first, second) if first == second => first,
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (first, second) => {
                let mut items = first.values();
                items.extend(second.values());
                Self::Items(items)
            }
        }
    }

    /// This, and perhaps that, line by line.
    pub(crate) fn also(self, other: Self) -> Self {
        match (self, other) {
            (first, second) if first == second => first,
            (
                first @ (Self::Text(_) | Self::Items(_)),
                second @ (Self::Text(_) | Self::Items(_)),
            ) => {
                let mut items = first.items();
                for item in second.items() {
                    if !items.contains(&item) {
                        items.push(item);
                    }
                }
                Self::Items(items)
            }
            (first, second) => first.then(second),
        }
    }

    /// Its lines.
    pub(crate) fn items(&self) -> Vec<Value> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Text(text) => {
                let lines = text.split(['\n', '\0']).filter(|line| !line.is_empty());
                let mut items: Vec<Value> =
                    lines.clone().take(VALUES_MAX).map(Value::text).collect();
                if lines.count() > VALUES_MAX {
                    items.push(Value::unknown("a long list"));
                }
                items
            }
            Self::Items(items) => items.clone(),
            Self::File => vec![Value::unknown("the content of a file")],
            Self::Unknown(why) => vec![Value::unknown(why.clone())],
        }
    }

    /// What a substitution of it gives: each of the values is possible.
    pub(crate) fn values(&self) -> Vec<Value> {
        match self {
            Self::Nothing => vec![Value::default()],
            Self::Text(text) => vec![Value::text(text.trim_end_matches('\n'))],
            Self::Items(_) | Self::File | Self::Unknown(_) => self.items(),
        }
    }
}
