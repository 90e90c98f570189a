//! What commands share: settings, the streams, and how the parts are put together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use llm::{Model, ModelRef};
use orchestrator::trust::TrustPolicy;
use orchestrator::{
    Assets, Egress, EnvironmentSettings, Factory, Requirements, ShellPolicy, SystemContext,
};
use registry::{Repository, RepositoryName};
use runner::images::{self, BuildRequest};
use runner::pool_process::{self, Asked, OwnSandboxes, PooledSandboxes, Wanted, WantedLimits};
use runner::{
    DockerOptions, DockerSandboxes, Engine, EngineConfig, ImageId, Notice, Owner, Permit,
    PoolOptions, Program, RunnerError, Runtimes, Sandboxes, Slots, Warm,
};
use spec::{Determinism, Imports, LimitSources, Limits, Skill, VersionRef};
use store::{Act, Operation, Resolved, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::args::{LimitFlags, ModelFlags, SandboxFlags, WhyFlags};
use crate::closing::Closing;
use crate::commands::lines;
use crate::config::Settings;
use crate::exit::{ExitCode, Interrupted, Problem};
use crate::interrupt::Interrupts;
use crate::ui::{Live, Ui};
use crate::wire::{ChangeJson, OperationJson};

/// How long a start waits for what dead programs left to be gone.
const REAPING: Duration = Duration::from_secs(3);

/// The program, ready for a command.
#[derive(Debug)]
pub(crate) struct App {
    /// What people and scripts see.
    pub(crate) ui: Arc<Ui>,
    /// Everything that is configured.
    pub(crate) settings: Settings,
    /// Whether somebody wants it to stop.
    pub(crate) interrupts: Interrupts,
    /// What is to be gone when it ends.
    pub(crate) closing: Closing,
}

/// What decides which sandbox of a pool suits a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leasable<'a> {
    /// What it should have ready.
    pub(crate) warm: Warm,
    /// What it may use.
    pub(crate) limits: &'a Limits,
    /// What it finds besides the standard library.
    pub(crate) packages: Option<Packages<'a>>,
}

/// The environment of a run, and what decides what is imported in it ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packages<'a> {
    /// What it finds.
    pub(crate) requirements: &'a Requirements,
    /// What runs in it.
    pub(crate) program: &'a Program,
    /// The clock and the random numbers that the program is given.
    pub(crate) determinism: Determinism,
}

/// The models of a run or task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Models {
    /// The Meta-Agent's.
    pub(crate) agent: Option<Arc<dyn Model>>,
    /// What answers `call_llm` in subagents.
    pub(crate) subagents: Option<Arc<dyn Model>>,
}

impl App {
    /// Puts them together.
    pub(crate) fn new(ui: Arc<Ui>, settings: Settings) -> Self {
        for warning in &settings.warnings {
            ui.warn(warning);
        }
        Self {
            ui,
            settings,
            interrupts: Interrupts::default(),
            closing: Closing::default(),
        }
    }

