//! `sign` and `verify`: who vouches for a version.

use clap::Args;
use orchestrator::trust::{self, KeyFolder, PublicKey, SignatureCheck, TrustError, Verdict};
use spec::VersionRef;

use super::field;
use crate::app::App;
use crate::exit::ExitCode;
use crate::ui::{Text, Tone};
use crate::wire::{SignJson, SignatureJson, VerifyJson};

/// Vouch for a version, and for all that it depends on, with a key of this home
///
/// Each of them has a signature of its own then, of its digest, which goes along when it is pushed.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// The key, by its name in `key list`
    #[arg(long, value_name = "KEY")]
    key: String,
}

/// Show who vouches for a version; fails unless a known key does and [trust] is met
///
/// Known are the keys of this home and those that [trust] names.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// NAME, NAME:TAG, NAME@DIGEST or at least 8 hex digits of a digest
    #[arg(value_name = "REF")]
    reference: String,
}

/// Signs one version.
pub(crate) fn sign(app: &App, args: &SignArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let version = app.resolve(&store, &reference)?.digest;
    let keys = KeyFolder::new(&app.settings.home);
    let signed = trust::sign(&store, &keys, &args.key, &version)?;
    if app.ui.is_json() {
        app.ui.json(&SignJson {
            version,
            key: &args.key,
            signature: signed.signature.digest,
            depends: signed.depends,
        })?;
    } else {
        app.ui.data(field("signed", version.to_string()))?;
        for one in &signed.depends {
            app.ui.data(field("and", one.to_string()))?;
        }
        app.ui.data(field("by", &args.key))?;
    }
    Ok(ExitCode::Success)
}

/// Looks at the signatures of one version.
pub(crate) fn verify(app: &App, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let reference: VersionRef = args.reference.parse()?;
    let store = app.store()?;
    let resolved = app.resolve(&store, &reference)?;
    let (version, name) = (resolved.digest, resolved.name);
    let known = Known::of(app)?;
    let found = trust::signatures(&store, &version, &known.keys())?;
    let policy = app.trust()?;
    let allowed = policy.check(&store, &version, name.as_ref(), None);
    let is_signed = found
        .iter()
        .any(|one| matches!(one.verdict, Verdict::Valid(_)));
    let refusal = match allowed {
        Err(error @ TrustError::Store(_)) => return Err(error.into()),
        Err(error) => Some(error),
        Ok(()) if is_signed => None,
        Ok(()) if found.is_empty() => Some(TrustError::Unsigned { version }),
        Ok(()) => Some(TrustError::Untrusted {
            version,
            why: "no signature is by a key that is known here".to_owned(),
        }),
    };
    if app.ui.is_json() {
        app.ui.json(&VerifyJson {
            version,
            verified: refusal.is_none(),
            why: refusal.as_ref().map(|why| orchestrator::chain(why)),
            signatures: known.documents(&found),
        })?;
    } else {
        app.ui.data(field("version", version.to_string()))?;
        for one in &found {
            app.ui.data(known.line(one))?;
        }
        if let Some(refusal) = &refusal {
            app.ui.warn(orchestrator::chain(refusal));
            app.ui.note(refusal.hint().unwrap_or_default());
        }
    }
    Ok(if refusal.is_none() {
        ExitCode::Success
    } else {
        ExitCode::Refused
    })
}

/// The keys that are known, with their names where they have one.
pub(super) struct Known(Vec<(PublicKey, Option<String>)>);

impl Known {
    /// Those of this home and of its policy.
    pub(super) fn of(app: &App) -> anyhow::Result<Self> {
        let own = KeyFolder::new(&app.settings.home).list()?.into_iter();
        let mut known: Vec<_> = own.map(|key| (key.public, Some(key.name))).collect();
        for key in app.trust()?.all_keys() {
            if !known.iter().any(|(public, _)| *public == key) {
                known.push((key, None));
            }
        }
        Ok(Self(known))
    }

    pub(super) fn keys(&self) -> Vec<PublicKey> {
        self.0.iter().map(|(key, _)| *key).collect()
    }

    pub(super) fn documents(&self, found: &[SignatureCheck]) -> Vec<SignatureJson> {
        let found = found.iter().map(|one| {
            let (verdict, key, why) = match &one.verdict {
                Verdict::Valid(key) => ("valid", Some(key), None),
                Verdict::UnknownKey => ("unknown_key", None, None),
                Verdict::Wrong(why) => ("wrong", None, Some(why.clone())),
            };
            SignatureJson {
                verdict,
                key: key.map(ToString::to_string),
                name: key.and_then(|key| self.name(key)),
                key_id: one.key_id.clone(),
                why,
            }
        });
        found.collect()
    }

    fn name(&self, key: &PublicKey) -> Option<String> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == key)
            .and_then(|(_, name)| name.clone())
    }

    /// One signature for people.
    pub(super) fn line(&self, one: &SignatureCheck) -> Text {
        match &one.verdict {
            Verdict::Valid(key) => {
                let name = self.name(key).unwrap_or_else(|| key.to_string());
                field("signed by", name)
            }
            Verdict::UnknownKey => field("signed by", format!("an unknown key, {}", one.key_id)),
            Verdict::Wrong(why) => Text::new()
                .with(Tone::Bad, "a signature is wrong: ")
                .plain(why.clone()),
        }
    }
}
