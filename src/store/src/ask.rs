//! Asking the history, and adding to it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::change::Change;
use crate::end::LogEnd;
use crate::index::{Lock, Tables};
use crate::log::{Reached, Stamp, write_line};
use crate::memory::Memory;
use crate::operation::{Act, Operation};
use crate::rules::{self, Fault, View};
use crate::{Store, StoreError, persist};

/// What was read of the log last where there is no index, so that an unchanged log is not read again.
#[derive(Debug, Default)]
pub(crate) struct HistoryCache(Mutex<Option<Cached>>);

#[derive(Clone, Debug)]
struct Cached {
    memory: Arc<Memory>,
    reached: Reached,
}

/// What an index was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reindexed {
    /// Operations in the log.
    pub operations: u64,
    /// Subagents that they ever named.
    pub subagents: u64,
}

impl Store {
    /// Asks what the history says now.
    pub(crate) fn ask<T>(
        &self,
        question: impl Fn(&dyn View) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let known_end = LogEnd::read(&self.layout)?;
        let log = self.open_log()?;
        let asked = |view: &dyn View| {
            self.check_end(known_end, view)?;
            question(view)
        };
        let mut by_index = |tables: &Tables<'_>| asked(tables);
        match self
            .index
            .ask(&self.layout, &log, Lock::Free, &mut by_index)
        {
            Err(StoreError::Index { .. }) => {
                asked(&*self.history.refresh(&self.layout.log, &log)?.memory)
            }
            other => other,
        }
    }

    /// Makes the index of the history anew, from the log alone.
    ///
    /// Whoever uses it meanwhile notices, and goes on with the new one.
    ///
    /// # Errors
    /// [`StoreError::Index`] when it cannot be made, [`StoreError::Corrupt`] when the log is
    /// damaged, and the file system's errors.
    pub fn reindex(&self) -> Result<Reindexed, StoreError> {
        let _locked = persist::lock(&self.layout.lock)?;
        let known_end = LogEnd::read(&self.layout)?;
        let log = self.open_log()?;
        self.index.discard(&self.layout);
        let mut counted = |tables: &Tables<'_>| {
            self.check_end(known_end, tables)?;
            Ok(Reindexed {
                operations: tables.last()?.map_or(0, |(seq, _)| seq),
                subagents: tables.subagents()?,
            })
        };
        self.index.ask(&self.layout, &log, Lock::Held, &mut counted)
    }

    pub(crate) fn open_log(&self) -> Result<File, StoreError> {
        let path = &self.layout.log;
        persist::open_regular(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::corrupt(path, "it is missing"),
            _ => StoreError::read("open", path, source),
        })
    }

    /// Appends one operation, decided by `decide` on the history that it will follow.
    ///
    /// When this returns the operation is on disk; when it fails nothing was changed.
    pub(crate) fn append(
        &self,
        act: &Act,
        decide: impl Fn(&dyn View) -> Result<Change, StoreError>,
    ) -> Result<Operation, StoreError> {
        act.check()?;
        let path = &self.layout.log;
        let _paused = self.layout.pause_gc()?;
        let _locked = persist::lock(&self.layout.lock)?;
        // Never created here: a log that vanished must not begin anew unnoticed.
        let mut log = persist::append_handle(path, false).map_err(|error| match error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                StoreError::corrupt(path, "it is missing")
            }
            other => other,
        })?;
        let known_end = LogEnd::read(&self.layout)?;
        let next = |view: &dyn View| {
            // Nothing is appended to a log that was cut: that would begin another history.
            self.check_end(known_end, view)?;
            let change = decide(view)?;
            self.check_named(&change)?;
            let (operation, line) = Operation::after(view.last()?, act.clone(), change)?;
            // What no reader would take is never written.
            match rules::effects(view, &operation) {
                Ok(_) => Ok((operation, line)),
                Err(Fault::Broken(why)) => Err(StoreError::refused(format!(
                    "the change makes no sense: {why}"
                ))),
                Err(Fault::View(error)) => Err(error),
            }
        };
        let mut by_index = |tables: &Tables<'_>| Ok((next(tables)?, tables.reached()));
        let decided = self
            .index
            .ask(&self.layout, &log, Lock::Held, &mut by_index);
        let ((operation, line), reached) = match decided {
            Ok((next, Some(reached))) => (next, reached),
            Ok((_, None)) | Err(StoreError::Index { .. }) => {
                let cached = self.history.refresh(path, &log)?;
                (next(&*cached.memory)?, cached.reached)
            }
            Err(error) => return Err(error),
        };
        // What this operation names must not be less durable than the operation.
        persist::sync_directory(&self.layout.blobs)?;
        persist::sync_directory(&self.layout.runs)?;
        let new_end = LogEnd::of(&operation).stage(&self.layout)?;
        write_line(&mut log, &reached, &line)
            .map_err(|source| StoreError::write("append to", path, source))?;
        // The line is on disk and may have been read. If only this fails it stays, and the next
        // append makes up for it.
        drop(new_end.persist(&self.layout.log_end()));
        // It is done, whatever becomes of the index: whoever asks it next reads on.
        drop(
            self.index
                .ask(&self.layout, &log, Lock::Held, &mut |_| Ok(())),
        );
        Ok(operation)
    }
}

impl Store {
    /// Checks that the versions that an operation names are there, with all that they depend on: an undo may
    /// bring back a name of which a collection removed some. Whoever names others has checked them.
    fn check_named(&self, change: &Change) -> Result<(), StoreError> {
        if !matches!(change, Change::Undo { .. }) {
            return Ok(());
        }
        let heads = change.head_moves().into_iter().filter_map(|one| one.to);
        let tags = change.tag_moves().iter().filter_map(|one| one.to);
        for digest in heads.chain(tags) {
            self.check_there(&digest)?;
        }
        Ok(())
    }
}

impl HistoryCache {
    /// Brings the cache up to what the file holds now.
    fn refresh(&self, path: &Path, file: &File) -> Result<Cached, StoreError> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(file).map_err(|source| StoreError::read("read", path, source))?;
        if let Some(cached) = cache.as_ref().filter(|one| one.reached.is_current(stamp)) {
            return Ok(cached.clone());
        }
        // Bad news is not kept: the next caller looks again.
        let mut fresh = match cache.take() {
            Some(known) if known.reached.is_before(stamp, path, file)? => Cached {
                reached: Reached {
                    stamp,
                    ..known.reached
                },
                ..known
            },
            _ => Cached {
                memory: Arc::default(),
                reached: Reached::nothing(stamp),
            },
        };
        let memory = Arc::make_mut(&mut fresh.memory);
        fresh.reached.read_on(path, file, &mut |operation, _| {
            memory.apply(operation).map_err(StoreError::refused)
        })?;
        *cache = Some(fresh.clone());
        Ok(fresh)
    }
}
