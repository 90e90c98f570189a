//! How the program ends: one exit code and one hint for each kind of failure.

use std::fmt;
use std::io;

use llm::LlmError;
use orchestrator::share::ShareError;
use orchestrator::trust::TrustError;
use orchestrator::{EnvironmentError, FactoryError, LibraryError, Unmet, WorkspaceError};
use registry::RegistryError;
use runner::images::ImageError;
use runner::pool_process::PoolError;
use runner::{MountError, RunnerError};
use store::{StoreError, StoreErrorKind};

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// It worked.
    Success,
    /// The run or task did not succeed, or something failed on the way.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// A rule, a conflict, or something in the way.
    Refused,
    /// The container engine or the model is not available.
    Unavailable,
    /// As many runs as may are running: try again later.
    Busy,
    /// A bug of ours.
    Internal,
    /// Somebody stopped it.
    Interrupted,
}

impl ExitCode {
    /// The number that the process ends with.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Unavailable => 5,
            Self::Internal => 70,
            // Source: `EX_TEMPFAIL` of `sysexits.h`, as 70 is its `EX_SOFTWARE`.
            Self::Busy => 75,
            Self::Interrupted => 130,
        }
    }

    /// The `code` of an error in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Busy => "busy",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}

/// A failure that this program found itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    code: ExitCode,
    message: String,
    hint: Option<String>,
    source: Option<io::Error>,
}

impl Problem {
    fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// What was named does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ExitCode::NotFound, message)
    }

    /// A rule or a conflict is in the way.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Refused, message)
    }

    /// A file or folder that was named cannot be used.
    pub(crate) fn of_path(message: impl Into<String>, source: io::Error) -> Self {
        let code = code_of_io(&source);
        Self {
            source: Some(source),
            ..Self::new(code, message)
        }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Somebody stopped the program before there was a result.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// What is said of a failure, and how the program ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) code: ExitCode,
    /// The error with its causes, in one line.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// After how many seconds trying again makes sense, where that is known.
    pub(crate) retry_after_s: Option<u64>,
}

impl Failure {
    /// Judges an error by the first of its causes that says what kind it is.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let judged = error.chain().find_map(judge);
        let (code, hint) = judged.unwrap_or((ExitCode::Failed, None));
        Self {
            code,
            message: orchestrator::chain(error.as_ref()),
            hint,
            retry_after_s: error.chain().find_map(retry_after_s),
        }
    }
}

