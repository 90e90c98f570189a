//! The table, the aims, and the JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::samples::{Figures, Samples, ms, ratio};

/// Everything that one run of the bench found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, Samples)>,
    comparisons: Vec<Comparison>,
    facts: Vec<(&'static str, String)>,
}

/// One ratio, with what it is expected to be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// What was measured.
    what: String,
    /// What it was compared with.
    against: String,
    /// The ratio, the larger the better, unless `at_most`.
    ratio: f64,
    /// What it should be.
    aim: f64,
    /// Whether the aim is an upper bound.
    at_most: bool,
    holds: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    machine: &'a BTreeMap<&'static str, String>,
    rows: BTreeMap<&'static str, Figures>,
    comparisons: &'a [Comparison],
    facts: BTreeMap<&'static str, &'a str>,
}

/// What the columns of the table compare with.
const COLUMNS: &[&str] = &[
    "hardened `docker run`",
    "`docker run`",
    "`docker exec`",
    "bare `python3`",
];

impl Report {
    pub(crate) fn row(&mut self, name: &'static str, samples: Samples) {
        self.rows.push((name, samples));
    }

    /// Takes in all that another report holds.
    pub(crate) fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.comparisons.extend(other.comparisons);
        self.facts.extend(other.facts);
    }

    pub(crate) fn samples(&self, name: &str) -> Option<&Samples> {
        let found = self.rows.iter().find(|(row, _)| *row == name);
        found
            .map(|(_, samples)| samples)
            .filter(|samples| !samples.is_empty())
    }

    pub(crate) fn fact(&mut self, name: &'static str, value: String) {
        self.facts.push((name, value));
    }

    /// How many times faster the first row is than the second, by their medians.
    pub(crate) fn faster(&mut self, what: &str, against: &str, aim: f64) {
        if let (Some(ours), Some(theirs)) = (self.samples(what), self.samples(against)) {
            let ratio = ratio(theirs.median(), ours.median());
            self.at_least(what, against, ratio, aim);
        }
    }

    /// What share of the second row's median the first takes.
    pub(crate) fn takes_at_most(&mut self, what: &str, against: &str, aim: f64) {
        if let (Some(ours), Some(theirs)) = (self.samples(what), self.samples(against)) {
            let ratio = ratio(ours.median(), theirs.median());
            self.at_most(what, against, ratio, aim);
        }
    }

    pub(crate) fn at_least(&mut self, what: &str, against: &str, ratio: f64, aim: f64) {
        self.comparisons.push(Comparison {
            what: what.to_owned(),
            against: against.to_owned(),
            ratio,
            aim,
            at_most: false,
            holds: ratio >= aim,
        });
    }

    pub(crate) fn at_most(&mut self, what: &str, against: &str, ratio: f64, aim: f64) {
        self.comparisons.push(Comparison {
            what: what.to_owned(),
            against: against.to_owned(),
            ratio,
            aim,
            at_most: true,
            holds: ratio <= aim,
        });
    }

    /// Whether every aim was reached.
    pub(crate) fn holds(&self) -> bool {
        self.comparisons.iter().all(|comparison| comparison.holds)
    }

    /// The tables, in markdown.
    pub(crate) fn markdown(&self, machine: &BTreeMap<&'static str, String>) -> String {
        let mut text = String::new();
        let described: Vec<_> = machine.values().map(String::as_str).collect();
        let _ = writeln!(text, "{}\n", described.join(", "));
        text.push_str("| what was measured | median | p95 |");
        for column in COLUMNS {
            let _ = write!(text, " faster than {column} |");
        }
        text.push('\n');
        let _ = writeln!(
            text,
            "| --- | ---: | ---: |{}",
            " ---: |".repeat(COLUMNS.len())
        );
        for (name, samples) in &self.rows {
            if samples.is_empty() {
                continue;
            }
            let _ = write!(
                text,
                "| {name} | {} | {} |",
                shown(ms(samples.median())),
                shown(ms(samples.at(0.95)))
            );
            for column in COLUMNS {
                match self.samples(column) {
                    Some(theirs) if column != name => {
                        let ratio = ratio(theirs.median(), samples.median());
                        let _ = write!(text, " {ratio:.1}x |");
                    }
                    _ => text.push_str(" |"),
                }
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "\n| aim | against | measured | wanted | |\n| --- | --- | ---: | ---: | --- |"
        );
        for Comparison {
            what,
            against,
            ratio,
            aim,
            at_most,
            holds,
        } in &self.comparisons
        {
            let sign = if *at_most { "at most" } else { "at least" };
            let verdict = if *holds { "reached" } else { "missed" };
            let digits = if *at_most { 2 } else { 1 };
            let _ = writeln!(
                text,
                "| {what} | {against} | {ratio:.digits$}x | {sign} {aim:.digits$}x | {verdict} |"
            );
        }
        text.push('\n');
        for (name, value) in &self.facts {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text
    }

    /// The same with every sample, as JSON.
    pub(crate) fn json(&self, machine: &BTreeMap<&'static str, String>) -> String {
        let rows = self
            .rows
            .iter()
            .map(|(name, samples)| (*name, samples.figures()));
        let facts = self
            .facts
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let json = Json {
            machine,
            rows: rows.collect(),
            comparisons: &self.comparisons,
            facts: facts.collect(),
        };
        serde_json::to_string_pretty(&json).expect("text and numbers are JSON") + "\n"
    }
}

/// Milliseconds, with the digits that mean something.
fn shown(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_is_compared_with_the_columns() {
        let samples = |ms| {
            let mut samples = Samples::default();
            samples.add(Duration::from_millis(ms));
            samples
        };
        let mut report = Report::default();
        report.row("leased run", samples(2));
        report.row("`docker run`", samples(300));
        report.faster("leased run", "`docker run`", 100.0);
        report.takes_at_most("leased run", "`docker run`", 0.001);
        let text = report.markdown(&BTreeMap::from([("machine", "here".to_owned())]));
        assert!(
            text.contains("| leased run | 2.00 ms | 2.00 ms | | 150.0x | | |"),
            "{text}"
        );
        assert!(
            text.contains("| 150.0x | at least 100.0x | reached |"),
            "{text}"
        );
        assert!(
            text.contains("| 0.01x | at most 0.00x | missed |"),
            "{text}"
        );
        assert!(!report.holds());
    }
}
