//! Runs a recorded run again, offline: every answer comes from its record.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use ::egress::Proxy;
use futures::future::BoxFuture;
use runner::{Broker, ImageId, Observer, Program, RunHost, RunnerError, SandboxSpec, ToolRequest};
use serde_json::{Value, json};
use spec::wire::{OutcomeJson, RunContext, RunJson};
use spec::{ByteSize, Determinism, Digest, OutputStream, Place, RunId, RunReport, Tree};
use store::{Exchange, ExchangeKind, RunProgram, RunRecord};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use crate::blobs::StoreBlobs;
use crate::compose::is_program_of;
use crate::egress::replayed;
use crate::error::FactoryError;
use crate::factory::Factory;
use crate::run::source_files;
use crate::task::middle;
use crate::watch::{Unwatched, Watcher};

/// What came of running a recorded run again.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// What was compared, in the order in which people look at it.
    pub checks: Vec<Check>,
    /// What it asked that its record does not hold.
    pub unrecorded: Vec<Unrecorded>,
    /// What is not as it was recorded and need not matter, and what may explain a difference.
    pub notes: Vec<String>,
}

/// One thing that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What: of a run `outcome`, `result`, `output tree`, `left behind`, `stdout`, `stderr`, `tool calls`,
    /// `http`; of a version `dependency`, `source`, `config`, `manifest`, and of its image `base image`,
    /// `harness`, `harness layer`, `image`, `environment`, `environment layer`, `environment image`.
    pub what: &'static str,
    /// As it is in the record.
    pub recorded: String,
    /// As it is now.
    pub reproduced: String,
    /// Why it is not as it was, where that is known.
    pub why: Option<String>,
}

/// Something that was asked and is not in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrecorded {
    /// The tool, or method and URL.
    pub what: String,
    /// How it differs from what is in the record.
    pub difference: String,
}

impl Reproduction {
    /// Whether everything is as it was.
    pub fn is_equal(&self) -> bool {
        self.unrecorded.is_empty() && self.checks.iter().all(Check::is_equal)
    }
}

impl Check {
    /// Whether it is as it was.
    pub fn is_equal(&self) -> bool {
        self.recorded == self.reproduced
    }
}

/// Source: the store's bound of a record.
const TREE_MAX: ByteSize = ByteSize::mib(512);
/// Characters of a difference that are shown.
const DIFFERENCE_CHARS: usize = 2_000;
/// Recorded requests of a tool with which another is compared.
const COMPARED_MAX: usize = 20;
/// Requests beyond the record that are kept to be shown.
const UNRECORDED_MAX: usize = 100;

impl Factory {
    /// Runs a recorded run again on the same image with the same limits and input. Its tools, its
    /// models and the network answer from the record; nothing else is asked.
    ///
    /// # Errors
    /// [`FactoryError::NotReproducible`] for a run of which the record does not hold everything that
    /// it saw, [`FactoryError::Trust`] where nobody who is trusted vouches for what ran, and the errors of the store and the runner.
    pub async fn reproduce(
        &self,
        run: &RunId,
        cancel: CancellationToken,
    ) -> Result<Reproduction, FactoryError> {
        let (id, store) = (*run, Arc::clone(&self.store));
        let read = move || {
            // What it names is read until it has run again.
            store.hold_run(&id)?;
            store.run(&id)
        };
        let record = tokio::task::spawn_blocking(read).await??;
        self.check_trust(id, &record)?;
        if let Some(why) = missing(&record) {
            return Err(FactoryError::NotReproducible { run: id, why });
        }
        let broken = |why: String| FactoryError::NotReproducible { run: id, why };
        let input = self.tree(&record.report.input_tree)?;
        let input = input.map_err(broken)?;
        let http = record
            .cassette
            .iter()
            .filter(|one| one.kind == ExchangeKind::Http);
        let http: Result<Vec<_>, _> = http.map(replayed).collect();
        let http = http.map_err(|why| broken(format!("its HTTP cannot be read: {why}")))?;
        let replay = Arc::new(self.replay(&record, http)?);
        let sandbox = SandboxSpec {
            run: self.context.run_id(),
            image: ImageId(record.image),
            program: self.program(&record)?,
            tree: Arc::new(input.clone()),
            mounts: Vec::new(),
            limits: record.limits.clone(),
            determinism: record.determinism,
            imports: spec::Imports::NONE,
            runtime: record.place.runtime.clone(),
            proxy: replay.proxy.as_ref().map(|proxy| runner::Proxy {
                certificates_pem: proxy.certificates_pem().to_owned(),
            }),
        };
        let host = RunHost {
            blobs: Arc::new(StoreBlobs(Arc::clone(&self.store))),
            broker: Arc::clone(&replay) as _,
            observer: Arc::new(Nobody),
        };
        let report = self
            .run_recorded(id, &record, sandbox, host, cancel)
            .await?;
        let output = spec::wire::output_tree(&report, &input);
        let again = RunJson::new(
            &report,
            &RunContext {
                run: id,
                version: None,
                input_tree: input.digest(),
                output_tree: output.as_ref().map(Tree::digest),
                writable_mounts: false,
                replayable: true,
            },
        );
        let mut reproduction = replay.compare(&record, &again);
        reproduction.notes = notes(&record, &report.place, reproduction.is_equal());
        Ok(reproduction)
    }

