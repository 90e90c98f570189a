//! One run's proxy.

mod authority;
mod body;
mod budget;
mod connection;
mod ledger;
mod next;
mod patient;
mod problem;
mod record;
mod relay;
mod replay;
mod request;
mod tunnel;
mod world;

use std::fmt;
use std::sync::Arc;

use spec::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use self::authority::Certificates;
use self::ledger::Book;
use self::replay::Recording;
use self::world::World;
use crate::policy::EXCHANGES;
use crate::{Bodies, EgressError, Exchange, Ledger, Policy, Timeouts, Upstream};

/// The proxy of one run. Cheap to clone; all clones are the same proxy.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    certificates: Certificates,
    book: Arc<Book>,
    bodies: Arc<dyn Bodies>,
    source: Source,
    connections: Semaphore,
    timeouts: Timeouts,
}

/// Where answers come from.
enum Source {
    World(Arc<World>),
    Recording(Recording),
}

impl Proxy {
    /// A proxy that reaches what the policy permits, and records it.
    ///
    /// # Errors
    /// [`EgressError`] when the policy contradicts itself or no certificates can be made.
    pub fn live(
        policy: Policy,
        bodies: Arc<dyn Bodies>,
        upstream: Upstream,
    ) -> Result<Self, EgressError> {
        let exchanges_max = policy.exchanges_max;
        let connections_max = policy.connections_max;
        let timeouts = policy.timeouts;
        Ok(Self::new(Shared {
            certificates: Certificates::create()?,
            book: Book::new(exchanges_max),
            bodies,
            source: Source::World(Arc::new(World::new(policy, upstream)?)),
            connections: semaphore(connections_max),
            timeouts,
        }))
    }

    /// A proxy that answers from what was recorded, and dials nothing.
    ///
    /// A request gets the answer of the recorded one with the same method, URL and body; of several
    /// in their order, each once. Any other gets status 502 and what differs, and is in the ledger
    /// as [`Answer::Unrecorded`](crate::Answer::Unrecorded).
    ///
    /// # Errors
    /// [`EgressError`] when no certificates can be made.
    pub fn replay(exchanges: Vec<Exchange>, bodies: Arc<dyn Bodies>) -> Result<Self, EgressError> {
        let recorded = u32::try_from(exchanges.len()).unwrap_or(u32::MAX);
        Ok(Self::new(Shared {
            certificates: Certificates::create()?,
            book: Book::new(recorded.saturating_add(EXCHANGES)),
            bodies,
            source: Source::Recording(Recording::new(exchanges)),
            connections: semaphore(limits::CONNECTIONS),
            timeouts: Timeouts::default(),
        }))
    }

    fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The certificate authority of this run, in PEM: what the program must trust, and nothing else
    /// may. It is forgotten with the proxy.
    pub fn certificates_pem(&self) -> &str {
        self.shared.certificates.pem()
    }

    /// Serves one connection of the program until either end closes it. What arrives is hostile.
    ///
    /// Dropping it closes the connection; exchanges that were under way are recorded as closed.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(&self.shared, stream).await;
    }

    /// The exchanges that ended after the first so many, in the order in which they ended.
    pub fn exchanges_since(&self, from: usize) -> Vec<Exchange> {
        self.shared.book.exchanges_since(from)
    }

    /// What went through it so far. Complete once every [`Self::serve`] has returned.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = self.shared.book.ledger();
        ledger.bytes = match &self.shared.source {
            Source::World(world) => world.budget().used(),
            Source::Recording(_) => 0,
        };
        ledger
    }
}

fn semaphore(connections_max: u32) -> Semaphore {
    let max = usize::try_from(connections_max).unwrap_or(usize::MAX);
    Semaphore::new(max.min(Semaphore::MAX_PERMITS))
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}
