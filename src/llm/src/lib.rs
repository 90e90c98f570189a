//! Language-model client: one trait, one HTTP implementation for two wire protocols, one scripted.
//!
//! [`connect`] makes a [`Model`] of a [`ModelRef`] and [`Settings`]; [`Model::reply`] asks it. What
//! may pass (an overloaded endpoint, a broken stream, silence) is tried again within the limits of
//! [`Retries`]; what will not is an [`LlmError`] with a hint. Keys are sent to the endpoint and
//! appear nowhere else: not in errors, logs or `Debug`.

mod anthropic;
mod connect;
mod error;
mod fault;
mod http;
mod model;
mod openai;
mod scripted;
mod settings;
mod stream;

pub use connect::connect;
pub use error::LlmError;
pub use model::{
    Block, Delta, Message, Model, ModelRef, ModelRefError, Purpose, Reply, Request, Role,
    StopReason, TokenUsage, ToolSpec,
};
pub use scripted::ScriptedModel;
pub use settings::{ApiKey, Protocol, ProtocolError, Provider, Retries, Settings};
