//! Ends a sandbox that takes more memory than it may, where its runtime does not.
//!
//! gVisor without control groups enforces no limit. Inside, the harness counts what the sandbox's own
//! kernel says; this counts, from outside, what that kernel takes from the machine. It sees the
//! processes only where the engine is on this machine and this process may look at them.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use spec::{ByteSize, Limits, RunOutcome, RunReport};
use tokio::task::JoinSet;

use crate::RunnerError;
use crate::docker::container::Container;

/// When it looks first. Most runs are over by then, and finding the process takes the engine and the
/// machine's processors as long as such a run.
const FIRST: Duration = Duration::from_millis(25);
/// How often it looks.
const PERIOD: Duration = Duration::from_millis(50);
/// What the sandbox's own kernel takes for itself: its heap, its caches of the image's files, and
/// what the harness has not seen yet.
const OVERHEAD: ByteSize = ByteSize::mib(256);
/// Processes of the machine that are looked through for the sandbox's kernel.
const PROCESSES: usize = 100_000;
/// Open files of that kernel that are looked at.
const FILES: usize = 65_536;
/// Bytes of a process's command line that are read.
const CMDLINE: u64 = 64 << 10;
/// Its own kernel's file of memory. Source: gVisor's `runsc/boot`.
const MEMORY_FILE: &str = "/memfd:runsc-memory";

/// Watches one sandbox until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _job: JoinSet<()>,
    exceeded: Arc<AtomicBool>,
}

impl Watchdog {
    /// Begins to watch.
    pub(crate) fn start(container: Container, limits: &Limits) -> Self {
        let exceeded = Arc::new(AtomicBool::new(false));
        let most = limits.memory.get().saturating_add(OVERHEAD.get());
        let mut job = JoinSet::new();
        job.spawn(watch(container, most, Arc::clone(&exceeded)));
        Self {
            _job: job,
            exceeded,
        }
    }

    /// Whether it has ended the sandbox.
    pub(crate) fn has_ended_it(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }
}

/// Says why a run ended whose sandbox a watchdog has ended.
pub(crate) fn judge(report: &mut Result<RunReport, RunnerError>, limits: &Limits) {
    if let Ok(report) = report
        && matches!(report.outcome, RunOutcome::SandboxLost { .. })
    {
        report.outcome = RunOutcome::OutOfMemory {
            limit: limits.memory,
        };
    }
}

async fn watch(container: Container, most: u64, exceeded: Arc<AtomicBool>) {
    tokio::time::sleep(FIRST).await;
    let (id, pid) = match container.process().await {
        Ok(Some(found)) => found,
        // It has ended.
        Ok(None) => return,
        Err(error) => return warn_once(&error.to_string()),
    };
    let find = move || find(Path::new("/proc"), &id, pid);
    let Ok(Some(process)) = tokio::task::spawn_blocking(find).await else {
        // It may have ended meanwhile.
        if let Ok(Some(_)) = container.process().await {
            warn_once("its process is on another machine, or another user's");
        }
        return;
    };
    loop {
        let path = process.clone();
        let used = match tokio::task::spawn_blocking(move || used(&path)).await {
            Ok(Ok(used)) => used,
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return warn_once("its process may not be looked at");
            }
            // The process has ended.
            Ok(Err(_)) | Err(_) => return,
        };
        if used > most {
            tracing::warn!(used, most, "a sandbox took more memory than it may");
            exceeded.store(true, Ordering::Release);
            container.kill().await;
            return;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Says, once in the life of this process, that nothing is watched: it is so for all sandboxes.
fn warn_once(why: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(why, "the memory of a sandbox is limited only from inside");
    });
}

/// The process of gVisor's kernel that was started for a container, which can be looked at.
///
/// The engine says its number, which is another one where this process is in another PID namespace;
/// then it is looked for. Anybody can give a process such words, so one whose memory is not to be
/// seen is passed over.
fn find(proc: &Path, id: &str, pid: u32) -> Option<PathBuf> {
    let named = proc.join(pid.to_string());
    if is_kernel_of(&named, id) && used(&named).is_ok() {
        return Some(named);
    }
    let entries = fs::read_dir(proc).ok()?;
    let mut processes = entries.take(PROCESSES).filter_map(|entry| {
        let path = entry.ok()?.path();
        let number = path.file_name()?.to_str()?;
        number.parse::<u32>().ok().map(|_| path)
    });
    processes.find(|path| is_kernel_of(path, id) && used(path).is_ok())
}

