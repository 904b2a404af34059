//! Atomic: an operation in one step, so that no other thread comes between.
//!
//! Four ways in which threads add 1, and count together. The race takes three
//! steps: load, add, store. With a mutex, one thread at a time takes them.
//! fetch_add is atomic: as if in one step. In the last way each thread has a
//! private counter, and only adds its sum to the total at the end.
//!
//! Predict:  which is the fastest: a mutex, fetch_add, or a private counter?
//! Run:      cargo run --release -p atomic-fix
//! Try:      cargo run --release -p atomic-fix -- --threads 1
//! See also: race-condition; mutex-fix; race-interleavings, which goes through
//!           all orders of the three steps.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// How often each thread adds 1.
const INCREMENTS: u64 = 1_000_000;

/// Three steps: load and store are atomic each, but not together, so another
/// thread may come between. If the compiler makes one instruction of them, that
/// one still reads memory and then writes it: another core can come between.
fn race(counter: &AtomicU64) {
    for _ in 0..INCREMENTS {
        let value = counter.load(Relaxed);
        let sum = value + 1;
        counter.store(sum, Relaxed);
    }
}

/// The same three steps. Other threads have to wait until they are done.
fn mutex(counter: &Mutex<u64>) {
    for _ in 0..INCREMENTS {
        let mut guard = counter.lock().unwrap();
        let value = *guard;
        let sum = value + 1;
        *guard = sum;
        drop(guard); // unlocks
    }
}

/// As if in one step: no other thread sees it half done.
fn fetch_add(counter: &AtomicU64) {
    for _ in 0..INCREMENTS {
        counter.fetch_add(1, Relaxed);
    }
}

/// A counter that no other thread can use. Only its sum goes to the total.
fn private(total: &AtomicU64) {
    let mut counter = 0;
    for _ in 0..INCREMENTS {
        counter += 1;
        black_box(&mut counter); // else the compiler adds a million at once
    }
    total.fetch_add(counter, Relaxed);
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let threads = args.threads;

    let racy = AtomicU64::new(0);
    let race_time = time(threads, || race(&racy));
    let locked = Mutex::new(0);
    let mutex_time = time(threads, || mutex(&locked));
    let atomic = AtomicU64::new(0);
    let fetch_add_time = time(threads, || fetch_add(&atomic));
    let total = AtomicU64::new(0);
    let private_time = time(threads, || private(&total));

    print_heading(threads);
    let expected = threads * INCREMENTS;
    let lost_by_race =
        print_row("race", racy.into_inner(), expected, race_time);
    let lost_by_mutex =
        print_row("mutex", locked.into_inner()?, expected, mutex_time);
    let lost_by_fetch_add =
        print_row("fetch_add", atomic.into_inner(), expected, fetch_add_time);
    let lost_by_private =
        print_row("private", total.into_inner(), expected, private_time);

    // Whether the race has lost any is luck.
    ensure!(lost_by_mutex == 0, "the mutex lost {lost_by_mutex}");
    ensure!(lost_by_fetch_add == 0, "fetch_add lost {lost_by_fetch_add}");
    ensure!(lost_by_private == 0, "private lost {lost_by_private}");
    println!("\nlost by mutex, fetch_add and private: 0 of {expected} each");
    println!("lost by the race: {lost_by_race} of {expected}");
    Ok(())
}

/// Lets threads do the same work, and returns how long it took them together.
fn time(threads: u64, work: impl Fn() + Sync) -> Duration {
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    }); // the scope ends when all its threads have ended
    begin.elapsed()
}

fn print_heading(threads: u64) {
    println!("{threads} threads, each adds 1, {INCREMENTS} times");
    if cfg!(debug_assertions) {
        println!("in a debug build: most of the time goes to function calls");
    }
    println!("\n             counted       lost   ns per increment");
}

/// The last column is the time divided by the increments of all threads: if 4
/// threads add at the same time, one of them takes about 4 times that. Returns
/// how many increments were lost.
fn print_row(name: &str, counted: u64, expected: u64, time: Duration) -> u64 {
    let lost = expected - counted;
    let nanoseconds = time.as_nanos() as f64 / expected as f64;
    println!("{name:<9} {counted:>10} {lost:>10}   {nanoseconds:>10.2}");
    lost
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
}
