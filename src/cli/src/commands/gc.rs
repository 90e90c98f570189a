//! `gc`: removes what nothing names.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use store::{Amount, GcOptions, GcPhase, GcReport};

use super::counted;
use crate::app::App;
use crate::args::parse_age;
use crate::exit::ExitCode;
use crate::ui::Meter;
use crate::wire::{AmountJson, GcJson};

/// Remove what nothing names any more, and old runs where that is asked for
///
/// Every version that a name has or had stays, and so does every run that was the evidence of a change, until
/// the name is removed: what it had goes then, but for what carries a tag of another name or is depended on, and
/// `restore` cannot bring it back. Other commands may go on meanwhile: what they use stays.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove runs that began longer ago than this, such as 30d, 12h or 0s [default: runs stay]
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    runs_older_than: Option<Duration>,
    /// How long content stays that nothing has named yet: an interrupted task's, for example
    #[arg(long, value_name = "TIME", value_parser = parse_age, default_value = "1h")]
    grace: Duration,
}

/// Collects.
pub(crate) fn gc(app: &App, args: &GcArgs) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let options = GcOptions {
        now: Timestamp::now(),
        grace: args.grace,
        runs_older_than: args.runs_older_than,
        dry_run: args.dry_run,
    };
    let meter = Meter::start(&app.ui);
    let report = store.gc(&options, &mut |progress| {
        let doing = match progress.phase {
            GcPhase::Marking => "looking at versions and runs",
            GcPhase::Removing => "removing",
        };
        let (done, total) = (progress.done, progress.total);
        meter.say(format_args!("{doing}: {done} of {total}"), done);
    })?;
    drop(meter);
    if app.ui.is_json() {
        app.ui.json(&GcJson::new(&report, args.dry_run))?;
    } else {
        for line in lines(&report, args) {
            app.ui.data(line)?;
        }
    }
    Ok(ExitCode::Success)
}

fn lines(report: &GcReport, args: &GcArgs) -> Vec<String> {
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut lines = vec![format!(
        "{verb} {}: {}, {} and what only they had, or nothing named",
        shown(report.removed),
        counted(report.runs, "run"),
        counted(report.versions, "version")
    )];
    let mut keeps = |amount: Amount, why: &str| {
        if amount.blobs > 0 {
            lines.push(format!("kept {}: {why}", shown(amount)));
        }
    };
    keeps(report.leased, "a running command may still name them");
    keeps(
        report.young,
        &format!(
            "nothing names them, but they are younger than --grace {}",
            spec::format_duration(args.grace)
        ),
    );
    if report.evidence > 0 {
        lines.push(format!(
            "kept {} old runs that are the evidence of a change",
            report.evidence
        ));
    }
    let tense = if args.dry_run { "would be" } else { "now" };
    lines.push(format!(
        "before {}, {tense} {}",
        shown(report.before),
        shown(report.after())
    ));
    lines
}

/// An amount for people.
pub(crate) fn shown(amount: Amount) -> String {
    match amount.blobs {
        1 => format!("1 blob ({})", amount.size),
        many => format!("{many} blobs ({})", amount.size),
    }
}

impl GcJson {
    fn new(report: &GcReport, dry_run: bool) -> Self {
        Self {
            dry_run,
            before: AmountJson::from(report.before),
            removed: AmountJson::from(report.removed),
            after: AmountJson::from(report.after()),
            versions: report.versions,
            runs: report.runs,
            evidence: report.evidence,
            young: AmountJson::from(report.young),
            leased: AmountJson::from(report.leased),
        }
    }
}
