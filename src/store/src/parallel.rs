//! The same for many things, on all processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::StoreError;

/// Things that are worked on between two looks at their results: what bounds memory and waiting.
const BATCH: usize = 512;
/// More threads than this only wait for the disk.
const THREADS_MAX: usize = 8;

/// Does `work` for each item, on several threads, and gives the results to `take` in the order of the
/// items, on this thread. The first error of `take` ends it.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(&T, R) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX);
    for batch in items.chunks(BATCH) {
        // Whoever is free takes the next one: one item can be a thousand times larger than another.
        let next = AtomicUsize::new(0);
        let some = || {
            let mut done = Vec::new();
            while let Some((at, item)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                batch.get(at).map(|item| (at, item))
            } {
                done.push((at, work(item)));
            }
            done
        };
        let mut results = thread::scope(|scope| {
            let others = threads.min(batch.len()).saturating_sub(1);
            let others: Vec<_> = (0..others).map(|_| scope.spawn(some)).collect();
            let mut results = some();
            for other in others {
                let joined = other.join();
                results.extend(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results
        });
        results.sort_unstable_by_key(|(at, _)| *at);
        for (item, (_, result)) in batch.iter().zip(results) {
            take(item, result)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_done_once_and_taken_in_order() {
        for count in [0, 1, 2, BATCH, 3 * BATCH + 1] {
            let items: Vec<usize> = (0..count).collect();
            let mut taken = Vec::new();
            let ended = each(
                &items,
                |item| item * 2,
                |item, result| {
                    taken.push((*item, result));
                    Ok(())
                },
            );
            ended.unwrap();
            let expected: Vec<_> = (0..count).map(|item| (item, item * 2)).collect();
            assert_eq!(taken, expected);
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let items: Vec<usize> = (0..5 * BATCH).collect();
        let mut taken = 0;
        let ended = each(
            &items,
            |item| *item,
            |_, result| {
                taken += 1;
                if result == 7 {
                    return Err(StoreError::refused("seven"));
                }
                Ok(())
            },
        );
        assert!(ended.is_err());
        assert_eq!(taken, 8);
    }
}
