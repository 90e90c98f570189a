//! Which runs are recorded: found by their ids, and listed page by page.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use spec::wire::OutcomeJson;
use spec::{Digest, RunId, SubagentName};

use crate::record::{RECORD_MAX, RUN_MEDIA_TYPE, RunProgram};
use crate::{Store, StoreError};

/// What names the newest run wherever a run is named.
pub const LAST_RUN: &str = "last";
/// Characters of an id that name a run.
pub const RUN_PREFIX_MIN: usize = 8;

/// Damaged records of a page that are told apart; more are counted.
const UNREADABLE_MAX: usize = 20;
/// Candidates that are asked for at least: asking costs more than they do.
const CANDIDATES_MIN: usize = 64;
/// How far the time in a run's id and that of its record may be apart: both are read when it begins.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// After so long, the next change of a folder gets another time: file systems count in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// Which runs are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this subagent.
    pub name: Option<SubagentName>,
    /// Of this version.
    pub version: Option<Digest>,
    /// That ended so: the outcome's `kind`.
    pub outcome: Option<String>,
    /// That began then or later.
    pub since: Option<Timestamp>,
    /// Older than this one, as [`RunPage::next`] says it.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// Some of the recorded runs.
#[derive(Debug, Default)]
pub struct RunPage {
    /// The newest first.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins, with [`RunQuery::before`]; none when there is none.
    pub next: Option<RunId>,
    /// Some of the records that cannot be read, and why.
    pub unreadable: Vec<(RunId, StoreError)>,
    /// How many there were.
    pub unreadable_count: usize,
}

/// A run in short: what is known without its output, its files and its cassette.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Its id.
    pub run: RunId,
    /// When it began.
    pub at: Timestamp,
    /// The subagent, if it has a name.
    pub name: Option<SubagentName>,
    /// What ran.
    pub program: RunProgram,
    /// The version that ran, if it was one.
    pub version: Option<Digest>,
    /// How it ended.
    pub outcome: OutcomeJson,
    /// Wall time, in milliseconds.
    pub wall_ms: f64,
}

