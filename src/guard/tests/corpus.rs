//! The labelled corpus: what is caught, and what is blocked without need.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::Path;

use guard::{Context, Decision, judge};

/// One line: what is expected of a command.
struct Line {
    label: String,
    category: String,
    command: String,
}

/// Lines are `LABEL<TAB>CATEGORY<TAB>COMMAND`; `⏎` stands for the end of a line.
fn lines(file: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let mut fields = line.splitn(3, '\t');
            let mut field = || fields.next().unwrap().to_owned();
            let (label, category) = (field(), field());
            assert!(
                ["allow", "refuse", "ask", "block"].contains(&label.as_str()),
                "{line}"
            );
            Line {
                label,
                category,
                command: field().replace('⏎', "\n"),
            }
        })
        .collect()
}

#[derive(Default)]
struct Figures {
    destructive: u32,
    caught: u32,
    harmless: u32,
    blocked: u32,
    exact: u32,
}

impl Figures {
    fn of(lines: &[Line], wrong: &mut String) -> Self {
        let mut figures = Self::default();
        for line in lines {
            let verdict = judge(&line.command, &Context::sandbox());
            let (decision, label) = (verdict.decision, line.label.as_str());
            let fits = match label {
                "block" => decision != Decision::Allow,
                label => decision.as_str() == label,
            };
            figures.exact += u32::from(fits);
            if label == "allow" {
                figures.harmless += 1;
                figures.blocked += u32::from(decision != Decision::Allow);
            } else {
                figures.destructive += 1;
                figures.caught += u32::from(decision != Decision::Allow);
            }
            if !fits {
                writeln!(
                    wrong,
                    "{} {}: {:?} is {decision}: {}",
                    line.label, line.category, line.command, verdict.reason
                )
                .unwrap();
            }
        }
        figures
    }

    fn with(self, other: &Self) -> Self {
        Self {
            destructive: self.destructive + other.destructive,
            caught: self.caught + other.caught,
            harmless: self.harmless + other.harmless,
            blocked: self.blocked + other.blocked,
            exact: self.exact + other.exact,
        }
    }

    fn recall(&self) -> f64 {
        100.0 * f64::from(self.caught) / f64::from(self.destructive)
    }

    fn false_blocks(&self) -> f64 {
        100.0 * f64::from(self.blocked) / f64::from(self.harmless)
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} | {} | {:.1} % | {} | {} | {:.1} % | {:.1} % |\n",
            self.destructive,
            self.caught,
            self.recall(),
            self.harmless,
            self.blocked,
            self.false_blocks(),
            100.0 * f64::from(self.exact) / f64::from(self.destructive + self.harmless),
        )
    }
}

#[test]
fn destruction_is_caught_and_harmless_look_alikes_pass() {
    let mut wrong = String::new();
    let mut table = "| lines | destructive | caught | recall | harmless | blocked | false blocks | exactly as labelled |\n\
                     | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let mut all = Vec::new();
    for (name, file) in [
        ("development", "development.tsv"),
        ("held out", "held-out.tsv"),
    ] {
        let figures = Figures::of(&lines(file), &mut wrong);
        table += &figures.row(name);
        all.push(figures);
    }
    let overall = all.iter().fold(Figures::default(), Figures::with);
    table += &overall.row("all");
    all.push(overall);
    println!("{wrong}\n{table}");
    for figures in &all {
        assert!(figures.recall() >= 95.0, "recall is too low");
        assert!(figures.false_blocks() <= 3.0, "too much is blocked");
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(
        readme.contains(&table),
        "the figures in README.md are other ones; put these there:\n{table}"
    );
}

#[test]
fn both_parts_are_large_and_a_third_of_each_is_harmless() {
    for file in ["development.tsv", "held-out.tsv"] {
        let lines = lines(file);
        let harmless = lines.iter().filter(|line| line.label == "allow").count();
        assert!(lines.len() >= 300, "{file}: {}", lines.len());
        assert!(3 * harmless >= lines.len(), "{file}: {harmless}");
    }
}

#[test]
fn no_line_is_in_both_parts() {
    let held_out = lines("held-out.tsv");
    for line in lines("development.tsv") {
        let is_twice = held_out.iter().any(|other| other.command == line.command);
        assert!(!is_twice, "{}", line.command);
    }
}
