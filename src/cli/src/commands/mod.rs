//! One file per command.

pub(crate) mod copy;
pub(crate) mod deploy;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod environments;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod fsck;
pub(crate) mod gc;
mod graph;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod log;
mod output;
pub(crate) mod pin;
pub(crate) mod pool;
mod program;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod reproduce;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod search;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod sign;
pub(crate) mod solve;
pub(crate) mod stats;
pub(crate) mod tag;
pub(crate) mod undo;

pub(crate) use log::lines;

use jiff::Timestamp;
use spec::{Digest, PartialLimits};

use crate::ui::{Text, Tone, continued};

/// Characters of the name of a field.
const FIELD: usize = 13;

/// A time for people, to the second.
fn shown_at(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A version for people, or that there is none.
fn shown_version(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), Digest::short)
}

/// Limits for people, by the names that they have as flags.
fn shown_limits(limits: &PartialLimits) -> String {
    let said = limits.said().into_iter();
    joined(said.map(|(flag, value)| format!("{} {value}", flag.trim_start_matches('-'))))
}

/// A line of a list of fields.
fn field(name: &str, value: impl Into<String>) -> Text {
    Text::new()
        .with(Tone::Dim, format!("{name:<width$} ", width = FIELD - 1))
        .plain(continued(&value.into(), &" ".repeat(FIELD)))
}

/// A number of things whose plural has an s, for people.
pub(crate) fn counted<N: Into<u64>>(count: N, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}

/// A number of files, for people.
pub(crate) fn files_of(count: usize) -> String {
    match count {
        1 => "1 file".to_owned(),
        _ => format!("{count} files"),
    }
}

/// Words as a list, or a word for nothing.
fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
