//! How a sandbox comes to be: created, attached to, started, and waited for until it is ready.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use spec::{Imports, Limits, RunId, limits};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::calls::{refusal, was_unsent};
use super::container::{Container, REMOVAL, Removed};
use super::pool::{Class, Starts, WAITING_MAX, Warm};
use super::ready::{self, Ending, Held, Ready, Remains, Removal, Unready};
use super::removals::Stragglers;
use super::{DockerOptions, create};
use crate::engine::capabilities::Capabilities;
use crate::mount::Granted;
use crate::{Engine, ImageId, RunnerError, Slot, mount, reap};

/// What a lease lasts beyond everything that has a deadline; clocks of two hosts differ.
const LEASE_SLACK: Duration = Duration::from_mins(5);

/// Starts sandboxes on one engine.
#[derive(Debug)]
pub(super) struct Starter {
    pub(super) engine: Engine,
    pub(super) options: Arc<DockerOptions>,
    /// What the engine has to offer, once it has said so.
    capabilities: OnceCell<Capabilities>,
    pub(super) stragglers: Stragglers,
}

/// What one sandbox is to be.
pub(super) struct Order<'a> {
    /// The run, or who waits for one.
    pub(super) id: RunId,
    pub(super) image: &'a ImageId,
    pub(super) warm: Warm,
    /// What it imports before it is ready.
    pub(super) imports: &'a Imports,
    pub(super) limits: &'a Limits,
    pub(super) granted: &'a Granted,
    pub(super) runtime: Option<&'a str>,
    pub(super) slot: Slot,
    pub(super) lease_ends: Timestamp,
}

impl Starter {
    pub(super) fn new(engine: Engine, options: Arc<DockerOptions>) -> Self {
        Self {
            engine,
            capabilities: OnceCell::new(),
            stragglers: Stragglers::new(),
            options,
        }
    }

    /// When a lease that begins now may end: after every deadline of the run.
    pub(super) fn lease_of(&self, wall: Duration) -> Timestamp {
        let total = wall
            + 2 * limits::START
            + limits::STOP_GRACE
            + 2 * limits::COLLECT
            + REMOVAL
            + LEASE_SLACK;
        let now = (self.options.now)();
        now.checked_add(total).unwrap_or(Timestamp::MAX)
    }

    /// What the engine has to offer; it is asked once.
    pub(super) async fn capabilities(&self) -> Result<&Capabilities, RunnerError> {
        let ask = || Capabilities::ask(&self.engine);
        self.capabilities.get_or_try_init(ask).await
    }

    /// Refuses what the engine cannot do, or cannot do safely.
    async fn check_engine(
        &self,
        runtime: Option<&str>,
        limits: &Limits,
    ) -> Result<(), RunnerError> {
        let capabilities = self.capabilities().await?;
        capabilities.check_filter()?;
        runtime.map_or(Ok(()), |runtime| capabilities.check_runtime(runtime))?;
        capabilities.check_limits(limits)
    }

    /// Starts a sandbox. Nothing of it is left when that fails, or it is seen to later, with its slot.
    pub(super) async fn start(
        &self,
        order: Order<'_>,
        cancel: &CancellationToken,
    ) -> Result<Ready, Unready> {
        let Order {
            id,
            image,
            warm,
            imports,
            limits,
            granted,
            runtime,
            slot,
            lease_ends,
        } = order;
        let labels = reap::labels(&self.options.owner, id, lease_ends);
        let body = create::body(image, warm, imports, limits, granted, runtime, labels);
        let container = Container::new(self.engine.clone(), format!("agentfactory-{id}"));
        // Both at once: the check costs nothing, and nothing starts before it has passed.
        let (created, checked) =
            tokio::join!(container.create(body), self.check_engine(runtime, limits));
        let failed = match (created, checked) {
            // Both refuse the same, and ours says what to do.
            (Err(error), Err(ours)) if refusal(&error).is_some() => {
                return Err(Unready::Failed(ours));
            }
            (Err(error), _) => match refusal(&error) {
                Some(404) => {
                    return Err(Unready::Failed(RunnerError::ImageMissing(image.clone())));
                }
                // Refused, so there is nothing to remove.
                Some(_) => return Err(Unready::Failed(error)),
                None if was_unsent(&error) => return Err(Unready::Failed(error)),
                // It is there, or will be.
                None => {
                    if container.remove_late().await != Removed::Now {
                        let stragglers = self.stragglers.clone();
                        let held = Held { slot, stragglers };
                        self.stragglers.add_late(container, held);
                    }
                    return Err(Unready::Failed(error));
                }
            },
            (Ok(()), checked) => checked.err(),
        };
        let remains = Remains {
            end: container.watch(),
            removal: Removal::Container(container.clone()),
            held: Some(Held {
                slot,
                stragglers: self.stragglers.clone(),
            }),
        };
        let attached = match failed {
            Some(error) => Err(error),
            None => container.attach().await,
        };
        let ended = match attached {
            Ok(line) => ready::wait(line, remains, granted.uid, container.start(), cancel).await,
            Err(error) => Err((Unready::Failed(error), remains)),
        };
        match ended {
            Ok(ready) => Ok(ready),
            Err((unready, remains)) => {
                remains.remove(Ending::Kill).await;
                Err(unready)
            }
        }
    }
}

impl Starts for Starter {
    fn start<'a>(
        &'a self,
        class: &'a Class,
        warm: Warm,
        wall: Duration,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<(Ready, Timestamp)>, Unready>> {
        async move {
            let slot = self.options.slots.waiting_slot().map_err(Unready::Failed)?;
            let Some(slot) = slot else { return Ok(None) };
            let granted = mount::none().granted(slot.user());
            let lease_ends = self.lease_of(WAITING_MAX + wall);
            let order = Order {
                id: RunId::from_uuid(uuid::Uuid::new_v4()),
                image: &class.image,
                warm,
                imports: &class.imports,
                limits: &class.limits,
                granted: &granted,
                runtime: self.options.runtimes.default.as_deref(),
                slot,
                lease_ends,
            };
            let ready = Box::pin(self.start(order, cancel)).await?;
            Ok(Some((ready, lease_ends)))
        }
        .boxed()
    }

    fn lease_of(&self, wall: Duration) -> Timestamp {
        Self::lease_of(self, wall)
    }
}
