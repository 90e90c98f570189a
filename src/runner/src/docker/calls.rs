//! Calls to the engine: each has a deadline, and each failure says what was asked.

use std::future::Future;
use std::time::Duration;

use bollard::errors::Error;

use crate::RunnerError;
use crate::error::EngineFailure;

/// How long one call may take. An engine that is busy with other containers needs seconds.
pub(crate) const CALL: Duration = Duration::from_secs(60);

/// Waits for a call, at most [`CALL`].
pub(crate) async fn call<T>(
    action: &'static str,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, RunnerError> {
    match tokio::time::timeout(CALL, future).await {
        Ok(result) => result.map_err(|source| RunnerError::Engine {
            action,
            source: source.into(),
        }),
        Err(_) => Err(RunnerError::EngineTimeout {
            action,
            seconds: CALL.as_secs(),
        }),
    }
}

/// The HTTP status with which the engine refused, if it did.
pub(crate) fn refusal(error: &RunnerError) -> Option<u16> {
    match error {
        RunnerError::Engine {
            source: EngineFailure(Error::DockerResponseServerError { status_code, .. }),
            ..
        } => Some(*status_code),
        _ => None,
    }
}

/// Whether a call failed before anything of it was sent: nobody listens, so nothing came of it.
pub(crate) fn was_unsent(error: &RunnerError) -> bool {
    matches!(
        error,
        RunnerError::Engine {
            source: EngineFailure(Error::HyperLegacyError { err }),
            ..
        } if err.is_connect()
    )
}
