//! End-to-end tests: the real program, a real engine, a loopback endpoint in the place of a model.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod benign;
mod compose;
mod demo;
mod deploy;
mod deploy_image;
mod deploy_verify;
mod egress;
mod engine;
mod environments;
mod exec;
mod hostile;
mod interrupts;
mod layers;
mod library;
mod limits;
mod output;
mod pool;
mod reference;
mod registries;
mod reproduce;
mod runtimes;
mod share;
mod solve;
mod travel;
mod trouble;
mod trust;
mod unmet;
