//! Which runtime a sandbox runs under.

use crate::{Program, SandboxSpec};

/// The names of an engine's runtimes, by what a run is granted.
///
/// The first that is named decides: `mounts`, `egress`, `shell`, `default`. What none names runs
/// under the engine's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtimes {
    /// For all others.
    pub default: Option<String>,
    /// For runs with a host directory.
    pub mounts: Option<String>,
    /// For runs that reach hosts through the proxy.
    pub egress: Option<String>,
    /// For commands of the image's shell, where no subagent asks for them.
    pub shell: Option<String>,
}

impl Runtimes {
    /// One for everything.
    pub fn always(runtime: Option<String>) -> Self {
        Self {
            default: runtime,
            ..Self::default()
        }
    }

    /// Whether it depends on the run.
    pub fn is_mixed(&self) -> bool {
        self.mounts.is_some() || self.egress.is_some() || self.shell.is_some()
    }

    /// All that are named.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let all = [&self.default, &self.mounts, &self.egress, &self.shell];
        all.into_iter().flatten().map(String::as_str)
    }

    /// For records: `runc`, or `runc, egress on runsc`.
    pub fn describe(&self) -> String {
        let mut text = self.default.as_deref().unwrap_or("default").to_owned();
        let rules = [
            ("mounts", &self.mounts),
            ("egress", &self.egress),
            ("shell", &self.shell),
        ];
        for (what, runtime) in rules {
            if let Some(runtime) = runtime {
                text = format!("{text}, {what} on {runtime}");
            }
        }
        text
    }

    /// The runtime of one run.
    pub(crate) fn of(&self, spec: &SandboxSpec) -> Option<&str> {
        let is_shell = matches!(spec.program, Program::Shell { .. });
        let decides = |holds: bool, runtime: &Option<String>| holds && runtime.is_some();
        let chosen = if decides(!spec.mounts.is_empty(), &self.mounts) {
            &self.mounts
        } else if decides(spec.proxy.is_some(), &self.egress) {
            &self.egress
        } else if decides(is_shell, &self.shell) {
            &self.shell
        } else {
            &self.default
        };
        chosen.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spec::{Determinism, Digest, Limits, RunId, Tree};

    use super::*;
    use crate::{ImageId, Mount, Proxy};

    #[test]
    fn the_first_rule_that_is_named_decides() {
        let runtimes = Runtimes {
            default: Some("a".to_owned()),
            mounts: Some("b".to_owned()),
            egress: Some("c".to_owned()),
            shell: None,
        };
        let mut spec = SandboxSpec {
            run: RunId::from_uuid(uuid::Uuid::nil()),
            image: ImageId(Digest::of(b"")),
            program: Program::Shell {
                command: String::new(),
            },
            tree: Arc::new(Tree::default()),
            mounts: Vec::new(),
            limits: Limits::default(),
            determinism: Determinism::default(),
            imports: spec::Imports::NONE,
            runtime: None,
            proxy: None,
        };
        assert_eq!(runtimes.of(&spec), Some("a"));
        spec.proxy = Some(Proxy {
            certificates_pem: String::new(),
        });
        assert_eq!(runtimes.of(&spec), Some("c"));
        spec.mounts.push(Mount {
            source: "/x".into(),
            name: "x".to_owned(),
            writable: false,
        });
        assert_eq!(runtimes.of(&spec), Some("b"));
        assert_eq!(Runtimes::default().of(&spec), None);
        assert_eq!(runtimes.describe(), "a, mounts on b, egress on c");
    }
}
