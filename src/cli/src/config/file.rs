//! The file `config.toml`: its form, and errors that point at the line.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use llm::ModelRef;
use orchestrator::trust::Demand;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use spec::{ByteSize, DurationError, LimitSources, Limits, PartialLimits, parse_duration};

use super::egress::EgressTable;
use crate::args::{Cpus, parse_duration_or_none};
use crate::exit::Problem;

/// Everything that the file can say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// `PROVIDER:ID` or `scripted:FILE`; such a file is relative to this one.
    pub(crate) model: Option<Text<ModelRef>>,
    /// The subagents' model.
    pub(crate) subagent_model: Option<Text<ModelRef>>,
    /// A folder with skills and prompts, relative to this file.
    pub(crate) skills: Option<PathBuf>,
    /// A folder with image recipes, relative to this file.
    pub(crate) images: Option<PathBuf>,
    /// What runs may use.
    #[serde(default)]
    pub(crate) limits: LimitsTable,
    /// What tasks may use.
    #[serde(default)]
    pub(crate) budget: BudgetTable,
    /// Where the engine is.
    #[serde(default)]
    pub(crate) engine: EngineTable,
    /// How many sandboxes there may be.
    #[serde(default)]
    pub(crate) sandbox: SandboxTable,
    /// Sandboxes that wait for their runs.
    #[serde(default)]
    pub(crate) pool: PoolTable,
    /// What sandboxes may reach.
    #[serde(default)]
    pub(super) egress: EgressTable,
    /// Where Python distributions come from.
    #[serde(default)]
    pub(crate) python: PythonTable,
    /// What becomes of the shell commands of subagents.
    #[serde(default)]
    pub(crate) shell: ShellTable,
    /// How registries are used.
    #[serde(default)]
    pub(crate) registry: RegistryTable,
    /// Who must vouch for versions.
    #[serde(default)]
    pub(crate) trust: TrustTable,
    /// Endpoints of models, by the name that stands before the colon.
    #[serde(default)]
    pub(crate) providers: BTreeMap<String, ProviderTable>,
}

/// `[limits]` and `[limits.max]`: the flags of a run, with `_` for `-`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsTable {
    timeout: Option<Text<Time>>,
    cpu_time: Option<Text<Time>>,
    memory: Option<Text<ByteSize>>,
    cpus: Option<Text<Cpus>>,
    pids: Option<u32>,
    workspace_size: Option<Text<ByteSize>>,
    workspace_files: Option<u64>,
    output_size: Option<Text<ByteSize>>,
    result_size: Option<Text<ByteSize>>,
    collect_files: Option<u32>,
    collect_depth: Option<u32>,
    tool_calls: Option<u32>,
    tool_size: Option<Text<ByteSize>>,
    /// The most that anybody may ask for.
    max: Option<Box<LimitsTable>>,
}

/// `[budget]`: the flags of a task.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetTable {
    pub(crate) turns: Option<NonZeroU32>,
    pub(crate) tokens: Option<NonZeroU64>,
    pub(crate) task_timeout: Option<Text<Time>>,
}

/// `[engine]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineTable {
    pub(crate) host: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) runtime: Option<String>,
}

/// `[sandbox]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SandboxTable {
    pub(crate) runs_max: Option<NonZeroU32>,
    pub(crate) sandboxes_max: Option<NonZeroU32>,
    pub(crate) queue_timeout: Option<Text<TimeOrNone>>,
    /// Relative to this file.
    pub(crate) slots: Option<PathBuf>,
    /// Runtimes of runs that are granted more than others.
    #[serde(default)]
    pub(crate) runtime_for: RuntimeTable,
}

/// `[sandbox] runtime_for`: names of the engine's runtimes; the first that holds decides.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuntimeTable {
    pub(crate) mounts: Option<String>,
    pub(crate) egress: Option<String>,
    pub(crate) shell: Option<String>,
    pub(crate) default: Option<String>,
}

/// `[pool]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolTable {
    #[serde(rename = "use")]
    pub(crate) is_used: Option<bool>,
    /// Relative to this file.
    pub(crate) socket: Option<PathBuf>,
}

/// `[python]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PythonTable {
    pub(crate) index: Option<String>,
    #[serde(default)]
    pub(crate) index_hosts: Vec<String>,
}

/// `[shell]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShellTable {
    pub(crate) policy: Option<Text<orchestrator::ShellMode>>,
}

/// `[registry]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryTable {
    /// Hosts that are asked without TLS.
    #[serde(default)]
    pub(crate) plain_http: Vec<String>,
    /// Hosts on loopback that are asked with TLS all the same.
    #[serde(default)]
    pub(crate) tls: Vec<String>,
}

/// `[trust]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustTable {
    pub(crate) require: Option<Text<Demand>>,
    /// `ed25519:...`, or the name of a key of the home.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    #[serde(default)]
    pub(crate) rules: Vec<TrustRuleTable>,
}

