//! Proof by exhaustion: loom runs two threads through every possible
//! interleaving of a copy of the demo's critical section, and none of them
//! loses an update.

use loom::sync::{Arc, Mutex};
use loom::thread;

#[test]
fn two_threads_always_end_at_two() {
    loom::model(|| {
        let counter = Arc::new(Mutex::new(0));
        let mut threads = Vec::new();
        for _ in 0..2 {
            let counter = Arc::clone(&counter);
            threads.push(thread::spawn(move || {
                let mut guard = counter.lock().unwrap();
                let value = *guard;
                let sum = value + 1;
                thread::yield_now();
                *guard = sum;
                drop(guard);
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*counter.lock().unwrap(), 2);
    });
}
