//! Settings: defaults, file, `.env`, environment and flags, merged once into plain values.

mod egress;
mod file;
mod index;
mod pip;
mod providers;
mod trust;

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use llm::ModelRef;
use orchestrator::trust::{KeyFolder, TrustPolicy};
use orchestrator::{EgressSettings, IndexError, PackageIndex, ShellMode, TaskBudget};
use registry::{DockerConfig, RegistryOptions};
use runner::{EngineConfig, Runtimes, SANDBOXES_MAX, SlotOptions};
use spec::{ByteSize, LimitSources};

use crate::args::GlobalFlags;
use crate::environment::{self as env, Environment};
use crate::exit::Problem;
use file::{ConfigFile, EngineTable, RegistryTable, RuntimeTable, SandboxTable, Text, TrustTable};
use index::index;
use providers::providers;

/// Everything that is configured. Flags of a single command still go over it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The folder that holds everything, absolute.
    pub(crate) home: PathBuf,
    /// The model of the Meta-Agent, and of subagents unless they have their own.
    model: Configured<ModelRef>,
    /// The model of subagents.
    subagent_model: Configured<ModelRef>,
    /// Endpoints and keys.
    pub(crate) llm: llm::Settings,
    /// What runs may use.
    pub(crate) limits: LimitSources,
    /// What tasks may use.
    pub(crate) budget: TaskBudget,
    /// Where the engine is.
    pub(crate) engine: EngineConfig,
    /// The runtimes that sandboxes run under.
    pub(crate) runtimes: Runtimes,
    /// How many sandboxes there may be, and where that is counted.
    pub(crate) slots: SlotOptions,
    /// The socket of the pool that is shared by processes.
    pub(crate) pool_socket: PathBuf,
    /// This program's own directory, for locks and sockets that were not put elsewhere.
    pub(crate) run_dir: PathBuf,
    /// Whether a pool that is there is used.
    pub(crate) uses_pool: bool,
    /// What sandboxes may reach.
    pub(crate) egress: EgressSettings,
    /// Where Python distributions come from, or why they cannot: only who needs them hears of that.
    pub(crate) index: Result<PackageIndex, IndexError>,
    /// What becomes of the shell commands of subagents.
    pub(crate) shell: ShellMode,
    /// A folder with skills and prompts that are used instead of the built-in ones.
    pub(crate) skills: Option<PathBuf>,
    /// A folder with image recipes that are used instead of the built-in ones.
    pub(crate) images: Option<PathBuf>,
    /// The user's folder for what can be made again, whatever the home is.
    pub(crate) user_cache: Option<PathBuf>,
    /// The user's folder for what is worth keeping, whatever the home is.
    pub(crate) user_data: Option<PathBuf>,
    /// The variables that programs of ours on this machine get.
    pub(crate) program_environment: Vec<(OsString, OsString)>,
    /// What the user is called, for the log of what was changed.
    pub(crate) user: Option<String>,
    /// How registries are used.
    pub(crate) registries: RegistryOptions,
    /// Who must vouch for versions, as the file says it.
    trust: TrustTable,
    /// What people should know: ignored lines, addresses that a file in this folder decides.
    pub(crate) warnings: Vec<String>,
}

/// What is configured, if something is; or what is wrong with it, which only who needs it hears.
type Configured<T> = Result<Option<T>, String>;

