//! The file that a scripted model answers from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use spec::{ByteSize, limits};

use crate::TokenUsage;

/// Bytes of a script, and of each file that it names: the source of a subagent fits.
const FILE: ByteSize = limits::SOURCE;

/// A script, checked, with the texts of all files in it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) agent: Vec<ScriptedReply>,
    pub(super) subagent: Vec<ScriptedReply>,
}

/// One reply.
#[derive(Debug)]
pub(super) struct ScriptedReply {
    /// Where it begins in the script.
    pub(super) line: u64,
    pub(super) when: When,
    pub(super) repeat: bool,
    pub(super) expect: Vec<String>,
    pub(super) text: Option<String>,
    pub(super) calls: Vec<(String, Map<String, Value>)>,
    pub(super) usage: Option<TokenUsage>,
}

/// Conditions on the last message of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    #[serde(default)]
    contains: Texts,
    #[serde(default)]
    not_contains: Texts,
}

impl When {
    pub(super) fn holds(&self, asked: &str) -> bool {
        self.contains.0.iter().all(|text| asked.contains(text))
            && !self.not_contains.0.iter().any(|text| asked.contains(text))
    }
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptYaml {
    #[serde(rename = "format")]
    _format: u32,
    #[serde(default)]
    agent: Vec<Spanned<AgentYaml>>,
    #[serde(default)]
    subagent: Vec<Spanned<SubagentYaml>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentYaml {
    #[serde(default)]
    when: When,
    #[serde(default)]
    repeat: bool,
    #[serde(default)]
    expect: Texts,
    text: Option<TextYaml>,
    #[serde(default)]
    calls: Vec<CallYaml>,
    usage: Option<UsageYaml>,
}

/// The same without `calls`: a subagent is told a text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubagentYaml {
    #[serde(default)]
    when: When,
    #[serde(default)]
    repeat: bool,
    #[serde(default)]
    expect: Texts,
    text: TextYaml,
    usage: Option<UsageYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallYaml {
    tool: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageYaml {
    input_tokens: u64,
    output_tokens: u64,
}

impl Script {
    /// Reads and checks a script.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = read_text(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let wrong = |error: &serde_saphyr::Error| {
            let error = error.without_snippet();
            let why = error.to_string();
            let Some(at) = error.location() else {
                return format!("{}: {why}", path.display());
            };
            let (line, column) = (at.line(), at.column());
            let place = format!(" at line {line}, column {column}");
            let why = why.strip_suffix(&place).unwrap_or(&why);
            format!("{}:{line}:{column}: {why}", path.display())
        };
        let Versioned { format } = serde_saphyr::from_str(&text).map_err(|error| wrong(&error))?;
        if format != 1 {
            return Err(format!(
                "{}: format {format} is not known, only format 1",
                path.display()
            ));
        }
        let yaml: ScriptYaml = serde_saphyr::from_str(&text).map_err(|error| wrong(&error))?;
        let agent = yaml.agent.into_iter().map(|reply| {
            let line = reply.referenced.line();
            to_agent_reply(reply.value, line, folder)
                .map_err(|why| format!("{}:{line}: {why}", path.display()))
        });
        let subagent = yaml.subagent.into_iter().map(|reply| {
            let line = reply.referenced.line();
            to_subagent_reply(reply.value, line, folder)
                .map_err(|why| format!("{}:{line}: {why}", path.display()))
        });
        Ok(Self {
            agent: agent.collect::<Result<_, _>>()?,
            subagent: subagent.collect::<Result<_, _>>()?,
        })
    }
}

fn to_agent_reply(yaml: AgentYaml, line: u64, folder: &Path) -> Result<ScriptedReply, String> {
    if yaml.text.is_none() && yaml.calls.is_empty() {
        return Err("this reply has neither `text` nor `calls`".to_owned());
    }
    let calls = yaml.calls.into_iter().map(|call| {
        let mut arguments = call.arguments;
        for value in arguments.values_mut() {
            resolve_files(value, folder)?;
        }
        Ok((call.tool, arguments))
    });
    Ok(ScriptedReply {
        line,
        when: yaml.when,
        repeat: yaml.repeat,
        expect: yaml.expect.0,
        text: yaml.text.map(|text| text.resolve(folder)).transpose()?,
        calls: calls.collect::<Result<_, String>>()?,
        usage: yaml.usage.map(UsageYaml::into_usage),
    })
}

fn to_subagent_reply(
    yaml: SubagentYaml,
    line: u64,
    folder: &Path,
) -> Result<ScriptedReply, String> {
    Ok(ScriptedReply {
        line,
        when: yaml.when,
        repeat: yaml.repeat,
        expect: yaml.expect.0,
        text: Some(yaml.text.resolve(folder)?),
        calls: Vec::new(),
        usage: yaml.usage.map(UsageYaml::into_usage),
    })
}

impl UsageYaml {
    fn into_usage(self) -> TokenUsage {
        TokenUsage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_tokens: 0,
        }
    }
}

/// Puts the text of a file in place of each `{file: PATH}`.
fn resolve_files(value: &mut Value, folder: &Path) -> Result<(), String> {
    match value {
        Value::Object(map) if map.len() == 1 && map.get("file").is_some_and(Value::is_string) => {
            let path = map.get("file").and_then(Value::as_str).unwrap_or_default();
            *value = Value::String(read_text(&folder.join(path))?);
            Ok(())
        }
        Value::Object(map) => map
            .values_mut()
            .try_for_each(|value| resolve_files(value, folder)),
        Value::Array(values) => values
            .iter_mut()
            .try_for_each(|value| resolve_files(value, folder)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let failed = |why: &dyn fmt::Display| format!("cannot read {}: {why}", path.display());
    let metadata = path.metadata().map_err(|error| failed(&error))?;
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(failed(&"it is not a file"));
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    file.take(FILE.get() + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    if text.len() as u64 > FILE.get() {
        return Err(failed(&format_args!("it is larger than {FILE}")));
    }
    Ok(text)
}

/// A text, or the name of a file that holds it.
enum TextYaml {
    Text(String),
    File(String),
}

impl TextYaml {
    fn resolve(self, folder: &Path) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::File(path) => read_text(&folder.join(path)),
        }
    }
}

// By hand, because an untagged enum forgets the position of an error.
impl<'de> Deserialize<'de> for TextYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct FileYaml {
            file: String,
        }
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = TextYaml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, in quotes if it looks like a number, or {file: PATH}")
            }

            fn visit_str<E>(self, text: &str) -> Result<TextYaml, E> {
                Ok(TextYaml::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextYaml, A::Error> {
                FileYaml::deserialize(MapAccessDeserializer::new(map))
                    .map(|yaml| TextYaml::File(yaml.file))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A text or a list of texts.
#[derive(Debug, Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, in quotes if it looks like a number, or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, texts: A) -> Result<Texts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(texts)).map(Texts)
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}
