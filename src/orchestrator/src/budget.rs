//! What a task may use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llm::TokenUsage;

/// The bounds of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskBudget {
    /// Model requests of the Meta-Agent.
    pub turns_max: u32,
    /// Tokens read and written, the subagents' included.
    pub tokens_max: u64,
    /// From the first request to the last result.
    pub wall: Duration,
}

impl Default for TaskBudget {
    /// Twice what the longest recorded session of the paper needed: 21 turns.
    fn default() -> Self {
        Self {
            turns_max: 40,
            tokens_max: 2_000_000,
            wall: Duration::from_hours(1),
        }
    }
}

/// Tokens of a task, the Meta-Agent's and its subagents' apart.
#[derive(Debug)]
pub(crate) struct Tokens {
    max: u64,
    agent: Counter,
    subagents: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    input: AtomicU64,
    output: AtomicU64,
    cached: AtomicU64,
}

impl Counter {
    fn add(&self, usage: TokenUsage) {
        self.input.fetch_add(usage.input_tokens, Ordering::Relaxed);
        self.output
            .fetch_add(usage.output_tokens, Ordering::Relaxed);
        self.cached
            .fetch_add(usage.cached_tokens, Ordering::Relaxed);
    }

    fn get(&self) -> TokenUsage {
        TokenUsage {
            input_tokens: self.input.load(Ordering::Relaxed),
            output_tokens: self.output.load(Ordering::Relaxed),
            cached_tokens: self.cached.load(Ordering::Relaxed),
        }
    }
}

impl Tokens {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            agent: Counter::default(),
            subagents: Counter::default(),
        }
    }

    pub(crate) fn add_agent(&self, usage: TokenUsage) {
        self.agent.add(usage);
    }

    pub(crate) fn add_subagent(&self, usage: TokenUsage) {
        self.subagents.add(usage);
    }

    pub(crate) fn agent(&self) -> TokenUsage {
        self.agent.get()
    }

    pub(crate) fn subagents(&self) -> TokenUsage {
        self.subagents.get()
    }

    pub(crate) fn is_used_up(&self) -> bool {
        let (agent, subagents) = (self.agent(), self.subagents());
        let used = [agent, subagents].iter().fold(0_u64, |used, usage| {
            used.saturating_add(usage.input_tokens)
                .saturating_add(usage.output_tokens)
        });
        used >= self.max
    }
}