impl Settings {
    /// Merges everything.
    ///
    /// # Errors
    /// [`Problem`] when a file or a variable is wrong.
    pub(crate) fn resolve(flags: &GlobalFlags, environment: &Environment) -> Result<Self, Problem> {
        let default = environment
            .config_dir()
            .map(|dir| dir.join("agentfactory/config.toml"));
        let file = match flags.config.as_ref().or(default.as_ref()) {
            Some(path) => ConfigFile::read(path, flags.config.is_some())?,
            None => ConfigFile::default(),
        };
        let mut warnings = environment.warnings.clone();
        let limits = file.limits.sources()?;
        let rules = &file.sandbox.runtime_for;
        let runtimes = runtimes(flags, environment, file.engine.runtime.as_ref(), rules)?;
        let home = home(flags, environment)?;
        let run_dir = run_dir(environment, &home);
        Ok(Self {
            slots: slots(file.sandbox, &run_dir)?,
            pool_socket: {
                let socket = file.pool.socket;
                socket.unwrap_or_else(|| run_dir.join("pool.sock"))
            },
            run_dir,
            uses_pool: file.pool.is_used.unwrap_or(true),
            user_cache: environment.cache_dir().map(|dir| dir.join("agentfactory")),
            user_data: environment.data_dir().map(|dir| dir.join("agentfactory")),
            program_environment: environment.for_programs(),
            user: environment.user(),
            registries: registries(file.registry, environment)?,
            trust: file.trust,
            home,
            model: model(environment, env::MODEL, file.model),
            subagent_model: model(environment, env::SUBAGENT_MODEL, file.subagent_model),
            llm: providers(file.providers, environment, &mut warnings)?,
            limits,
            budget: {
                let default = TaskBudget::default();
                TaskBudget {
                    turns_max: file.budget.turns.map_or(default.turns_max, NonZeroU32::get),
                    tokens_max: file
                        .budget
                        .tokens
                        .map_or(default.tokens_max, NonZeroU64::get),
                    wall: file
                        .budget
                        .task_timeout
                        .map_or(default.wall, |time| time.0.0),
                }
            },
            runtimes,
            egress: file.egress.settings()?,
            index: index(file.python, environment),
            shell: file.shell.policy.map(|policy| policy.0).unwrap_or_default(),
            engine: engine(file.engine, environment),
            skills: overriding("skills", environment.path(env::SKILLS).or(file.skills))?,
            images: overriding("images", environment.path(env::IMAGES).or(file.images))?,
            warnings,
        })
    }
}

impl Settings {
    /// The model of the Meta-Agent, and of subagents unless they have their own.
    ///
    /// # Errors
    /// [`Problem`] when what the environment says is none.
    pub(crate) fn model(&self) -> Result<Option<&ModelRef>, Problem> {
        usable(&self.model)
    }

    /// The model of subagents.
    ///
    /// # Errors
    /// As [`Self::model`].
    pub(crate) fn subagent_model(&self) -> Result<Option<&ModelRef>, Problem> {
        usable(&self.subagent_model)
    }

    /// What is demanded of versions before they are pulled or run.
    ///
    /// # Errors
    /// A key that [trust] names is not there or cannot be used.
    pub(crate) fn trust(&self) -> anyhow::Result<TrustPolicy> {
        trust::policy(&self.trust, &KeyFolder::new(&self.home))
    }
}

/// The runtimes: a flag or the environment names one for everything.
fn runtimes(
    flags: &GlobalFlags,
    environment: &Environment,
    engine: Option<&String>,
    rules: &RuntimeTable,
) -> Result<Runtimes, Problem> {
    let always = match &flags.runtime {
        Some(runtime) => Some(runtime.clone()),
        None => environment.text(env::RUNTIME),
    };
    let runtimes = match always {
        Some(runtime) => Runtimes::always(Some(runtime)),
        None => Runtimes {
            default: rules.default.as_ref().or(engine).cloned(),
            mounts: rules.mounts.clone(),
            egress: rules.egress.clone(),
            shell: rules.shell.clone(),
        },
    };
    if runtimes.all().any(str::is_empty) {
        return Err(Problem::usage("a runtime without a name cannot be used")
            .hint("`agentfactory doctor` shows the runtimes that the engine has"));
    }
    Ok(runtimes)
}

fn home(flags: &GlobalFlags, environment: &Environment) -> Result<PathBuf, Problem> {
    let chosen = flags.home.clone().or_else(|| environment.path(env::HOME));
    let home = chosen.or_else(|| environment.data_dir().map(|dir| dir.join("agentfactory")));
    let home = home.ok_or_else(|| {
        Problem::usage("there is no home directory to keep things in")
            .hint(format!("pass --home DIR, or set {}", env::HOME))
    })?;
    std::path::absolute(&home).map_err(|error| {
        Problem::of_path(
            format!("the home `{}` cannot be used", home.display()),
            error,
        )
    })
}

/// The directory for locks and sockets that all homes of the user share.
fn run_dir(environment: &Environment, home: &Path) -> PathBuf {
    let own = environment.run_dir().map(|dir| dir.join("agentfactory"));
    let cache = || environment.cache_dir();
    let shared = own.or_else(|| cache().map(|dir| dir.join("agentfactory/run")));
    shared.unwrap_or_else(|| home.join("run"))
}