/// How long somebody who was turned away should wait, in seconds.
fn retry_after_s(error: &(dyn std::error::Error + 'static)) -> Option<u64> {
    let error = match error.downcast_ref::<FactoryError>() {
        Some(FactoryError::Runner(error)) => Some(error),
        _ => error.downcast_ref::<RunnerError>(),
    };
    match error {
        Some(RunnerError::Busy { retry_after, .. }) => Some(retry_after.as_secs().max(1)),
        _ => None,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The exit code and the hint of an error that is one of ours.
fn judge(error: &(dyn std::error::Error + 'static)) -> Option<(ExitCode, Option<String>)> {
    if let Some(error) = error.downcast_ref::<Problem>() {
        return Some((error.code, error.hint.clone()));
    }
    if error.is::<Interrupted>() {
        return Some((ExitCode::Interrupted, None));
    }
    if let Some(error) = error.downcast_ref::<FactoryError>() {
        return Some((of_factory(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<WorkspaceError>() {
        return Some((of_workspace(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some((of_store(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<RunnerError>() {
        return Some((of_runner(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<PoolError>() {
        return Some((of_pool(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<ImageError>() {
        return Some((of_image(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<LlmError>() {
        return Some((of_llm(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<ShareError>() {
        return Some((of_share(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<TrustError>() {
        return Some((of_trust(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<RegistryError>() {
        return Some((of_registry(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<registry::ReferenceError>() {
        return Some((ExitCode::Usage, error.hint()));
    }
    if let Some(error) = error.downcast_ref::<spec::LimitsError>() {
        return Some((of_limits(error), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<spec::ReferenceError>() {
        return Some((ExitCode::Usage, error.hint()));
    }
    if let Some(error) = error.downcast_ref::<spec::NameError>() {
        return Some((ExitCode::Usage, error.hint()));
    }
    None
}

fn of_factory(error: &FactoryError) -> ExitCode {
    match error {
        FactoryError::Store(error) => of_store(error),
        FactoryError::Runner(error) => of_runner(error),
        FactoryError::Image(error) => of_image(error),
        FactoryError::Model(error) => of_llm(error),
        FactoryError::Workspace(error) => of_workspace(error),
        FactoryError::Library(error) => of_library(error),
        FactoryError::NoModel => ExitCode::Unavailable,
        FactoryError::Limits(error) => of_limits(error),
        FactoryError::Egress(_) => ExitCode::Usage,
        FactoryError::Environment(error) => of_environment(error),
        FactoryError::Trust(error) => of_trust(error),
        FactoryError::Composition(_)
        | FactoryError::Target { .. }
        | FactoryError::NotReproducible { .. } => ExitCode::Refused,
        FactoryError::Job(_) => ExitCode::Internal,
        // The file system, an asset, a source file.
        _ => ExitCode::Failed,
    }
}

fn of_environment(error: &EnvironmentError) -> ExitCode {
    match error {
        EnvironmentError::Syntax { .. }
        | EnvironmentError::Proxy(..)
        | EnvironmentError::Index(_) => ExitCode::Usage,
        EnvironmentError::Unmet {
            kind: Unmet::Index | Unmet::Installer,
            ..
        } => ExitCode::Unavailable,
        EnvironmentError::Unmet { .. }
        | EnvironmentError::Python { .. }
        | EnvironmentError::NotLocked { .. }
        | EnvironmentError::Install(_)
        | EnvironmentError::Import { .. } => ExitCode::Refused,
        EnvironmentError::Image(error) => of_image(error),
        EnvironmentError::Store(error) => of_store(error),
        EnvironmentError::Cancelled => ExitCode::Interrupted,
        _ => ExitCode::Failed,
    }
}

fn of_share(error: &ShareError) -> ExitCode {
    match error {
        ShareError::Store(error) => of_store(error),
        ShareError::Registry(error) => of_registry(error),
        ShareError::Trust(error) => of_trust(error),
        ShareError::Environment(error) => of_environment(error),
        ShareError::NoName { .. } | ShareError::PushToDigest { .. } => ExitCode::Usage,
        ShareError::Job(_) => ExitCode::Internal,
        // A rule of ours.
        _ => ExitCode::Refused,
    }
}

fn of_library(error: &LibraryError) -> ExitCode {
    match error {
        LibraryError::NoSubagent { .. } | LibraryError::NoHome { .. } => ExitCode::NotFound,
        LibraryError::Io { source, .. } => code_of_io(source),
        _ => ExitCode::Refused,
    }
}

fn of_trust(error: &TrustError) -> ExitCode {
    match error {
        TrustError::Store(error) => of_store(error),
        TrustError::UnknownKey { .. } => ExitCode::NotFound,
        TrustError::BadName { .. } | TrustError::BadPublicKey { .. } => ExitCode::Usage,
        TrustError::KeyFile { source, .. } => code_of_io(source),
        TrustError::Crypto { .. } => ExitCode::Failed,
        // A rule, or a key that must not be used.
        _ => ExitCode::Refused,
    }
}

fn of_registry(error: &RegistryError) -> ExitCode {
    match error {
        RegistryError::NotFound { .. } => ExitCode::NotFound,
        RegistryError::Denied { .. }
        | RegistryError::Untrue { .. }
        | RegistryError::Certificate { .. } => ExitCode::Refused,
        RegistryError::Unreachable { .. }
        | RegistryError::TooSlow { .. }
        | RegistryError::Tls { .. } => ExitCode::Unavailable,
        // It refused a request, or something on this side failed.
        _ => ExitCode::Failed,
    }
}

fn of_limits(error: &spec::LimitsError) -> ExitCode {
    use spec::LimitsError::{AboveMaximum, VersionAboveMaximum};
    match error {
        AboveMaximum { .. } | VersionAboveMaximum { .. } => ExitCode::Refused,
        // Whoever wrote them wrote something that cannot be.
        _ => ExitCode::Usage,
    }
}

fn of_workspace(error: &WorkspaceError) -> ExitCode {
    match error {
        WorkspaceError::Folder { source, .. } | WorkspaceError::File { source, .. } => {
            code_of_io(source)
        }
        WorkspaceError::TooLarge { .. } | WorkspaceError::TooManyFiles { .. } => ExitCode::Refused,
        WorkspaceError::Store(error) => of_store(error),
        _ => ExitCode::Failed,
    }
}

fn of_store(error: &StoreError) -> ExitCode {
    match error.kind() {
        StoreErrorKind::NotFound => ExitCode::NotFound,
        StoreErrorKind::Ambiguous => ExitCode::Usage,
        StoreErrorKind::Conflict | StoreErrorKind::Refused | StoreErrorKind::Unsupported => {
            ExitCode::Refused
        }
        StoreErrorKind::Corrupt
        | StoreErrorKind::DiskFull
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Io => ExitCode::Failed,
    }
}

fn of_runner(error: &RunnerError) -> ExitCode {
    match error {
        RunnerError::Limits(error) => of_limits(error),
        RunnerError::Mount(error) => match error {
            MountError::NotADirectory(_) => ExitCode::NotFound,
            MountError::BadName(_) | MountError::DuplicateName(_) => ExitCode::Usage,
            _ => ExitCode::Refused,
        },
        RunnerError::TooLarge { .. } | RunnerError::Slots { .. } => ExitCode::Refused,
        RunnerError::Blobs(_) => ExitCode::Failed,
        RunnerError::Busy { .. } => ExitCode::Busy,
        // Unreachable, too old, too slow, without an image, unsafe: it cannot be used.
        _ => ExitCode::Unavailable,
    }
}

fn of_pool(error: &PoolError) -> ExitCode {
    match error {
        PoolError::Socket { source, .. } => code_of_io(source),
        PoolError::Running { .. } | PoolError::Foreign { .. } => ExitCode::Refused,
        PoolError::NotRunning { .. } => ExitCode::NotFound,
        // What listens there is of another version.
        _ => ExitCode::Unavailable,
    }
}

fn of_image(error: &ImageError) -> ExitCode {
    match error {
        ImageError::Engine(error) => of_runner(error),
        ImageError::Reference(_) => ExitCode::Usage,
        ImageError::Pull { .. }
        | ImageError::Locked(_)
        | ImageError::NoBase { .. }
        | ImageError::NoMmdebstrap
        | ImageError::Mmdebstrap { .. } => ExitCode::Unavailable,
        ImageError::NoPython(_) | ImageError::OldPython { .. } | ImageError::Reserved(_) => {
            ExitCode::Refused
        }
        ImageError::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
            ExitCode::Refused
        }
        // A file of ours, or a step of the build.
        _ => ExitCode::Failed,
    }
}

fn of_llm(error: &LlmError) -> ExitCode {
    if error.is_unavailable() {
        ExitCode::Unavailable
    } else {
        ExitCode::Failed
    }
}

fn code_of_io(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ExitCode::NotFound,
        io::ErrorKind::InvalidData => ExitCode::Usage,
        io::ErrorKind::AlreadyExists => ExitCode::Refused,
        _ => ExitCode::Failed,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use spec::{Digest, Limits};

    use super::*;

    fn check(error: impl Into<anyhow::Error>, code: u8, hint: Option<&str>) {
        let failure = Failure::of(&error.into());
        assert_eq!(failure.code.number(), code, "{failure}");
        match hint {
            Some(hint) => assert!(
                failure
                    .hint
                    .as_deref()
                    .is_some_and(|text| text.contains(hint)),
                "{failure:?}"
            ),
            None => assert_eq!(failure.hint, None, "{failure}"),
        }
    }

    #[test]
    fn each_kind_of_error_has_its_exit_code_wherever_it_is_wrapped() {
        let unknown = || StoreError::UnknownName {
            name: "csv-claner".parse().unwrap(),
            nearest: Some("csv-cleaner".parse().unwrap()),
        };
        check(unknown(), 3, Some("csv-cleaner"));
        check(FactoryError::Store(unknown()), 3, Some("csv-cleaner"));
        check(
            Err::<(), FactoryError>(FactoryError::Workspace(unknown().into()))
                .context("importing")
                .unwrap_err(),
            3,
            Some("csv-cleaner"),
        );
        let ambiguous = StoreError::AmbiguousVersion {
            prefix: "12345678".to_owned(),
            candidates: vec![Digest::of(b"a"), Digest::of(b"b")],
        };
        check(ambiguous, 2, Some("more digits"));
        check(FactoryError::NoModel, 5, Some("--model"));
        let limits = Limits {
            pids: 1,
            ..Limits::default()
        };
        let too_few = limits.check().unwrap_err();
        check(FactoryError::Limits(too_few.clone()), 2, Some("at least"));
        check(too_few, 2, Some("at least"));
        let image = RunnerError::ImageMissing(runner::ImageId(Digest::of(b"")));
        check(FactoryError::Runner(image), 5, Some("images build"));
        check(
            RunnerError::Mount(MountError::RootOwned("/".into())),
            4,
            Some("read-only"),
        );
        check(Interrupted, 130, None);
        let busy = || RunnerError::Busy {
            running: 16,
            retry_after: std::time::Duration::from_secs(7),
        };
        check(busy(), 75, Some("7 s"));
        check(FactoryError::Runner(busy()), 75, Some("7 s"));
        let failure = Failure::of(&FactoryError::Runner(busy()).into());
        assert_eq!(failure.retry_after_s, Some(7));
        check(anyhow::anyhow!("anything else"), 1, None);
        check(Problem::usage("wrong").hint("right"), 2, Some("right"));
    }

    #[test]
    fn the_message_is_the_chain() {
        let source = io::Error::other("it is odd");
        let error = anyhow::Error::from(Problem::of_path("`a` cannot be read", source));
        let error = error.context("reading the task");
        assert_eq!(
            Failure::of(&error).message,
            "reading the task: `a` cannot be read: it is odd"
        );
    }
}
