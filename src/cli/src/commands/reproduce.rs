//! `reproduce`: a recorded run, again and offline.

use clap::Args;
use orchestrator::{Check, Reproduction};

use super::program::quoted;
use crate::app::{App, Models};
use crate::args::SandboxFlags;
use crate::exit::{ExitCode, Interrupted};
use crate::ui::{Live, LiveKind, Table, Text, Tone, one_line};
use crate::wire::ReproduceJson;

/// Run a recorded run again, offline, and compare what comes of it
///
/// Same program, input, limits and image; tools, models and the network answer from the record. The
/// exit code is 0 only if everything is as it was. The new run is not recorded.
#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// The id of the run, its first 8 characters or more, or `last`
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    sandbox: SandboxFlags,
}

/// Characters of a value in the table.
const VALUE: usize = 120;

/// Runs it again.
pub(crate) async fn reproduce(app: &App, args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let store = app.store()?;
    let run = super::runs::find(app, &store, &args.run)?;
    let live = Live::start(&app.ui, LiveKind::Subagent);
    let reproduction = app
        .interrupts
        .guard(async |cancel| {
            let models = Models::default();
            let factory = app.factory(store, models, args.sandbox, &live, &cancel);
            let factory = factory.await?;
            let reproduction = factory.reproduce(&run, cancel.clone()).await?;
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            Ok(reproduction)
        })
        .await?;
    live.finish()?;
    if app.ui.is_json() {
        app.ui.json(&ReproduceJson::new(run, &reproduction))?;
    } else {
        show(app, &reproduction)?;
    }
    Ok(if reproduction.is_equal() {
        ExitCode::Success
    } else {
        ExitCode::Failed
    })
}

fn show(app: &App, reproduction: &Reproduction) -> anyhow::Result<()> {
    let mut table = Table::new(&["WHAT", "SAME", "RECORDED", "REPRODUCED"]);
    for check in &reproduction.checks {
        let same = if check.is_equal() { "yes" } else { "NO" };
        let shown = |text: &str| one_line(text, VALUE);
        let again = if check.is_equal() {
            String::new()
        } else {
            shown(&check.reproduced)
        };
        table.row(&[
            check.what.to_owned(),
            same.to_owned(),
            shown(&check.recorded),
            again,
        ]);
    }
    for line in table.render(app.ui.width()) {
        app.ui.data(line)?;
    }
    for one in &reproduction.unrecorded {
        let what = one_line(&one.what, VALUE);
        let title = Text::new()
            .with(Tone::Bad, "not in the record: ")
            .plain(what);
        app.ui.data(title)?;
        app.ui.data(quoted(&one.difference))?;
    }
    let differing = reproduction
        .checks
        .iter()
        .filter(|check| !Check::is_equal(check));
    match (reproduction.is_equal(), differing.count()) {
        (true, _) => app.ui.note("everything is as it was"),
        (false, count) => app.ui.complain(format!(
            "{count} of {} differ; {} requests are not in the record",
            reproduction.checks.len(),
            reproduction.unrecorded.len()
        )),
    }
    Ok(())
}
