//! Atomic: an operation in one step, so that no other thread comes between.
//!
//! Four ways in which threads add 1, and count together. The race takes three
//! steps: load, add, store. With a mutex, one thread at a time takes them.
//! fetch_add is atomic: one step. In the last way each thread has a private
//! counter, and only adds its sum to the total at the end.
//! It runs with --release: a debug build also calls a function for each load
//! and store, and most of the time would go to these calls.
//!
//! Predict:  which is the fastest: a mutex, fetch_add, or a private counter?
//! Run:      cargo run --release -p atomic-fix
//! Try:      cargo run --release -p atomic-fix -- --threads 1
//! See also: race-condition; mutex-fix; race-interleavings, which goes through
//!           all orders of the three steps.

mod evidence;

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};

use evidence::{Row, Span};

/// Each way of counting is timed so often.
const ROUNDS: u64 = 5;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// How often each thread adds 1 in a round
    #[arg(long, default_value_t = 250_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000_000))]
    increments: u64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let increments = args.increments;

    let racy = AtomicU64::new(0);
    let locked = Mutex::new(0);
    let atomic = AtomicU64::new(0);
    let total = AtomicU64::new(0);
    let mut race_times = Vec::new();
    let mut mutex_times = Vec::new();
    let mut fetch_add_times = Vec::new();
    let mut private_times = Vec::new();

    for _ in 0..ROUNDS {
        race_times.push(time(&args, || race(&racy, increments))?);
        mutex_times.push(time(&args, || mutex(&locked, increments))?);
        fetch_add_times.push(time(&args, || fetch_add(&atomic, increments))?);
        private_times.push(time(&args, || private(&total, increments))?);
    }

    let rows = [
        Row::new("race", racy.into_inner(), race_times),
        Row::new("mutex", locked.into_inner()?, mutex_times),
        Row::new("fetch_add", atomic.into_inner(), fetch_add_times),
        Row::new("private", total.into_inner(), private_times),
    ];
    evidence::print_table(&args, &rows);

    // Mutex, fetch_add and private must have lost no update. Whether the race
    // has lost any is luck.
    evidence::judge(&args, &rows)
}

/// Three steps. Another thread may come between them. Optimised code may have
/// one instruction for them. It still reads memory and then writes it, and
/// another core may come between the two.
fn race(counter: &AtomicU64, increments: u64) {
    for _ in 0..increments {
        let value = counter.load(Relaxed);
        let sum = value + 1;
        counter.store(sum, Relaxed);
    }
}

/// The same three steps. Other threads have to wait until they are done.
fn mutex(counter: &Mutex<u64>, increments: u64) {
    for _ in 0..increments {
        let mut guard = counter.lock().unwrap();
        let value = *guard;
        let sum = value + 1;
        *guard = sum;
        drop(guard); // unlocks
    }
}

/// One step. Nothing can come between.
fn fetch_add(counter: &AtomicU64, increments: u64) {
    for _ in 0..increments {
        counter.fetch_add(1, Relaxed);
    }
}

/// A counter that no other thread can use. Only its sum goes to the total.
fn private(total: &AtomicU64, increments: u64) {
    let mut counter = 0;
    for _ in 0..increments {
        counter += 1;
        black_box(&mut counter); // the compiler shall not add all at once
    }
    total.fetch_add(counter, Relaxed);
}

/// Lets all threads work at the same time. Returns the time from the first
/// one's begin to the last one's end, in nanoseconds, divided by the increments
/// of all threads together.
fn time(args: &Args, work: impl Fn() + Sync) -> Result<f64> {
    let ready = AtomicU64::new(0); // threads that have started
    let spans = thread::scope(|scope| -> Result<Vec<Span>> {
        let mut threads = Vec::new();
        for _ in 0..args.threads {
            let thread = thread::Builder::new().spawn_scoped(scope, || {
                wait_for_all(&ready, args.threads);
                let begin = Instant::now();
                work();
                let end = Instant::now();
                Span { begin, end }
            });
            if thread.is_err() {
                // It will never be ready. The others shall not wait for it.
                ready.store(args.threads, Relaxed);
            }
            threads.push(thread.context("cannot start a thread")?);
        }
        let mut spans = Vec::new();
        for thread in threads {
            spans.push(thread.join().unwrap());
        }
        Ok(spans)
    })?;
    Ok(evidence::nanoseconds_per_increment(args, &spans))
}

/// Returns when all threads are here, so that they add at the same time.
fn wait_for_all(ready: &AtomicU64, threads: u64) {
    ready.fetch_add(1, Relaxed);
    while ready.load(Relaxed) < threads {
        thread::yield_now();
    }
}
