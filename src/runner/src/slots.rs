//! How many sandboxes there may be, how many of them may run, and as whom.
//!
//! All processes of a user on one machine share a directory of lock files. A *slot* is the right to
//! have one sandbox alive, with a user number of its own; a *permit* is the right to run a program.
//! Both are held by an advisory lock, which the kernel takes back when a process ends, however it
//! ends: none is ever lost.
//!
//! Slots below `runs_max` are for runs that start a sandbox of their own, the others for sandboxes
//! that wait. Whoever starts one holds a permit, so there is a slot for it as soon as the sandboxes of
//! those before are removed: sandboxes that wait never keep a run from beginning.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use spec::ByteSize;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::RunnerError;

/// The user of slot 0; slot N has the N-th after it, and the group of the same number.
///
/// Source: `UIDS-GIDS.md` of systemd, where 60578 to 61183 are unused; the list of Debian's
/// `base-passwd` assigns none of them. They are below 65536, so engines that map users map them.
const FIRST_USER: u32 = 60_578;
/// The most slots. The unused numbers are a few more.
pub const SANDBOXES_MAX: u32 = 512;
/// How long a run waits for others to end, unless it is said otherwise.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs at once for each processor: most programs wait for files, a model or a network.
const RUNS_PER_CPU: u64 = 8;
/// Memory for each run at once. The limit of a run is more, but few use it up.
const MEMORY_PER_RUN: ByteSize = ByteSize::mib(256);
/// Sandboxes that wait, for each processor.
const WAITING_PER_CPU: u64 = 32;
/// Memory of a sandbox that waits.
const MEMORY_PER_WAITING: ByteSize = ByteSize::mib(16);
/// The part of the memory that sandboxes that wait may take is one of this many.
const WAITING_SHARE: u64 = 8;

/// Between two looks at the locks of other processes: at least this, at most twice.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a run waits before somebody is told.
const NOTICE: Duration = Duration::from_millis(500);
/// Locks that are tried at each look but the first and the last, which try all.
const TRIED: u32 = 32;

/// Where the locks are, and how many of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotOptions {
    /// The directory with the lock files; it is made when it is not there.
    pub directory: PathBuf,
    /// Runs at once; at least 1.
    pub runs_max: u32,
    /// Sandboxes at once, those that wait included; more than `runs_max`, at most
    /// [`SANDBOXES_MAX`]. With as many as `runs_max` none can wait.
    pub sandboxes_max: u32,
    /// How long a run waits for a permit.
    pub queue_timeout: Duration,
}

impl SlotOptions {
    /// What suits a machine: 8 runs at once for each processor, at most one for each 256 MiB of
    /// memory, and sandboxes that wait: 32 for each processor, at most one for each 16 MiB of an
    /// eighth of the memory.
    pub fn for_machine(directory: PathBuf, memory: ByteSize, cpus: usize) -> Self {
        let cpus = u64::try_from(cpus).unwrap_or(1).max(1);
        let runs = (cpus * RUNS_PER_CPU)
            .min(memory.get() / MEMORY_PER_RUN.get())
            .clamp(2, u64::from(SANDBOXES_MAX / 2));
        let waiting =
            (cpus * WAITING_PER_CPU).min(memory.get() / WAITING_SHARE / MEMORY_PER_WAITING.get());
        let sandboxes = (runs + waiting).min(u64::from(SANDBOXES_MAX));
        let small = |number| u32::try_from(number).unwrap_or(SANDBOXES_MAX);
        Self {
            directory,
            runs_max: small(runs),
            sandboxes_max: small(sandboxes),
            queue_timeout: QUEUE_TIMEOUT,
        }
    }
}

/// Whoever is told that a run waits, with how many may run at once.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(u32) + Send + Sync>);

impl Notice {
    /// Tells this function. It must not block.
    pub fn new(tell: impl Fn(u32) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice").finish_non_exhaustive()
    }
}

/// How many locks are tried.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// All: that none is free is true then.
    Whole,
    /// A few, for those who look again and again.
    Part,
}

