//! Run records: everything from which a run can be understood and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::wire::RunJson;
use spec::{
    ByteSize, Determinism, Digest, Limits, RunId, Skill, SubagentName, Tree, WorkspacePath,
    canonical_json,
};

use crate::persist::{self, Temporary};
use crate::version::{canonical_capped, chain};
use crate::wire::WireLimits;
use crate::{Store, StoreError};

/// The media type of a run record.
pub const RUN_MEDIA_TYPE: &str = "application/vnd.agentfactory.run.v1+json";
/// The media type of a run's cassette.
pub const CASSETTE_MEDIA_TYPE: &str = "application/vnd.agentfactory.cassette.v1+json";

/// Bytes of a record, a cassette or a tree: they are held in memory, here and by whoever made them.
pub(crate) const RECORD_MAX: ByteSize = ByteSize::mib(512);

/// Everything that is known of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// When it began.
    pub at: Timestamp,
    /// The run as people and programs see it; its id is the record's name.
    pub report: RunJson,
    /// The subagent, if it has a name.
    pub name: Option<SubagentName>,
    /// What ran.
    pub program: RunProgram,
    /// What the broker did for it when it asked.
    pub grants: BTreeSet<Skill>,
    /// The hosts that it was allowed to reach: `host` or `host:port`.
    pub egress: BTreeSet<String>,
    /// What it was allowed to use.
    pub limits: Limits,
    /// The digest of the image that it ran on.
    pub image: Digest,
    /// The engine and its runtime, in words.
    pub engine: String,
    /// What else it ran on.
    pub place: RunPlace,
    /// The versions that it could import, by name, those that they import included.
    pub depends: BTreeMap<SubagentName, Digest>,
    /// The clock and the random numbers that it was given.
    pub determinism: Determinism,
    /// The names of the host directories that were mounted.
    pub mounts: Vec<String>,
    /// What it asked for and was given, in order.
    pub cassette: Vec<Exchange>,
}

/// What a run was on, besides its image and its engine. What is none was not known, or is of a record
/// from before it was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunPlace {
    /// The engine's runtime that the sandbox really ran under.
    pub runtime: Option<String>,
    /// The version of the sandbox's Python.
    pub python: Option<String>,
    /// The digest of the harness in the image: our files in it, and how their bytecode is made.
    pub harness: Option<Digest>,
    /// The environment in the image.
    pub environment: Option<RunEnvironment>,
}

/// The Python distributions that were in a run's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunEnvironment {
    /// What decides it: the content of the image below it, and the locked requirements.
    pub key: Digest,
    /// Its layer: the digest of the uncompressed archive, which is a blob of the store.
    pub layer: Digest,
}

/// What ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RunProgram {
    /// `main(query)` of a subagent, saved or not.
    Subagent {
        /// Its source layer, see [`Store::put_source`].
        source: Digest,
        /// The entry file in it.
        entry: WorkspacePath,
        /// The query.
        query: String,
    },
    /// A shell command.
    Shell {
        /// The command line.
        command: String,
    },
}

/// Through which door an exchange went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeKind {
    /// A tool was called.
    #[default]
    Tool,
    /// HTTP through the proxy.
    Http,
}

/// One request of a subagent and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Through which door it went.
    pub kind: ExchangeKind,
    /// Blobs of the store that request and response name: the bodies of HTTP.
    pub blobs: BTreeSet<Digest>,
    /// The tool that was called; the method of HTTP.
    pub tool: String,
    /// What it was called with.
    pub request: Value,
    /// The digest of the request's canonical JSON: what a replay matches together with the tool.
    pub request_digest: Digest,
    /// What was answered.
    pub response: Value,
    /// How long that took, in milliseconds.
    pub duration_ms: u64,
    /// Tokens read by a model for it.
    pub input_tokens: u64,
    /// Tokens written by a model for it.
    pub output_tokens: u64,
}

impl Exchange {
    /// Writes down one exchange.
    pub fn new(
        tool: &str,
        request: Value,
        response: Value,
        duration: Duration,
        input_tokens: u64,
        output_tokens: u64,
    ) -> Self {
        Self {
            kind: ExchangeKind::Tool,
            blobs: BTreeSet::new(),
            tool: tool.to_owned(),
            request_digest: Self::digest_of(&request),
            request,
            response,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            input_tokens,
            output_tokens,
        }
    }

