//! Race condition: threads add 1 to one counter, and some of the updates get lost.
//!
//! Adding 1 takes three steps: load, add, store. A thread that loads between another thread's load
//! and store sees the old value, and one of the two updates is overwritten. All accesses are
//! atomic: this is safe Rust without undefined behaviour, no data race, and still a race condition.
//!
//! Predict:  4 threads add 1, 1000 times each. Which numbers can the counter end at?
//! Try:      cargo run -p race-condition -- --threads 1
//! Try:      cargo run -p race-condition -- --no-yield --increments 100000
//! See also: mutex-fix, the same work with a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use anyhow::{anyhow, ensure};
use clap::{Parser, value_parser};

/// After so many rounds without a lost update the demo gives up: with the yield, and without.
const MAX_ROUNDS: [u64; 2] = [10, 10_000];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// How often each thread adds 1
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..=100_000))]
    increments: u64,
    /// Do not yield the core between load and store; repeat rounds until one loses an update
    #[arg(long)]
    no_yield: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let expected = args.threads * args.increments;
    println!(
        "threads: {}, each adds 1 to one counter, {} times",
        args.threads, args.increments
    );

    let (mut round, mut counted) = (0, expected);
    while counted == expected && round < MAX_ROUNDS[usize::from(args.no_yield)]
    {
        round += 1;
        counted = count(&args)?;
    }
    let lost = expected - counted;
    ensure!(
        lost > 0,
        "no update was lost in {round} rounds: expected {expected}, counted {counted}"
    );
    if round > 1 {
        println!(
            "rounds that lost nothing: {}; then round {round}:",
            round - 1
        );
    }
    let cells = (60 * counted / expected) as usize;
    println!("\nexpected {expected:>8} {}", "█".repeat(60));
    println!(
        "counted  {counted:>8} {}{}",
        "█".repeat(cells),
        "░".repeat(60 - cells)
    );
    println!("\nexpected {expected}, counted {counted}: {lost} updates lost");
    Ok(())
}

/// One round: all threads add to a fresh counter; returns where it ends.
fn count(args: &Args) -> anyhow::Result<u64> {
    let (counter, ready) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        ready.fetch_add(1, Relaxed);
        while ready.load(Relaxed) < args.threads {
            thread::yield_now(); // until all are here: they start together
        }
        for i in 0..args.increments {
            let value = counter.load(Relaxed);
            if i % 10 == 0 && !args.no_yield {
                thread::yield_now(); // widens the window: others get to load the same value
            }
            counter.store(value + 1, Relaxed); // overwrites what they stored since
        }
    };
    thread::scope(|scope| {
        let start =
            |_| thread::Builder::new().spawn_scoped(scope, work).map(drop);
        let started = (0..args.threads).try_for_each(start);
        if started.is_err() {
            ready.store(args.threads, Relaxed); // nobody shall wait for those that never come
        }
        started.map_err(|error| anyhow!("cannot start a thread: {error}"))
    })?;
    Ok(counter.into_inner())
}
