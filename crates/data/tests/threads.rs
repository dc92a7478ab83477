//! Threads and file descriptors of the process do not grow. One test, so that the process is alone with it.
#![cfg(target_os = "linux")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use wengert_data::{DataLoader, Dataset, Result};

struct Numbers;

impl Dataset for Numbers {
    type Sample = (f32, i64);
    fn len(&self) -> usize {
        200
    }
    fn get(&self, i: usize) -> Result<(f32, i64)> {
        assert!(i != 150, "sample 150 is cursed");
        Ok((i as f32, i as i64))
    }
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn two_hundred_epochs_with_breaks_and_panics_leave_nothing() {
    std::panic::set_hook(Box::new(|_| ()));
    let loader = DataLoader::new(Numbers, 8).workers(2);
    let facts = || (entries("/proc/self/task"), entries("/proc/self/fd"));
    let before = facts();
    for epoch in 0..200u64 {
        match epoch % 3 {
            0 => {
                let seen: Vec<i64> = loader
                    .epoch(epoch)
                    .take(7)
                    .flat_map(|(_, y)| y.to_vec())
                    .collect();
                assert!(seen.iter().copied().eq(0..56));
            }
            1 => drop(loader.epoch(epoch)),
            _ => {
                let run = catch_unwind(AssertUnwindSafe(|| loader.epoch(epoch).count()));
                assert!(run.is_err());
            }
        }
        // A joined thread may stand in /proc for a moment.
        let start = Instant::now();
        while facts() != before {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{:?} after epoch {epoch}, {before:?} before",
                facts()
            );
        }
    }
}
