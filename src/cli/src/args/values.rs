//! Values that are written on the command line and in the configuration.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use spec::{Skill, UnknownSkill, limits};

use crate::exit::Problem;

/// A number of processors, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(u32);

/// Source: Docker's smallest share of a processor.
const MIN_MILLIS: u32 = 10;

/// A text that is not a number of processors.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a number of processors: write 0.5, 1 or 2; at least 0.01, with at most three decimals"
)]
pub(crate) struct CpusError(String);

impl Cpus {
    /// Thousandths of one processor.
    pub(crate) fn millis(self) -> u32 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = CpusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || CpusError(text.to_owned());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
            return Err(error());
        }
        let whole: u32 = whole.parse().map_err(|_| error())?;
        let decimals: u32 = format!("{decimals:0<3}").parse().map_err(|_| error())?;
        let millis = whole
            .checked_mul(1_000)
            .and_then(|whole| whole.checked_add(decimals));
        millis
            .filter(|millis| *millis >= MIN_MILLIS)
            .map(Self)
            .ok_or_else(error)
    }
}

/// Skills that may be granted: `llm,shell_command`, `all` or `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants(pub(crate) BTreeSet<Skill>);

impl Grants {
    /// Every skill there is.
    pub(crate) fn all() -> Self {
        Self(Skill::ALL.iter().copied().collect())
    }
}

/// A text that does not list skills.
#[derive(Debug, thiserror::Error)]
#[error("{0}; write {known}, `all` or `none`", known = skills())]
pub(crate) struct GrantsError(UnknownSkill);

fn skills() -> String {
    let names: Vec<_> = Skill::ALL
        .iter()
        .map(|skill| format!("`{skill}`"))
        .collect();
    names.join(", ")
}

impl FromStr for Grants {
    type Err = GrantsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" | "none" => Ok(Self::default()),
            "all" => Ok(Self::all()),
            list => {
                let words = list
                    .split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty());
                let skills = words.map(str::parse).collect::<Result<_, _>>();
                skills.map(Self).map_err(GrantsError)
            }
        }
    }
}

/// `DIR[:rw][=NAME]`: a host folder that a sandbox sees at `/mnt/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountArg {
    /// The folder, as it was written.
    pub(crate) folder: PathBuf,
    /// Whether the sandbox may write to it.
    pub(crate) writable: bool,
    /// Its name below `/mnt`, when it was given.
    pub(crate) name: Option<String>,
}

/// A text that names no mount.
#[derive(Debug, thiserror::Error)]
#[error("write DIR, DIR:rw, DIR=NAME or DIR:rw=NAME")]
pub(crate) struct MountArgError;

impl FromStr for MountArg {
    type Err = MountArgError;

    /// A `/` after the last `=` says that the `=` belongs to the folder. `:ro` says what is the
    /// default, for a folder whose name ends in `:rw`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (folder, name) = match text.rsplit_once('=') {
            Some((folder, name)) if !name.contains('/') => (folder, Some(name)),
            _ => (text, None),
        };
        let (folder, writable) = match folder.rsplit_once(':') {
            Some((folder, "rw")) => (folder, true),
            Some((folder, "ro")) => (folder, false),
            _ => (folder, false),
        };
        if folder.is_empty() || name == Some("") {
            return Err(MountArgError);
        }
        Ok(Self {
            folder: folder.into(),
            writable,
            name: name.map(str::to_owned),
        })
    }
}

/// A text as it was written, or all of standard input for `-`.
///
/// # Errors
/// [`Problem`] when standard input is not UTF-8 or is too long.
pub(crate) fn text_or_stdin(what: &'static str, text: &str) -> anyhow::Result<String> {
    let limit = limits::QUERY;
    let text = if text == "-" {
        let mut bytes = Vec::new();
        let most = limit.get() + 1;
        std::io::stdin()
            .take(most)
            .read_to_end(&mut bytes)
            .with_context(|| format!("reading the {what} from standard input"))?;
        String::from_utf8(bytes)
            .map_err(|_| Problem::usage(format!("the {what} on standard input is not UTF-8")))?
    } else {
        text.to_owned()
    };
    check_length(what, &text)?;
    Ok(text)
}

/// Refuses a text that is too long to be asked.
///
/// # Errors
/// [`Problem`] when it is.
pub(crate) fn check_length(what: &str, text: &str) -> Result<(), Problem> {
    let limit = limits::QUERY;
    if text.len() as u64 > limit.get() {
        return Err(
            Problem::refused(format!("the {what} is longer than {limit}"))
                .hint("put it into a file of the workspace, with --input DIR"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_thousandths() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(
                text.parse::<Cpus>().ok().map(Cpus::millis),
                expected,
                "{text}"
            );
        };
        check("1", Some(1_000));
        check("0.5", Some(500));
        check("0.25", Some(250));
        check("0.01", Some(10));
        check("1.999", Some(1_999));
        check("64", Some(64_000));
        for bad in [
            "",
            "0",
            "0.0",
            "0.000",
            ".5",
            "1.",
            "-1",
            "+1",
            "1e3",
            "nan",
            "inf",
            "0.009",
            "0.0001",
            "1,5",
            "4294968",
            "99999999999",
            "1.2.3",
            "½",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn skills_are_listed_by_name() {
        let check = |text: &str, expected: &[Skill]| {
            let expected = expected.iter().copied().collect();
            assert_eq!(text.parse::<Grants>().unwrap(), Grants(expected), "{text}");
        };
        check("", &[]);
        check("none", &[]);
        check("llm", &[Skill::Llm]);
        check("shell_command, llm", &[Skill::Llm, Skill::ShellCommand]);
        check("all", Skill::ALL);
        let error = "llm,root".parse::<Grants>().unwrap_err().to_string();
        assert!(
            error.contains("`root`") && error.contains("`shell_command`"),
            "{error}"
        );
    }

    #[test]
    fn mounts_are_taken_apart() {
        let check = |text: &str, folder: &str, writable: bool, name: Option<&str>| {
            let expected = MountArg {
                folder: folder.into(),
                writable,
                name: name.map(str::to_owned),
            };
            assert_eq!(text.parse::<MountArg>().unwrap(), expected, "{text}");
        };
        check("/data", "/data", false, None);
        check("/data:rw", "/data", true, None);
        check("/data:ro", "/data", false, None);
        check("/data=d", "/data", false, Some("d"));
        check("/data:rw=d", "/data", true, Some("d"));
        check("./a b", "./a b", false, None);
        check("/a=b/c", "/a=b/c", false, None);
        check("/a=b=c", "/a=b", false, Some("c"));
        check("/a:rw:ro", "/a:rw", false, None);
        check("/a:b", "/a:b", false, None);
        for bad in ["", ":rw", "=x", "/a=", ":rw=x"] {
            assert!(bad.parse::<MountArg>().is_err(), "{bad}");
        }
    }
}