/// How many sandboxes there may be: what suits this machine, then as the file says.
fn slots(table: SandboxTable, run_dir: &Path) -> Result<SlotOptions, Problem> {
    let memory = rustix::system::sysinfo();
    let unit = u64::from(memory.mem_unit.max(1));
    #[expect(
        clippy::useless_conversion,
        reason = "the kernel's word is 32 bits wide on some machines"
    )]
    let memory = ByteSize::bytes(u64::from(memory.totalram).saturating_mul(unit));
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut options = SlotOptions::for_machine(run_dir.join("slots"), memory, cpus);
    let waiting = options.sandboxes_max.saturating_sub(options.runs_max);
    if let Some(runs) = table.runs_max {
        options.runs_max = runs.get();
        options.sandboxes_max = runs.get().saturating_add(waiting).min(SANDBOXES_MAX);
    }
    if let Some(sandboxes) = table.sandboxes_max {
        options.sandboxes_max = sandboxes.get();
    }
    let wrong = |what: String, hint: String| Err(Problem::usage(what).hint(hint));
    if options.sandboxes_max > SANDBOXES_MAX {
        return wrong(
            format!("`sandboxes_max` is {}", options.sandboxes_max),
            format!("use at most {SANDBOXES_MAX}: each sandbox has a user number of its own"),
        );
    }
    if options.runs_max > options.sandboxes_max {
        return wrong(
            format!(
                "`runs_max` is {}, more than `sandboxes_max`, which is {}",
                options.runs_max, options.sandboxes_max
            ),
            "each run has a sandbox: lower the first or raise the second in [sandbox]".to_owned(),
        );
    }
    if let Some(timeout) = table.queue_timeout {
        options.queue_timeout = timeout.0.0;
    }
    if let Some(directory) = table.slots {
        options.directory = directory;
    }
    Ok(options)
}

/// A folder that replaces built-in files. A missing one would silently replace nothing.
fn overriding(what: &str, folder: Option<PathBuf>) -> Result<Option<PathBuf>, Problem> {
    match folder {
        Some(folder) if !folder.is_dir() => {
            let shown = folder.display();
            Err(
                Problem::usage(format!("the {what} folder `{shown}` is not a folder"))
                    .hint("correct the setting, or remove it to use the built-in files"),
            )
        }
        folder => Ok(folder),
    }
}

/// A model: the environment goes over the file.
fn model(
    environment: &Environment,
    name: &str,
    file: Option<Text<ModelRef>>,
) -> Configured<ModelRef> {
    let Some(text) = environment.text_or_file(name) else {
        return Ok(file.map(|model| model.0));
    };
    let parsed = text.parse().map(Some);
    parsed.map_err(|error: llm::ModelRefError| format!("{name}: {error}"))
}

fn usable<T>(configured: &Configured<T>) -> Result<Option<&T>, Problem> {
    let configured = configured.as_ref();
    configured.map(Option::as_ref).map_err(Problem::usage)
}

/// The engine: the environment decides alone as soon as it names one, as the file decides alone
/// over Docker's own configuration.
fn engine(file: EngineTable, environment: &Environment) -> EngineConfig {
    let mut host = environment.text(env::DOCKER_HOST);
    let mut context = environment.text(env::DOCKER_CONTEXT);
    if host.is_none() && context.is_none() {
        (host, context) = (file.host, file.context);
    }
    let docker_home = || environment.user_home().map(|home| home.join(".docker"));
    EngineConfig {
        host,
        tls_verify: environment.raw(env::DOCKER_TLS_VERIFY).is_some(),
        cert_path: environment.path(env::DOCKER_CERT_PATH),
        context,
        config_dir: environment.path(env::DOCKER_CONFIG).or_else(docker_home),
    }
}

