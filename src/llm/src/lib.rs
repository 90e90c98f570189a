//! Language-model client: one trait, one HTTP implementation for two wire protocols, one scripted.

mod error;
mod model;

pub use error::LlmError;
pub use model::{
    Block, Delta, Message, Model, ModelRef, ModelRefError, Purpose, Reply, Request, Role,
    StopReason, TokenUsage, ToolSpec,
};
