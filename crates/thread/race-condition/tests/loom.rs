//! Proof by exhaustion: loom runs two threads through every possible
//! interleaving of a copy of the demo's load, add and store, and collects the
//! counts at which they end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// All counts that two threads can end at.
fn ends(increments: u64) -> BTreeSet<u64> {
    let ends = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&ends);
    loom::model(move || {
        let counter = loom::sync::Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for _ in 0..2 {
            let counter = loom::sync::Arc::clone(&counter);
            threads.push(loom::thread::spawn(move || {
                for _ in 0..increments {
                    let value = counter.load(Relaxed);
                    let sum = value + 1;
                    counter.store(sum, Relaxed);
                }
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
        seen.lock().unwrap().insert(counter.load(Relaxed));
    });
    ends.lock().unwrap().clone()
}

/// 1: an update was lost; 2: none was.
#[test]
fn two_threads_that_add_once_can_end_at_one_and_at_two() {
    assert_eq!(ends(1), BTreeSet::from([1, 2]));
}

/// Never at 1: the lowest is 2, as the demo says.
#[test]
fn two_threads_that_add_twice_can_end_at_two_and_more() {
    assert_eq!(ends(2), BTreeSet::from([2, 3, 4]));
}
