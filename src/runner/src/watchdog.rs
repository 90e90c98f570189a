//! Ends a sandbox that takes more memory than it may, where its runtime does not.
//!
//! gVisor without control groups enforces no limit. Inside, the harness counts what the sandbox's own
//! kernel says; this counts, from outside, what that kernel takes from the machine. It sees the
//! processes only where the engine is on this machine and this process may look at them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spec::{ByteSize, Limits, RunOutcome, RunReport};
use tokio::task::JoinSet;

use crate::RunnerError;
use crate::docker::container::Container;

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(50);
/// What the sandbox's own kernel takes for itself: its heap, its caches of the image's files, and
/// what the harness has not seen yet.
const OVERHEAD: ByteSize = ByteSize::mib(256);
/// Processes of the machine that are looked through for the sandbox's kernel.
const PROCESSES: usize = 100_000;
/// Open files of that kernel that are looked at.
const FILES: usize = 65_536;
/// Its own kernel's file of memory. Source: gVisor's `runsc/boot`.
const MEMORY_FILE: &str = "/memfd:runsc-memory";

/// Watches one sandbox until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _job: JoinSet<()>,
    exceeded: Arc<AtomicBool>,
    limit: ByteSize,
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
            limit: limits.memory,
        }
    }

    /// Says why the run ended, if this ended it.
    pub(crate) fn judge(&self, report: &mut Result<RunReport, RunnerError>) {
        if let Ok(report) = report
            && matches!(report.outcome, RunOutcome::SandboxLost { .. })
            && self.exceeded.load(Ordering::Acquire)
        {
            report.outcome = RunOutcome::OutOfMemory { limit: self.limit };
        }
    }
}

async fn watch(container: Container, most: u64, exceeded: Arc<AtomicBool>) {
    let Some(id) = container.id().await else {
        return;
    };
    let found = tokio::task::spawn_blocking(move || find(Path::new("/proc"), &id)).await;
    // On another machine, or another user's.
    let Ok(Some(process)) = found else { return };
    loop {
        tokio::time::sleep(PERIOD).await;
        let process = process.clone();
        let used = tokio::task::spawn_blocking(move || used(&process)).await;
        // The process has ended, or may not be looked at.
        let Ok(Some(used)) = used else { return };
        if used > most {
            tracing::warn!(used, most, "a sandbox took more memory than it may");
            exceeded.store(true, Ordering::Release);
            container.kill().await;
            return;
        }
    }
}

/// The process of gVisor's kernel that was started for a container.
fn find(proc: &Path, id: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(proc).ok()?;
    let mut processes = entries.take(PROCESSES).filter_map(|entry| {
        let path = entry.ok()?.path();
        let number = path.file_name()?.to_str()?;
        number.parse::<u32>().ok().map(|_| path)
    });
    processes.find(|path| {
        let Ok(line) = fs::read(path.join("cmdline")) else {
            return false;
        };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.contains(&b"boot".as_slice()) && words.contains(&id.as_bytes())
    })
}

/// What the kernel takes: the file that holds the sandbox's memory, and its own heap.
fn used(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let own = own?.trim().split(' ').next()?.parse::<u64>().ok()? << 10;
    let files = fs::read_dir(process.join("fd")).ok()?;
    let memory = files.take(FILES).filter_map(Result::ok).find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let is_memory = target.to_string_lossy().starts_with(MEMORY_FILE);
        // Source: stat(2), which counts in blocks of 512 bytes whatever the file system's are.
        is_memory.then(|| Some(fs::metadata(entry.path()).ok()?.blocks() * 512))?
    })?;
    Some(own + memory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_kernel_of_a_sandbox_is_found_by_its_container() {
        let proc = tempfile::tempdir().unwrap();
        let write = |number: &str, line: &[u8]| {
            let path = proc.path().join(number);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("cmdline"), line).unwrap();
            path
        };
        write("7", b"containerd-shim\0-id\0abc\0");
        write("8", b"runsc-gofer\0gofer\0abc\0");
        write("9", b"runsc-sandbox\0boot\0--x=1\0abcd\0");
        write("self", b"runsc-sandbox\0boot\0abc\0");
        let kernel = write("10", b"runsc-sandbox\0--root=/x\0boot\0--x=1\0abc\0");
        assert_eq!(find(proc.path(), "abc"), Some(kernel));
        assert_eq!(find(proc.path(), "ab"), None);
    }

    #[test]
    fn what_it_takes_is_its_memory_file_and_its_heap() {
        let process = tempfile::tempdir().unwrap();
        fs::write(
            process.path().join("status"),
            "Name:\tx\nRssAnon:\t    2048 kB\n",
        )
        .unwrap();
        fs::create_dir(process.path().join("fd")).unwrap();
        // Without the file that holds the sandbox's memory, nothing is known.
        assert_eq!(used(process.path()), None);
        symlink("/dev/null", process.path().join("fd/0")).unwrap();
        assert_eq!(used(process.path()), None);
    }
}