/// Registries, with the credentials that Docker keeps.
fn registries(
    mut table: RegistryTable,
    environment: &Environment,
) -> Result<RegistryOptions, Problem> {
    // A host is the same in any case.
    for host in table.plain_http.iter_mut().chain(&mut table.tls) {
        host.make_ascii_lowercase();
    }
    let hosts = table.plain_http.iter().map(|host| (host, "plain_http"));
    for (host, key) in hosts.chain(table.tls.iter().map(|host| (host, "tls"))) {
        let reference = format!("{host}/x").parse::<registry::RegistryRef>();
        if !reference.is_ok_and(|reference| reference.repository.host() == host) {
            let host = spec::printable(host, 80);
            return Err(Problem::usage(format!("`{host}` is not a registry's host"))
                .hint(format!("write HOST or HOST:PORT in `{key}` of [registry]")));
        }
    }
    if let Some(host) = table
        .tls
        .iter()
        .find(|host| table.plain_http.contains(host))
    {
        return Err(Problem::usage(format!(
            "`{host}` is in `plain_http` and in `tls` of [registry]"
        ))
        .hint("every registry is asked with TLS but those on loopback and in `plain_http`"));
    }
    let docker_home = || environment.user_home().map(|home| home.join(".docker"));
    Ok(RegistryOptions {
        plain_http: table.plain_http,
        tls: table.tls,
        docker: DockerConfig {
            folder: environment.path(env::DOCKER_CONFIG).or_else(docker_home),
            environment: environment.for_credential_helpers(),
        },
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn resolve(process: &[(&str, &str)], dotenv: &str, file: &str) -> Result<Settings, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, file).unwrap();
        let flags = GlobalFlags {
            config: Some(path),
            ..GlobalFlags::default()
        };
        let mut all = vec![("HOME", "/h")];
        all.extend_from_slice(process);
        Settings::resolve(&flags, &Environment::of(&all, dotenv))
    }

    fn key(settings: &Settings, provider: &str) -> Option<String> {
        let key = settings.llm.providers[provider].key.as_ref()?;
        Some(key.secret.as_ref()?.expose_secret().to_owned())
    }

    #[test]
    fn each_source_wins_over_the_one_before() {
        let model = |process: &[(&str, &str)], dotenv: &str, file: &str| {
            let settings = resolve(process, dotenv, file).unwrap();
            settings.model().unwrap().map(ToString::to_string)
        };
        let (environment, dotenv, file) = (
            [("AGENTFACTORY_MODEL", "a:env")],
            "AGENTFACTORY_MODEL=a:dot",
            "model = 'a:file'",
        );
        assert_eq!(model(&[], "", ""), None);
        assert_eq!(model(&[], "", file).as_deref(), Some("a:file"));
        assert_eq!(model(&[], dotenv, file).as_deref(), Some("a:dot"));
        assert_eq!(model(&environment, dotenv, file).as_deref(), Some("a:env"));
        // Whoever needs none does not care.
        let wrong = resolve(&[("AGENTFACTORY_MODEL", "opus")], "", file).unwrap();
        let why = wrong.model().unwrap_err().to_string();
        assert!(
            why.contains("AGENTFACTORY_MODEL") && why.contains("opus"),
            "{why}"
        );
    }

    #[test]
    fn what_is_no_text_matters_to_who_uses_it() {
        let resolve = |name: &str| {
            let all = [("HOME", "/h"), ("PIP_CONFIG_FILE", "/dev/null")];
            let environment = Environment::of(&all, "").with_bytes(name, b"http://a\xff.b");
            Settings::resolve(&GlobalFlags::default(), &environment).unwrap()
        };
        for name in [
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            assert!(resolve(name).model().is_ok(), "{name}");
        }
        let said = "a\u{fffd}.b";
        let engine = resolve("DOCKER_HOST").engine;
        assert!(engine.host.unwrap().contains(said));
        let engine = resolve("DOCKER_CONTEXT").engine;
        assert!(engine.context.unwrap().contains(said));
        let runtimes = resolve("AGENTFACTORY_RUNTIME").runtimes;
        assert!(runtimes.default.unwrap().contains(said));
        let why = resolve("PIP_INDEX_URL").index.unwrap_err().to_string();
        assert!(why.contains("not a plain address"), "{why}");
        let environment = Environment::of(&[("HOME", "/h")], "");
        let environment = environment.with_bytes("AGENTFACTORY_MODEL", b"\xff");
        let settings = Settings::resolve(&GlobalFlags::default(), &environment).unwrap();
        let why = settings.model().unwrap_err().to_string();
        assert!(why.contains("AGENTFACTORY_MODEL"), "{why}");
    }

    #[test]
    fn the_home_is_found() {
        let home = |process: &[(&str, &str)]| resolve(process, "", "").unwrap().home;
        assert_eq!(home(&[]), Path::new("/h/.local/share/agentfactory"));
        assert_eq!(home(&[("AGENTFACTORY_HOME", "/x")]), Path::new("/x"));
        let flags = GlobalFlags {
            home: Some("/flag".into()),
            ..GlobalFlags::default()
        };
        let environment = Environment::of(&[("AGENTFACTORY_HOME", "/x"), ("HOME", "/h")], "");
        assert_eq!(home_of(&flags, &environment), Path::new("/flag"));
    }

    fn home_of(flags: &GlobalFlags, environment: &Environment) -> PathBuf {
        Settings::resolve(flags, environment).unwrap().home
    }

    #[test]
    fn limits_and_budget_come_from_the_file() {
        let settings = resolve(
            &[],
            "",
            "[limits]\nmemory = '1G'\n[budget]\nturns = 3\ntask_timeout = '1m'",
        )
        .unwrap();
        assert_eq!(settings.limits.base.memory, spec::ByteSize::mib(1024));
        assert_eq!(settings.limits.base.pids, spec::Limits::default().pids);
        let max = |text: &str| resolve(&[], "", &format!("[limits]\n{text}"));
        assert!(max("memory = '1G'\n[limits.max]\nmemory = '1G'").is_ok());
        let above = max("memory = '1G'\n[limits.max]\nmemory = '512M'").unwrap_err();
        let above = crate::exit::Failure::of(&above.into());
        assert!(
            above.message.contains("`memory` of 1G, at most 512M"),
            "{above}"
        );
        assert!(max("[limits.max.max]\npids = 9").is_err());
        assert!(max("[limits.max]\npids = 1").is_err());
        assert_eq!(settings.budget.turns_max, 3);
        assert_eq!(settings.budget.tokens_max, TaskBudget::default().tokens_max);
        for nothing in [
            "turns = 0",
            "tokens = 0",
            "task_timeout = '0s'",
            "task_timeout = 0",
        ] {
            let refused = resolve(&[], "", &format!("[budget]\n{nothing}"));
            assert!(refused.is_err(), "{nothing}");
        }
    }

    #[test]
    fn sandboxes_are_counted_per_user() {
        let slots = |process: &[(&str, &str)], file: &str| resolve(process, "", file);
        let folder = tempfile::tempdir().unwrap();
        let run = [("XDG_RUNTIME_DIR", folder.path().to_str().unwrap())];
        let settings = slots(&run, "[sandbox]\nruns_max = 3").unwrap();
        assert_eq!(
            settings.slots.directory,
            folder.path().join("agentfactory/slots")
        );
        assert_eq!(
            settings.pool_socket,
            folder.path().join("agentfactory/pool.sock")
        );
        assert_eq!(settings.slots.runs_max, 3);
        assert!(settings.slots.sandboxes_max > 3 && settings.uses_pool);
        for wrong in [
            "runs_max = 600",
            "sandboxes_max = 513",
            "runs_max = 9\nsandboxes_max = 8",
        ] {
            let wrong = format!("[sandbox]\n{wrong}");
            assert!(slots(&run, &wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_index_that_cannot_be_used_matters_to_those_who_need_one() {
        let index = |process: &[(&str, &str)], file: &str| {
            let all = [&[("PIP_CONFIG_FILE", "/dev/null")], process].concat();
            resolve(&all, "", file).unwrap().index
        };
        assert_eq!(index(&[], ""), Err(IndexError::NotNamed));
        let named = [("PIP_INDEX_URL", "https://index.example.org/simple")];
        assert!(index(&named, "[python]\nindex = 'file:///wheels'").is_ok());
        for unusable in [
            "http://10.1.2.3:3141/root",
            "http://localhost/simple",
            "file:///wheels",
        ] {
            let by_variable = index(&[("PIP_INDEX_URL", unusable)], "").unwrap_err();
            assert!(by_variable.to_string().contains(unusable), "{by_variable}");
            assert!(by_variable.hint().unwrap().contains("[egress.hosts]"));
            let by_file = index(&[], &format!("[python]\nindex = '{unusable}'"));
            assert_eq!(by_file, Err(by_variable));
        }
        let hosts = "[python]\nindex_hosts = ['files.example.org', '10.1.2.3']";
        assert_eq!(index(&[], hosts), Err(IndexError::NotNamed));
        let why = index(&named, hosts).unwrap_err();
        assert!(why.to_string().contains("`10.1.2.3`"), "{why}");
        let cert = [named[0], ("PIP_CERT", "/nowhere/ca.pem")];
        let why = index(&cert, "").unwrap_err();
        assert!(why.to_string().contains("`/nowhere/ca.pem`"), "{why}");
    }

    #[test]
    fn the_shell_policy_comes_from_the_file() {
        let policy = |file: &str| resolve(&[], "", file).map(|settings| settings.shell);
        assert_eq!(policy("").unwrap(), ShellMode::Enforce);
        assert_eq!(policy("[shell]\npolicy = 'ask'").unwrap(), ShellMode::Ask);
        assert_eq!(
            policy("[shell]\npolicy = 'audit'").unwrap(),
            ShellMode::Audit
        );
        assert!(policy("[shell]\npolicy = 'off'").is_err());
        assert!(policy("[shell]\nmode = 'ask'").is_err());
    }

    #[test]
    fn keys_and_addresses_come_from_the_environment() {
        let settings = resolve(
            &[
                ("ANTHROPIC_API_KEY", " k1\n"),
                ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
            ],
            "OPENAI_API_KEY=k2\nMY_KEY=k3",
            "[providers.mine]\nbase_url = 'http://m'\nkey_env = 'MY_KEY'\n\
             [providers.openai]\nbase_url = 'http://file'",
        )
        .unwrap();
        assert_eq!(key(&settings, "anthropic").as_deref(), Some("k1"));
        assert_eq!(key(&settings, "openai").as_deref(), Some("k2"));
        assert_eq!(key(&settings, "mine").as_deref(), Some("k3"));
        assert_eq!(
            settings.llm.providers["openai"].base_url,
            "http://127.0.0.1:1/v1"
        );
        let shown = format!("{settings:?}");
        assert!(!shown.contains("k1") && !shown.contains("k3"), "{shown}");
        assert!(resolve(&[], "", "[providers.mine]").is_err());
        assert!(resolve(&[], "", "[providers.scripted]\nbase_url = 'http://m'").is_err());
        assert!(resolve(&[], "", "[providers.'a:b']\nbase_url = 'http://m'").is_err());
    }

    #[test]
    fn one_source_alone_names_the_engine() {
        let engine = |process: &[(&str, &str)], file: &str| {
            let engine = resolve(process, "", file).unwrap().engine;
            (engine.host, engine.context)
        };
        let file = "[engine]\nhost = 'unix:///a'";
        assert_eq!(engine(&[], file), (Some("unix:///a".to_owned()), None));
        assert_eq!(
            engine(&[("DOCKER_CONTEXT", "far")], file),
            (None, Some("far".to_owned()))
        );
        assert_eq!(
            engine(&[("DOCKER_HOST", "tcp://b:1")], file),
            (Some("tcp://b:1".to_owned()), None)
        );
        let settings = resolve(&[("DOCKER_TLS_VERIFY", "1")], "", "").unwrap();
        assert!(settings.engine.tls_verify);
        assert_eq!(
            settings.engine.config_dir.as_deref(),
            Some(Path::new("/h/.docker"))
        );
    }

    #[test]
    fn an_address_that_the_folder_decides_is_said() {
        let warnings = |process: &[(&str, &str)], dotenv: &str| {
            resolve(process, dotenv, "").unwrap().warnings.len()
        };
        assert_eq!(warnings(&[], "OPENAI_BASE_URL=https://elsewhere.test"), 1);
        for local in [
            "http://127.0.0.1:80",
            "http://localhost/v1",
            "http://[::1]:8080",
        ] {
            assert_eq!(warnings(&[], &format!("OPENAI_BASE_URL={local}")), 0);
        }
        for far in [
            "http://127.0.0.1.evil.test",
            "http://localhost:x@evil.test",
            "http://e/127.0.0.1",
            "http:e.test/://localhost",
            "http:/\\e.test://localhost",
        ] {
            assert_eq!(warnings(&[], &format!("OPENAI_BASE_URL={far}")), 1, "{far}");
        }
        let own = [("OPENAI_BASE_URL", "https://mine.test")];
        assert_eq!(warnings(&own, "OPENAI_BASE_URL=https://elsewhere.test"), 0);
    }

    #[test]
    fn the_folder_does_not_decide_where_a_key_goes() {
        let far = "OPENAI_BASE_URL=https://elsewhere.test\n";
        let own = [("OPENAI_API_KEY", "k")];
        let refused = anyhow::Error::from(resolve(&own, far, "").unwrap_err());
        let failure = crate::exit::Failure::of(&refused);
        assert_eq!(failure.code, crate::exit::ExitCode::Refused);
        assert!(failure.hint.is_some());
        let both = format!("{far}OPENAI_API_KEY=k2");
        assert!(resolve(&own, &both, "").is_err());
        assert!(resolve(&[], &both, "").is_ok());
        assert!(resolve(&[("OPENAI_API_KEY", "")], &both, "").is_ok());
        assert!(resolve(&[("ANTHROPIC_API_KEY", "k")], &both, "").is_ok());
        assert!(resolve(&own, "OPENAI_BASE_URL=http://localhost:1", "").is_ok());
        let named = "[providers.openai]\nkey_env = 'MINE'";
        assert!(resolve(&[("MINE", "k")], far, named).is_err());
        assert!(resolve(&own, far, named).is_ok());
    }
}
