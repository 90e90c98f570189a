//! Expressions.

use std::collections::HashMap;
use std::rc::Rc;

use ruff_python_ast::{
    Comprehension, Expr, FStringPart, InterpolatedStringElement, Number, Operator, UnaryOp,
};

use super::value::{Function, Val, join, parent};
use super::{DEPTH_MAX, Python, dotted};
use crate::value::{Part, Value};

impl Python<'_, '_> {
    pub(super) fn eval(&mut self, expr: &Expr) -> Val {
        if self.is_exhausted() {
            return Val::unknown("a value");
        }
        if self.depth >= DEPTH_MAX {
            self.walk.ask(self.shown, "the code is deeply nested");
            return Val::unknown("a value");
        }
        self.depth += 1;
        let value = self.eval_here(expr).bounded();
        self.depth -= 1;
        value
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    fn eval_here(&mut self, expr: &Expr) -> Val {
        match expr {
            Expr::StringLiteral(it) => Val::text(it.value.to_str()),
            Expr::BytesLiteral(it) => {
                let bytes: Vec<u8> = it.value.bytes().collect();
                Val::text(String::from_utf8_lossy(&bytes))
            }
            Expr::NumberLiteral(it) => match &it.value {
                Number::Int(number) => number.as_i64().map_or(Val::Plain, Val::Number),
                Number::Float(_) | Number::Complex { .. } => Val::Plain,
            },
            Expr::BooleanLiteral(_) | Expr::NoneLiteral(_) | Expr::EllipsisLiteral(_) => Val::Plain,
            Expr::FString(it) => {
                let mut value = Val::text("");
                for part in &it.value {
                    match part {
                        FStringPart::Literal(text) => value = value.then(&Val::text(&*text.value)),
                        FStringPart::FString(text) => {
                            for element in &text.elements {
                                let next = match element {
                                    InterpolatedStringElement::Literal(text) => {
                                        Val::text(&*text.value)
                                    }
                                    InterpolatedStringElement::Interpolation(it) => {
                                        let value = self.eval(&it.expression);
                                        match value {
                                            // As it is formatted it is a word of its own.
                                            Val::Plain | Val::Number(_) | Val::List(_) => {
                                                Val::Text(Value::name())
                                            }
                                            value => value,
                                        }
                                    }
                                };
                                value = value.then(&next);
                            }
                        }
                    }
                }
                value
            }
            Expr::Name(it) => {
                let name = it.id.as_str();
                match (self.scope.get(name), name) {
                    (Some(value), _) => value.clone(),
                    (None, "__file__") => {
                        Val::Text(Value::text(format!("{}/script.py", self.walk.context.cwd)))
                    }
                    (None, "__name__") => Val::Plain,
                    (None, name) => Val::Named(name.to_owned()),
                }
            }
            Expr::Attribute(it) => {
                if let Some(name) = dotted(expr)
                    && let Some(value) = self.scope.get(&name)
                {
                    return value.clone();
                }
                let object = self.eval(&it.value);
                attribute(&object, it.attr.as_str())
            }
            Expr::Call(it) => self.call_expr(it),
            Expr::BinOp(it) => {
                let (left, right) = (self.eval(&it.left), self.eval(&it.right));
                operation(&left, it.op, &right)
            }
            Expr::BoolOp(it) => {
                let values: Vec<Val> = it.values.iter().map(|value| self.eval(value)).collect();
                values.into_iter().fold(Val::Plain, Val::or)
            }
            Expr::UnaryOp(it) => match (it.op, self.eval(&it.operand)) {
                (UnaryOp::USub, Val::Number(number)) => Val::Number(number.wrapping_neg()),
                _ => Val::Plain,
            },
            Expr::Compare(it) => {
                self.eval(&it.left);
                for value in &it.comparators {
                    self.eval(value);
                }
                Val::Plain
            }
            Expr::If(it) => {
                self.eval(&it.test);
                self.eval(&it.body).or(self.eval(&it.orelse))
            }
            Expr::Named(it) => {
                let value = self.eval(&it.value);
                self.bind(&it.target, value.clone());
                value
            }
            Expr::List(it) => Val::List(self.elements(&it.elts)),
            Expr::Tuple(it) => Val::List(self.elements(&it.elts)),
            Expr::Set(it) => Val::List(self.elements(&it.elts)),
            Expr::Dict(it) => {
                let mut values = Vec::new();
                for item in &it.items {
                    if let Some(key) = &item.key {
                        self.eval(key);
                    }
                    values.push(self.eval(&item.value));
                }
                Val::List(values)
            }
            Expr::ListComp(it) => self.comprehension(&it.generators, &[&it.elt]),
            Expr::SetComp(it) => self.comprehension(&it.generators, &[&it.elt]),
            Expr::Generator(it) => self.comprehension(&it.generators, &[&it.elt]),
            Expr::DictComp(it) => {
                let mut parts: Vec<&Expr> = it.key.iter().map(|key| &**key).collect();
                parts.push(&it.value);
                self.comprehension(&it.generators, &parts)
            }
            Expr::Lambda(it) => Val::Function(Rc::new(Function {
                name: "lambda".to_owned(),
                parameters: it.parameters.as_deref().cloned(),
                body: Vec::new(),
                expr: Some((*it.body).clone()),
                defaults: HashMap::new(),
            })),
            Expr::Await(it) => self.eval(&it.value),
            Expr::Yield(it) => {
                let value = it.value.as_ref().map(|value| self.eval(value));
                let value = Val::List(vec![value.unwrap_or(Val::Plain)]);
                self.returned = Some(self.returned.take().unwrap_or(Val::Plain).or(value));
                Val::Plain
            }
            Expr::YieldFrom(it) => {
                let value = self.eval(&it.value);
                self.returned = Some(self.returned.take().unwrap_or(Val::Plain).or(value));
                Val::Plain
            }
            Expr::Starred(it) => self.eval(&it.value),
            Expr::Subscript(it) => {
                let object = self.eval(&it.value);
                let index = self.eval(&it.slice);
                self.element(&object, &it.slice, &index)
            }
            Expr::Slice(it) => {
                for part in [&it.lower, &it.upper, &it.step].into_iter().flatten() {
                    self.eval(part);
                }
                Val::Plain
            }
            Expr::TString(_) | Expr::IpyEscapeCommand(_) => Val::unknown("a value"),
        }
    }

    fn elements(&mut self, exprs: &[Expr]) -> Vec<Val> {
        let mut all = Vec::new();
        for expr in exprs {
            let value = self.eval(expr);
            match (expr, value) {
                (Expr::Starred(_), Val::List(items)) => all.extend(items),
                (_, value) => all.push(value),
            }
        }
        all
    }

    fn comprehension(&mut self, generators: &[Comprehension], parts: &[&Expr]) -> Val {
        let before = self.scope.clone();
        let since = self.added.len();
        for generator in generators {
            let items = self.eval(&generator.iter);
            let count = match &items {
                Val::List(items) => items.len(),
                _ => 0,
            };
            self.bind(&generator.target, items.element());
            for condition in &generator.ifs {
                self.eval(condition);
            }
            // Each of few elements on its own: their texts are known then.
            if let (Val::List(items), [_], [part], 1..=16) = (&items, generators, parts, count) {
                let mut all = Vec::new();
                for item in items {
                    self.bind(&generator.target, item.clone());
                    all.push(self.eval(part));
                }
                self.go_back(before, &[], since);
                return Val::List(all);
            }
        }
        let values: Vec<Val> = parts.iter().map(|part| self.eval(part)).collect();
        self.go_back(before, &[], since);
        Val::List(values.into_iter().next_back().into_iter().collect())
    }

    /// `object[index]`.
    fn element(&mut self, object: &Val, slice: &Expr, index: &Val) -> Val {
        match object {
            Val::Named(name) => match (name.as_str(), index.exact()) {
                ("os.environ", Some(key)) => self.variable(&key, None),
                ("sys.modules", Some(module)) => Val::Named(module),
                (name, Some(key)) => match name.strip_suffix(".__dict__") {
                    Some("__builtins__" | "builtins") => Val::Named(key),
                    Some(module) => Val::Named(format!("{module}.{key}")),
                    None => Val::unknown(format!("{name}[...]")),
                },
                ("sys.modules", None) => Val::Dynamic,
                (name, None) if name.ends_with(".__dict__") => Val::Dynamic,
                (name, None) => Val::unknown(format!("{name}[...]")),
            },
            Val::List(items) if matches!(slice, Expr::Slice(_)) => Val::List(items.clone()),
            Val::List(items) => {
                let at = index.number().and_then(|at| match at {
                    at if at < 0 => items.len().checked_sub(usize::try_from(-at).ok()?),
                    at => usize::try_from(at).ok(),
                });
                match at.and_then(|at| items.get(at)) {
                    Some(item) => item.clone(),
                    None => object.element(),
                }
            }
            Val::Text(value) => match (slice, value.exact()) {
                (Expr::Slice(slice), Some(text)) => sliced(&text, slice).map_or_else(
                    || {
                        if text.contains('/') {
                            Val::unknown("a part of a text")
                        } else {
                            Val::Text(Value::name())
                        }
                    },
                    Val::text,
                ),
                (_, _) => Val::Text(Value::name()),
            },
            other => other.element(),
        }
    }
}

/// A part of a text, with bounds that are plain numbers.
fn sliced(text: &str, slice: &ruff_python_ast::ExprSlice) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let number = |expr: &Option<Box<Expr>>| match expr.as_deref() {
        None => Some(None),
        Some(Expr::NumberLiteral(it)) => match &it.value {
            Number::Int(number) => number.as_i64().map(Some),
            Number::Float(_) | Number::Complex { .. } => None,
        },
        Some(Expr::UnaryOp(it)) if it.op == UnaryOp::USub => match &*it.operand {
            Expr::NumberLiteral(it) => match &it.value {
                Number::Int(number) => number.as_i64().map(|number| Some(-number)),
                Number::Float(_) | Number::Complex { .. } => None,
            },
            _ => None,
        },
        Some(_) => None,
    };
    let (lower, upper) = (number(&slice.lower)?, number(&slice.upper)?);
    let length = i64::try_from(chars.len()).ok()?;
    let place = |at: i64| {
        let at = if at < 0 {
            at.saturating_add(length)
        } else {
            at
        };
        usize::try_from(at.clamp(0, length)).unwrap_or(0)
    };
    match number(&slice.step)? {
        Some(-1) if lower.is_none() && upper.is_none() => Some(chars.iter().rev().collect()),
        None | Some(1) => {
            let (from, to) = (place(lower.unwrap_or(0)), place(upper.unwrap_or(length)));
            Some(chars.get(from..to.max(from))?.iter().collect())
        }
        Some(_) => None,
    }
}