/// The slots and permits of a directory. Cloning it is cheap; clones share one queue.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: SlotOptions,
    notice: Option<Notice>,
    permits: Queue,
    slots: Queue,
    /// Where the next look at the permits begins.
    next: AtomicU32,
}

/// Those of this process who wait for the same thing.
#[derive(Debug, Default)]
struct Queue {
    /// Whoever holds it is the first. It is fair.
    first: Mutex<()>,
    /// One was given back by this process.
    released: Notify,
}

/// The right to run one program, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    lock: Option<File>,
    shared: Arc<Shared>,
    /// How long it was waited for.
    pub queued: Duration,
}

/// The right to have one sandbox alive, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    lock: Option<File>,
    shared: Arc<Shared>,
    number: u32,
}

impl Slots {
    /// Makes the directory unless it is there. Nothing is locked yet.
    ///
    /// # Errors
    /// [`RunnerError::Slots`] when it cannot be made, or belongs to another user, who could take
    /// all the locks.
    pub fn open(options: SlotOptions) -> Result<Self, RunnerError> {
        Self::open_with(options, None)
    }

    /// The same, with somebody who is told when a run waits for half a second.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_with(options: SlotOptions, notice: Option<Notice>) -> Result<Self, RunnerError> {
        let directory = &options.directory;
        private_directory(directory).map_err(|source| RunnerError::Slots {
            directory: directory.clone(),
            source,
        })?;
        let sandboxes_max = options.sandboxes_max.clamp(1, SANDBOXES_MAX);
        let options = SlotOptions {
            runs_max: options.runs_max.clamp(1, sandboxes_max),
            sandboxes_max,
            ..options
        };
        Ok(Self(Arc::new(Shared {
            options,
            notice,
            permits: Queue::default(),
            slots: Queue::default(),
            next: AtomicU32::new(std::process::id()),
        })))
    }

    /// What they were opened with, as far as it can be.
    pub fn options(&self) -> &SlotOptions {
        &self.0.options
    }

    /// Waits until one more program may run; those of this process in the order of their asking.
    /// `None` when it was cancelled meanwhile.
    ///
    /// # Errors
    /// [`RunnerError::Busy`] when none may within the time for waiting, and [`RunnerError::Slots`].
    pub async fn permit(&self, cancel: &CancellationToken) -> Result<Option<Permit>, RunnerError> {
        let asked = Instant::now();
        let wait = self.wait(&self.0.permits, asked, cancel, |look| self.try_permit(look));
        let mut wait = std::pin::pin!(wait);
        let got = if let Ok(got) = tokio::time::timeout(NOTICE, &mut wait).await {
            got?
        } else {
            if let Some(Notice(notice)) = &self.0.notice {
                notice(self.0.options.runs_max);
            }
            wait.await?
        };
        Ok(got.map(|lock| Permit {
            lock: Some(lock),
            shared: Arc::clone(&self.0),
            queued: asked.elapsed(),
        }))
    }

    /// A slot for a run that starts a sandbox of its own. There is one, unless sandboxes of runs that
    /// have ended are still being removed, or processes disagree about how many there are; then it waits. `None` when it was cancelled meanwhile.
    ///
    /// # Errors
    /// As of [`Self::permit`].
    pub async fn slot(
        &self,
        permit: &Permit,
        cancel: &CancellationToken,
    ) -> Result<Option<Slot>, RunnerError> {
        let asked = Instant::now()
            .checked_sub(permit.queued)
            .unwrap_or_else(Instant::now);
        let all = 0..self.0.options.sandboxes_max;
        let attempt = |_| self.try_slot(all.clone());
        self.wait(&self.0.slots, asked, cancel, attempt).await
    }

    /// A slot for a sandbox that will wait, if there is one.
    ///
    /// # Errors
    /// [`RunnerError::Slots`] when the locks cannot be used.
    pub fn waiting_slot(&self) -> Result<Option<Slot>, RunnerError> {
        let options = &self.0.options;
        self.try_slot(options.runs_max..options.sandboxes_max)
    }

    /// Tries until it works, it is cancelled, or the time is up.
    async fn wait<T>(
        &self,
        queue: &Queue,
        asked: Instant,
        cancel: &CancellationToken,
        attempt: impl Fn(Look) -> Result<Option<T>, RunnerError>,
    ) -> Result<Option<T>, RunnerError> {
        let deadline = asked + self.0.options.queue_timeout;
        let attempts = async {
            let _first = queue.first.lock().await;
            let mut look = Look::Whole;
            loop {
                if let Some(got) = attempt(look)? {
                    return Ok(Some(got));
                }
                look = Look::Part;
                tokio::select! {
                    () = queue.released.notified() => {}
                    () = tokio::time::sleep(pause()) => {}
                }
            }
        };
        tokio::select! {
            biased;
            got = attempts => got,
            () = cancel.cancelled() => Ok(None),
            () = tokio::time::sleep_until(deadline) => match attempt(Look::Whole)? {
                Some(got) => Ok(Some(got)),
                None => Err(RunnerError::Busy {
                    running: usize::try_from(self.0.options.runs_max).unwrap_or(usize::MAX),
                    retry_after: retry_after(asked.elapsed()),
                }),
            },
        }
    }

    fn try_permit(&self, look: Look) -> Result<Option<File>, RunnerError> {
        let runs = self.0.options.runs_max;
        let most = match look {
            Look::Whole => runs,
            Look::Part => runs.min(TRIED),
        };
        for _ in 0..most {
            let number = self.0.next.fetch_add(1, Ordering::Relaxed) % runs;
            let got = self.try_lock(&format!("run-{number}.lock"))?;
            if got.is_some() {
                return Ok(got);
            }
        }
        Ok(None)
    }

    fn try_slot(&self, numbers: Range<u32>) -> Result<Option<Slot>, RunnerError> {
        for number in numbers {
            if let Some(lock) = self.try_lock(&format!("{number}.lock"))? {
                return Ok(Some(Slot {
                    lock: Some(lock),
                    shared: Arc::clone(&self.0),
                    number,
                }));
            }
        }
        Ok(None)
    }

    fn try_lock(&self, name: &str) -> Result<Option<File>, RunnerError> {
        let path = self.0.options.directory.join(name);
        // Whoever put a pipe or a device there would keep us waiting, or have us lock another's file.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
            .open(&path);
        let opened = opened.and_then(|file| {
            if file.metadata()?.is_file() {
                Ok(file)
            } else {
                Err(io::Error::other(format!("`{name}` is no file")))
            }
        });
        let locked = opened.and_then(|file| match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        });
        locked.map_err(|source| RunnerError::Slots {
            directory: self.0.options.directory.clone(),
            source,
        })
    }
}

