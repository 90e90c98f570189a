//! What is on disk, as it is spelled there.
//!
//! Each type is written in canonical JSON, refuses unknown fields and is converted by hand. Numbers
//! in canonical JSON are doubles: those here stay below 2^53, refused in a version and capped in a
//! record.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::{ByteSize, Digest, Limits, PartialLimits, Skill, SubagentName, WorkspacePath};

use crate::archive::SourceFiles;
use crate::version::{
    CONFIG_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, SOURCE_MEDIA_TYPE, SUBAGENT_ARTIFACT_TYPE,
};
use crate::{Requirement, VersionContent};

/// Source: OCI image specification, image manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    pub(crate) config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Source: OCI image specification, content descriptors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Manifest {
    pub(crate) fn new(config: Descriptor, layer: Descriptor) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST_MEDIA_TYPE.to_owned(),
            artifact_type: SUBAGENT_ARTIFACT_TYPE.to_owned(),
            config,
            layers: vec![layer],
        }
    }

    /// Checks that it describes a subagent and gives its one layer.
    pub(crate) fn check(&self) -> Result<&Descriptor, String> {
        let expect = |what: &str, found: &str, expected: &str| {
            if found == expected {
                return Ok(());
            }
            let found: String = found
                .chars()
                .take(120)
                .flat_map(char::escape_debug)
                .collect();
            Err(format!("its {what} is `{found}`, not `{expected}`"))
        };
        if self.schema_version != 2 {
            return Err(format!(
                "its schema version is {}, not 2",
                self.schema_version
            ));
        }
        expect("media type", &self.media_type, MANIFEST_MEDIA_TYPE)?;
        expect("artifact type", &self.artifact_type, SUBAGENT_ARTIFACT_TYPE)?;
        expect("config type", &self.config.media_type, CONFIG_MEDIA_TYPE)?;
        let [layer] = self.layers.as_slice() else {
            return Err(format!("it has {} layers, not 1", self.layers.len()));
        };
        expect("layer type", &layer.media_type, SOURCE_MEDIA_TYPE)?;
        Ok(layer)
    }
}

/// A version's config. Every field is always there: what is unset is `null` or empty.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    entry: WorkspacePath,
    description: String,
    // By name: the order of the enum may change, the digest must not.
    skills: Vec<String>,
    depends: Vec<String>,
    egress: Vec<String>,
    limits: Option<WireLimits>,
    python: String,
    requirements: Vec<WireRequirement>,
}

/// Limits. In a version, what is absent is for others to say; in a record, it is the default that
/// the limit had when this format was made.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WireLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wall_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_millis: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pids: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace_files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collect_files: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collect_depth: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_bytes: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireRequirement {
    name: String,
    version: String,
    wheels: Vec<Digest>,
}

impl WireLimits {
    /// Those of a version.
    pub(crate) fn new(limits: &PartialLimits) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            wall_ms: limits.wall.map(millis),
            cpu_ms: limits.cpu.map(millis),
            memory_bytes: limits.memory.map(ByteSize::get),
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            workspace_bytes: limits.workspace.map(ByteSize::get),
            workspace_files: limits.workspace_files,
            output_bytes: limits.output.map(ByteSize::get),
            result_bytes: limits.result.map(ByteSize::get),
            collect_files: limits.collect_files,
            collect_depth: limits.collect_depth,
            tool_calls: limits.tool_calls,
            tool_bytes: limits.tool_bytes.map(ByteSize::get),
        }
    }

    /// Those of a run. The younger limits are written where they differ from what their absence
    /// means.
    pub(crate) fn of_run(limits: &Limits) -> Self {
        let plain = recorded();
        Self::new(&PartialLimits {
            wall: Some(limits.wall),
            cpu: limits.cpu,
            memory: Some(limits.memory),
            cpu_millis: Some(limits.cpu_millis),
            pids: Some(limits.pids),
            workspace: Some(limits.workspace),
            workspace_files: unlike(limits.workspace_files, plain.workspace_files),
            output: Some(limits.output),
            result: unlike(limits.result, plain.result),
            collect_files: unlike(limits.collect_files, plain.collect_files),
            collect_depth: unlike(limits.collect_depth, plain.collect_depth),
            tool_calls: unlike(limits.tool_calls, plain.tool_calls),
            tool_bytes: unlike(limits.tool_bytes, plain.tool_bytes),
        })
    }

    /// What a version says of its limits.
    pub(crate) fn to_partial(&self) -> PartialLimits {
        PartialLimits {
            wall: self.wall_ms.map(Duration::from_millis),
            cpu: self.cpu_ms.map(Duration::from_millis),
            memory: self.memory_bytes.map(ByteSize::bytes),
            cpu_millis: self.cpu_millis,
            pids: self.pids,
            workspace: self.workspace_bytes.map(ByteSize::bytes),
            workspace_files: self.workspace_files,
            output: self.output_bytes.map(ByteSize::bytes),
            result: self.result_bytes.map(ByteSize::bytes),
            collect_files: self.collect_files,
            collect_depth: self.collect_depth,
            tool_calls: self.tool_calls,
            tool_bytes: self.tool_bytes.map(ByteSize::bytes),
        }
    }

    /// The limits of a run.
    pub(crate) fn to_limits(&self) -> Limits {
        self.to_partial().over(&recorded())
    }
}