/// `[[trust.rules]]`: what a rule does not say is as in `[trust]`, but that it demands a signature.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustRuleTable {
    pub(crate) name: Option<String>,
    pub(crate) registry: Option<String>,
    pub(crate) require: Option<Text<Demand>>,
    pub(crate) keys: Option<Vec<String>>,
}

/// `[providers.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderTable {
    pub(crate) protocol: Option<Text<llm::Protocol>>,
    pub(crate) base_url: Option<String>,
    pub(crate) key_env: Option<Text<VariableName>>,
}

/// A duration as flags have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_duration(text).map(Self)
    }
}

/// A duration that may be none at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeOrNone(pub(crate) Duration);

impl FromStr for TimeOrNone {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_duration_or_none(text).map(Self)
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct VariableName(pub(crate) String);

impl FromStr for VariableName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if text.is_empty() || !text.chars().all(plain) {
            // It may be the key itself: it is not repeated.
            return Err("this is not the name of an environment variable, such as `MY_API_KEY`");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A value that is written as text; numbers are read as their text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);
        impl<T> Visitor<'_> for TextVisitor<T>
        where
            T: FromStr,
            T::Err: fmt::Display,
        {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(Text).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

impl LimitsTable {
    /// What it says, but for the maximum.
    pub(crate) fn partial(&self) -> PartialLimits {
        fn of<T: Copy>(value: Option<&Text<T>>) -> Option<T> {
            value.map(|text| text.0)
        }
        PartialLimits {
            wall: of(self.timeout.as_ref()).map(|time| time.0),
            cpu: of(self.cpu_time.as_ref()).map(|time| time.0),
            memory: of(self.memory.as_ref()),
            cpu_millis: of(self.cpus.as_ref()).map(Cpus::millis),
            pids: self.pids,
            workspace: of(self.workspace_size.as_ref()),
            workspace_files: self.workspace_files,
            output: of(self.output_size.as_ref()),
            result: of(self.result_size.as_ref()),
            collect_files: self.collect_files,
            collect_depth: self.collect_depth,
            tool_calls: self.tool_calls,
            tool_bytes: of(self.tool_size.as_ref()),
        }
    }

    /// What runs get, and what they can get at most.
    ///
    /// # Errors
    /// [`Problem`] when these contradict each other.
    pub(crate) fn sources(&self) -> Result<LimitSources, Problem> {
        let base = self.partial();
        let max = self.max.as_deref();
        if max.is_some_and(|max| max.max.is_some()) {
            return Err(Problem::usage("`[limits.max]` has no maximum of its own"));
        }
        let sources = LimitSources {
            asked: PartialLimits::default(),
            base: base.over(&Limits::default()),
            max: max.map(Self::partial).unwrap_or_default(),
        };
        sources.check_base(&base).map_err(|why| {
            let problem = Problem::usage(format!("the configured limits are wrong: {why}"));
            match why.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        })?;
        Ok(sources)
    }
}

impl ConfigFile {
    /// Reads a file; one that is not there is empty, unless it was asked for.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be read or is wrong.
    pub(crate) fn read(path: &Path, is_required: bool) -> Result<Self, Problem> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_required => {
                return Ok(Self::default());
            }
            Err(error) => {
                let message = format!("the configuration `{}` cannot be read", path.display());
                return Err(Problem::of_path(message, error));
            }
        };
        let mut file = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut file.skills,
            &mut file.images,
            &mut file.egress.ca_file,
            &mut file.sandbox.slots,
            &mut file.pool.socket,
        ];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        for model in [&mut file.model, &mut file.subagent_model]
            .into_iter()
            .flatten()
        {
            if model.0.provider == "scripted" {
                model.0.id = folder.join(&model.0.id).to_string_lossy().into_owned();
            }
        }
        Ok(file)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.lines().last().filter(|_| !before.ends_with('\n'));
            let column = column.map_or(0, |line| line.chars().count()) + 1;
            let message = without_values(error.message());
            let problem = Problem::usage(format!(
                "`{}` line {line}, column {column}: {message}",
                path.display()
            ));
            if is_about_a_key(&message) {
                problem.hint(
                    "keys belong in the environment or in `.env`; `key_env` names the variable",
                )
            } else {
                problem
            }
        })
    }
}

/// A message without the text that was found: a key in the wrong place must not be shown.
fn without_values(message: &str) -> String {
    match message.split_once("string \"") {
        Some((before, rest)) => match rest.rsplit_once("\", expected ") {
            Some((_, expected)) => format!("{before}a text, expected {expected}"),
            None => format!("{before}a text"),
        },
        None => message
            .replace("unknown field", "unknown key")
            .trim_end()
            .to_owned(),
    }
}

