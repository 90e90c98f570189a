//! The limits of a subagent, by the names that they have in the configuration.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use spec::{ByteSize, PartialLimits, parse_duration};

/// Limits as people write them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stated {
    timeout: Option<Text>,
    cpu_time: Option<Text>,
    memory: Option<Text>,
    /// Thousandths of a processor.
    cpu_millis: Option<u32>,
    pids: Option<u32>,
    workspace_size: Option<Text>,
    workspace_files: Option<u64>,
    output_size: Option<Text>,
    result_size: Option<Text>,
    collect_files: Option<u32>,
    collect_depth: Option<u32>,
    tool_calls: Option<u32>,
    tool_size: Option<Text>,
}

/// A size or a time: `1G`, `30s`, or a plain number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Number(u64),
    Words(String),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Words(words) => words.clone(),
        }
    }
}

impl Stated {
    /// The limits that they are.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(super) fn partial(&self) -> Result<PartialLimits, String> {
        let time = |text: &Option<Text>| {
            let text = text.as_ref().map(Text::text);
            let time = text.as_deref().map(parse_duration).transpose();
            time.map_err(|error| error.to_string())
        };
        let size = |text: &Option<Text>| {
            let text = text.as_ref().map(Text::text);
            let size = text.as_deref().map(str::parse::<ByteSize>).transpose();
            size.map_err(|error| error.to_string())
        };
        let limits = PartialLimits {
            wall: time(&self.timeout)?,
            cpu: time(&self.cpu_time)?,
            memory: size(&self.memory)?,
            cpu_millis: self.cpu_millis,
            pids: self.pids,
            workspace: size(&self.workspace_size)?,
            workspace_files: self.workspace_files,
            output: size(&self.output_size)?,
            result: size(&self.result_size)?,
            collect_files: self.collect_files,
            collect_depth: self.collect_depth,
            tool_calls: self.tool_calls,
            tool_bytes: size(&self.tool_size)?,
        };
        limits.check().map_err(|error| error.to_string())?;
        Ok(limits)
    }
}

/// Limits in the one form in which we write them.
pub(super) fn write(limits: &PartialLimits) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let time = |time: Option<Duration>| time.map(|time| format!("{}ms", time.as_millis()).into());
    let size = |size: Option<ByteSize>| size.map(|size| size.get().into());
    put("timeout", time(limits.wall));
    put("cpu_time", time(limits.cpu));
    put("memory", size(limits.memory));
    put("cpu_millis", limits.cpu_millis.map(Into::into));
    put("pids", limits.pids.map(Into::into));
    put("workspace_size", size(limits.workspace));
    put("workspace_files", limits.workspace_files.map(Into::into));
    put("output_size", size(limits.output));
    put("result_size", size(limits.result));
    put("collect_files", limits.collect_files.map(Into::into));
    put("collect_depth", limits.collect_depth.map(Into::into));
    put("tool_calls", limits.tool_calls.map(Into::into));
    put("tool_size", size(limits.tool_bytes));
    Value::Object(out)
}