fn unlike<T: Copy + PartialEq>(value: T, plain: T) -> Option<T> {
    (value != plain).then_some(value)
}

/// What the absence of a limit means in a record. It never changes, whatever the defaults become.
fn recorded() -> Limits {
    Limits {
        wall: Duration::from_mins(10),
        cpu: None,
        memory: ByteSize::mib(512),
        cpu_millis: 1_000,
        pids: 128,
        workspace: ByteSize::mib(128),
        workspace_files: 65_536,
        output: ByteSize::mib(1),
        result: ByteSize::mib(1),
        collect_files: 16_384,
        collect_depth: 64,
        tool_calls: 1_000,
        tool_bytes: ByteSize::mib(64),
    }
}

impl Config {
    pub(crate) fn new(content: &VersionContent) -> Self {
        let mut skills: Vec<_> = content.skills.iter().map(|s| s.name().to_owned()).collect();
        skills.sort_unstable();
        let mut requirements: Vec<_> = content.requirements.iter().collect();
        requirements.sort_unstable();
        let depends = content.depends.iter();
        Self {
            entry: content.entry.clone(),
            description: content.description.clone(),
            skills,
            depends: depends
                .map(|(name, digest)| format!("{name}@{digest}"))
                .collect(),
            egress: content.egress.iter().cloned().collect(),
            limits: content.limits.as_ref().map(WireLimits::new),
            python: content.python.clone(),
            requirements: requirements
                .into_iter()
                .map(|requirement| WireRequirement {
                    name: requirement.name.clone(),
                    version: requirement.version.clone(),
                    wheels: requirement.wheels.iter().copied().collect(),
                })
                .collect(),
        }
    }

    /// Duplicates vanish in the sets here; the caller finds them by writing the content again.
    pub(crate) fn into_content(self, files: SourceFiles) -> Result<VersionContent, String> {
        let skills = self.skills.iter().map(|skill| skill.parse::<Skill>());
        let depends = self.depends.iter().map(|text| {
            let parts = text.split_once('@').and_then(|(name, digest)| {
                Some((
                    name.parse::<SubagentName>().ok()?,
                    digest.parse::<Digest>().ok()?,
                ))
            });
            parts.ok_or_else(|| format!("`{}` is not NAME@DIGEST", text.escape_debug()))
        });
        let requirements = self.requirements.into_iter().map(|wire| Requirement {
            name: wire.name,
            version: wire.version,
            wheels: wire.wheels.into_iter().collect(),
        });
        Ok(VersionContent {
            entry: self.entry,
            description: self.description,
            files,
            skills: skills
                .collect::<Result<_, _>>()
                .map_err(|why| why.to_string())?,
            depends: depends.collect::<Result<BTreeMap<_, _>, _>>()?,
            egress: self.egress.into_iter().collect(),
            limits: self.limits.as_ref().map(WireLimits::to_partial),
            python: self.python,
            requirements: requirements.collect(),
        })
    }
}
