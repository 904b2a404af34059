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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::{anyhow, ensure};
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
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
    let args = Args::parse();
    let pause = |i| {
        if i % 10 == 0 && !args.no_yield {
            thread::yield_now(); // between load and store: the window for a race, opened wide
        }
    };

    let racy = AtomicU64::new(0);
    let time_without = run(&args, |i| {
        let value = racy.load(Relaxed);
        pause(i);
        racy.store(value + 1, Relaxed);
    })?;

    let counter = Mutex::new(0);
    let time_with = run(&args, |i| {
        let mut guard = counter.lock().unwrap(); // the critical section begins: others wait here
        let value = *guard;
        pause(i);
        *guard = value + 1;
    })?; // the guard is dropped at the end of each call, which unlocks

    let expected = args.threads * args.increments;
    let (racy, counted) = (racy.into_inner(), counter.into_inner().unwrap());
    println!(
        "threads: {}, each adds 1 to one counter, {} times",
        args.threads, args.increments
    );
    println!("\n              expected   counted      lost         time");
    for (label, count, time) in [
        ("without lock", racy, time_without),
        ("with lock", counted, time_with),
    ] {
        println!(
            "{label:<12}{expected:>10}{count:>10}{:>10}{time:>10.2} ms",
            expected - count
        );
    }
    ensure!(
        counted == expected,
        "with the lock: expected {expected}, counted {counted}"
    );
    print!("\nexpected {expected}, counted {counted}: 0 updates lost, ");
    println!("in {:.1} times the time", time_with / time_without);
    Ok(())
}

/// Lets every thread call `add` so many times, and returns how many milliseconds that took.
fn run(args: &Args, add: impl Fn(u64) + Sync) -> anyhow::Result<f64> {
    let (ready, go) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        ready.fetch_add(1, Relaxed);
        while !go.load(Relaxed) {
            thread::yield_now(); // until all are here and the clock runs
        }
        (0..args.increments).for_each(&add);
    };
    let begin = thread::scope(|scope| {
        let start =
            |_| thread::Builder::new().spawn_scoped(scope, work).map(drop);
        let started = (0..args.threads).try_for_each(start);
        while started.is_ok() && ready.load(Relaxed) < args.threads {
            thread::yield_now();
        }
        let begin = Instant::now();
        go.store(true, Relaxed); // even if one did not start: the others shall not wait for ever
        started
            .map(|()| begin)
            .map_err(|error| anyhow!("cannot start a thread: {error}"))
    })?; // all have finished here
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
