//! Tool calls from their fragments.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::stream::parse_arguments;

/// A fragment of a tool call. The vendor sends `index` always, `id` and `name` with the first
/// fragment; other servers leave out, repeat or renumber any of them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Fragment {
    index: Option<u64>,
    id: Option<String>,
    #[serde(default)]
    function: Function,
}

#[derive(Debug, Default, Deserialize)]
struct Function {
    name: Option<String>,
    /// A text, or from some servers the object itself.
    arguments: Option<Value>,
}

/// A tool call in the making.
#[derive(Debug, Default)]
pub(super) struct Call {
    index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    json: String,
}

/// The tool calls of one reply, in their order.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    /// Takes a fragment; the name of the call if one begins with it.
    pub(super) fn push(&mut self, fragment: Fragment) -> Option<&str> {
        let id = fragment.id.unwrap_or_default();
        let name = fragment.function.name.unwrap_or_default();
        let arguments = match fragment.function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        if let Some(position) = self.continued(fragment.index, &id, &name) {
            let call = &mut self.0[position];
            call.json.push_str(&arguments);
            if call.id.is_empty() {
                call.id = id;
            }
            if call.name.is_empty() && !name.is_empty() {
                call.name = name;
                return Some(&self.0[position].name);
            }
            return None;
        }
        self.0.push(Call {
            index: fragment.index,
            id,
            name,
            json: arguments,
        });
        let begun = self.0.last().map(|call| call.name.as_str());
        begun.filter(|name| !name.is_empty())
    }

    /// Which call a fragment continues; `None` if it begins one.
    fn continued(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let same_id = |call: &Call| !id.is_empty() && call.id == id;
        let position = match index {
            Some(_) => self.0.iter().rposition(|call| call.index == index),
            None => self
                .0
                .iter()
                .rposition(same_id)
                .or_else(|| self.0.len().checked_sub(1)),
        }?;
        let call = &self.0[position];
        // Without a name nothing new begins, whatever its id: some servers make up one each time.
        if name.is_empty() || call.name.is_empty() || same_id(call) {
            return Some(position);
        }
        let other_id = !id.is_empty() && !call.id.is_empty();
        let begins = if call.json.is_empty() {
            other_id || call.name != name
        } else {
            // Some servers number every call 0, or none.
            (other_id && index.is_none()) || call.is_whole()
        };
        (!begins).then_some(position)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_vec(self) -> Vec<Call> {
        self.0
    }
}

impl Call {
    fn is_whole(&self) -> bool {
        // Cheap first: fragments are many, and only an object that ends can be whole.
        self.json.trim_end().ends_with('}') && parse_arguments(&self.json).is_ok()
    }

    pub(super) fn arguments(&self) -> Result<Map<String, Value>, String> {
        parse_arguments(&self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fragments: &[&str], expected: &[(&str, &str, &str)]) {
        let mut calls = Calls::default();
        for fragment in fragments {
            calls.push(serde_json::from_str(fragment).unwrap());
        }
        let calls = calls.into_vec();
        let found: Vec<(&str, &str, &str)> = calls
            .iter()
            .map(|call| (call.id.as_str(), call.name.as_str(), call.json.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_vendors_fragments_are_joined_by_index() {
        check(
            &[
                r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#,
                r#"{"index":0,"function":{"arguments":"{\"x\""}}"#,
                r#"{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}"#,
                r#"{"index":0,"function":{"arguments":":1}"}}"#,
                r#"{"index":1,"function":{"arguments":"{}"}}"#,
            ],
            &[("a", "f", r#"{"x":1}"#), ("b", "g", "{}")],
        );
    }

    #[test]
    fn whole_calls_need_neither_index_nor_id() {
        check(
            &[
                r#"{"function":{"name":"f","arguments":"{}"}}"#,
                r#"{"function":{"name":"f","arguments":"{\"x\":1}"}}"#,
                r#"{"function":{"name":"g","arguments":{"y":2}}}"#,
                r#"{"function":{"name":"h"}}"#,
                r#"{"function":{"name":"i","arguments":null}}"#,
            ],
            &[
                ("", "f", "{}"),
                ("", "f", r#"{"x":1}"#),
                ("", "g", r#"{"y":2}"#),
                ("", "h", ""),
                ("", "i", ""),
            ],
        );
    }

    #[test]
    fn calls_that_are_all_numbered_0_are_kept_apart() {
        check(
            &[
                r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
                r#"{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":1}"}}"#,
                r#"{"index":0,"id":"c","function":{"name":"g","arguments":""}}"#,
                r#"{"index":0,"id":"d","function":{"name":"g","arguments":"{}"}}"#,
            ],
            &[
                ("a", "f", "{}"),
                ("b", "f", r#"{"x":1}"#),
                ("c", "g", ""),
                ("d", "g", "{}"),
            ],
        );
    }

    #[test]
    fn what_is_repeated_or_made_up_begins_no_call() {
        // The name each time, without an id.
        check(
            &[
                r#"{"index":0,"function":{"name":"f","arguments":""}}"#,
                r#"{"index":0,"function":{"name":"f","arguments":"{\"x\":"}}"#,
                r#"{"index":0,"function":{"name":"f","arguments":"1}"}}"#,
            ],
            &[("", "f", r#"{"x":1}"#)],
        );
        // Another id each time; an empty one; the same one with the name, without an index.
        check(
            &[
                r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
                r#"{"index":0,"id":"b","function":{"arguments":"\"x\":"}}"#,
                r#"{"index":0,"id":"","function":{"name":"","arguments":"1}"}}"#,
                r#"{"id":"c","function":{"name":"g","arguments":"{"}}"#,
                r#"{"id":"c","function":{"name":"g","arguments":"}"}}"#,
                r#"{"function":{"arguments":" "}}"#,
            ],
            &[("a", "f", r#"{"x":1}"#), ("c", "g", "{} ")],
        );
    }
}
