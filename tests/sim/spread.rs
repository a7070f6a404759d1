//! Numbered runs on all cores: what they come to does not depend on how many there are.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs every number once; each worker adds to a report of its own.
pub fn spread<R: Default + Send>(numbers: Range<u64>, run: impl Fn(u64, &mut R) + Sync) -> Vec<R> {
    let next = AtomicU64::new(numbers.start);
    let work = || {
        let mut report = R::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return report;
            }
            run(number, &mut report);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("verdicts are caught")).collect()
    })
}
