//! Lists that grow: what is appended to one that has a name.

use ruff_python_ast::{Expr, ExprCall};

use super::calls::Given;
use super::value::Val;
use super::{Python, Scope, dotted};

/// Elements of one list; more are not told apart.
pub(super) const ELEMENTS_MAX: usize = 64;
/// Values that are added to lists in one text.
const ADDED_MAX: usize = 2_000;

/// One value more in a list.
#[derive(Clone, Debug)]
pub(super) struct Added {
    name: String,
    value: Val,
    at_front: bool,
}

impl Python<'_, '_> {
    /// A call of a method that adds to a list: what is added.
    pub(super) fn added(&mut self, call: &ExprCall, given: &Given) {
        let Expr::Attribute(method) = &*call.func else {
            return;
        };
        let at_front = matches!(method.attr.as_str(), "insert" | "appendleft" | "extendleft");
        let values = match method.attr.as_str() {
            "append" | "add" | "appendleft" | "push" | "put" => {
                given.all.first().cloned().into_iter().collect()
            }
            "insert" => given.all.get(1).cloned().into_iter().collect(),
            "extend" | "update" | "extendleft" => match given.all.first() {
                Some(Val::List(items)) => items.clone(),
                Some(other) => vec![other.element()],
                None => Vec::new(),
            },
            _ => return,
        };
        // A list within a collection, `d[key].append(value)`, is one of its elements.
        let (name, is_inner) = match &*method.value {
            Expr::Subscript(it) => (dotted(&it.value), true),
            Expr::Call(it) => match &*it.func {
                Expr::Attribute(it) if it.attr.as_str() == "setdefault" => {
                    (dotted(&it.value), true)
                }
                _ => return,
            },
            other => (dotted(other), false),
        };
        let Some(name) = name else { return };
        let values = if is_inner {
            vec![Val::List(values)]
        } else {
            values
        };
        for value in values {
            self.add(Added {
                name: name.clone(),
                value,
                at_front,
            });
        }
    }

    /// One more value of a collection that has this name.
    pub(super) fn add_to(&mut self, name: String, value: Val) {
        self.add(Added {
            name,
            value,
            at_front: false,
        });
    }

    fn add(&mut self, added: Added) {
        if self.added.len() >= ADDED_MAX {
            self.walk.ask(self.shown, "the code takes too many steps");
            return;
        }
        grow(&mut self.scope, &added.name, &added);
        self.added.push(added);
    }

    /// Goes back to what was known before a function or a comprehension, but for what lists of other
    /// names than its own have got since. Gives what its own have got, by their names.
    pub(super) fn go_back(
        &mut self,
        mut before: Scope,
        own: &[String],
        since: usize,
    ) -> Vec<(String, Val)> {
        let mut kept = Vec::new();
        for added in self.added.get(since..).unwrap_or_default() {
            if own.contains(&added.name) {
                kept.push((added.name.clone(), added.value.clone()));
            } else {
                grow(&mut before, &added.name, added);
            }
        }
        self.scope = before;
        kept
    }
}

fn grow(scope: &mut Scope, name: &str, added: &Added) {
    if let Some(known) = scope.get_mut(name) {
        grow_one(known, added);
        let grown = std::mem::replace(known, Val::Plain);
        *known = grown.bounded();
    }
}

fn grow_one(known: &mut Val, added: &Added) {
    match known {
        Val::List(items) if items.len() > ELEMENTS_MAX => {}
        Val::List(items) if items.len() == ELEMENTS_MAX => {
            items.push(Val::unknown("one of many values"));
        }
        Val::List(items) if added.at_front => items.insert(0, added.value.clone()),
        Val::List(items) => items.push(added.value.clone()),
        Val::Either(all) => all.iter_mut().for_each(|one| {
            if let Val::List(_) = one {
                grow_one(one, added);
            }
        }),
        _ => {}
    }
}