    /// The library, which is made when it is not there.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn store(&self) -> anyhow::Result<Arc<Store>> {
        Ok(Arc::new(Store::ensure(&self.settings.home.join("store"))?))
    }

    /// That the user does something now, and why.
    pub(crate) fn act(&self, flags: &WhyFlags, over_pins: bool) -> Act {
        Act {
            at: Timestamp::now(),
            by: self.settings.user.clone(),
            why: flags.why.clone(),
            over_pins,
        }
    }

    /// The version that a reference means. A former name is said to be one.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn resolve(
        &self,
        store: &Store,
        reference: &VersionRef,
    ) -> Result<Resolved, StoreError> {
        let resolved = store.resolve(reference)?;
        if let (Some(former), Some(name)) = (&resolved.former, &resolved.name) {
            self.ui.note(format!("`{former}` is called `{name}` now"));
        }
        Ok(resolved)
    }

    /// Shows the operation that a command added.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub(crate) fn show_change(&self, operation: &Operation) -> anyhow::Result<ExitCode> {
        let operation = OperationJson::from(operation);
        if self.ui.is_json() {
            self.ui.json(&ChangeJson { operation })?;
        } else {
            for line in lines(&operation) {
                self.ui.data(line)?;
            }
        }
        Ok(ExitCode::Success)
    }

    /// One repository of a registry.
    ///
    /// # Errors
    /// Those of its credentials.
    pub(crate) async fn repository(&self, name: &RepositoryName) -> anyhow::Result<Repository> {
        Ok(Repository::connect(name.clone(), &self.settings.registries).await?)
    }

    /// What is demanded of versions before they are pulled or run.
    ///
    /// # Errors
    /// As [`Settings::trust`].
    pub(crate) fn trust(&self) -> anyhow::Result<TrustPolicy> {
        self.settings
            .trust()
            .context("reading [trust] of the configuration")
    }

    /// Skills and prompts.
    pub(crate) fn assets(&self) -> Assets {
        Assets::new(self.settings.skills.clone())
    }

    /// What the sandbox image is made from, and where that is remembered.
    ///
    /// The image belongs to the engine, so all homes of a user share what is known about it. A user
    /// whose own folders cannot be written has it in the home.
    pub(crate) fn image_request<'a>(&self, progress: &'a dyn images::Progress) -> BuildRequest<'a> {
        let settings = &self.settings;
        let usable = |folder: &Option<PathBuf>| {
            let folder = folder.as_ref().unwrap_or(&settings.home);
            let made = std::fs::create_dir_all(folder).is_ok();
            if made {
                folder.clone()
            } else {
                settings.home.clone()
            }
        };
        BuildRequest {
            base: None,
            refresh: false,
            cache_dir: usable(&settings.user_cache).join("images"),
            lock_file: usable(&settings.user_data).join("images.lock"),
            overrides_dir: settings.images.clone(),
            environment: settings.program_environment.clone(),
            progress,
        }
    }

    /// Where environments come from and where they are remembered, which all homes of a user share.
    pub(crate) fn environments(&self) -> EnvironmentSettings {
        EnvironmentSettings {
            index: self.settings.index.clone(),
            cache: self.image_request(&()).cache_dir.join("environments"),
            engine: self.settings.engine.clone(),
        }
    }

    /// Everything that one run needs. A pool that another process keeps is used where it has what
    /// the run wants; then nothing is asked of the engine.
    ///
    /// # Errors
    /// As of [`Self::factory`].
    pub(crate) async fn factory_for_run(
        &self,
        store: Arc<Store>,
        models: Models,
        flags: SandboxFlags,
        wanted: Option<Leasable<'_>>,
        live: &Live,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Factory> {
        let slots = self.slots(flags)?;
        let asked = match wanted.filter(|_| self.may_lease(flags)) {
            Some(wanted) => self.lease(wanted, &slots, cancel).await?,
            None => None,
        };
        let (lease, image) = match asked {
            Some((Asked::Lease(lease), Some(image))) => (lease, image),
            Some((Asked::Lease(lease), None)) => {
                let image = lease.image.clone();
                (lease, image)
            }
            Some((Asked::None(permit), _)) => {
                let place = (slots, permit);
                return self.factory_of(store, models, place, live, cancel).await;
            }
            None => {
                let place = (slots, None);
                return self.factory_of(store, models, place, live, cancel).await;
            }
        };
        let engine = lease.engine.clone();
        let own = OwnEngine {
            engine: self.settings.engine.clone(),
            runtimes: self.settings.runtimes.clone(),
            slots,
        };
        let sandboxes = Arc::new(PooledSandboxes::new(lease, Arc::new(own)));
        self.put_together(live, store, models, sandboxes, image, engine)
    }

    /// Whether a pool that another process keeps may be asked. Its sandboxes have one runtime.
    fn may_lease(&self, flags: SandboxFlags) -> bool {
        self.settings.uses_pool && !flags.no_pool && !self.settings.runtimes.is_mixed()
    }

    /// A sandbox of the pool that another process keeps, if there is one for this run, and the sandbox
    /// image below where it is one of an environment.
    async fn lease(
        &self,
        wanted: Leasable<'_>,
        slots: &Slots,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Option<(Asked, Option<ImageId>)>> {
        let Some((wanted, below)) = self.wanted(wanted) else {
            return Ok(None);
        };
        let socket = &self.settings.pool_socket;
        let asked = pool_process::lease(socket, wanted, slots, cancel).await?;
        Ok(Some((asked, below)))
    }

    /// Has a pool that another process keeps get ready for more runs like this one, which it could not
    /// know of: what an environment is, and what a program imports in it, is known after its first run.
    pub(crate) async fn keep_ready(&self, flags: SandboxFlags, wanted: Leasable<'_>) {
        if self.may_lease(flags)
            && let Some((wanted, _)) = self.wanted(wanted)
        {
            pool_process::keep(&self.settings.pool_socket, wanted).await;
        }
    }

    /// What a run wants of a pool, and the sandbox image below where it is one of an environment; none
    /// where there is no pool, or it is not known yet.
    fn wanted(&self, wanted: Leasable<'_>) -> Option<(Wanted, Option<ImageId>)> {
        if !self.settings.pool_socket.exists() {
            return None;
        }
        // What is wrong with the engine or the image is said when they are used.
        let engine = Engine::address_of(&self.settings.engine).ok()?;
        let image = images::key(&self.image_request(&())).ok()??;
        let (mut below, mut environment, mut imports) = (None, None, Imports::NONE);
        if let Some(packages) = wanted.packages {
            let found = self.remembered(packages)?;
            (below, environment, imports) = (Some(found.0), Some(found.1.0), found.2);
        }
        let wanted = Wanted {
            engine,
            runtime: self.settings.runtimes.default.clone(),
            image,
            environment,
            imports,
            warm: wanted.warm,
            limits: WantedLimits::of(wanted.limits),
        };
        Some((wanted, below))
    }

    /// The sandbox image, that of the environment of a run, and what a sandbox that waits for the run
    /// imports, as far as that is known without an engine.
    fn remembered(&self, packages: Packages<'_>) -> Option<(ImageId, ImageId, Imports)> {
        let Packages {
            requirements,
            program,
            determinism,
        } = packages;
        let environments = self.environments();
        let images = images::recorded(&self.image_request(&())).ok()?;
        images.into_iter().find_map(|below| {
            let prepared = environments.remembered(&below, requirements)?;
            let imports = environments.imports(&prepared, program, determinism);
            Some((below, prepared.environment.image, imports))
        })
    }

    /// Everything that running and solving needs: connects to the engine, removes what dead
    /// programs left there, and builds the sandbox image if it is not there.
    ///
    /// # Errors
    /// The runner's, and [`Interrupted`].
    pub(crate) async fn factory(
        &self,
        store: Arc<Store>,
        models: Models,
        flags: SandboxFlags,
        live: &Live,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Factory> {
        let place = (self.slots(flags)?, None);
        self.factory_of(store, models, place, live, cancel).await
    }

    /// The same, with the permit for its first run where that has been waited for.
    async fn factory_of(
        &self,
        store: Arc<Store>,
        models: Models,
        (slots, permit): (Slots, Option<Permit>),
        live: &Live,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Factory> {
        let (engine, image) = self.prepare(live, cancel).await?;
        let runtimes = self.settings.runtimes.clone();
        let described = self.described(&engine);
        let options = docker_options(runtimes, slots, PoolOptions::default());
        let sandboxes = Arc::new(DockerSandboxes::new(engine, options));
        if let Some(permit) = permit {
            sandboxes.lend(permit);
        }
        self.put_together(live, store, models, sandboxes, image, described)
    }

    /// Connects to the engine, removes what dead programs left there, and builds the sandbox image
    /// if it is not there.
    ///
    /// # Errors
    /// The runner's, and [`Interrupted`].
    pub(crate) async fn prepare(
        &self,
        live: &Live,
        cancel: &CancellationToken,
    ) -> anyhow::Result<(Engine, ImageId)> {
        let prepare = async {
            let engine = Engine::connect(&self.settings.engine).await?;
            engine.check(&self.settings.runtimes).await?;
            let progress = live.progress();
            let request = self.image_request(&*progress);
            let reaping = runner::reap(&engine, Timestamp::now());
            let (reaped, image) = tokio::join!(
                tokio::time::timeout(REAPING, reaping),
                images::ensure(&engine, &request)
            );
            match reaped {
                Ok(Ok(0)) => {}
                Ok(Ok(count)) => self.ui.note(format!("removed {count} abandoned sandboxes")),
                Ok(Err(error)) => self.ui.warn(orchestrator::chain(&error)),
                // The engine has been told all of them, and whoever starts next looks again.
                Err(_) => {
                    let what = "the engine takes long to remove sandboxes that a dead program left";
                    self.ui.warn(what);
                }
            }
            Ok::<_, anyhow::Error>((engine, image?))
        };
        tokio::select! {
            prepared = prepare => prepared,
            () = cancel.cancelled() => Err(Interrupted.into()),
        }
    }

    /// What the engine is, for records.
    pub(crate) fn described(&self, engine: &Engine) -> String {
        let runtimes = self.settings.runtimes.describe();
        format!("{}, {runtimes} runtime", engine.describe())
    }

    fn put_together(
        &self,
        live: &Live,
        store: Arc<Store>,
        models: Models,
        sandboxes: Arc<dyn Sandboxes>,
        image: ImageId,
        engine: String,
    ) -> anyhow::Result<Factory> {
        let trust = self.trust()?;
        self.closing.add(&sandboxes);
        Ok(Factory {
            store,
            tasks: self.tasks(),
            outputs: self.outputs(),
            sandboxes,
            image,
            harness: images::harness(&self.image_request(&())).ok(),
            engine,
            model: models.agent,
            subagent_model: models.subagents,
            egress: Egress::new(self.settings.egress.clone()),
            environments: Some(self.environments()),
            shell: ShellPolicy {
                mode: self.settings.shell,
                approver: live.approver(),
            },
            trust,
            assets: self.assets(),
            context: Arc::new(SystemContext),
        })
    }

    /// How many sandboxes there may be.
    pub(crate) fn slots(&self, flags: SandboxFlags) -> anyhow::Result<Slots> {
        let mut options = self.settings.slots.clone();
        options.queue_timeout = flags.queue_timeout.unwrap_or(options.queue_timeout);
        self.ensure_run_dir(&options.directory)?;
        let ui = Arc::clone(&self.ui);
        let notice = Notice::new(move |running| {
            ui.note(format!(
                "waiting: as many runs as may, {running}, are running (--queue-timeout)"
            ));
        });
        Ok(Slots::open_with(options, Some(notice))?)
    }

    /// Makes this program's directory of locks and sockets, when it is used for this path, with the
    /// user's rights alone, whatever the process's mask says.
    pub(crate) fn ensure_run_dir(&self, path: &Path) -> Result<(), RunnerError> {
        let directory = &self.settings.run_dir;
        if !path.starts_with(directory) {
            return Ok(());
        }
        runner::own_directory(directory).map_err(|source| RunnerError::Slots {
            directory: directory.clone(),
            source,
        })
    }

    /// Where the limits of a run come from.
    pub(crate) fn limits(&self, flags: &LimitFlags) -> LimitSources {
        LimitSources {
            asked: flags.partial(),
            ..self.settings.limits.clone()
        }
    }

    /// The folder with the output of the runs that are running.
    pub(crate) fn outputs(&self) -> PathBuf {
        self.settings.home.join("outputs")
    }

    /// The folder with the tasks' logs.
    pub(crate) fn tasks(&self) -> PathBuf {
        self.settings.home.join("tasks")
    }
}

/// How sandboxes of this process are made.
pub(crate) fn docker_options(
    runtimes: Runtimes,
    slots: Slots,
    mut pool: PoolOptions,
) -> DockerOptions {
    pool.starts = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().div_ceil(2));
    let owner = Owner::of_this_process()
        .unwrap_or_else(|_| Owner::named(&uuid::Uuid::now_v7().to_string()));
    DockerOptions {
        owner,
        runtimes,
        slots,
        pool,
        now: Timestamp::now,
    }
}

/// The engine, for a run that the pool failed.
#[derive(Debug)]
struct OwnEngine {
    engine: EngineConfig,
    runtimes: Runtimes,
    slots: Slots,
}

impl OwnSandboxes for OwnEngine {
    fn connect(&self) -> BoxFuture<'_, Result<DockerSandboxes, RunnerError>> {
        Box::pin(async {
            let engine = Engine::connect(&self.engine).await?;
            let (runtimes, slots) = (self.runtimes.clone(), self.slots.clone());
            let options = docker_options(runtimes, slots, PoolOptions::default());
            Ok(DockerSandboxes::new(engine, options))
        })
    }
}

impl Models {
    /// The models of a task.
    ///
    /// # Errors
    /// [`llm::LlmError::NotConfigured`], and [`orchestrator::FactoryError::NoModel`].
    pub(crate) fn of_task(app: &App, flags: &ModelFlags) -> anyhow::Result<Self> {
        let settings = &app.settings;
        let agent = match &flags.model {
            Some(model) => Some(model),
            None => settings.model()?,
        };
        let agent = agent.ok_or(orchestrator::FactoryError::NoModel)?;
        let own = match &flags.subagent_model {
            Some(model) => Some(model),
            None => settings.subagent_model()?,
        };
        let connected = connect(agent, &settings.llm)?;
        let subagents = match own.filter(|own| *own != agent) {
            Some(own) => connect(own, &settings.llm)?,
            // The same one, so that a script goes on where it was.
            None => Arc::clone(&connected),
        };
        Ok(Self {
            agent: Some(connected),
            subagents: Some(subagents),
        })
    }

    /// The model that answers one subagent, if it may ask.
    ///
    /// # Errors
    /// [`llm::LlmError::NotConfigured`].
    pub(crate) fn of_subagents(
        app: &App,
        flags: &ModelFlags,
        grants: &BTreeSet<Skill>,
    ) -> anyhow::Result<Self> {
        if !grants.contains(&Skill::Llm) {
            return Ok(Self::default());
        }
        let settings = &app.settings;
        let chosen = match flags.subagent_model.as_ref().or(flags.model.as_ref()) {
            Some(model) => Some(model),
            None => match settings.subagent_model()? {
                Some(model) => Some(model),
                None => settings.model()?,
            },
        };
        if chosen.is_none() {
            app.ui
                .warn("`llm` is granted, but no model is configured: its calls will be refused");
        }
        let subagents = chosen
            .map(|model| connect(model, &settings.llm))
            .transpose()?;
        Ok(Self {
            agent: None,
            subagents,
        })
    }
}

/// Connects to a model. A script that is not there is a file that was named wrongly.
fn connect(model: &ModelRef, settings: &llm::Settings) -> anyhow::Result<Arc<dyn Model>> {
    if model.provider == "scripted"
        && let Err(error) = std::fs::metadata(&model.id)
    {
        let script = spec::printable(&model.id, 200);
        return Err(
            Problem::of_path(format!("the script `{script}` cannot be read"), error).into(),
        );
    }
    Ok(llm::connect(model, settings)?)
}
