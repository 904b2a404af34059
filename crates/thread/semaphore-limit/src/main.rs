//! Semaphore: a counter of permits, for a limited number of threads at a time.
//!
//! A thread that takes a permit may go inside. It gives the permit back when it
//! leaves. If no permit is free, a thread sleeps until some thread gives one
//! back. Rust's standard library has no semaphore. This one is a counter, a
//! mutex that protects it, and a condition variable, on which threads sleep.
//!
//! Predict:  8 threads, 3 permits. How many are inside at once, at most?
//! Try:      cargo run -p semaphore-limit -- --permits 8
//! Try:      cargo run -p semaphore-limit -- --permits 1   # acts as a mutex
//! See also: condvar-handoff, the condition variable alone.

use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// Threads that want to go inside.
const THREADS: u8 = 8;

struct Semaphore {
    free: Mutex<u8>, // permits that no thread has
    released: Condvar,
}

impl Semaphore {
    fn acquire(&self) {
        let mut free = self.free.lock().unwrap();
        // A loop, for two reasons: another thread may have taken the permit
        // first; and wait may also return for no reason.
        while *free == 0 {
            // Unlocks the mutex, sleeps until notified, and locks it again.
            free = self.released.wait(free).unwrap();
        }
        *free -= 1;
    }

    fn release(&self) {
        let mut free = self.free.lock().unwrap();
        *free += 1;
        self.released.notify_one(); // wakes one of those that sleep
    }
}

/// What each thread does.
fn visit(number: u8, permits: u8, shared: &Shared) {
    shared.semaphore.acquire(); // the first ones pass, the others sleep here
    let entered = enter(number, &shared.inside);
    if entered <= permits {
        // Only for a demo: wait returns when as many threads have called it as
        // there are permits. So the limit is reached in each run.
        shared.first_ones.wait();
    }
    thread::sleep(Duration::from_millis(50)); // a real program would work here
    leave(number, &shared.inside);
    shared.semaphore.release();
}

/// What the threads share.
struct Shared {
    semaphore: Semaphore,
    inside: Mutex<Inside>,
    first_ones: Barrier,
}

/// Counts who is inside, to show that the limit is reached, and not exceeded.
#[derive(Default)]
struct Inside {
    entered: u8, // how many threads have, so far
    now: u8,
    most: u8,
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let permits = args.permits;
    println!(
        "{THREADS} threads, {permits} permits; a box for each one inside\n"
    );

    // An Arc lets all threads own it. (A scope would wait for the threads at
    // the barrier even if one of them could not be started.)
    let shared = Arc::new(Shared {
        semaphore: Semaphore {
            free: Mutex::new(permits),
            released: Condvar::new(),
        },
        inside: Mutex::default(),
        first_ones: Barrier::new(permits.into()),
    });
    let mut threads = Vec::new();
    for number in 1..=THREADS {
        let shared = Arc::clone(&shared);
        threads.push(thread::spawn(move || visit(number, permits, &shared)));
    }
    for thread in threads {
        thread.join().unwrap();
    }

    let most = shared.inside.lock().unwrap().most;
    ensure!(most == permits, "{most} were inside at once, not {permits}");
    println!(
        "\npermits: {permits}; inside at once, at most: {most} of {THREADS}"
    );
    Ok(())
}

/// Returns how many threads have entered, this one counted.
fn enter(number: u8, inside: &Mutex<Inside>) -> u8 {
    let mut inside = inside.lock().unwrap();
    inside.entered += 1;
    inside.now += 1;
    inside.most = inside.most.max(inside.now);
    let boxes = " █".repeat(inside.now.into());
    println!("thread {number} enters {boxes}");
    inside.entered
}

fn leave(number: u8, inside: &Mutex<Inside>) {
    let mut inside = inside.lock().unwrap();
    inside.now -= 1;
    let boxes = " █".repeat(inside.now.into());
    println!("thread {number} leaves {boxes}");
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that may be inside at once
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(1..=i64::from(THREADS)))]
    permits: u8,
}
