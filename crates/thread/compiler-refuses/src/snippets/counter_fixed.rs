use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

fn main() {
    let counter = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| counter.fetch_add(1, Relaxed));
        scope.spawn(|| counter.fetch_add(1, Relaxed));
    });
    println!("{}", counter.into_inner());
}
