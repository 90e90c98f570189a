//! What an engine says of itself, as far as each run depends on it.

use std::collections::BTreeMap;

use bollard::models::{Runtime, SystemInfo};
use spec::{ByteSize, Limits};

use crate::docker::calls::call;
use crate::{Engine, RunnerError};

/// What one engine has to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    seccomp: bool,
    /// The runtimes, and whether each keeps to the limits that it is given. Empty where the engine
    /// does not say which it has.
    runtimes: BTreeMap<String, bool>,
    default_runtime: String,
    memory_bytes: u64,
    cpus: u64,
}

impl Capabilities {
    /// Asks the engine.
    pub(crate) async fn ask(engine: &Engine) -> Result<Self, RunnerError> {
        let info = call("describe itself", engine.docker.info()).await?;
        Ok(Self::of(info))
    }

    fn of(info: SystemInfo) -> Self {
        let can_limit = info.memory_limit.unwrap_or(true);
        let runtimes = info.runtimes.unwrap_or_default().into_iter();
        let number = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
        Self {
            seccomp: info
                .security_options
                .unwrap_or_default()
                .iter()
                .any(|option| option.contains("seccomp")),
            runtimes: runtimes
                .map(|(name, runtime)| (name, can_limit && !ignores_limits(&runtime)))
                .collect(),
            default_runtime: info.default_runtime.unwrap_or_default(),
            memory_bytes: number(info.mem_total),
            cpus: number(info.ncpu),
        }
    }

    /// Refuses an engine that cannot filter system calls.
    pub(crate) fn check_filter(&self) -> Result<(), RunnerError> {
        if self.seccomp {
            return Ok(());
        }
        Err(RunnerError::Unsafe {
            why: "it reports no seccomp".to_owned(),
        })
    }

    /// Refuses a runtime that the engine does not have.
    pub(crate) fn check_runtime(&self, runtime: &str) -> Result<(), RunnerError> {
        if self.runtimes.is_empty() || self.runtimes.contains_key(runtime) {
            return Ok(());
        }
        Err(RunnerError::UnknownRuntime {
            runtime: runtime.to_owned(),
            known: self.runtimes.keys().cloned().collect(),
        })
    }

    /// Refuses limits beyond what the engine's machine has.
    pub(crate) fn check_limits(&self, limits: &Limits) -> Result<(), RunnerError> {
        if self.memory_bytes > 0 && limits.memory.get() > self.memory_bytes {
            return Err(RunnerError::Machine {
                what: "memory",
                asked: format!("{} of memory is", limits.memory),
                has: ByteSize::mib(self.memory_bytes >> 20).to_string(),
            });
        }
        let millis = limits.cpu_millis;
        if self.cpus > 0 && u64::from(millis) > self.cpus.saturating_mul(1_000) {
            return Err(RunnerError::Machine {
                what: "cpus",
                asked: format!("{} processors are", f64::from(millis) / 1_000.0),
                has: self.cpus.to_string(),
            });
        }
        Ok(())
    }

    /// The name of a runtime; `None` is the default one, whose name the engine may not say.
    pub(crate) fn runtime<'a>(&'a self, runtime: Option<&'a str>) -> Option<&'a str> {
        let default = Some(self.default_runtime.as_str());
        runtime.or(default.filter(|name| !name.is_empty()))
    }

    /// Whether a runtime keeps to the limits of memory that it is given; `None` is the default one.
    pub(crate) fn enforces_memory(&self, runtime: Option<&str>) -> bool {
        let runtime = runtime.unwrap_or(&self.default_runtime);
        self.runtimes.get(runtime).copied().unwrap_or(true)
    }
}

/// Whether a runtime is told not to make control groups: then nothing limits what it runs.
pub(crate) fn ignores_limits(runtime: &Runtime) -> bool {
    let arguments = runtime.runtime_args.iter().flatten();
    let mut flags = arguments.map(|argument| argument.trim_start_matches('-'));
    flags.any(|flag| {
        matches!(
            flag,
            "ignore-cgroups" | "ignore-cgroups=true" | "rootless" | "rootless=true"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities() -> Capabilities {
        let runtime = |arguments: &[&str]| Runtime {
            runtime_args: Some(arguments.iter().map(|&text| text.to_owned()).collect()),
            ..Runtime::default()
        };
        Capabilities::of(SystemInfo {
            runtimes: Some(
                [
                    ("runc".to_owned(), runtime(&[])),
                    ("runsc".to_owned(), runtime(&["--ignore-cgroups"])),
                    ("other".to_owned(), runtime(&["--ignore-cgroups=false"])),
                ]
                .into(),
            ),
            default_runtime: Some("runc".to_owned()),
            mem_total: Some(2 << 30),
            ncpu: Some(2),
            ..SystemInfo::default()
        })
    }

    #[test]
    fn what_the_engine_does_not_have_is_refused() {
        let engine = capabilities();
        assert!(engine.check_filter().is_err());
        assert!(engine.check_runtime("runsc").is_ok());
        let error = engine.check_runtime("kata").unwrap_err();
        assert!(error.to_string().contains("`kata`"), "{error}");
        assert!(error.hint().unwrap().contains("other, runc, runsc"));
        assert!(Capabilities::default().check_runtime("kata").is_ok());
        let check = |memory: u64, cpu_millis: u32, fits: bool| {
            let limits = Limits {
                memory: ByteSize::mib(memory),
                cpu_millis,
                ..Limits::default()
            };
            assert_eq!(engine.check_limits(&limits).is_ok(), fits, "{limits:?}");
        };
        check(2048, 2000, true);
        check(2049, 1000, false);
        check(512, 2001, false);
    }

    #[test]
    fn a_runtime_without_control_groups_enforces_nothing() {
        let engine = capabilities();
        assert!(engine.enforces_memory(None));
        assert!(engine.enforces_memory(Some("runc")));
        assert!(engine.enforces_memory(Some("other")));
        assert!(!engine.enforces_memory(Some("runsc")));
    }
}
