//! Proof by exhaustion: loom runs two threads through every possible interleaving of
//! a copy of the demo's load and store, and finds those that lose an update.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[test]
fn two_threads_can_end_at_one_and_at_two() {
    let ends = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&ends);
    loom::model(move || {
        let counter = loom::sync::Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let counter = loom::sync::Arc::clone(&counter);
                loom::thread::spawn(move || {
                    let value = counter.load(Relaxed);
                    counter.store(value + 1, Relaxed);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        seen.lock().unwrap().insert(counter.load(Relaxed));
    });
    assert_eq!(
        *ends.lock().unwrap(),
        BTreeSet::from([1, 2]),
        "1: an update was lost; 2: none was"
    );
}
