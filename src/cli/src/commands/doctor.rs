//! `doctor`: can this machine run sandboxes and solve tasks, and if not, what to do?

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use llm::ModelRef;
use orchestrator::trust::Demand;
use runner::doctor::{EngineFacts, Probed, Severity};
use runner::{
    DockerSandboxes, Engine, ImageId, PoolOptions, Sandboxes, doctor as engine_doctor, images,
};
use spec::ByteSize;

use crate::app::{App, docker_options};
use crate::args::SandboxFlags;
use crate::exit::{ExitCode, Failure, Problem};
use crate::ui::{Text, Tone};
use crate::wire::{CheckJson, DoctorJson};

/// Check engine, image, model settings and home, and say what to do
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Start a sandbox and read back from inside what it is: user, capabilities, limits, interfaces
    #[arg(long)]
    probe: bool,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Note,
    /// It works, but protects less or not for long.
    Warning,
    /// Nothing can run.
    Error,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Check {
    topic: &'static str,
    level: Level,
    text: String,
    hint: Option<String>,
}

/// Below this, an image and a few runs fill the disk.
const SPACE_LOW: ByteSize = ByteSize::mib(2 * 1024);

/// Bytes that must fit at least: about the record of one run.
const PROBE: usize = 64 * 1024;

/// Looks at everything.
pub(crate) async fn doctor(app: &App, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut checks = home(&app.settings.home);
    let (facts, found) = engine(app).await;
    checks.extend(found);
    let mut probed = None;
    if let (true, Some(facts)) = (args.probe, &facts) {
        match probe(app, facts).await {
            Ok(found) => {
                checks.extend(found.iter().map(Check::from));
                probed = Some(found);
            }
            Err(error) => checks.push(Check::of_error("probe", Level::Error, error)),
        }
    }
    checks.push(trust(app));
    let wrong = |error: Problem| Check::of_error("model", Level::Warning, error);
    checks.push(match app.settings.model() {
        Ok(configured) => model(app, configured),
        Err(error) => wrong(error),
    });
    match app.settings.subagent_model() {
        Ok(None) => {}
        Ok(own) => checks.push(model(app, own)),
        Err(error) => checks.push(wrong(error)),
    }
    let usable = checks.iter().all(|check| check.level != Level::Error);
    if app.ui.is_json() {
        let checks = checks.into_iter().map(CheckJson::from).collect();
        app.ui.json(&DoctorJson {
            usable,
            checks,
            engine: facts,
            probe: probed,
        })?;
    } else {
        for check in &checks {
            let (tone, word) = (check.level.tone(), check.level.name());
            let line = Text::new().with(tone, format!("{word:<8}"));
            app.ui.data(
                line.with(Tone::Dim, format!("{:<16}", check.topic))
                    .plain(&check.text),
            )?;
            if let Some(hint) = &check.hint {
                app.ui.data(
                    Text::new()
                        .with(Tone::Good, format!("{:24}hint: ", ""))
                        .plain(hint),
                )?;
            }
        }
    }
    Ok(if usable {
        ExitCode::Success
    } else {
        ExitCode::Unavailable
    })
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Note => Tone::Dim,
            Self::Warning => Tone::Warning,
            Self::Error => Tone::Bad,
        }
    }
}

impl From<Check> for CheckJson {
    fn from(check: Check) -> Self {
        Self {
            topic: check.topic,
            level: check.level.name(),
            text: check.text,
            hint: check.hint,
        }
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Ok => Self::Ok,
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Error,
        }
    }
}

impl From<&Probed> for Check {
    fn from(probed: &Probed) -> Self {
        let Probed {
            what, asked, seen, ..
        } = probed;
        Self {
            topic: "probe",
            level: probed.severity.into(),
            text: if probed.severity == Severity::Ok {
                format!("{what}: {seen}")
            } else {
                format!("{what}: {seen}, where {asked} was asked for")
            },
            hint: None,
        }
    }
}

impl From<&engine_doctor::Finding> for Check {
    fn from(finding: &engine_doctor::Finding) -> Self {
        Self {
            topic: finding.topic,
            level: finding.severity.into(),
            text: finding.text.clone(),
            hint: finding.hint.clone(),
        }
    }
}

impl Check {
    fn ok(topic: &'static str, text: String) -> Self {
        Self {
            topic,
            level: Level::Ok,
            text,
            hint: None,
        }
    }

    /// Something that an error says.
    fn of_error(topic: &'static str, level: Level, error: impl Into<anyhow::Error>) -> Self {
        let failure = Failure::of(&error.into());
        Self {
            topic,
            level,
            text: failure.message,
            hint: failure.hint,
        }
    }
}

fn home(home: &Path) -> Vec<Check> {
    let shown = home.display();
    // The store says it best: it makes its folder, or says why not.
    if let Err(error) = store::Store::ensure(&home.join("store")).and_then(|store| store.put(b"")) {
        return vec![Check::of_error("home", Level::Error, error)];
    }
    if let Err(error) = write_probe(home) {
        let problem = Problem::of_path(format!("`{shown}` cannot be written"), error)
            .hint("free some space, or choose another home");
        return vec![Check::of_error("home", Level::Error, problem)];
    }
    let Ok(space) = rustix::fs::statvfs(home) else {
        return vec![Check::ok("home", format!("`{shown}` can be written"))];
    };
    let free = ByteSize::bytes(space.f_bavail.saturating_mul(space.f_frsize));
    if free < SPACE_LOW {
        return vec![Check {
            topic: "home",
            level: Level::Warning,
            text: format!("`{shown}` has only {free} of free space"),
            hint: Some("free some space, or choose another home".to_owned()),
        }];
    }
    vec![Check::ok(
        "home",
        format!("`{shown}` can be written, {free} free"),
    )]
}