impl Slot {
    /// The user that the sandbox runs as, and its group.
    pub fn user(&self) -> u32 {
        FIRST_USER + self.number
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        drop(self.lock.take());
        self.shared.permits.released.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.lock.take());
        self.shared.slots.released.notify_one();
    }
}

/// Makes a directory that only this user can enter, or makes the one there such a one.
///
/// It is for directories that are only this program's; [`Slots::open`] and a pool take one that a
/// person has chosen as it is, unless others can write to it.
///
/// # Errors
/// The I/O error: it cannot be made, or belongs to another user.
pub fn own_directory(directory: &Path) -> io::Result<()> {
    make_private(directory)?;
    let metadata = check_ours(directory)?;
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes a directory that only this user can enter, or checks that others cannot write to the one
/// there.
pub(crate) fn private_directory(directory: &Path) -> io::Result<()> {
    make_private(directory)?;
    if check_ours(directory)?.mode() & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "other users can write to it",
        ));
    }
    Ok(())
}

/// Makes a directory, with those above it, that only this user can enter, whatever the process's
/// mask says. What is there stays as it is.
fn make_private(directory: &Path) -> io::Result<()> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    match made {
        // Something else is there, which is looked at next.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whether a path is a directory of this user. Not through a link: it may be anybody's.
fn check_ours(directory: &Path) -> io::Result<Metadata> {
    let metadata = std::fs::symlink_metadata(directory)?;
    let me = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    if metadata.uid() != me {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "another user owns it",
        ));
    }
    Ok(metadata)
}

/// Looks of several processes fall on different moments.
fn pause() -> Duration {
    let part = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    PAUSE + PAUSE * part / 255
}

