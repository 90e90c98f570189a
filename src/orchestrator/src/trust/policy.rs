//! What is demanded of a version before it is pulled or run.

use std::collections::BTreeSet;

use spec::{Digest, SubagentName};
use store::Store;

use super::{PublicKey, TrustError, Verdict, signatures};

/// Whether signatures are demanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// They are not.
    #[default]
    Nothing,
    /// One of the keys must have signed it.
    Signed,
}

impl std::str::FromStr for Demand {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nothing),
            "signed" => Ok(Self::Signed),
            _ => Err("what is demanded is `none` or `signed`"),
        }
    }
}

/// What is demanded of some versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustRule {
    /// Names of subagents; a `*` at the end stands for anything. None stands for all.
    pub name: Option<String>,
    /// `REGISTRY/REPO` of what is pulled, with the same `*`, in any spelling. Such a rule says nothing about runs.
    pub registry: Option<String>,
    /// Whether signatures are demanded.
    pub demand: Demand,
    /// Whose; one of them is enough.
    pub keys: Vec<PublicKey>,
}

/// What is demanded: the first rule that fits decides, else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// In this order.
    pub rules: Vec<TrustRule>,
    /// Whether signatures are demanded otherwise.
    pub demand: Demand,
    /// Whose; one of them is enough.
    pub keys: Vec<PublicKey>,
}

impl TrustPolicy {
    /// Checks a version before it is pulled from a repository, or run where there is none, and with it
    /// each that it depends on, which is judged under the name that it is depended on by. `repository` is each
    /// way to write where it is pulled from.
    ///
    /// # Errors
    /// [`TrustError::Unsigned`], [`TrustError::Untrusted`], [`TrustError::Dependency`], and the store's.
    pub fn check(
        &self,
        store: &Store,
        version: &Digest,
        name: Option<&SubagentName>,
        repository: Option<&[String]>,
    ) -> Result<(), TrustError> {
        if !self.demands_any() {
            return Ok(());
        }
        self.check_one(store, version, name, repository)?;
        let mut seen = BTreeSet::new();
        for one in store.closure(version)?.versions {
            for (name, digest) in one.depends {
                if !seen.insert((name.clone(), digest)) {
                    continue;
                }
                let checked = self.check_one(store, &digest, Some(&name), repository);
                checked.map_err(|why| match why {
                    TrustError::Store(error) => error.into(),
                    why => TrustError::Dependency {
                        version: *version,
                        name,
                        source: Box::new(why),
                    },
                })?;
            }
        }
        Ok(())
    }

    fn check_one(
        &self,
        store: &Store,
        version: &Digest,
        name: Option<&SubagentName>,
        repository: Option<&[String]>,
    ) -> Result<(), TrustError> {
        let (demand, keys) = self.of(name, repository);
        match demand {
            Demand::Nothing => Ok(()),
            Demand::Signed => demanded(store, version, keys),
        }
    }

    fn demands_any(&self) -> bool {
        let rules = self.rules.iter().map(|rule| rule.demand);
        let mut all = rules.chain([self.demand]);
        all.any(|demand| demand == Demand::Signed)
    }

    /// Every key that any rule names, each once.
    pub fn all_keys(&self) -> Vec<PublicKey> {
        let rules = self.rules.iter().flat_map(|rule| &rule.keys);
        let mut keys: Vec<_> = self.keys.iter().chain(rules).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn of(
        &self,
        name: Option<&SubagentName>,
        repository: Option<&[String]>,
    ) -> (Demand, &[PublicKey]) {
        let fits = |rule: &&TrustRule| {
            let is_named = match (&rule.name, name) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(pattern), Some(name)) => is_like(pattern, name.as_str()),
            };
            let is_there = match (&rule.registry, repository) {
                (None, _) => true,
                (Some(_), None) => false,
                // Neither hosts nor paths differ by the case of their letters.
                (Some(pattern), Some(spellings)) => {
                    let pattern = pattern.to_ascii_lowercase();
                    spellings.iter().any(|text| is_like(&pattern, text))
                }
            };
            is_named && is_there
        };
        match self.rules.iter().find(fits) {
            Some(rule) => (rule.demand, &rule.keys),
            None => (self.demand, &self.keys),
        }
    }
}

fn demanded(store: &Store, version: &Digest, keys: &[PublicKey]) -> Result<(), TrustError> {
    let found = signatures(store, version, keys)?;
    let is_valid = |verdict: &Verdict| matches!(verdict, Verdict::Valid(_));
    if found.iter().any(|one| is_valid(&one.verdict)) {
        return Ok(());
    }
    let Some(first) = found.first() else {
        return Err(TrustError::Unsigned { version: *version });
    };
    // What is wrong says more than what is unknown.
    let wrong = found.iter().find_map(|one| match &one.verdict {
        Verdict::Wrong(why) => Some(format!("a signature is wrong: {why}")),
        Verdict::Valid(_) | Verdict::UnknownKey => None,
    });
    Err(TrustError::Untrusted {
        version: *version,
        why: wrong.unwrap_or_else(|| format!("the key {} is not known", first.key_id)),
    })
}

/// Whether a text is what a pattern says.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => text.starts_with(begin),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |name: Option<&str>, registry: Option<&str>, demand| TrustRule {
            name: name.map(str::to_owned),
            registry: registry.map(str::to_owned),
            demand,
            keys: Vec::new(),
        };
        let policy = TrustPolicy {
            rules: vec![
                rule(Some("mine-*"), None, Demand::Nothing),
                rule(None, Some("registry.example.org/*"), Demand::Signed),
            ],
            demand: Demand::Nothing,
            keys: Vec::new(),
        };
        let check = |name: Option<&str>, repository: Option<&str>, demand: Demand| {
            let name = name.map(|name| name.parse().unwrap());
            let spellings = repository.map(|text| vec![text.to_owned()]);
            assert_eq!(
                policy.of(name.as_ref(), spellings.as_deref()).0,
                demand,
                "{name:?} {repository:?}"
            );
        };
        let there = Some("registry.example.org/team/x");
        check(Some("mine-x"), there, Demand::Nothing);
        check(Some("other"), there, Demand::Signed);
        check(None, there, Demand::Signed);
        check(
            Some("other"),
            Some("registry.example.com/x"),
            Demand::Nothing,
        );
        check(Some("other"), None, Demand::Nothing);
        check(None, None, Demand::Nothing);
    }

    #[test]
    fn a_rule_fits_however_the_repository_is_written() {
        let check = |pattern: &str, demand: Demand| {
            let policy = TrustPolicy {
                rules: vec![TrustRule {
                    name: None,
                    registry: Some(pattern.to_owned()),
                    demand: Demand::Signed,
                    keys: Vec::new(),
                }],
                ..TrustPolicy::default()
            };
            let spellings = ["registry.example.org:443/x", "registry.example.org/x"];
            let spellings = spellings.map(str::to_owned);
            assert_eq!(policy.of(None, Some(&spellings)).0, demand, "{pattern}");
        };
        for pattern in [
            "registry.example.org/*",
            "registry.example.org:443/*",
            "Registry.Example.org/x",
            "REGISTRY.example.org*",
        ] {
            check(pattern, Demand::Signed);
        }
        check("registry.example.org:80/*", Demand::Nothing);
        check("registry.example.com/*", Demand::Nothing);
    }
}