/// Whether somebody tried to write down a key.
fn is_about_a_key(message: &str) -> bool {
    let field = message
        .strip_prefix("unknown key `")
        .and_then(|rest| rest.split('`').next());
    let secret = |word: &str| {
        let word = word.to_lowercase();
        ["key", "token", "secret", "password"]
            .iter()
            .any(|part| word.contains(part))
    };
    field.is_some_and(secret) || message.contains("name of an environment variable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Failure;

    fn failure(text: &str) -> Failure {
        let problem = ConfigFile::parse(text, Path::new("config.toml")).unwrap_err();
        Failure::of(&problem.into())
    }

    #[test]
    fn everything_can_be_said() {
        let file = ConfigFile::parse(
            r#"
            model = "anthropic:claude-opus-4-6"
            subagent_model = "ollama:qwen3:8b"
            [limits]
            timeout = "30s"
            memory = "1G"
            cpus = 0.5
            pids = 64
            workspace_size = "64M"
            output_size = "2M"
            [limits.max]
            cpu_time = "1h"
            workspace_files = 1000
            [budget]
            turns = 10
            tokens = 500000
            task_timeout = "20m"
            [engine]
            host = "unix:///run/user/1000/docker.sock"
            runtime = "runsc"
            [sandbox]
            runs_max = 4
            sandboxes_max = 20
            queue_timeout = 0
            slots = "slots"
            [pool]
            use = false
            socket = "pool.sock"
            [providers.vllm]
            protocol = "openai"
            base_url = "http://localhost:8000/v1"
            key_env = "VLLM_API_KEY"
            "#,
            Path::new("config.toml"),
        )
        .unwrap();
        assert_eq!(
            file.subagent_model.unwrap().0.to_string(),
            "ollama:qwen3:8b"
        );
        let limits = file.limits.sources().unwrap().base;
        assert_eq!((limits.cpu_millis, limits.pids), (500, 64));
        assert_eq!(file.sandbox.queue_timeout.unwrap().0.0, Duration::ZERO);
        assert_eq!(file.pool.is_used, Some(false));
        assert_eq!(
            file.providers["vllm"].key_env.as_ref().unwrap().0.0,
            "VLLM_API_KEY"
        );
    }

    #[test]
    fn an_error_points_at_its_line() {
        let check = |text: &str, expected: &str| {
            let failure = failure(text);
            assert_eq!(failure.code.number(), 2);
            assert!(failure.message.starts_with(expected), "{}", failure.message);
        };
        check(
            "\n\nmodle = 'a:b'",
            "`config.toml` line 3, column 1: unknown key `modle`",
        );
        check(
            "[limits]\nmemory = 'lots'",
            "`config.toml` line 2, column 10: `lots` is not a size",
        );
        check(
            "[limits]\ncpus = 0",
            "`config.toml` line 2, column 8: `0` is not a number of",
        );
        check(
            "model = 'opus'",
            "`config.toml` line 1, column 9: `opus` does not name a model",
        );
        check(
            "[limits]\npids = 'x'",
            "`config.toml` line 2, column 8: invalid type: a text",
        );
        check("model = ", "`config.toml` line 1, column");
        check(
            "[engine]\nhost = 'a'\nhost = 'b'",
            "`config.toml` line 3, column 1: duplicate key",
        );
        check(
            "[providers.x]\nprotocol = 'grpc'",
            "`config.toml` line 2, column 12: `grpc`",
        );
    }

    #[test]
    fn a_key_in_the_file_is_refused_and_not_shown() {
        for text in [
            "[providers.anthropic]\nkey = \"sk-hidden\"",
            "[providers.anthropic]\napi_key = \"sk-hidden\"",
            "ANTHROPIC_API_KEY = \"sk-hidden\"",
            "[providers.anthropic]\nkey_env = \"sk-hidden\"",
        ] {
            let failure = failure(text);
            assert!(!failure.message.contains("hidden"), "{}", failure.message);
            assert!(failure.hint.unwrap().contains(".env"), "{text}");
        }
        let failure = failure("[providers]\nanthropic = \"sk-hidden\"");
        assert!(!failure.message.contains("hidden"), "{}", failure.message);
    }

    #[test]
    fn files_are_relative_to_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(
            &path,
            "model = 'scripted:demo/replies.json'\nskills = 'mine'",
        )
        .unwrap();
        let file = ConfigFile::read(&path, true).unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(file.model.unwrap().0.id, inside("demo/replies.json"));
        assert_eq!(file.skills.unwrap().display().to_string(), inside("mine"));

        let missing = folder.path().join("none.toml");
        assert!(ConfigFile::read(&missing, false).is_ok());
        let problem = ConfigFile::read(&missing, true).unwrap_err();
        assert_eq!(Failure::of(&problem.into()).code.number(), 3);
    }
}
