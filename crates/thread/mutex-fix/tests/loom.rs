//! Proof by exhaustion: loom runs two threads through every possible interleaving of
//! a copy of the demo's critical section, and none of them loses an update.

use loom::sync::{Arc, Mutex};
use loom::thread;

#[test]
fn two_threads_always_end_at_two() {
    loom::model(|| {
        let counter = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let counter = Arc::clone(&counter);
                thread::spawn(move || {
                    let mut guard = counter.lock().unwrap();
                    let value = *guard;
                    thread::yield_now();
                    *guard = value + 1;
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*counter.lock().unwrap(), 2);
    });
}