/// Whether the words that a process was started with are those of a container's kernel.
fn is_kernel_of(process: &Path, id: &str) -> bool {
    let mut line = Vec::new();
    let file = fs::File::open(process.join("cmdline"));
    let read = file.and_then(|file| file.take(CMDLINE).read_to_end(&mut line));
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    read.is_ok() && words.contains(&b"boot".as_slice()) && words.contains(&id.as_bytes())
}

/// What the kernel takes: the file that holds the sandbox's memory, and its own heap.
fn used(process: &Path) -> io::Result<u64> {
    let status = fs::read_to_string(process.join("status"))?;
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok())
        .ok_or(io::ErrorKind::NotFound)?;
    Ok((own << 10).saturating_add(in_memory_file(process)?))
}

/// What is in the file that holds the sandbox's memory.
fn in_memory_file(process: &Path) -> io::Result<u64> {
    let files = fs::read_dir(process.join("fd"))?;
    let memory = files.take(FILES).filter_map(Result::ok).find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let is_memory = target.to_string_lossy().starts_with(MEMORY_FILE);
        // Source: stat(2), which counts in blocks of 512 bytes whatever the file system's are.
        is_memory.then(|| Some(fs::metadata(entry.path()).ok()?.blocks() * 512))?
    });
    memory.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// What a sandbox's kernel has, in this process.
    fn memory(bytes: usize) -> File {
        let mut file = File::from(memfd_create("runsc-memory", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(&vec![1; bytes]).unwrap();
        file
    }

    #[test]
    fn the_kernel_of_a_sandbox_is_found_by_its_container() {
        let _memory = memory(1);
        let proc = tempfile::tempdir().unwrap();
        let write = |number: &str, line: &[u8], is_readable: bool| {
            let path = proc.path().join(number);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("cmdline"), line).unwrap();
            if is_readable {
                symlink("/proc/self/status", path.join("status")).unwrap();
                symlink("/proc/self/fd", path.join("fd")).unwrap();
            }
            path
        };
        write("7", b"containerd-shim\0-id\0abc\0", true);
        write("8", b"runsc-gofer\0gofer\0abc\0", true);
        write("9", b"runsc-sandbox\0boot\0--x=1\0abcd\0", true);
        write("self", b"runsc-sandbox\0boot\0abc\0", true);
        // Whose words are the same, but nothing of which can be seen.
        for number in 100..150 {
            write(&number.to_string(), b"x\0boot\0abc\0", false);
        }
        let kernel = write("10", b"runsc-sandbox\0--root=/x\0boot\0--x=1\0abc\0", true);
        let find = |id, pid| find(proc.path(), id, pid);
        assert_eq!(find("abc", 10).as_ref(), Some(&kernel));
        // Numbers of another namespace: none, a stranger, one that cannot be seen.
        for pid in [1, 7, 100] {
            assert_eq!(find("abc", pid).as_ref(), Some(&kernel), "{pid}");
        }
        assert_eq!(find("ab", 10), None);
        // The engine's word counts more than that of whoever looks the same.
        let second = write("11", b"runsc-sandbox\0boot\0abc\0", true);
        assert_eq!(find("abc", 11), Some(second));
        assert_eq!(find("abc", 10), Some(kernel));
    }

    #[test]
    fn what_it_takes_is_its_memory_file_and_its_heap() {
        let process = Path::new("/proc/self");
        // Without the file that holds the sandbox's memory, nothing is known.
        let no_file = tempfile::tempdir().unwrap();
        symlink("/proc/self/status", no_file.path().join("status")).unwrap();
        fs::create_dir(no_file.path().join("fd")).unwrap();
        symlink("/dev/null", no_file.path().join("fd/0")).unwrap();
        assert!(used(no_file.path()).is_err());
        let memory = memory(1 << 20);
        assert_eq!(in_memory_file(process).unwrap(), 1 << 20);
        let used = used(process).unwrap();
        assert!(((1 << 20) + 1..1 << 30).contains(&used), "{used}");
        drop(memory);
    }
}
