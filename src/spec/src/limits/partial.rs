//! Limits that somebody has an opinion on, and whose word counts.

use std::time::Duration;

use super::error::key_of;
use super::{Limits, LimitsError};
use crate::{ByteSize, format_duration};

/// A value for people.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        format_duration(*self)
    }
}

impl Shown for ByteSize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for u64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// A limit as its flag takes it: processors are not counted in thousandths there.
fn shown(flag: &str, value: &impl Shown) -> String {
    let text = value.shown();
    match text.parse::<u32>() {
        Ok(millis) if flag == "--cpus" => {
            let decimals = format!(".{:03}", millis % 1_000);
            let decimals = decimals.trim_end_matches('0').trim_end_matches('.');
            format!("{}{decimals}", millis / 1_000)
        }
        _ => text,
    }
}

/// One limit above another.
struct Excess {
    flag: &'static str,
    asked: String,
    most: String,
}

macro_rules! partial_limits {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $flag:literal,)*) => {
        /// Some of the limits: those that somebody has an opinion on.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct PartialLimits {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        impl PartialLimits {
            /// These where they are said, else those of `base`.
            pub fn over(&self, base: &Limits) -> Limits {
                let mut limits = base.clone();
                $(if let Some(said) = self.$field {
                    limits.$field = said.into();
                })*
                limits
            }

            /// These where they are said, else those that `other` says.
            #[must_use]
            pub fn or(&self, other: &Self) -> Self {
                Self { $($field: self.$field.or(other.$field),)* }
            }

            /// Without those that `other` says.
            #[must_use]
            pub fn without(&self, other: &Self) -> Self {
                Self { $($field: self.$field.filter(|_| other.$field.is_none()),)* }
            }

            /// Each that is said: its flag, and its value for people.
            pub fn said(&self) -> Vec<(&'static str, String)> {
                let mut said = Vec::new();
                $(if let Some(value) = self.$field {
                    said.push(($flag, shown($flag, &value)));
                })*
                said
            }

            /// The first that is above the same one of `most`.
            fn above(&self, most: &Self) -> Option<Excess> {
                $(if let (Some(asked), Some(most)) = (self.$field, most.$field)
                    && asked > most
                {
                    return Some(Excess {
                        flag: $flag,
                        asked: shown($flag, &asked),
                        most: shown($flag, &most),
                    });
                })*
                None
            }
        }

        impl Limits {
            /// All of them. Processor time is only said where it has a limit of its own.
            pub fn to_partial(&self) -> PartialLimits {
                PartialLimits { $($field: self.$field.into(),)* }
            }

            /// Lowers what is above a maximum to it.
            #[must_use]
            pub fn at_most(mut self, most: &PartialLimits) -> Self {
                $(if let Some(most) = most.$field
                    && self.$field > most.into()
                {
                    self.$field = most.into();
                })*
                if let Some(most) = most.cpu
                    && self.cpu_bound() > most
                {
                    self.cpu = Some(most);
                }
                self
            }
        }
    };
}

partial_limits! {
    /// See [`Limits::wall`].
    wall: Duration = "--timeout",
    /// See [`Limits::cpu`].
    cpu: Duration = "--cpu-time",
    /// See [`Limits::memory`].
    memory: ByteSize = "--memory",
    /// See [`Limits::cpu_millis`].
    cpu_millis: u32 = "--cpus",
    /// See [`Limits::pids`].
    pids: u32 = "--pids",
    /// See [`Limits::workspace`].
    workspace: ByteSize = "--workspace-size",
    /// See [`Limits::workspace_files`].
    workspace_files: u64 = "--workspace-files",
    /// See [`Limits::output`].
    output: ByteSize = "--output-size",
    /// See [`Limits::result`].
    result: ByteSize = "--result-size",
    /// See [`Limits::collect_files`].
    collect_files: u32 = "--collect-files",
    /// See [`Limits::collect_depth`].
    collect_depth: u32 = "--collect-depth",
    /// See [`Limits::tool_calls`].
    tool_calls: u32 = "--tool-calls",
    /// See [`Limits::tool_bytes`].
    tool_bytes: ByteSize = "--tool-size",
}

/// What a version may ask for where the operator says nothing of it. Its author may be a model.
pub const VERSION_MAX: PartialLimits = PartialLimits {
    wall: Some(Duration::from_hours(1)),
    cpu: Some(Duration::from_hours(2)),
    memory: Some(ByteSize::mib(2_048)),
    cpu_millis: Some(2_000),
    pids: Some(512),
    workspace: Some(ByteSize::mib(512)),
    workspace_files: None,
    output: Some(ByteSize::mib(8)),
    result: None,
    collect_files: None,
    collect_depth: None,
    tool_calls: None,
    tool_bytes: None,
};

impl PartialLimits {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what no sandbox can have. Whether it fits the limits that it says nothing of is only
    /// known when they are: [`LimitSources::resolve`].
    ///
    /// # Errors
    /// [`LimitsError`] with the first that is impossible.
    pub fn check(&self) -> Result<(), LimitsError> {
        let limits = self.over(&Limits::default());
        if self.memory.is_some() && self.workspace.is_some() {
            return limits.check();
        }
        limits.check_each()
    }
}

