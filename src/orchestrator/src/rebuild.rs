//! A version and its image again, from nothing, with every digest compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use runner::Engine;
use runner::images::{self, BuildRequest, ImageParts};
use spec::{Digest, VersionRef};
use store::{CONFIG_MEDIA_TYPE, Closure, MANIFEST_MEDIA_TYPE, SOURCE_MEDIA_TYPE, Store};
use tokio_util::sync::CancellationToken;

use crate::environments::EnvironmentSettings;
use crate::error::FactoryError;
use crate::factory::Factory;
use crate::reproduce::Check;
use crate::trust::TrustPolicy;
use crate::watch::Watcher;

/// What came of making a version and its image again.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// The version.
    pub version: Digest,
    /// What was compared, in the order in which people look at it.
    pub checks: Vec<Check>,
    /// What cannot be compared, and why.
    pub notes: Vec<String>,
}

impl Rebuilt {
    /// Whether everything is as it was.
    pub fn is_equal(&self) -> bool {
        self.checks.iter().all(Check::is_equal)
    }
}

/// Packages that differ that are named.
const PACKAGES_NAMED: usize = 5;
/// What stands for a digest that is not known.
const UNKNOWN: &str = "unknown";

/// Makes a version, with all that it depends on, once more from its content in another library, which
/// is in the empty folder `scratch`.
///
/// # Errors
/// [`FactoryError::Store`] when there is no such version, or it cannot be read or written, and
/// [`FactoryError::Trust`] when nobody who is trusted vouches for it.
pub fn rebuild_version(
    store: &Store,
    trust: &TrustPolicy,
    reference: &VersionRef,
    scratch: &Path,
) -> Result<Rebuilt, FactoryError> {
    let resolved = store.resolve(reference)?;
    let version = resolved.digest;
    trust.check(store, &version, resolved.name.as_ref(), None)?;
    let closure = store.closure(&version)?;
    let other = Store::ensure(&scratch.join("store"))?;
    let (mut checks, mut last) = (Vec::new(), version);
    for one in &closure.versions {
        let content = store.version(&one.digest)?.content;
        last = other.stage(&content)?.digest();
        if one.digest != version {
            checks.push(check("dependency", Some(one.digest), Some(last)));
        }
    }
    let again = other.closure(&last).ok();
    let (was, now) = (
        parts(&closure),
        again.as_ref().map(parts).unwrap_or_default(),
    );
    let kinds = [
        ("source", SOURCE_MEDIA_TYPE),
        ("config", CONFIG_MEDIA_TYPE),
        ("manifest", MANIFEST_MEDIA_TYPE),
    ];
    for (what, kind) in kinds {
        let mut check = check(what, was.get(kind).copied(), now.get(kind).copied());
        if !check.is_equal() {
            check.why = Some("this program writes the same content in another way".to_owned());
        }
        checks.push(check);
    }
    Ok(Rebuilt {
        version,
        checks,
        notes: Vec::new(),
    })
}

/// Makes the image that versions run on once more, with an empty cache in the empty folder `scratch`,
/// and compares it with the one that is used now.
///
/// # Errors
/// [`runner::images::ImageError`], as [`runner::images::build`].
pub async fn rebuild_image(
    engine: &Engine,
    request: &BuildRequest<'_>,
    scratch: &Path,
    rebuilt: &mut Rebuilt,
) -> Result<(), images::ImageError> {
    let used = images::ensure(engine, request).await?;
    let was = images::parts(engine, &used).await?;
    let now = images::rebuild(engine, request, scratch).await?;
    rebuilt.checks.extend(compare(&was, &now));
    Ok(())
}

/// Installs the requirements of a version once more, with an empty cache in the empty folder `scratch`,
/// and compares the layer with the one that its runs use. Its wheels are fetched again; where there is
/// no package index, they are those that came along with the version.
///
/// # Errors
/// As [`Factory::environment`].
pub async fn rebuild_environment(
    factory: &Factory,
    scratch: &Path,
    watcher: &Arc<dyn Watcher>,
    cancel: &CancellationToken,
    rebuilt: &mut Rebuilt,
) -> Result<(), FactoryError> {
    let content = factory.store.version(&rebuilt.version)?.content;
    let (requirements, python) = (&content.requirements, &content.python);
    if requirements.is_empty() {
        return Ok(());
    }
    let settings = factory.environments.as_ref();
    let has_index = settings.is_some_and(|settings| settings.index.is_ok());
    let store = if has_index {
        Arc::new(Store::ensure(&scratch.join("store"))?)
    } else {
        let note = "there is no package index: the wheels that came along with it were used";
        rebuilt.notes.push(note.to_owned());
        Arc::clone(&factory.store)
    };
    let other = Factory {
        store,
        environments: factory
            .environments
            .clone()
            .map(|settings| EnvironmentSettings {
                cache: scratch.join("environments"),
                ..settings
            }),
        ..factory.clone()
    };
    let was = factory
        .environment(requirements, python, watcher, cancel)
        .await?;
    let now = other
        .environment(requirements, python, watcher, cancel)
        .await?;
    let mut layer = check("environment layer", Some(was.layer), Some(now.layer));
    if !layer.is_equal() {
        layer.why = Some("installing the same wheels gave other files".to_owned());
    }
    let mut image = check("environment image", Some(was.image.0), Some(now.image.0));
    if !image.is_equal() {
        image.why = Some("its layer is another".to_owned());
    }
    let key = check("environment", Some(was.key), Some(now.key));
    rebuilt.checks.extend([key, layer, image]);
    Ok(())
}