/// Nobody knows when a run ends; it makes sense to wait as long again, within bounds.
fn retry_after(waited: Duration) -> Duration {
    waited.clamp(Duration::from_secs(1), Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::{Command, Stdio};

    use super::*;

    fn slots(directory: &Path, runs_max: u32, sandboxes_max: u32, timeout: Duration) -> Slots {
        Slots::open(SlotOptions {
            directory: directory.join("slots"),
            runs_max,
            sandboxes_max,
            queue_timeout: timeout,
        })
        .unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_machine_decides_how_many_there_are() {
        let check = |mib: u64, cpus: usize, runs: u32, sandboxes: u32| {
            let options = SlotOptions::for_machine("x".into(), ByteSize::mib(mib), cpus);
            assert_eq!((options.runs_max, options.sandboxes_max), (runs, sandboxes));
        };
        check(24_105, 2, 16, 80);
        check(1_024, 2, 4, 12);
        check(256, 1, 2, 4);
        check(1 << 20, 64, 256, 512);
        check(0, 0, 2, 2);
    }

    #[tokio::test]
    async fn a_slot_has_a_user_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let slots = slots(folder.path(), 3, 8, LONG);
        let cancel = CancellationToken::new();
        let mut held = Vec::new();
        let mut users = BTreeSet::new();
        for _ in 0..3 {
            let permit = slots.permit(&cancel).await.unwrap().unwrap();
            let slot = slots.slot(&permit, &cancel).await.unwrap().unwrap();
            users.insert(slot.user());
            held.push((slot, permit));
        }
        assert_eq!(users, BTreeSet::from([60_578, 60_579, 60_580]));
        let waiting: Vec<_> = std::iter::from_fn(|| slots.waiting_slot().unwrap()).collect();
        let others: BTreeSet<_> = waiting.iter().map(Slot::user).collect();
        assert_eq!(others, (60_581..60_586).collect());
        drop(held);
        // What waits leaves the slots of runs alone.
        assert!(slots.waiting_slot().unwrap().is_none());
        let permit = slots.permit(&cancel).await.unwrap().unwrap();
        let slot = slots.slot(&permit, &cancel).await.unwrap().unwrap();
        assert_eq!(slot.user(), 60_578);
    }

    #[tokio::test]
    async fn one_more_than_may_run_is_told_when_to_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let short = Duration::from_millis(50);
        let (one, other) = (
            slots(folder.path(), 1, 2, short),
            slots(folder.path(), 1, 2, short),
        );
        let cancel = CancellationToken::new();
        let held = one.permit(&cancel).await.unwrap().unwrap();
        for slots in [&one, &other] {
            match slots.permit(&cancel).await {
                Err(RunnerError::Busy {
                    running: 1,
                    retry_after,
                }) => assert_eq!(retry_after.as_secs(), 1),
                other => panic!("{other:?}"),
            }
        }
        drop(held);
        assert!(other.permit(&cancel).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_last_of_many_permits_is_found_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let slots = || slots(directory.path(), 3 * TRIED, 4 * TRIED, Duration::ZERO);
        let (theirs, cancel) = (slots(), CancellationToken::new());
        let mut held = Vec::new();
        for _ in 0..3 * TRIED {
            held.push(theirs.permit(&cancel).await.unwrap().unwrap());
        }
        held.pop();
        let permit = slots().permit(&cancel).await.unwrap();
        assert!(permit.is_some());
        let busy = slots().permit(&cancel).await.unwrap_err();
        assert!(matches!(busy, RunnerError::Busy { .. }));
    }

    #[tokio::test]
    async fn somebody_is_told_of_whoever_waits() {
        let folder = tempfile::tempdir().unwrap();
        let told = Arc::new(AtomicU32::new(0));
        let notice = {
            let told = Arc::clone(&told);
            Notice::new(move |running| {
                told.fetch_add(running, Ordering::Relaxed);
            })
        };
        let options = SlotOptions {
            directory: folder.path().join("slots"),
            runs_max: 1,
            sandboxes_max: 2,
            queue_timeout: NOTICE + Duration::from_millis(100),
        };
        let slots = Slots::open_with(options, Some(notice)).unwrap();
        let cancel = CancellationToken::new();
        let held = slots.permit(&cancel).await.unwrap().unwrap();
        assert_eq!(told.load(Ordering::Relaxed), 0);
        assert!(slots.permit(&cancel).await.is_err());
        assert_eq!(told.load(Ordering::Relaxed), 1);
        drop(held);
    }

    #[test]
    fn what_is_no_file_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let slots = slots(folder.path(), 1, 2, LONG);
        let directory = folder.path().join("slots");
        let made = Command::new("mkfifo")
            .arg(directory.join("run-0.lock"))
            .status();
        assert!(made.unwrap().success());
        let error = slots.try_permit(Look::Whole).unwrap_err();
        assert!(
            chain(&error).contains("`run-0.lock` is no file"),
            "{error:?}"
        );
        std::os::unix::fs::symlink("/dev/null", directory.join("0.lock")).unwrap();
        assert!(slots.try_slot(0..1).is_err());
    }

    fn chain(error: &dyn std::error::Error) -> String {
        let all = std::iter::successors(Some(error), |error| error.source());
        all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    #[tokio::test]
    async fn those_who_wait_come_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let slots = slots(folder.path(), 1, 2, LONG);
        let cancel = CancellationToken::new();
        let held = slots.permit(&cancel).await.unwrap().unwrap();
        let order = std::sync::Mutex::new(Vec::new());
        let wait = async |number: usize| {
            let permit = slots.permit(&cancel).await.unwrap().unwrap();
            order.lock().unwrap().push(number);
            drop(permit);
        };
        let release = async {
            // Runs after all others have asked: `join` polls in the order of its arguments.
            drop(held);
        };
        tokio::join!(wait(0), wait(1), wait(2), wait(3), release);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn whoever_waits_can_be_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let slots = slots(folder.path(), 1, 2, LONG);
        let cancel = CancellationToken::new();
        let held = slots.permit(&cancel).await.unwrap().unwrap();
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let stop = async {
            second.cancel();
            first.cancel();
        };
        let begun = Instant::now();
        let (a, b, ()) = tokio::join!(slots.permit(&first), slots.permit(&second), stop);
        assert!(a.unwrap().is_none() && b.unwrap().is_none());
        assert!(begun.elapsed() < LONG / 2);
        drop(held);
        assert!(slots.permit(&cancel).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_process_that_is_killed_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let slots = slots(folder.path(), 1, 2, LONG);
        let lock = folder.path().join("slots/run-0.lock");
        let mut holder = Command::new("flock")
            .arg("--no-fork")
            .arg(&lock)
            .args(["sh", "-c", "echo held; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = holder.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut io::BufReader::new(out), &mut line).unwrap();
        assert!(slots.try_permit(Look::Whole).unwrap().is_none());
        holder.kill().unwrap();
        holder.wait().unwrap();
        let cancel = CancellationToken::new();
        assert!(slots.permit(&cancel).await.unwrap().is_some());
    }

    #[test]
    fn the_directory_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| private_directory(path).unwrap_err().kind();
        let made = folder.path().join("a/b");
        private_directory(&made).unwrap();
        private_directory(&made).unwrap();
        let rights = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        // Those above it too, which is where a mask of 002 would leave a door open.
        assert_eq!(
            (rights(&made), rights(made.parent().unwrap())),
            (0o700, 0o700)
        );
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&made, &link).unwrap();
        assert_eq!(refused(&link), io::ErrorKind::NotADirectory);
        std::fs::set_permissions(&made, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(refused(&made), io::ErrorKind::PermissionDenied);
        assert_eq!(
            own_directory(&link).unwrap_err().kind(),
            io::ErrorKind::NotADirectory
        );
        own_directory(&made).unwrap();
        assert_eq!(rights(&made), 0o700);
        private_directory(&made).unwrap();
        let chosen = folder.path().join("chosen");
        std::fs::create_dir(&chosen).unwrap();
        std::fs::set_permissions(&chosen, Permissions::from_mode(0o755)).unwrap();
        private_directory(&chosen).unwrap();
        assert_eq!(rights(&chosen), 0o755, "it is the person's own");
    }
}