/// `"%s/x" % value`.
fn formatted(format: &Value, values: &Val) -> Val {
    let Some(format) = format.exact() else {
        return Val::unknown("a formatted text");
    };
    let mut values = match values {
        Val::List(items) => items.clone(),
        one => vec![one.clone()],
    }
    .into_iter();
    let mut all = Val::text("");
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        all = all.then(&Val::text(&rest[..at]));
        let mark = rest[at + 1..].find(|c: char| c.is_ascii_alphabetic() || c == '%');
        let Some(end) = mark else { break };
        match &rest[at + 1 + end..at + 2 + end] {
            "%" => all = all.then(&Val::text("%")),
            _ => all = all.then(&values.next().unwrap_or(Val::Plain)),
        }
        rest = &rest[at + 2 + end..];
    }
    all.then(&Val::text(rest))
}

/// `object.name`, which may be called.
pub(super) fn attribute(object: &Val, name: &str) -> Val {
    if matches!(name, "__subclasses__" | "__globals__" | "__code__") {
        return Val::Dynamic;
    }
    match object {
        Val::Either(all) => {
            let all: Vec<Val> = all.iter().map(|one| attribute(one, name)).collect();
            all.into_iter().fold(Val::Plain, Val::or)
        }
        Val::Named(module) if module == "__builtins__" || module == "builtins" => {
            Val::Named(name.to_owned())
        }
        Val::Named(module) => {
            let whole = format!("{module}.{name}");
            match whole.as_str() {
                "sys.argv" => Val::List(vec![Val::Plain, Val::unknown("an argument")]),
                "os.sep" => Val::text("/"),
                "os.devnull" | "subprocess.DEVNULL" => Val::text("/dev/null"),
                "os.curdir" => Val::text("."),
                "os.pardir" => Val::text(".."),
                // What a module of the library imported itself.
                _ if matches!(name, "os" | "sys" | "shutil" | "subprocess") => {
                    Val::Named(name.to_owned())
                }
                _ => Val::Named(whole),
            }
        }
        Val::Text(value) => match name {
            "parent" => Val::Text(parent(value)),
            "parents" => {
                let one = parent(value);
                let two = parent(&one);
                Val::List(vec![Val::Text(one), Val::Text(two)])
            }
            // A temporary file's name is its path.
            "name" if matches!(value.0.as_slice(), [Part::Below]) => object.clone(),
            "name" => match value.exact() {
                Some(text) => Val::text(text.rsplit('/').next().unwrap_or(&text)),
                None => Val::Text(Value::name()),
            },
            "stem" | "suffix" => Val::Text(Value::name()),
            "path" => object.clone(),
            _ => Val::Method(Box::new(object.clone()), name.to_owned()),
        },
        other => Val::Method(Box::new(other.clone()), name.to_owned()),
    }
}

