//! The distributions of a program with those of all that it depends on: one lock.

use std::collections::BTreeMap;

use store::Requirement;

use super::{CompositionError, Dependencies};

impl Dependencies {
    /// The lock that holds a program's own distributions and those of what it depends on.
    ///
    /// There is one of each distribution. Where two locks name the same version of it, both must allow
    /// a wheel.
    ///
    /// # Errors
    /// [`CompositionError::Locks`].
    pub(crate) fn merged(&self, own: &[Requirement]) -> Result<Vec<Requirement>, CompositionError> {
        let mut merged: BTreeMap<String, (Requirement, String)> = BTreeMap::new();
        let of_others = self.versions.values();
        let of_others = of_others.flat_map(|(name, content)| {
            let all = content.requirements.iter();
            all.map(move |one| (one, format!("by `{name}`")))
        });
        let own = own.iter().map(|one| (one, "here".to_owned()));
        for (requirement, whose) in own.chain(of_others) {
            let Some((known, of)) = merged.get_mut(&requirement.name) else {
                let entry = (requirement.clone(), whose);
                merged.insert(requirement.name.clone(), entry);
                continue;
            };
            let is_same = known.version == requirement.version;
            let both = known.wheels.intersection(&requirement.wheels);
            let both: std::collections::BTreeSet<_> = both.copied().collect();
            if !is_same || both.is_empty() {
                let what = if is_same { "other wheels of " } else { "" };
                let shown = |version: &str, whose: &str| format!("{what}{version} {whose}");
                return Err(CompositionError::Locks {
                    distribution: requirement.name.clone(),
                    one: shown(&known.version, of),
                    other: shown(&requirement.version, &whose),
                });
            }
            known.wheels = both;
        }
        Ok(merged.into_values().map(|(one, _)| one).collect())
    }

    /// The Python that what it depends on is locked for; none where nothing of it is.
    ///
    /// # Errors
    /// [`CompositionError::Pythons`].
    pub(crate) fn locked_python(&self) -> Result<Option<&str>, CompositionError> {
        let all = self.versions.values();
        let mut locked = all.filter(|(_, content)| !content.requirements.is_empty());
        let Some((first, content)) = locked.next() else {
            return Ok(None);
        };
        let python = content.python.as_str();
        match locked.find(|(_, other)| other.python != python) {
            None => Ok(Some(python)),
            Some((second, other)) => Err(CompositionError::Pythons {
                one: first.clone(),
                of_one: python.to_owned(),
                other: second.clone(),
                of_other: other.python.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use spec::{Digest, WorkspacePath};
    use store::VersionContent;

    use super::*;

    fn lock(all: &[(&str, &str, &[&str])]) -> Vec<Requirement> {
        let one = |(name, version, wheels): &(&str, &str, &[&str])| Requirement {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            wheels: wheels.iter().map(|w| Digest::of(w.as_bytes())).collect(),
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn what_is_locked_for_one_python_does_not_fit_what_is_for_another() {
        let lock = lock(&[("x", "1", &["a"])]);
        let mut both = on(&[("d", lock.clone()), ("e", lock), ("f", Vec::new())]);
        assert_eq!(both.locked_python().unwrap(), Some("3.13"));
        let mut set = |of: &str, python: &str| {
            for (name, content) in both.versions.values_mut() {
                if name.as_str() == of {
                    python.clone_into(&mut content.python);
                }
            }
            both.locked_python().map(drop)
        };
        // What is locked to nothing runs on any.
        assert!(set("f", "3.11").is_ok());
        let why = set("e", "3.12").unwrap_err();
        let said = why.to_string();
        assert!(said.contains("`d` is locked for Python 3.13"), "{said}");
        assert!(said.contains("`e` is locked for Python 3.12"), "{said}");
        assert!(why.hint().unwrap().contains("one Python"));
        assert!(set("d", "3.12").is_ok());
        assert_eq!(on(&[]).locked_python().unwrap(), None);
    }

    fn on(locks: &[(&str, Vec<Requirement>)]) -> Dependencies {
        let versions = locks.iter().map(|(name, requirements)| {
            let content = VersionContent {
                entry: WorkspacePath::from_text("a.py").unwrap(),
                description: String::new(),
                files: Vec::new(),
                skills: BTreeSet::new(),
                depends: BTreeMap::new(),
                egress: BTreeSet::new(),
                limits: None,
                python: "3.13".to_owned(),
                requirements: requirements.clone(),
            };
            let digest = Digest::of(name.as_bytes());
            (digest, (name.parse().unwrap(), content))
        });
        Dependencies {
            direct: BTreeMap::new(),
            versions: versions.collect(),
        }
    }

    #[test]
    fn locks_are_merged_or_exclude_each_other() {
        let x = |version, wheels| lock(&[("x", version, wheels)]);
        let two = lock(&[("x", "1", &["a"]), ("y", "2", &["b"])]);
        let y = lock(&[("y", "2", &["b"])]);
        assert_eq!(on(&[]).merged(&two).unwrap(), two);
        assert_eq!(
            on(&[("d", y.clone())]).merged(&x("1", &["a"])).unwrap(),
            two
        );
        assert_eq!(
            on(&[("d", y.clone()), ("e", x("1", &["a"]))])
                .merged(&[])
                .unwrap(),
            two
        );
        // What both allow.
        let wide = x("1", &["a", "c"]);
        let merged = on(&[("d", wide)]).merged(&x("1", &["a", "b"])).unwrap();
        assert_eq!(merged, x("1", &["a"]));
        let refused = |own: &[Requirement], others: &[(&str, Vec<Requirement>)]| {
            on(others).merged(own).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&x("2", &["a"]), &[("d", x("1", &["a"]))]),
            "2 here and 1 by `d` are locked for `x`, and there can be only one of it"
        );
        let between = [("d", x("1", &["a"])), ("e", x("2", &["a"]))];
        assert!(refused(&[], &between).contains("by `d`"));
        let other = [("d", x("1", &["a"]))];
        assert!(refused(&x("1", &["b"]), &other).contains("other wheels of 1 here"));
    }
}