    /// Runs it, once more where the engine has lost the image of its environment, which can be made again.
    async fn run_recorded(
        &self,
        run: RunId,
        record: &RunRecord,
        sandbox: SandboxSpec,
        host: RunHost,
        cancel: CancellationToken,
    ) -> Result<RunReport, FactoryError> {
        let wanted = sandbox.image.clone();
        let ran = (sandbox.clone(), host.clone(), cancel.clone());
        let missing = match self.sandboxes.run(ran.0, ran.1, ran.2).await {
            Err(error @ RunnerError::ImageMissing(_)) => error,
            ran => return Ok(ran?),
        };
        let Some(environment) = &record.place.environment else {
            return Err(missing.into());
        };
        let watcher: Arc<dyn Watcher> = Arc::new(Unwatched);
        let version = record.report.version.as_ref();
        let version = version.and_then(|version| version.parse().ok());
        let made = self.environment_again(environment, version.as_ref(), &watcher, &cancel);
        let made = made.await?;
        if made != wanted {
            return Err(FactoryError::NotReproducible {
                run,
                why: format!(
                    "its image {} is not on the engine, and its environment on the sandbox image of now is {}",
                    wanted.0, made.0
                ),
            });
        }
        Ok(self.sandboxes.run(sandbox, host, cancel).await?)
    }

    /// Checks that somebody who is trusted vouches for the versions that ran, as for a new run.
    fn check_trust(&self, run: RunId, record: &RunRecord) -> Result<(), FactoryError> {
        let own = record.report.version.as_ref();
        let own = own.and_then(|version| version.parse::<Digest>().ok());
        if let Some(version) = own {
            let name = record.name.as_ref();
            self.trust.check(&self.store, &version, name, None)?;
            if !is_program_of(&self.store, &record.program, &version)? {
                return Err(FactoryError::NotReproducible {
                    run,
                    why: format!(
                        "what its record holds is not the program of {version}, which it names"
                    ),
                });
            }
        }
        self.check_depends(&record.depends)
    }

    fn tree(&self, digest: &str) -> Result<Result<Tree, String>, FactoryError> {
        let Ok(digest) = digest.parse::<Digest>() else {
            return Ok(Err("its record names no input".to_owned()));
        };
        let bytes = self.store.get_at_most(&digest, TREE_MAX)?;
        Ok(Tree::from_bytes(&bytes).map_err(|why| format!("{digest} is no tree: {why}")))
    }

    fn program(&self, record: &RunRecord) -> Result<Program, FactoryError> {
        Ok(match &record.program {
            RunProgram::Shell { command } => Program::Shell {
                command: command.clone(),
            },
            RunProgram::Subagent {
                source,
                entry,
                query,
            } => Program::Subagent {
                files: source_files(self.store.source(source)?),
                entry: entry.clone(),
                query: query.clone(),
            },
        })
    }

    fn replay(
        &self,
        record: &RunRecord,
        http: Vec<::egress::Exchange>,
    ) -> Result<Replay, FactoryError> {
        let tools = record.cassette.iter();
        let tools = tools.filter(|exchange| exchange.kind == ExchangeKind::Tool);
        let proxy = if record.egress.is_empty() {
            None
        } else {
            let bodies = Arc::new(StoreBlobs(Arc::clone(&self.store)));
            Some(Proxy::replay(http, bodies)?)
        };
        Ok(Replay {
            tools: Mutex::new(Tools::new(tools.collect())),
            proxy,
        })
    }
}