impl Store {
    /// The ids of all recorded runs, newest first.
    ///
    /// # Errors
    /// The file system's.
    pub fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        let mut runs = self.run_ids(|_| true)?;
        runs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(runs)
    }

    /// What tells that the folder of runs is as it was; nothing when that cannot be told, because it changed
    /// a moment ago and the next change may get the same time.
    pub(crate) fn runs_stamp(&self) -> Result<Option<String>, StoreError> {
        let path = &self.layout.runs;
        let folder =
            std::fs::metadata(path).map_err(|source| StoreError::read("read", path, source))?;
        let changed = folder.modified().ok();
        let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        let is_settled = age.is_some_and(|age| age > SETTLED);
        let (inode, seconds, rest) = (folder.ino(), folder.mtime(), folder.mtime_nsec());
        Ok(is_settled.then(|| format!("{inode} {seconds}.{rest}")))
    }

    /// Whether a run is recorded.
    ///
    /// # Errors
    /// The file system's.
    pub fn has_run(&self, run: &RunId) -> Result<bool, StoreError> {
        let path = self.layout.run(run);
        match std::fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::read("look for", &path, source)),
        }
    }

    /// The run that a text names: its id, the first characters of it, at least [`RUN_PREFIX_MIN`], or
    /// [`LAST_RUN`].
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`], [`StoreError::AmbiguousRun`], and the file system's errors.
    pub fn find_run(&self, text: &str) -> Result<RunId, StoreError> {
        let unknown = || StoreError::UnknownRun {
            run: spec::printable(text, 80),
        };
        if text == LAST_RUN {
            let runs = self.run_ids(|_| true)?;
            return runs.into_iter().max().ok_or_else(unknown);
        }
        if let Ok(run) = text.parse::<RunId>() {
            return self.has_run(&run)?.then_some(run).ok_or_else(unknown);
        }
        if text.len() < RUN_PREFIX_MIN {
            return Err(unknown());
        }
        let mut candidates = self.run_ids(|name| name.starts_with(text))?;
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        match candidates.as_slice() {
            [run] => Ok(*run),
            [] => Err(unknown()),
            _ => Err(StoreError::AmbiguousRun {
                prefix: text.to_owned(),
                candidates,
            }),
        }
    }

    /// A page of the recorded runs: found by the index where there are filters, or by reading records, from the
    /// newest on, where it cannot be used.
    ///
    /// # Errors
    /// The file system's. A damaged record is part of the page and no error.
    pub fn run_page(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let mut page = RunPage::default();
        let mut last = query.before;
        let names = query.name.as_ref().map(|name| self.names_of(name));
        let names = names.transpose()?.unwrap_or_default();
        loop {
            let ids = self.candidates((query, &names), last)?;
            if ids.is_empty() {
                return Ok(page);
            }
            for run in ids {
                if page.runs.len() >= query.limit {
                    page.next = last;
                    return Ok(page);
                }
                last = Some(run);
                match self.run_summary(&run) {
                    Ok(summary) if query.wants(&names, &summary) => page.runs.push(summary),
                    // It was collected meanwhile.
                    Ok(_) | Err(StoreError::UnknownRun { .. }) => {}
                    Err(error) => {
                        page.unreadable_count += 1;
                        if page.unreadable.len() < UNREADABLE_MAX {
                            page.unreadable.push((run, error));
                        }
                    }
                }
            }
        }
    }

    /// Some of the runs that may be wanted, the newest first; none when there are no more.
    fn candidates(
        &self,
        (query, names): (&RunQuery, &[SubagentName]),
        before: Option<RunId>,
    ) -> Result<Vec<RunId>, StoreError> {
        // Where all are wanted, the first are found without reading the others.
        let is_filtered = query.name.is_some()
            || query.version.is_some()
            || query.outcome.is_some()
            || query.since.is_some();
        // One more says whether there is another page.
        let most = query.limit.saturating_add(1).max(CANDIDATES_MIN);
        for _ in 0..2 * u8::from(is_filtered) {
            // One that was damaged is gone now, and made anew.
            match self.index.runs(self, (query, names), before, most) {
                Err(StoreError::Index { .. }) => {}
                other => return other,
            }
        }
        let mut ids = self.runs()?;
        if let Some(before) = before {
            ids.drain(..ids.partition_point(|run| *run >= before));
        }
        if let Some(since) = query.since {
            let end = ids.iter().position(|run| is_before(run, since));
            ids.truncate(end.unwrap_or(ids.len()));
        }
        Ok(ids)
    }

    /// A recorded run in short.
    ///
    /// # Errors
    /// As of [`Self::run`].
    pub fn run_summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        let digest = self.run_digest(run)?;
        let path = self.layout.blob(&digest);
        let bytes = match self.get_at_most(&digest, RECORD_MAX) {
            Err(StoreError::BlobMissing { .. }) => {
                return Err(StoreError::corrupt(&path, "it is missing"));
            }
            other => other?,
        };
        let wire: WireSummary = serde_json::from_slice(&bytes)
            .map_err(|why| StoreError::corrupt(&path, why.to_string()))?;
        if wire.media_type != RUN_MEDIA_TYPE {
            return Err(StoreError::corrupt(&path, "it is not a run record"));
        }
        if wire.report.run != *run {
            return Err(StoreError::corrupt(
                &self.layout.run(run),
                "it points at the record of another run",
            ));
        }
        Ok(RunSummary {
            run: *run,
            at: wire.at,
            name: wire.name,
            program: wire.program,
            version: wire.report.version,
            outcome: wire.report.outcome,
            wall_ms: wire.report.usage.wall_ms,
        })
    }

    /// The ids of the recorded runs whose names are wanted, in no order.
    fn run_ids(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<RunId>, StoreError> {
        let error = |source| StoreError::read("list", &self.layout.runs, source);
        let mut runs = Vec::new();
        for entry in std::fs::read_dir(&self.layout.runs).map_err(error)? {
            // What is no run here is for `fsck` to report.
            let name = entry.map_err(error)?.file_name();
            let name = name.to_str().filter(|name| wanted(name));
            runs.extend(name.and_then(|name| name.parse::<RunId>().ok()));
        }
        Ok(runs)
    }
}

impl RunQuery {
    fn wants(&self, names: &[SubagentName], run: &RunSummary) -> bool {
        let is_named = || run.name.as_ref().is_some_and(|name| names.contains(name));
        (self.name.is_none() || is_named())
            && (self.version.is_none() || run.version == self.version)
            && self
                .outcome
                .as_deref()
                .is_none_or(|kind| run.outcome.kind() == kind)
            && self.since.is_none_or(|since| run.at >= since)
    }
}

/// Whether a run began before then as its id says it, and with it all that follow in a list.
fn is_before(run: &RunId, then: Timestamp) -> bool {
    let made = run.made_at_ms().and_then(|ms| i64::try_from(ms).ok());
    let made = made.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    made.and_then(|made| made.checked_add(APART).ok())
        .is_some_and(|latest| latest < then)
}

/// What a summary needs of a record; the rest is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSummary {
    media_type: String,
    at: Timestamp,
    report: WireReport,
    name: Option<SubagentName>,
    program: RunProgram,
}

#[derive(Deserialize)]
struct WireReport {
    run: RunId,
    version: Option<Digest>,
    outcome: OutcomeJson,
    usage: WireUsage,
}

#[derive(Deserialize)]
struct WireUsage {
    wall_ms: f64,
}