    /// The digest by which a request is matched.
    pub fn digest_of(request: &Value) -> Digest {
        let bytes = canonical_json(request).expect("a JSON value has a canonical form");
        Digest::of(&bytes)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireRecord {
    media_type: String,
    at: Timestamp,
    report: RunJson,
    name: Option<SubagentName>,
    program: RunProgram,
    grants: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    egress: BTreeSet<String>,
    limits: WireLimits,
    image: Digest,
    engine: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    harness: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<RunEnvironment>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    depends: BTreeMap<SubagentName, Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    mounts: Vec<String>,
    cassette: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireCassette {
    media_type: String,
    exchanges: Vec<WireExchange>,
}

/// Requests and responses are JSON texts: canonical numbers are doubles, those of the world need not be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireExchange {
    #[serde(default, skip_serializing_if = "is_tool")]
    kind: ExchangeKind,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    blobs: BTreeSet<Digest>,
    tool: String,
    request: String,
    request_digest: Digest,
    response: String,
    duration_ms: u64,
    input_tokens: u64,
    output_tokens: u64,
}

impl Store {
    /// Keeps a record under the run's id and gives its digest.
    ///
    /// What it names must be in the store already: both trees with their files, the source layer,
    /// the version, the bodies of its exchanges.
    /// Recording the same again changes nothing. What the run measured is never a reason to refuse
    /// it: a number above 2^53 is kept as 2^53.
    ///
    /// # Errors
    /// [`StoreError::RunExists`] for another record of the same run, [`StoreError::BlobMissing`],
    /// [`StoreError::Refused`] when the report names no run or has an impossible digest,
    /// [`StoreError::TooLarge`], and the file system's errors.
    pub fn record_run(&self, record: &RunRecord) -> Result<Digest, StoreError> {
        let run = record.run()?;
        self.check_record(record)?;
        let cassette = self.put_record("the cassette", &WireCassette::new(&record.cassette)?)?;
        let digest = self.put_record("the record", &WireRecord::new(record, cassette))?;
        self.point_at_record(&run, digest)?;
        Ok(digest)
    }

    /// Checks that everything that a record names is in the store.
    pub(crate) fn check_record(&self, record: &RunRecord) -> Result<(), StoreError> {
        self.hold_all(&record.references()?)?;
        let mut trees = record.trees().into_iter();
        trees.try_for_each(|tree| self.check_tree(&tree))
    }

    /// Makes a record the one of its run.
    pub(crate) fn point_at_record(&self, run: &RunId, digest: Digest) -> Result<(), StoreError> {
        let mut pointer = Temporary::create(&self.layout.tmp)?;
        pointer.write(format!("{digest}\n").as_bytes())?;
        let path = self.layout.run(run);
        if !pointer.persist_new(&path)? && self.run_digest(run)? != digest {
            return Err(StoreError::RunExists { run: *run });
        }
        Ok(())
    }

    /// Reads the record of a run.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`], [`StoreError::Corrupt`], and the file system's errors.
    pub fn run(&self, run: &RunId) -> Result<RunRecord, StoreError> {
        self.run_and_cassette(run).map(|(record, _)| record)
    }

    /// Reads the record of a run, and the digest of its cassette.
    pub(crate) fn run_and_cassette(&self, run: &RunId) -> Result<(RunRecord, Digest), StoreError> {
        let (record, cassette) = self.record_and_cassette(&self.run_digest(run)?)?;
        self.check_run(run, &record)?;
        Ok((record, cassette))
    }

    /// The record of a run with an empty cassette, and the digest of the one that it has.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn run_without_cassette(
        &self,
        run: &RunId,
    ) -> Result<(RunRecord, Digest), StoreError> {
        let (record, cassette) = self.record_without_cassette(&self.run_digest(run)?)?;
        self.check_run(run, &record)?;
        Ok((record, cassette))
    }

    /// Reads a record by its digest, and says which cassette it has.
    pub(crate) fn record_and_cassette(
        &self,
        digest: &Digest,
    ) -> Result<(RunRecord, Digest), StoreError> {
        let (mut record, digest) = self.record_without_cassette(digest)?;
        let path = self.layout.blob(&digest);
        let cassette: WireCassette = self.get_record(&digest)?;
        if cassette.media_type != CASSETTE_MEDIA_TYPE {
            return Err(StoreError::corrupt(&path, "it is not a cassette"));
        }
        let exchanges = cassette
            .exchanges
            .into_iter()
            .map(WireExchange::into_exchange);
        record.cassette = exchanges
            .collect::<Result<_, _>>()
            .map_err(|why| StoreError::corrupt(&path, chain(&why)))?;
        Ok((record, digest))
    }

    fn record_without_cassette(&self, digest: &Digest) -> Result<(RunRecord, Digest), StoreError> {
        let path = self.layout.blob(digest);
        let wire: WireRecord = self.get_record(digest)?;
        if wire.media_type != RUN_MEDIA_TYPE {
            return Err(StoreError::corrupt(&path, "it is not a run record"));
        }
        let cassette = wire.cassette;
        let record = wire
            .into_record(Vec::new())
            .map_err(|why| StoreError::corrupt(&path, why))?;
        Ok((record, cassette))
    }

    fn check_run(&self, run: &RunId, record: &RunRecord) -> Result<(), StoreError> {
        if record.report.run == run.to_string() {
            return Ok(());
        }
        Err(StoreError::corrupt(
            &self.layout.run(run),
            "it points at the record of another run",
        ))
    }

    /// The digest of a run's record.
    pub(crate) fn run_digest(&self, run: &RunId) -> Result<Digest, StoreError> {
        let path = self.layout.run(run);
        let bytes = persist::read_small(&path).map_err(|error| match error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                StoreError::UnknownRun {
                    run: run.to_string(),
                }
            }
            other => other,
        })?;
        std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_suffix('\n')?.parse().ok())
            .ok_or_else(|| StoreError::corrupt(&path, "it does not hold a digest"))
    }

    /// Checks that a tree can be read and that its files are there.
    fn check_tree(&self, digest: &Digest) -> Result<(), StoreError> {
        let tree = Tree::from_bytes(&self.get_at_most(digest, RECORD_MAX)?).map_err(|why| {
            StoreError::refused(format!("{digest} is not a tree: {}", chain(&why)))
        })?;
        let files: Vec<Digest> = tree.entries().iter().map(|entry| entry.digest).collect();
        self.hold_all(&files)
    }

    fn put_record<T: Serialize>(&self, what: &str, value: &T) -> Result<Digest, StoreError> {
        let bytes = canonical_capped(value)?;
        if bytes.len() as u64 > RECORD_MAX.get() {
            return Err(StoreError::TooLarge {
                what: what.to_owned(),
                size: bytes.len() as u64,
                limit: RECORD_MAX.get(),
            });
        }
        self.put(&bytes)
    }

    fn get_record<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, StoreError> {
        let path = self.layout.blob(digest);
        let bytes = match self.get_at_most(digest, RECORD_MAX) {
            Err(StoreError::BlobMissing { .. }) => {
                return Err(StoreError::corrupt(&path, "it is missing"));
            }
            other => other?,
        };
        serde_json::from_slice(&bytes).map_err(|why| StoreError::corrupt(&path, why.to_string()))
    }
}

