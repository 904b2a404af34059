//! Mutex: one thread at a time in the critical section, so that no update gets lost.
//!
//! Whoever wants to add takes the lock first; everybody else waits until it is released. Load, add
//! and store then happen as one step, even though the core is given away in the middle of it.
//! The same work without the lock runs beside it: it shows the race, and what the lock costs.
//!
//! Predict:  does the lock make the program faster or slower, and by how much?
//! Try:      cargo run -p mutex-fix -- --no-yield --increments 100000
//! Try:      cargo run -p mutex-fix -- --threads 1 --no-yield --increments 100000
//! See also: race-condition, the same work without the lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// How often each thread adds 1
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=100_000))]
    increments: u64,
    /// Do not yield the core between load and store
    #[arg(long)]
    no_yield: bool,
}

fn main() -> anyhow::Result<()> {
    let knobs = Knobs::parse();
    let pause = |i| {
        if i % 10 == 0 && !knobs.no_yield {
            thread::yield_now(); // between load and store: the window for a race, opened wide
        }
    };

    let racy = AtomicU64::new(0);
    let time_without = run(&knobs, |i| {
        let value = racy.load(Relaxed);
        pause(i);
        racy.store(value + 1, Relaxed);
    })?;

    let counter = Mutex::new(0);
    let time_with = run(&knobs, |i| {
        let mut guard = counter.lock().unwrap(); // the critical section begins: others wait here
        let value = *guard;
        pause(i);
        *guard = value + 1;
    })?; // the guard is dropped at the end of each call, which unlocks

    let expected = knobs.threads * knobs.increments;
    let (racy, counted) = (racy.into_inner(), counter.into_inner().unwrap());
    println!(
        "threads: {}, each adds 1 to one counter, {} times\n",
        knobs.threads, knobs.increments
    );
    println!("              expected   counted      lost         time");
    for (label, count, time) in
        [("without lock", racy, time_without), ("with lock", counted, time_with)]
    {
        let lost = expected - count;
        println!(
            "{label:<12}{expected:>10}{count:>10}{lost:>10}{:>10.2} ms",
            time.as_secs_f64() * 1e3
        );
    }
    let ratio = time_with.as_secs_f64() / time_without.as_secs_f64();
    ensure!(counted == expected, "with the lock: expected {expected}, counted {counted}");
    println!(
        "\nexpected {expected}, counted {counted}: 0 updates lost, in {ratio:.1} times the time"
    );
    Ok(())
}

/// Lets every thread call `add` so many times, and returns how long that took.
fn run(knobs: &Knobs, add: impl Fn(u64) + Sync) -> anyhow::Result<Duration> {
    let ready = AtomicU64::new(0);
    let wait_for_all = || {
        while ready.load(Relaxed) < knobs.threads {
            thread::yield_now();
        }
    };
    let work = || {
        ready.fetch_add(1, Relaxed);
        wait_for_all();
        (0..knobs.increments).for_each(&add);
    };
    let begin = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).map(drop);
        let started = (0..knobs.threads).try_for_each(start);
        if started.is_err() {
            ready.store(knobs.threads, Relaxed); // nobody shall wait for those that never come
        }
        started.map_err(|error| anyhow!("cannot start a thread: {error}"))?;
        wait_for_all();
        anyhow::Ok(Instant::now())
    })?;
    Ok(begin.elapsed())
}