/// Writes a file that is not there yet: what is there already needs no space.
fn write_probe(home: &Path) -> io::Result<()> {
    let path = home.join(format!(".probe-{}", uuid::Uuid::now_v7()));
    let write = || {
        let mut file = File::create_new(&path)?;
        file.write_all(&vec![0; PROBE])?;
        file.sync_all()
    };
    let written = write();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
        _ => written,
    }
}

async fn engine(app: &App) -> (Option<EngineFacts>, Vec<Check>) {
    let failed = |error| (None, vec![Check::of_error("engine", Level::Error, error)]);
    let engine = match Engine::connect(&app.settings.engine).await {
        Ok(engine) => engine,
        Err(error) => return failed(error),
    };
    let facts = match engine_doctor::inspect(&engine, jiff::Timestamp::now).await {
        Ok(facts) => facts,
        Err(error) => return failed(error),
    };
    let mut checks: Vec<_> = facts.findings.iter().map(Check::from).collect();
    let named: BTreeSet<&str> = app.settings.runtimes.all().collect();
    for runtime in named {
        if !facts.runtimes.iter().any(|known| known == runtime) {
            checks.push(Check {
                topic: "runtime",
                level: Level::Error,
                text: format!("the engine has no runtime `{runtime}`, which is configured"),
                hint: Some(format!("it has {}", facts.runtimes.join(", "))),
            });
        }
    }
    checks.push(match images::find(&engine, &app.image_request(&())).await {
        Ok(Some(image)) => Check::ok("image", image.0.to_string()),
        Ok(None) => Check {
            topic: "image",
            level: Level::Note,
            text: "not built yet; the first run builds it".to_owned(),
            hint: Some("`agentfactory images build` does it now".to_owned()),
        },
        // It is built again when it is needed.
        Err(error) => Check::of_error("image", Level::Warning, error),
    });
    (Some(facts), checks)
}

/// Starts one sandbox, of the image that runs use, and reads back what it is.
async fn probe(app: &App, facts: &EngineFacts) -> anyhow::Result<Vec<Probed>> {
    let engine = Engine::connect(&app.settings.engine).await?;
    engine.check(&app.settings.runtimes).await?;
    let image: ImageId = match images::find(&engine, &app.image_request(&())).await? {
        Some(image) => image,
        None => anyhow::bail!(
            Problem::not_found("there is no image to start a sandbox from")
                .hint("`agentfactory images build` makes it")
        ),
    };
    let slots = app.slots(SandboxFlags {
        queue_timeout: None,
        no_pool: true,
    })?;
    let options = docker_options(app.settings.runtimes.clone(), slots, PoolOptions::default());
    let sandboxes: Arc<dyn Sandboxes> = Arc::new(DockerSandboxes::new(engine, options));
    app.closing.add(&sandboxes);
    let probe = async |cancel| {
        let probed = engine_doctor::probe(&*sandboxes, &image, facts, cancel).await;
        anyhow::Ok(probed?)
    };
    app.interrupts.guard(probe).await
}

/// Who must vouch for versions.
fn trust(app: &App) -> Check {
    let of = |level, text: String, hint: Option<String>| Check {
        topic: "trust",
        level,
        text,
        hint,
    };
    match app.trust() {
        Ok(policy) => {
            let (rules, keys) = (policy.rules.len(), policy.all_keys().len());
            let text = match policy.demand {
                Demand::Nothing if rules == 0 => "versions need no signature".to_owned(),
                Demand::Nothing => format!("{rules} rules of [trust] apply, with {keys} keys"),
                Demand::Signed => {
                    format!(
                        "versions need the signature of a trusted key: {keys}, and {rules} rules"
                    )
                }
            };
            of(Level::Ok, text, None)
        }
        Err(error) => {
            let failure = Failure::of(&error);
            of(Level::Error, failure.message, failure.hint)
        }
    }
}

fn model(app: &App, model: Option<&ModelRef>) -> Check {
    let settings = &app.settings.llm;
    let Some(model) = model else {
        let keys = settings.providers.iter().filter_map(|(name, provider)| {
            let key = provider.key.as_ref()?;
            key.secret
                .as_ref()
                .map(|_| format!("{name} ({})", key.variable))
        });
        let keys: Vec<_> = keys.collect();
        let found = match keys.as_slice() {
            [] => "no key is set".to_owned(),
            keys => format!("there are keys for {}", keys.join(", ")),
        };
        return Check {
            topic: "model",
            level: Level::Note,
            text: format!("none is configured, so `solve` needs --model; {found}"),
            hint: orchestrator::FactoryError::NoModel.hint(),
        };
    };
    match llm::connect(model, settings) {
        Ok(_) => Check::ok("model", described(model, settings)),
        Err(error) => Check::of_error("model", Level::Warning, error),
    }
}

/// A model and where it is, without asking it: that costs money.
fn described(model: &ModelRef, settings: &llm::Settings) -> String {
    let Some(provider) = settings.providers.get(&model.provider) else {
        return format!("{model}: the script can be read");
    };
    let key = match &provider.key {
        Some(key) if key.secret.is_some() => format!("with the key in {}", key.variable),
        Some(key) => format!("without a key ({} is not set)", key.variable),
        None => "without a key".to_owned(),
    };
    format!("{model} at {} {key}", provider.base_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_written_to_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        write_probe(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(write_probe(Path::new("/proc")).is_err());
        let checks = home(Path::new("/proc/agentfactory"));
        assert!(checks.iter().all(|check| check.level == Level::Error));
    }
}