/// How often a text is repeated that is then still looked at.
const REPEATS_MAX: i64 = 16;

/// What an operator makes of two values.
fn operation(left: &Val, op: Operator, right: &Val) -> Val {
    let text = |value: &Val| value.each().iter().any(|one| matches!(one, Val::Text(_)));
    match (op, left, right) {
        (Operator::Add, Val::List(a), Val::List(b)) => {
            Val::List(a.iter().chain(b).cloned().collect())
        }
        (Operator::Add, Val::Number(a), Val::Number(b)) => Val::Number(a.wrapping_add(*b)),
        (Operator::Add, a, b) if text(a) || text(b) => a.then(b),
        (Operator::Div, a, b) if text(a) || text(b) => {
            let mut all = Val::Plain;
            for first in a.each() {
                for second in b.each() {
                    all = all.or(Val::Text(join(&first.word(), &second.word())));
                }
            }
            all
        }
        (Operator::Mult, Val::Number(_), Val::Number(_)) => Val::Plain,
        (Operator::Mult, a, Val::Number(count)) | (Operator::Mult, Val::Number(count), a)
            if (0..=REPEATS_MAX).contains(count) =>
        {
            match a {
                Val::List(items) => {
                    let count = usize::try_from(*count).unwrap_or_default();
                    Val::List(
                        items
                            .iter()
                            .cycle()
                            .take(count * items.len())
                            .cloned()
                            .collect(),
                    )
                }
                a if text(a) => (1..*count).fold(a.clone(), |all, _| all.then(a)),
                _ => Val::Plain,
            }
        }
        (Operator::Mult, a, b) if text(a) || text(b) => Val::unknown("a text that is repeated"),
        (Operator::Mod, Val::Text(format), values) => formatted(format, values),
        (_, Val::Unknown(why), _) | (_, _, Val::Unknown(why)) => Val::unknown(why.clone()),
        (Operator::BitOr, a, b) => a.clone().or(b.clone()),
        _ => Val::Plain,
    }
}