/// Why a record does not hold everything that its run saw.
fn missing(record: &RunRecord) -> Option<String> {
    let report = &record.report;
    if !record.mounts.is_empty() {
        return Some("it saw folders of the host, which are not in its record".to_owned());
    }
    if !report.replayable {
        return Some(
            "it used hosts whose exchanges were passed on unread and are not in its record"
                .to_owned(),
        );
    }
    match &report.outcome {
        OutcomeJson::SandboxLost { .. } => Some("nothing is known of how it ended".to_owned()),
        OutcomeJson::Cancelled {} => Some("it was stopped from outside".to_owned()),
        _ => None,
    }
}

/// What else is to be said.
fn notes(record: &RunRecord, place: &Place, is_equal: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let was = &record.place;
    if let (Some(was), Some(now)) = (&was.runtime, &place.runtime)
        && was != now
    {
        notes.push(format!(
            "it ran under the runtime `{was}`, and now under `{now}`: that is the only one here, or was asked for"
        ));
    }
    let Determinism { clock_ms, seed } = record.determinism;
    let free = match (clock_ms, seed) {
        (None, None) => Some(("clock and its random numbers", "--clock and --seed")),
        (None, Some(_)) => Some(("clock", "--clock")),
        (Some(_), None) => Some(("random numbers", "--seed")),
        (Some(_), Some(_)) => None,
    };
    if let (false, Some((what, flags))) = (is_equal, free) {
        notes.push(format!(
            "its {what} were the machine's: {flags} would have made them the same each time"
        ));
    }
    notes
}

/// Nobody watches.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn output(&self, _: OutputStream, _: &[u8]) {}
}

/// Answers from a record.
#[derive(Debug)]
struct Replay {
    tools: Mutex<Tools>,
    proxy: Option<Proxy>,
}

/// The tool calls of a record.
#[derive(Debug, Default)]
struct Tools {
    unused: HashMap<(String, Digest), VecDeque<Value>>,
    /// What each tool was asked, to say what differs.
    known: HashMap<String, Vec<Value>>,
    asked: usize,
    unrecorded: Vec<Unrecorded>,
}

impl Tools {
    fn new(exchanges: Vec<&Exchange>) -> Self {
        let mut tools = Self::default();
        for exchange in exchanges {
            let tool = exchange.tool.clone();
            let asked = tools.known.entry(tool.clone()).or_default();
            asked.push(exchange.request.clone());
            // The digest that a request has now, and not what the record says of it.
            let digest = Exchange::digest_of(&exchange.request);
            let answers = tools.unused.entry((tool, digest)).or_default();
            answers.push_back(exchange.response.clone());
        }
        tools
    }

    fn answer(&mut self, request: &ToolRequest) -> Value {
        self.asked += 1;
        let tool = spec::printable(&request.tool, 80);
        let digest = Exchange::digest_of(&request.arguments);
        // Of what was refused, the record holds the digest alone.
        let refused = Exchange::digest_of(&json!({ "refused": digest }));
        for digest in [digest, refused] {
            let answers = self.unused.get_mut(&(tool.clone(), digest));
            if let Some(answer) = answers.and_then(VecDeque::pop_front) {
                return answer;
            }
        }
        let error = format!("the record of this run holds no such call of {tool}");
        // What is not shown is not compared: that takes time.
        if self.unrecorded.len() < UNRECORDED_MAX {
            let difference = self.difference(&tool, &request.arguments);
            let what = tool;
            self.unrecorded.push(Unrecorded { what, difference });
        }
        json!({ "error": error })
    }

    /// How a request differs from the recorded one that is most like it.
    fn difference(&self, tool: &str, asked: &Value) -> String {
        let text = |value: &Value| {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            middle(&text, 20 * DIFFERENCE_CHARS)
        };
        let Some(known) = self.known.get(tool) else {
            return format!("the record holds no call of {tool}");
        };
        let asked = text(asked);
        let nearest = known.iter().take(COMPARED_MAX).map(text).max_by(|a, b| {
            let like = |known: &str| similar::TextDiff::from_lines(known, &asked).ratio();
            like(a).total_cmp(&like(b))
        });
        let nearest = nearest.unwrap_or_default();
        if nearest == asked {
            return "the record holds it, but not as often".to_owned();
        }
        let diff = similar::TextDiff::from_lines(&nearest, &asked);
        let diff = diff.unified_diff().header("recorded", "asked").to_string();
        middle(diff.trim_end(), DIFFERENCE_CHARS)
    }
}

