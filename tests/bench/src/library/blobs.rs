//! `fsck` of a gigabyte, against reading and hashing the same files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use spec::Digest;
use store::Store;

use super::fill::{Numbers, in_memory};
use crate::report::Report;
use crate::rows::progress;
use crate::samples::{Samples, ms};

/// Megabytes in a second that `fsck` reads at least.
const SPEED: f64 = 500.0;
/// What `fsck` takes at most, against plain reading and hashing.
const OF_FLOOR: f64 = 1.5;
/// How many blobs of how many KiB: a gigabyte of sources, outputs, data sets and layers.
const BLOBS: &[(usize, usize)] = &[
    (16_384, 3),
    (8_192, 16),
    (1_024, 256),
    (64, 4_096),
    (4, 65_536),
];
/// Rounds; what is read is in memory after the first, which does not count.
const ROUNDS: usize = 5;

/// Measures it.
pub(super) fn measure(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let root = folder.join("blobs");
    in_memory(&root, fill)?;
    let store = Store::ensure(&root)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("blobs/sha256"))? {
        files.push(entry?.path());
    }
    let (mut checked, mut floor) = (Samples::default(), Samples::default());
    let mut bytes = 0;
    for round in 0..=ROUNDS {
        progress(&format!("fsck, round {round}/{ROUNDS}"));
        let began = Instant::now();
        let found = store.fsck(&mut |_| {})?;
        let took = began.elapsed();
        ensure!(
            found.is_clean(),
            "a fresh store is not clean: {:?}",
            found.findings
        );
        let plain = hashed(&files)?;
        bytes = found.bytes;
        if round > 0 {
            checked.add(took);
            floor.add(plain);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some gigabytes")]
    let speed = |samples: &Samples| bytes as f64 / 1e6 / (ms(samples.median()) / 1e3);
    report.at_least("`fsck` of 1 GB", "MB/s", speed(&checked), SPEED);
    report.fact(
        "`fsck` of 1 GB",
        format!(
            "{:.0} MB/s; reading and hashing the same {} files on as many threads {:.0} MB/s",
            speed(&checked),
            files.len(),
            speed(&floor)
        ),
    );
    report.row("reading and hashing 1 GB", floor);
    report.row("`fsck` of 1 GB", checked);
    report.takes_at_most("`fsck` of 1 GB", "reading and hashing 1 GB", OF_FLOOR);
    Ok(())
}

fn fill(store: &Store) -> anyhow::Result<()> {
    let mut numbers = Numbers::new(7);
    for (count, kib) in BLOBS {
        progress(&format!("{count} blobs of {kib} KiB"));
        let mut bytes: Vec<u8> = Vec::with_capacity(kib * 1024);
        while bytes.len() < kib * 1024 {
            bytes.extend(numbers.next().to_le_bytes());
        }
        for number in 0..*count {
            // Each is another one from its first byte on.
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            store.put(&bytes)?;
        }
    }
    Ok(())
}

/// Reads and hashes files on all processors, and nothing else.
fn hashed(files: &[PathBuf]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let some = || -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes.clear();
            File::open(path)?.read_to_end(&mut bytes)?;
            let name = path.file_name().and_then(|name| name.to_str());
            if name != Some(&Digest::of(&bytes).hex()) {
                return Err(std::io::Error::other("a file is not what its name says"));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads = std::thread::available_parallelism()?.get().min(8);
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        for one in all {
            one.join().expect("it does not panic")?;
        }
        Ok(())
    })?;
    Ok(began.elapsed())
}
