//! Where the hosts are, and connections to them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::budget::{Budget, Metered};
use super::next;
use super::problem::{Problem, chain};
use crate::host::{Authority, Host, Scheme};
use crate::{Approach, EgressError, HostRule, NextProxy, Policy, Upstream, forbidden};

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Names of one run that are resolved; below a pattern there is no end of them.
const NAMES: usize = 1_000;

/// What a run may reach, and how.
pub(super) struct World {
    policy: Policy,
    mapped: BTreeMap<(Host, Option<u16>), SocketAddr>,
    upstream: Upstream,
    budget: Arc<Budget>,
    pins: Mutex<HashMap<Host, Arc<OnceCell<Pinned>>>>,
}

/// What a name meant when it was first asked for: its addresses, or why they are not dialled.
type Pinned = Result<Vec<IpAddr>, String>;

/// A connection to a host.
pub(super) enum Wire {
    Plain(Metered<TcpStream>),
    Tls(Box<TlsStream<Metered<TcpStream>>>),
}

/// A connection that is not open yet: the addresses have been checked.
#[derive(Debug)]
pub(super) struct Route {
    addresses: Vec<SocketAddr>,
    /// The proxy that is there instead of the host, when it is to open a tunnel.
    tunnel: Option<NextProxy>,
}

impl World {
    pub(super) fn new(policy: Policy, upstream: Upstream) -> Result<Self, EgressError> {
        for (is_zero, name) in [
            (policy.bytes_max.get() == 0, "bytes_max"),
            (policy.exchanges_max == 0, "exchanges_max"),
            (policy.connections_max == 0, "connections_max"),
            (policy.body_max.get() == 0, "body_max"),
        ] {
            if is_zero {
                return Err(EgressError::ZeroLimit(name));
            }
        }
        let mut mapped = BTreeMap::new();
        for (key, address) in &policy.hosts {
            let rule: HostRule = key.parse().map_err(|source| EgressError::MappedHost {
                key: key.clone(),
                source,
            })?;
            let (host, port) = rule
                .into_single()
                .ok_or_else(|| EgressError::MappedPattern(key.clone()))?;
            mapped.insert((host, port), *address);
        }
        Ok(Self {
            budget: Arc::new(Budget::new(policy.bytes_max)),
            policy,
            mapped,
            upstream,
            pins: Mutex::default(),
        })
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn is_opaque(&self, authority: &Authority) -> bool {
        let rules = &self.policy.opaque;
        rules
            .iter()
            .any(|rule| rule.matches(Scheme::Https, authority))
    }

    /// Checks that a host was granted and is where a granted host may be.
    pub(super) async fn route(
        &self,
        scheme: Scheme,
        authority: &Authority,
    ) -> Result<Route, Problem> {
        let rules = &self.policy.allow;
        if !rules.iter().any(|rule| rule.matches(scheme, authority)) {
            return Err(Problem::forbidden(not_granted(scheme, authority)));
        }
        if self.budget.is_used_up() {
            return Err(Problem::forbidden(self.budget.reason()));
        }
        let exact = (authority.host.clone(), Some(authority.port));
        let any_port = (authority.host.clone(), None);
        let mapped = self
            .mapped
            .get(&exact)
            .or_else(|| self.mapped.get(&any_port));
        if let Some(&address) = mapped {
            return Ok(Route {
                addresses: vec![address],
                tunnel: None,
            });
        }
        if let Some(next) = self.next(scheme, authority) {
            return Ok(Route {
                addresses: vec![next.address],
                tunnel: (scheme == Scheme::Https).then(|| next.clone()),
            });
        }
        let pin = {
            let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            if pins.len() >= NAMES && !pins.contains_key(&authority.host) {
                return Err(Problem::forbidden(format!(
                    "this run has asked for {NAMES} names already"
                )));
            }
            Arc::clone(pins.entry(authority.host.clone()).or_default())
        };
        // A failure is not kept; what was found is, whatever the name means a moment later.
        let pinned = pin
            .get_or_try_init(|| self.resolve(&authority.host))
            .await?;
        match pinned {
            Ok(addresses) => Ok(Route {
                addresses: addresses
                    .iter()
                    .map(|&address| SocketAddr::new(address, authority.port))
                    .collect(),
                tunnel: None,
            }),
            Err(reason) => Err(Problem::forbidden(reason)),
        }
    }

    /// How the operator says that a host is reached.
    pub(super) fn approach(&self, scheme: Scheme, authority: &Authority) -> Option<&Approach> {
        let fits = |one: &&Approach| {
            one.is_https == (scheme == Scheme::Https) && one.host.matches(scheme, authority)
        };
        self.policy.approaches.iter().find(fits)
    }

    /// The proxy that stands before a host.
    pub(super) fn next(&self, scheme: Scheme, authority: &Authority) -> Option<&NextProxy> {
        self.approach(scheme, authority)?.next.as_ref()
    }

    async fn resolve(&self, host: &Host) -> Result<Pinned, Problem> {
        let asked = self.upstream.resolver.resolve(host.as_str());
        let addresses = match timeout(self.policy.timeouts.connect, asked).await {
            Err(_) => {
                return Err(Problem::late(format!(
                    "the address of {host} was not found in time"
                )));
            }
            Ok(Err(error)) => {
                return Err(Problem::failed(format!(
                    "{host} has no address: {}",
                    chain(&error)
                )));
            }
            Ok(Ok(addresses)) => addresses,
        };
        if addresses.is_empty() {
            return Err(Problem::failed(format!("{host} has no address")));
        }
        // One forbidden address among public ones is how a name is made to point inside.
        if let Some((address, what)) = addresses
            .iter()
            .find_map(|&address| Some((address, forbidden(address)?)))
        {
            tracing::warn!(host = host.as_str(), %address, what, "a granted name points inside");
            return Ok(Err(format!(
                "{host} resolves to an address that is {what}; \
                 only the operator's map of hosts can permit that"
            )));
        }
        Ok(Ok(addresses.into_iter().take(ADDRESSES).collect()))
    }

    /// Opens a TCP connection along a route.
    pub(super) async fn dial(
        &self,
        route: &Route,
        authority: &Authority,
    ) -> Result<Metered<TcpStream>, Problem> {
        let mut problem = Problem::failed(format!("{authority} has no address"));
        for address in &route.addresses {
            match timeout(self.policy.timeouts.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).ok();
                    let stream = Metered::new(stream, Arc::clone(&self.budget));
                    let Some(next) = &route.tunnel else {
                        return Ok(stream);
                    };
                    let opened = next::tunnel(stream, next, authority);
                    return match timeout(self.policy.timeouts.handshake, opened).await {
                        Ok(opened) => opened,
                        Err(_) => Err(Problem::late(format!(
                            "the proxy of this machine did not open a way to {authority} in time"
                        ))),
                    };
                }
                Ok(Err(error)) => {
                    problem = Problem::failed(format!("no connection to {authority}: {error}"));
                }
                Err(_) => {
                    problem = Problem::late(format!("no connection to {authority} in time"));
                }
            }
        }
        Err(problem)
    }

    /// Opens a connection on which HTTP can be spoken; TLS is verified for the host's name.
    pub(super) async fn connect(
        &self,
        route: &Route,
        scheme: Scheme,
        authority: &Authority,
    ) -> Result<Wire, Problem> {
        let stream = self.dial(route, authority).await?;
        if scheme == Scheme::Http {
            return Ok(Wire::Plain(stream));
        }
        let name = ServerName::try_from(authority.host.as_str().to_owned())
            .map_err(|error| Problem::failed(chain(&error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.upstream.tls));
        match timeout(
            self.policy.timeouts.handshake,
            connector.connect(name, stream),
        )
        .await
        {
            Ok(Ok(stream)) => Ok(Wire::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(self.tls_problem(authority, &error)),
            Err(_) => Err(Problem::late(format!(
                "no TLS handshake with {authority} in time"
            ))),
        }
    }

    fn tls_problem(&self, authority: &Authority, error: &io::Error) -> Problem {
        if self.budget.is_used_up() {
            return Problem::forbidden(self.budget.reason());
        }
        let mut reason = format!("no TLS with {authority}: {}", chain(error));
        if self.upstream.roots() == 0 {
            reason.push_str("; no certificate authorities are known where the proxy runs");
        }
        Problem::failed(reason)
    }
}

fn not_granted(scheme: Scheme, authority: &Authority) -> String {
    let needed = if authority.port == scheme.port() {
        authority.host.to_string()
    } else {
        authority.to_string()
    };
    format!("this subagent was not granted egress to {needed}")
}
