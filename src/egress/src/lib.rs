//! The forward proxy through which a sandbox reaches the hosts that it was granted, and nothing else.
//!
//! Each connection of the program to its loopback proxy arrives here as a byte stream, which is
//! hostile. HTTPS is terminated with a certificate authority made for one run, so that every
//! exchange is seen, bounded and recorded; what was recorded can answer in place of the world.
//!
//! [`Proxy::live`] reaches the world under a [`Policy`]; [`Proxy::replay`] answers from what a live
//! one wrote in its [`Ledger`], and dials nothing. What a subagent may reach is decided by whoever
//! writes the policy; what may never be reached is in [`forbidden`].

mod bodies;
mod error;
mod exchange;
mod host;
mod policy;
mod proxy;
mod ranges;
mod upstream;

pub use bodies::{Bodies, BodySink, MemoryBodies};
pub use error::EgressError;
pub use exchange::{Answer, Body, Exchange, Headers, Ledger, Tunnel};
pub use host::{HostError, HostRule};
pub use policy::{Approach, Authorization, NextProxy, Policy, Timeouts};
pub use proxy::Proxy;
pub use ranges::forbidden;
pub use upstream::{Resolver, SystemResolver, Upstream};