impl Replay {
    fn compare(&self, record: &RunRecord, again: &RunJson) -> Reproduction {
        let was = &record.report;
        let mut checks = Vec::new();
        let mut check = |what, recorded: String, reproduced: String| {
            checks.push(Check {
                what,
                recorded,
                reproduced,
                why: None,
            });
        };
        check("outcome", outcome(&was.outcome), outcome(&again.outcome));
        let result = |run: &RunJson| digest(&json!([run.answer, run.summary]));
        check("result", result(was), result(again));
        let tree = |run: &RunJson| run.output_tree.clone().unwrap_or("unknown".to_owned());
        check("output tree", tree(was), tree(again));
        let left = |run: &RunJson| digest(&json!(run.left_behind));
        check("left behind", left(was), left(again));
        let stream = |stream: &spec::wire::OutputJson| {
            digest(&json!([stream.text, stream.base64, stream.bytes]))
        };
        check("stdout", stream(&was.stdout), stream(&again.stdout));
        check("stderr", stream(&was.stderr), stream(&again.stderr));

        let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unrecorded = tools.unrecorded.clone();
        let calls: usize = tools.known.values().map(Vec::len).sum();
        check("tool calls", calls.to_string(), tools.asked.to_string());
        if let Some(proxy) = &self.proxy {
            let ledger = proxy.ledger();
            let recorded = record.cassette.len() - calls;
            check(
                "http",
                recorded.to_string(),
                ledger.exchanges.len().to_string(),
            );
            let room = UNRECORDED_MAX.saturating_sub(unrecorded.len());
            let beyond = ledger.unrecorded().take(room);
            unrecorded.extend(beyond.map(|(exchange, difference)| Unrecorded {
                what: middle(&format!("{} {}", exchange.method, exchange.url), 200),
                difference: middle(difference, DIFFERENCE_CHARS),
            }));
        }
        Reproduction {
            checks,
            unrecorded,
            notes: Vec::new(),
        }
    }
}

/// How a run ended, without what is in its output too.
fn outcome(outcome: &OutcomeJson) -> String {
    serde_json::to_string(outcome).unwrap_or_default()
}

fn digest(value: &Value) -> String {
    Exchange::digest_of(value).to_string()
}

impl Broker for Replay {
    fn answer(&self, request: ToolRequest) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
            tools.answer(&request)
        })
    }

    fn connect(&self, connection: DuplexStream) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(proxy) = &self.proxy {
                proxy.serve(connection).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: &str, arguments: Value) -> ToolRequest {
        ToolRequest {
            tool: tool.to_owned(),
            arguments,
        }
    }

    fn exchange(tool: &str, request: Value, response: Value) -> Exchange {
        Exchange::new(tool, request, response, std::time::Duration::ZERO, 0, 0)
    }

    #[test]
    fn each_recorded_answer_is_given_once_and_in_order() {
        let refused = json!({ "refused": Exchange::digest_of(&json!({"x": 1})) });
        let recorded = [
            exchange("llm", json!({"q": "a"}), json!({"ok": "1"})),
            exchange("llm", json!({"q": "b"}), json!({"ok": "2"})),
            exchange("llm", json!({"q": "a"}), json!({"ok": "3"})),
            exchange("shell_command", refused, json!({"error": "no"})),
        ];
        let mut tools = Tools::new(recorded.iter().collect());
        let mut answers = |tool, arguments| tools.answer(&call(tool, arguments));
        assert_eq!(answers("llm", json!({"q": "b"})), json!({"ok": "2"}));
        assert_eq!(answers("llm", json!({"q": "a"})), json!({"ok": "1"}));
        assert_eq!(answers("llm", json!({"q": "a"})), json!({"ok": "3"}));
        assert_eq!(
            answers("shell_command", json!({"x": 1})),
            json!({"error": "no"})
        );
        for (tool, arguments) in [
            ("llm", json!({"q": "a"})),
            ("llm", json!({"q": "c"})),
            ("other", json!({})),
        ] {
            assert!(answers(tool, arguments)["error"].is_string());
        }
        let differences: Vec<_> = tools
            .unrecorded
            .iter()
            .map(|one| one.difference.as_str())
            .collect();
        assert_eq!(differences[0], "the record holds it, but not as often");
        assert!(
            differences[1].contains("+  \"q\": \"c\""),
            "{}",
            differences[1]
        );
        assert_eq!(differences[2], "the record holds no call of other");
        assert_eq!(tools.asked, 7);
    }
}
