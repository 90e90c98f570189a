//! Who must vouch for versions.

use orchestrator::trust::{Demand, KeyFolder, PublicKey, TrustError, TrustPolicy, TrustRule};

use super::file::TrustTable;
use crate::exit::Problem;

/// The policy that the file says, with the keys of the home where it names them.
///
/// # Errors
/// [`Problem`] when signatures are demanded and nobody could make one; the keys' errors.
pub(super) fn policy(table: &TrustTable, keys: &KeyFolder) -> anyhow::Result<TrustPolicy> {
    let all = |texts: &[String]| -> Result<Vec<PublicKey>, TrustError> {
        texts.iter().map(|text| keys.resolve(text)).collect()
    };
    let default = all(&table.keys)?;
    let rules = table.rules.iter().map(|rule| {
        Ok(TrustRule {
            name: rule.name.clone(),
            registry: rule.registry.clone(),
            demand: rule.require.as_ref().map_or(Demand::Signed, |said| said.0),
            keys: match &rule.keys {
                Some(texts) => all(texts)?,
                None => default.clone(),
            },
        })
    });
    let policy = TrustPolicy {
        rules: rules.collect::<Result<_, TrustError>>()?,
        demand: table
            .require
            .as_ref()
            .map(|said| said.0)
            .unwrap_or_default(),
        keys: default,
    };
    let unmet = |demand: Demand, keys: &[PublicKey]| demand == Demand::Signed && keys.is_empty();
    let rules = policy.rules.iter();
    if unmet(policy.demand, &policy.keys)
        || rules.into_iter().any(|rule| unmet(rule.demand, &rule.keys))
    {
        return Err(
            Problem::usage("[trust] demands signatures, but names no key")
                .hint("add `keys = [\"ed25519:...\"]`; `key show NAME` prints one")
                .into(),
        );
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_take_what_they_do_not_say_from_the_table() {
        let home = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(home.path());
        let own = keys.generate("own").unwrap().public;
        let other = keys.generate("other").unwrap().public;
        let read = |text: &str| {
            let table = toml::from_str::<TrustTable>(text).unwrap();
            policy(&table, &keys).map_err(|error| error.to_string())
        };
        assert_eq!(read("").unwrap(), TrustPolicy::default());
        let text = format!(
            "keys = ['own']\n[[rules]]\nname = 'x-*'\n[[rules]]\nregistry = 'r/*'\n\
             keys = ['{other}']\n[[rules]]\nrequire = 'none'"
        );
        let found = read(&text).unwrap();
        assert_eq!(
            (found.demand, found.keys.as_slice()),
            (Demand::Nothing, &[own][..])
        );
        let rules: Vec<_> = found
            .rules
            .iter()
            .map(|r| (r.demand, r.keys.clone()))
            .collect();
        let expected = [
            (Demand::Signed, vec![own]),
            (Demand::Signed, vec![other]),
            (Demand::Nothing, vec![own]),
        ];
        assert_eq!(rules, expected);
        assert!(
            read("require = 'signed'")
                .unwrap_err()
                .contains("names no key")
        );
        assert!(
            read("keys = ['none-such']")
                .unwrap_err()
                .contains("none-such")
        );
        assert!(toml::from_str::<TrustTable>("require = 'maybe'").is_err());
    }
}