/// The blobs of the version that a closure is of, by what they are: they are its last ones.
fn parts(closure: &Closure) -> BTreeMap<&'static str, Digest> {
    let blobs = closure.blobs.iter();
    blobs.map(|blob| (blob.media_type, blob.digest)).collect()
}

fn check(what: &'static str, recorded: Option<Digest>, reproduced: Option<Digest>) -> Check {
    let text = |digest: Option<Digest>| digest.map_or(UNKNOWN.to_owned(), |d| d.to_string());
    Check {
        what,
        recorded: text(recorded),
        reproduced: text(reproduced),
        why: None,
    }
}

/// Compares two images, from what decides most to what follows.
fn compare(was: &ImageParts, now: &ImageParts) -> Vec<Check> {
    let mut base = check("base image", was.base, now.base);
    if !base.is_equal() {
        base.why = Some(packages(&was.packages, &now.packages));
    }
    let mut harness = check("harness", was.harness, now.harness);
    if !harness.is_equal() {
        harness.why = Some("the image was made by another version of this program".to_owned());
    }
    let follows = |mut check: Check| {
        let cause = match (base.is_equal(), harness.is_equal()) {
            (true, true) => "the same Python compiled it differently".to_owned(),
            (false, true) => "the base is another".to_owned(),
            (true, false) => "the harness is another".to_owned(),
            (false, false) => "base and harness are others".to_owned(),
        };
        check.why = (!check.is_equal()).then_some(cause);
        check
    };
    let layer = follows(check("harness layer", was.layer, now.layer));
    let config = follows(check("image", Some(was.config), Some(now.config)));
    vec![base, harness, layer, config]
}

/// How the packages of two bases differ.
fn packages(was: &[String], now: &[String]) -> String {
    if was.is_empty() || now.is_empty() {
        return "the base image is another".to_owned();
    }
    let split = |text: &String| {
        let (name, version) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), version.to_owned())
    };
    let (was, now): (BTreeMap<_, _>, BTreeMap<_, _>) = (
        was.iter().map(split).collect(),
        now.iter().map(split).collect(),
    );
    let mut differing = Vec::new();
    for (name, before) in &was {
        match now.get(name) {
            Some(after) if after == before => {}
            Some(after) => differing.push(format!("{name} {before} is now {after}")),
            None => differing.push(format!("{name} is not in it any more")),
        }
    }
    let added = now.keys().filter(|name| !was.contains_key(*name));
    differing.extend(added.map(|name| format!("{name} is new")));
    if differing.is_empty() {
        return "its packages are the same, their files are not".to_owned();
    }
    let more = differing.len().saturating_sub(PACKAGES_NAMED);
    differing.truncate(PACKAGES_NAMED);
    let more = match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("its packages are others: {}{more}", differing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(base: &str, harness: &str, packages: &[&str]) -> ImageParts {
        let digest = |text: &str| Digest::of(text.as_bytes());
        ImageParts {
            base: Some(digest(base)),
            harness: Some(digest(harness)),
            python: None,
            layer: Some(digest(&format!("{base}{harness}"))),
            config: digest(&format!("config {base}{harness}")),
            packages: packages.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn each_difference_is_explained() {
        let check = |was: &ImageParts, now: &ImageParts, expected: [&str; 4]| {
            let why = compare(was, now).into_iter().map(|check| check.why);
            let why: Vec<_> = why.map(Option::unwrap_or_default).collect();
            assert_eq!(why, expected);
        };
        let one = image("a", "h", &["libc6=1", "perl=2", "old=1"]);
        check(&one, &one.clone(), ["", "", "", ""]);
        check(
            &one,
            &image("b", "h", &["libc6=3", "perl=2", "new=1"]),
            [
                "its packages are others: libc6 1 is now 3, old is not in it any more, new is new",
                "",
                "the base is another",
                "the base is another",
            ],
        );
        check(
            &one,
            &image("b", "h", &["old=1", "libc6=1", "perl=2"]),
            [
                "its packages are the same, their files are not",
                "",
                "the base is another",
                "the base is another",
            ],
        );
        check(
            &one,
            &image("b", "g", &[]),
            [
                "the base image is another",
                "the image was made by another version of this program",
                "base and harness are others",
                "base and harness are others",
            ],
        );
    }
}
