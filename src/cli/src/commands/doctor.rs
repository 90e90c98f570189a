//! `doctor`: can this machine run sandboxes and solve tasks, and if not, what to do?

use std::path::Path;

use llm::ModelRef;
use runner::Engine;
use runner::images;
use spec::ByteSize;

use crate::app::App;
use crate::exit::{ExitCode, Failure};
use crate::ui::{Text, Tone};
use crate::wire::{CheckJson, DoctorJson};

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Good,
    Note,
    Warning,
    /// Nothing can run.
    Problem,
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

/// Looks at everything.
pub(crate) async fn doctor(app: &App) -> anyhow::Result<ExitCode> {
    let mut checks = home(&app.settings.home);
    checks.extend(engine(app).await);
    checks.extend(model(app, "model", app.settings.model.as_ref()));
    if app.settings.subagent_model.is_some() {
        checks.extend(model(app, "model", app.settings.subagent_model.as_ref()));
    }
    let usable = checks.iter().all(|check| check.level != Level::Problem);
    if app.ui.is_json() {
        let checks = checks.into_iter().map(|check| CheckJson {
            topic: check.topic,
            level: check.level.name(),
            text: check.text,
            hint: check.hint,
        });
        app.ui.json(&DoctorJson {
            usable,
            checks: checks.collect(),
        })?;
    } else {
        for check in &checks {
            let (tone, word) = check.level.shown();
            let line = Text::new().with(tone, format!("{word:<8}"));
            app.ui.data(
                line.with(Tone::Dim, format!("{:<8}", check.topic))
                    .plain(&check.text),
            )?;
            if let Some(hint) = &check.hint {
                app.ui.data(
                    Text::new()
                        .with(Tone::Good, "                hint: ")
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
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    fn shown(self) -> (Tone, &'static str) {
        let tone = match self {
            Self::Good => Tone::Good,
            Self::Note => Tone::Dim,
            Self::Warning => Tone::Warning,
            Self::Problem => Tone::Bad,
        };
        (tone, self.name())
    }
}

impl Check {
    fn good(topic: &'static str, text: String) -> Self {
        Self {
            topic,
            level: Level::Good,
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
        return vec![Check::of_error("home", Level::Problem, error)];
    }
    let Ok(space) = rustix::fs::statvfs(home) else {
        return vec![Check::good("home", format!("`{shown}` can be written"))];
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
    vec![Check::good(
        "home",
        format!("`{shown}` can be written, {free} free"),
    )]
}

async fn engine(app: &App) -> Vec<Check> {
    let engine = match Engine::connect(&app.settings.engine).await {
        Ok(engine) => engine,
        Err(error) => return vec![Check::of_error("engine", Level::Problem, error)],
    };
    let mut checks = vec![Check::good(
        "engine",
        format!("answers at `{}`", engine.address()),
    )];
    checks.push(match images::find(&engine, &app.image_request(&())).await {
        Ok(Some(image)) => Check::good("image", image.0.to_string()),
        Ok(None) => Check {
            topic: "image",
            level: Level::Note,
            text: "not built yet; the first run builds it".to_owned(),
            hint: Some("`agentfactory images build` does it now".to_owned()),
        },
        Err(error) => Check::of_error("image", Level::Warning, error),
    });
    checks
}

fn model(app: &App, topic: &'static str, model: Option<&ModelRef>) -> Vec<Check> {
    let settings = &app.settings.llm;
    let Some(model) = model else {
        let mut keys = settings.providers.iter().filter_map(|(name, provider)| {
            let key = provider.key.as_ref()?;
            key.secret
                .as_ref()
                .map(|_| format!("{name} ({})", key.variable))
        });
        let found = keys
            .next()
            .map(|first| keys.fold(first, |all, next| format!("{all}, {next}")));
        let found = found.map_or("no key is set".to_owned(), |found| {
            format!("keys for {found}")
        });
        return vec![Check {
            topic,
            level: Level::Note,
            text: format!("none is configured, so only `exec`, `run` and `shell` work; {found}"),
            hint: orchestrator::FactoryError::NoModel.hint(),
        }];
    };
    match llm::connect(model, settings) {
        Ok(_) => vec![Check::good(topic, described(model, settings))],
        Err(error) => vec![Check::of_error(topic, Level::Warning, error)],
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
