//! A model that answers from a file.
#![doc = include_str!("../../SCRIPTED.md")]

mod format;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, ready};

use self::format::{Script, ScriptedReply};
use crate::fault::one_line;
use crate::stream::Observer;
use crate::{
    Block, Delta, LlmError, Message, Model, Purpose, Reply, Request, StopReason, TokenUsage,
};

/// A model that answers from a file, the same each time.
///
/// The file's format is described in `SCRIPTED.md` beside this crate's sources.
#[derive(Debug)]
pub struct ScriptedModel {
    file: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    agent: Queue,
    subagent: Queue,
    /// Replies given to the Meta-Agent; makes ids.
    turns: u32,
}

/// A script that is whole, for whoever has written none yet.
const EXAMPLE: &str =
    "the smallest script is `{format: 1, agent: [{text: Done.}]}`, in YAML or JSON";

/// The replies of one list, and which are used up.
#[derive(Debug)]
struct Queue {
    list: &'static str,
    replies: Vec<(ScriptedReply, bool)>,
}

impl ScriptedModel {
    /// Reads a script and the files that it names.
    ///
    /// # Errors
    /// [`LlmError::NotConfigured`] with the place of what is wrong.
    pub fn open(file: &Path) -> Result<Self, LlmError> {
        let script = Script::read(file).map_err(|why| LlmError::NotConfigured {
            model: format!("scripted:{}", file.display()),
            why,
            hint: Some(EXAMPLE.to_owned()),
        })?;
        let queue = |list, replies: Vec<ScriptedReply>| Queue {
            list,
            replies: replies.into_iter().map(|reply| (reply, false)).collect(),
        };
        Ok(Self {
            file: file.display().to_string(),
            state: Mutex::new(State {
                agent: queue("agent", script.agent),
                subagent: queue("subagent", script.subagent),
                turns: 0,
            }),
        })
    }

    fn answer(&self, request: &Request, observe: Observer<'_>) -> Result<Reply, LlmError> {
        let asked = request.messages.last().map(text_of).unwrap_or_default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = state.turns + 1;
        let queue = match request.purpose {
            Purpose::MetaAgent => &mut state.agent,
            Purpose::Subagent => &mut state.subagent,
        };
        let reply = queue.take(&asked).map_err(|why| LlmError::Script {
            file: self.file.clone(),
            why,
        })?;
        let reply = to_reply(reply, turn, request);
        if request.purpose == Purpose::MetaAgent {
            state.turns = turn;
        }
        drop(state);
        for block in &reply.content {
            match block {
                Block::Text { text } => observe(Delta::Text(text)),
                Block::ToolCall { name, .. } => observe(Delta::ToolCall(name)),
                Block::ToolResult { .. } | Block::Opaque { .. } => {}
            }
        }
        Ok(reply)
    }
}

impl Model for ScriptedModel {
    fn name(&self) -> String {
        format!("scripted:{}", self.file)
    }

    fn reply<'a>(
        &'a self,
        request: &'a Request,
        observe: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, LlmError>> {
        Box::pin(ready(self.answer(request, observe)))
    }
}

impl Queue {
    /// The reply to a message, which is then used up.
    ///
    /// # Errors
    /// Why there is none.
    fn take(&mut self, asked: &str) -> Result<&ScriptedReply, String> {
        let unused = self.replies.iter().filter(|(_, used)| !used).count();
        let fitting = self
            .replies
            .iter_mut()
            .find(|(reply, used)| !*used && reply.when.holds(asked));
        let Some((reply, used)) = fitting else {
            let left = match unused {
                0 => format!("no reply of `{}` is left", self.list),
                1 => format!("the one reply of `{}` that is left does not fit", self.list),
                _ => format!(
                    "none of the {unused} replies of `{}` that are left fits",
                    self.list
                ),
            };
            return Err(format!("{left}; the last message is: {}", one_line(asked)));
        };
        if let Some(missing) = reply.expect.iter().find(|text| !asked.contains(*text)) {
            return Err(format!(
                "the reply at line {} expects `{missing}`; the last message is: {}",
                reply.line,
                one_line(asked)
            ));
        }
        *used = !reply.repeat;
        Ok(reply)
    }
}

fn to_reply(scripted: &ScriptedReply, turn: u32, request: &Request) -> Reply {
    let mut content = Vec::new();
    if let Some(text) = scripted.text.as_ref().filter(|text| !text.is_empty()) {
        content.push(Block::Text { text: text.clone() });
    }
    for (position, (tool, arguments)) in scripted.calls.iter().enumerate() {
        content.push(Block::ToolCall {
            id: format!("scripted_{turn}_{position}"),
            name: tool.clone(),
            arguments: Ok(arguments.clone()),
        });
    }
    let usage = scripted.usage.unwrap_or_else(|| {
        let tools = request.tools.iter().map(|tool| {
            characters(&tool.name)
                + characters(&tool.description)
                + characters(&tool.parameters.to_string())
        });
        let messages = request.messages.iter().flat_map(|message| &message.content);
        TokenUsage {
            input_tokens: (characters(&request.system)
                + tools.sum::<u64>()
                + messages.map(block_characters).sum::<u64>())
            .div_ceil(4),
            output_tokens: content
                .iter()
                .map(block_characters)
                .sum::<u64>()
                .div_ceil(4),
            cached_tokens: 0,
        }
    });
    Reply {
        stop: if scripted.calls.is_empty() {
            StopReason::End
        } else {
            StopReason::ToolUse
        },
        content,
        usage,
    }
}

/// What a message says: its text and its tool results.
fn text_of(message: &Message) -> String {
    let texts: Vec<&str> = message
        .content
        .iter()
        .filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            Block::ToolResult { content, .. } => Some(content.as_str()),
            Block::ToolCall { .. } | Block::Opaque { .. } => None,
        })
        .collect();
    texts.join("\n")
}

fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

fn block_characters(block: &Block) -> u64 {
    match block {
        Block::Text { text } => characters(text),
        Block::ToolResult { content, .. } => characters(content),
        Block::ToolCall {
            name, arguments, ..
        } => {
            let arguments = match arguments {
                Ok(arguments) => serde_json::Value::Object(arguments.clone()).to_string(),
                Err(text) => text.clone(),
            };
            characters(name) + characters(&arguments)
        }
        Block::Opaque { raw } => characters(&raw.to_string()),
    }
}

#[cfg(test)]
mod tests;
