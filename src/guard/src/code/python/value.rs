//! What is known of a value of Python.

use std::collections::HashMap;
use std::rc::Rc;

use ruff_python_ast::{Expr, Parameters, Stmt};

use crate::value::{Output, Part, Value};

/// A value of Python, as far as it matters for what is changed.
#[derive(Clone, Debug)]
pub(super) enum Val {
    /// A text, bytes or a path.
    Text(Value),
    /// A list, tuple or set; or a sequence whose elements are any of these.
    List(Vec<Val>),
    /// One of several.
    Either(Vec<Val>),
    /// A module, or something in one, by its whole name.
    Named(String),
    /// A method of a value.
    Method(Box<Val>, String),
    Function(Rc<Function>),
    /// A function with its first arguments.
    Partial(Box<Val>, Vec<Val>),
    /// A whole number.
    Number(i64),
    /// Something that is no path, such as a truth value, or that stands for what nobody passes.
    Plain,
    /// The content of a file that was there before.
    File,
    /// A function that was looked up by a name that is not known.
    Dynamic,
    /// Anything; the text says where it comes from.
    Unknown(String),
}

/// A function of the code.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) parameters: Option<Parameters>,
    pub(super) body: Vec<Stmt>,
    /// The body of a `lambda`.
    pub(super) expr: Option<Expr>,
    /// Values of parameters that are not passed.
    pub(super) defaults: HashMap<String, Val>,
}

impl Function {
    /// Its parameters that are passed by their places.
    pub(super) fn positional(&self) -> Vec<String> {
        let parameters = self.parameters.iter();
        let all = parameters.flat_map(|it| it.posonlyargs.iter().chain(&it.args));
        all.map(|it| it.parameter.name.to_string()).collect()
    }

    /// All of its parameters.
    pub(super) fn all_parameters(&self) -> Vec<String> {
        let mut all = self.positional();
        if let Some(parameters) = &self.parameters {
            let named = parameters.kwonlyargs.iter().map(|it| &it.parameter);
            let rest = parameters.vararg.iter().chain(&parameters.kwarg);
            all.extend(
                named
                    .chain(rest.map(|it| &**it))
                    .map(|it| it.name.to_string()),
            );
        }
        all
    }
}

/// Values within one value, and stretches of 64 bytes of its texts.
const SIZE_MAX: usize = 1_000;

/// Values that one may have; more are not told apart.
const EITHER_MAX: usize = 16;

impl Val {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Value::text(text))
    }

    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// The text, when it is known to the letter.
    pub(super) fn exact(&self) -> Option<String> {
        match self {
            Self::Text(value) => value.exact(),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Each of the values that it may be.
    pub(super) fn each(&self) -> Vec<&Self> {
        match self {
            Self::Either(all) => all.iter().flat_map(Self::each).collect(),
            one => vec![one],
        }
    }

    /// It, unless it has grown large: values are copied, and may hold each other many times.
    pub(super) fn bounded(self) -> Self {
        let mut room = SIZE_MAX;
        if self.fits(&mut room) {
            self
        } else {
            Self::unknown("a large value")
        }
    }

    fn fits(&self, room: &mut usize) -> bool {
        let size = match self {
            Self::Text(value) => 1 + value.size() / 64,
            _ => 1,
        };
        let Some(rest) = room.checked_sub(size) else {
            return false;
        };
        *room = rest;
        match self {
            Self::List(all) | Self::Either(all) => all.iter().all(|one| one.fits(room)),
            Self::Method(object, _) => object.fits(room),
            Self::Partial(function, all) => {
                function.fits(room) && all.iter().all(|one| one.fits(room))
            }
            _ => true,
        }
    }

    /// This or that.
    pub(super) fn or(self, other: Self) -> Self {
        let mut all: Vec<Self> = Vec::new();
        for one in [self, other] {
            match one {
                Self::Either(some) => all.extend(some),
                // What is no path decides nothing.
                Self::Plain => {}
                one => all.push(one),
            }
        }
        all.dedup_by(|a, b| matches!((a, b), (Self::Text(a), Self::Text(b)) if a == b));
        match all.len() {
            0 => Self::Plain,
            1 => all.remove(0),
            count if count > EITHER_MAX => Self::unknown("one of many values"),
            _ => Self::Either(all),
        }
    }

    /// What a loop over it gives.
    pub(super) fn element(&self) -> Self {
        match self {
            Self::List(items) => items.iter().cloned().fold(Self::Plain, Self::or),
            Self::Either(all) => all.iter().map(Self::element).fold(Self::Plain, Self::or),
            Self::Plain | Self::Number(_) => Self::Plain,
            Self::File => Self::unknown("a line of a file"),
            Self::Text(_) => Self::Text(Value::name()),
            Self::Unknown(why) => Self::unknown(why.clone()),
            Self::Named(_)
            | Self::Method(..)
            | Self::Function(_)
            | Self::Partial(..)
            | Self::Dynamic => Self::unknown("an element"),
        }
    }

    /// It as the word of a command line, or a stretch of a text.
    pub(super) fn word(&self) -> Value {
        match self {
            Self::Text(value) => value.clone(),
            Self::Number(number) => Value::text(number.to_string()),
            Self::Plain => Value::name(),
            Self::Named(name) if name == "sys.executable" => Value::text("python3"),
            Self::Either(all) => match all.as_slice() {
                [] => Value::default(),
                _ => Value::unknown("one of several values"),
            },
            // An argument that was parsed.
            Self::Method(object, _) if matches!(**object, Self::List(_)) => object.element().word(),
            Self::Unknown(why) => Value::unknown(why.clone()),
            Self::File => Value::unknown("the content of a file"),
            Self::List(_)
            | Self::Named(_)
            | Self::Method(..)
            | Self::Function(_)
            | Self::Partial(..)
            | Self::Dynamic => Value::unknown("a value"),
        }
    }

    /// It as what a program reads.
    pub(super) fn output(&self) -> Output {
        match self {
            Self::Text(value) => value
                .exact()
                .map_or_else(|| Output::Items(vec![value.clone()]), Output::Text),
            Self::Plain => Output::Nothing,
            Self::File => Output::File,
            other => Output::Unknown(other.word().shown()),
        }
    }

    /// Two texts, one behind the other.
    pub(super) fn then(&self, next: &Self) -> Self {
        let (firsts, seconds) = (self.each(), next.each());
        let mut all = Self::Plain;
        for first in &firsts {
            for second in &seconds {
                let mut value = first.word();
                value.extend(&second.word());
                all = all.or(Self::Text(value));
            }
        }
        all
    }
}

/// A path, and one from there.
pub(super) fn join(base: &Value, next: &Value) -> Value {
    if next.prefix().starts_with('/') || base.0.is_empty() {
        return next.clone();
    }
    let mut path = base.clone();
    let ends = matches!(path.0.last(), Some(Part::Text(text)) if text.ends_with('/'));
    if !ends {
        path.push(Part::Text("/".to_owned()));
    }
    path.extend(next);
    path
}

/// The directory in which a path lies.
pub(super) fn parent(path: &Value) -> Value {
    let Some(text) = path.exact() else {
        let mut up = path.clone();
        up.push(Part::Text("/..".to_owned()));
        return up;
    };
    let folder = text.trim_end_matches('/').rsplit_once('/');
    Value::text(match folder {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    })
}
