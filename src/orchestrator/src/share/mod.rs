//! Versions to and from registries: what goes along, and when a head moves.
//!
//! A version goes as the manifest that it is, after everything that it names; what is said about it
//! (signatures, environments, its line of ancestors) goes as manifests whose subject it is. Runs hold
//! users' data and go only when that is asked for. A pulled version is under a name only when all of
//! it is here and right.

mod content;
mod error;
mod lineage;
mod pull;
mod push;

use crate::environments::ENVIRONMENT_TYPE;
use crate::trust::SIGNATURE_TYPE;

pub use error::ShareError;
pub use pull::{PullRequest, Pulled, pull};
pub use push::{PushRequest, Pushed, push};

/// What carries the runs that speak for a version.
const RUN_TYPE: &str = "application/vnd.agentfactory.run.v1";
/// What goes along with a version without being asked for.
pub(crate) const ALONG: &[&str] = &[lineage::LINEAGE_TYPE, SIGNATURE_TYPE, ENVIRONMENT_TYPE];

/// Does what blocks where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, store::StoreError> + Send + 'static,
) -> Result<T, ShareError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
