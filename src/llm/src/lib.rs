//! Language-model client: one trait, one HTTP implementation for two wire protocols, one scripted.

mod model;

pub use model::{
    Block, Delta, LlmError, Message, Model, ModelRef, ModelRefError, Purpose, Reply, Request, Role,
    StopReason, TokenUsage, ToolSpec,
};
