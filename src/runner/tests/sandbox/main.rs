//! Sandboxes on a real engine: each way in which a run can end, and what a hostile one may try.
//!
//! The image is `agentfactory/base:latest`, or what `AGENTFACTORY_TEST_IMAGE` names. Without an
//! engine or an image the tests say so and pass; they fail when
//! `AGENTFACTORY_TEST_REQUIRE_ENGINE=1` asks for the real thing.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod env;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod tools;