impl RunRecord {
    /// The run's id.
    fn run(&self) -> Result<RunId, StoreError> {
        let run = self.report.run.parse();
        run.map_err(|why: spec::RunIdParseError| StoreError::refused(why.to_string()))
    }

    /// What must be in the store so that the record means something.
    pub(crate) fn references(&self) -> Result<Vec<Digest>, StoreError> {
        let source = match &self.program {
            RunProgram::Subagent { source, .. } => Some(source.to_string()),
            RunProgram::Shell { .. } => None,
        };
        let report = &self.report;
        let texts = [
            Some(report.input_tree.clone()),
            report.output_tree.clone(),
            report.version.clone(),
            source,
        ];
        let digests = texts.into_iter().flatten().map(|text| {
            text.parse()
                .map_err(|why: spec::DigestParseError| StoreError::refused(why.to_string()))
        });
        let layer = self.place.environment.map(|environment| environment.layer);
        let bodies = self.cassette.iter().flat_map(|exchange| &exchange.blobs);
        let named = bodies.chain(self.depends.values()).chain(&layer);
        digests.chain(named.map(|digest| Ok(*digest))).collect()
    }

    /// The trees among them.
    pub(crate) fn trees(&self) -> Vec<Digest> {
        let output = self.report.output_tree.iter();
        let trees = std::iter::once(&self.report.input_tree).chain(output);
        trees.filter_map(|text| text.parse().ok()).collect()
    }
}

