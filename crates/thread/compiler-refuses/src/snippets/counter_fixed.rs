use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

pub fn result() -> u32 {
    let counter = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| counter.fetch_add(1, Relaxed));
        scope.spawn(|| counter.fetch_add(1, Relaxed));
    });
    counter.into_inner()
}