/// Where the limits of a run come from, but for its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSources {
    /// What whoever starts the run asks for.
    pub asked: PartialLimits,
    /// What the operator gives runs that ask for nothing else.
    pub base: Limits,
    /// What the operator allows at most.
    pub max: PartialLimits,
}

impl From<Limits> for LimitSources {
    /// These limits, unless a version asks for others.
    fn from(base: Limits) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }
}

impl LimitSources {
    /// The limits of a run: what is asked for, else what its version asks for, else the operator's,
    /// and nothing above the operator's maximum.
    ///
    /// The operator's own limits are lowered to the maximum; whoever asks for more is refused.
    ///
    /// # Errors
    /// [`LimitsError`] when more is asked for than is allowed, or the limits contradict each other.
    pub fn resolve(&self, version: Option<&PartialLimits>) -> Result<Limits, LimitsError> {
        let asked_above = self.asked.above(&self.max);
        if let Some(Excess { flag, asked, most }) = asked_above {
            return Err(LimitsError::AboveMaximum { flag, asked, most });
        }
        let version = version.map(|version| version.without(&self.asked));
        let version = version.unwrap_or_default();
        if let Some(Excess { flag, asked, most }) = version.above(&self.max.or(&VERSION_MAX)) {
            return Err(LimitsError::VersionAboveMaximum { flag, asked, most });
        }
        let limits = self.asked.or(&version).over(&self.base).at_most(&self.max);
        limits.check()?;
        Ok(limits)
    }

    /// Refuses a maximum that the operator's own limits are above, or that is impossible.
    ///
    /// # Errors
    /// [`LimitsError`] with the first contradiction.
    pub fn check_base(&self, base: &PartialLimits) -> Result<(), LimitsError> {
        if let Some(Excess { flag, asked, most }) = base.above(&self.max) {
            return Err(LimitsError::BaseAboveMaximum {
                key: key_of(flag),
                given: asked,
                most,
            });
        }
        self.max.over(&Limits::default()).check_each()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RESULT;
    use super::*;

    #[test]
    fn who_asks_comes_first_and_nobody_gets_more_than_the_maximum() {
        let mib = |mib| Some(ByteSize::mib(mib));
        let sources = LimitSources {
            asked: PartialLimits {
                pids: Some(64),
                ..PartialLimits::default()
            },
            base: Limits {
                pids: 32,
                output: ByteSize::mib(2),
                ..Limits::default()
            },
            max: PartialLimits {
                memory: mib(1024),
                pids: Some(100),
                wall: Some(Duration::from_secs(30)),
                cpu: Some(Duration::from_secs(20)),
                ..PartialLimits::default()
            },
        };
        let version = |memory, pids| PartialLimits {
            memory,
            pids,
            ..PartialLimits::default()
        };
        let limits = sources.resolve(Some(&version(mib(1024), Some(9)))).unwrap();
        assert_eq!((limits.memory, limits.pids), (ByteSize::mib(1024), 64));
        assert_eq!(limits.output, ByteSize::mib(2));
        assert_eq!(limits.wall, Duration::from_secs(30));
        assert_eq!(limits.cpu, Some(Duration::from_secs(20)));
        assert_eq!(limits.result, RESULT);

        let error = sources
            .resolve(Some(&version(mib(2048), None)))
            .unwrap_err();
        assert!(matches!(
            error,
            LimitsError::VersionAboveMaximum {
                flag: "--memory",
                ..
            }
        ));
        // What somebody else decides does not matter.
        assert!(sources.resolve(Some(&version(None, Some(5_000)))).is_ok());
        let mut greedy = sources.clone();
        greedy.asked.pids = Some(101);
        let error = greedy.resolve(None).unwrap_err();
        assert!(matches!(
            error,
            LimitsError::AboveMaximum { flag: "--pids", .. }
        ));
        assert!(error.hint().unwrap().contains("`pids` in `[limits.max]`"));

        // Without a word of the operator, a person may ask for more than a version.
        let free = LimitSources::from(Limits::default());
        assert!(free.resolve(Some(&version(mib(4096), None))).is_err());
        let asked = LimitSources {
            asked: version(mib(4096), None),
            ..free
        };
        assert_eq!(asked.resolve(None).unwrap().memory, ByteSize::mib(4096));
    }

    #[test]
    fn the_operators_own_limits_must_not_be_above_the_maximum() {
        let pids = |pids| PartialLimits {
            pids: Some(pids),
            ..PartialLimits::default()
        };
        let check = |base, max| {
            let sources = LimitSources {
                max: pids(max),
                ..LimitSources::default()
            };
            sources.check_base(&pids(base)).is_ok()
        };
        assert!(check(10, 10));
        assert!(!check(11, 10));
        assert!(!check(1, 1), "no sandbox has so few");
    }

    #[test]
    fn limits_are_shown_as_their_flags_take_them() {
        let check = |cpu_millis, expected: &str| {
            let limits = PartialLimits {
                cpu_millis: Some(cpu_millis),
                memory: Some(ByteSize::mib(64)),
                ..PartialLimits::default()
            };
            let expected = [("--memory", "64M"), ("--cpus", expected)];
            let said = limits.said();
            let said: Vec<_> = said.iter().map(|(flag, value)| (*flag, &**value)).collect();
            assert_eq!(said, expected);
        };
        check(500, "0.5");
        check(1_000, "1");
        check(12_345, "12.345");
        check(10, "0.01");
    }
}