impl WireRecord {
    fn new(record: &RunRecord, cassette: Digest) -> Self {
        Self {
            media_type: RUN_MEDIA_TYPE.to_owned(),
            at: record.at,
            report: record.report.clone(),
            name: record.name.clone(),
            program: record.program.clone(),
            grants: record.grants.iter().map(ToString::to_string).collect(),
            egress: record.egress.clone(),
            limits: WireLimits::of_run(&record.limits),
            image: record.image,
            engine: record.engine.clone(),
            runtime: record.place.runtime.clone(),
            python: record.place.python.clone(),
            harness: record.place.harness,
            environment: record.place.environment,
            depends: record.depends.clone(),
            clock_ms: record.determinism.clock_ms,
            seed: record.determinism.seed,
            mounts: record.mounts.clone(),
            cassette,
        }
    }

    fn into_record(self, cassette: Vec<Exchange>) -> Result<RunRecord, String> {
        let grants = self.grants.iter().map(|name| name.parse::<Skill>());
        Ok(RunRecord {
            at: self.at,
            report: self.report,
            name: self.name,
            program: self.program,
            grants: grants
                .collect::<Result<_, _>>()
                .map_err(|why| why.to_string())?,
            egress: self.egress,
            limits: self.limits.to_limits(),
            image: self.image,
            engine: self.engine,
            place: RunPlace {
                runtime: self.runtime,
                python: self.python,
                harness: self.harness,
                environment: self.environment,
            },
            depends: self.depends,
            determinism: Determinism {
                clock_ms: self.clock_ms,
                seed: self.seed,
            },
            mounts: self.mounts,
            cassette,
        })
    }
}

impl WireCassette {
    fn new(exchanges: &[Exchange]) -> Result<Self, StoreError> {
        Ok(Self {
            media_type: CASSETTE_MEDIA_TYPE.to_owned(),
            exchanges: exchanges
                .iter()
                .map(WireExchange::new)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl WireExchange {
    fn new(exchange: &Exchange) -> Result<Self, StoreError> {
        Ok(Self {
            kind: exchange.kind,
            blobs: exchange.blobs.clone(),
            tool: exchange.tool.clone(),
            request: json_text(&exchange.request)?,
            request_digest: exchange.request_digest,
            response: json_text(&exchange.response)?,
            duration_ms: exchange.duration_ms,
            input_tokens: exchange.input_tokens,
            output_tokens: exchange.output_tokens,
        })
    }

    fn into_exchange(self) -> Result<Exchange, serde_json::Error> {
        Ok(Exchange {
            kind: self.kind,
            blobs: self.blobs,
            tool: self.tool,
            request: serde_json::from_str(&self.request)?,
            request_digest: self.request_digest,
            response: serde_json::from_str(&self.response)?,
            duration_ms: self.duration_ms,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_tool(kind: &ExchangeKind) -> bool {
    *kind == ExchangeKind::Tool
}

/// JSON that will be read back: nesting beyond what the parser follows would be lost.
fn json_text(value: &Value) -> Result<String, StoreError> {
    let mut sorted = value.clone();
    // Whether objects keep their order depends on what else is compiled in.
    sorted.sort_all_objects();
    let text = sorted.to_string();
    match serde_json::from_str::<Value>(&text) {
        Ok(_) => Ok(text),
        Err(why) => Err(StoreError::refused(format!(
            "an exchange cannot be recorded: {why}"
        ))),
    }
}
