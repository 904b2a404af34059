//! Race condition: the result depends on the order in which threads run.
//!
//! Threads add 1 to one counter. To add takes three steps: load the value, add
//! 1 to it, store the sum. If two threads load the same value, both store the
//! same sum. Then the counter grows by 1 and not by 2: an update is lost.
//!
//! Predict:  4 threads add 1, 1000 times each: lowest, highest possible count?
//! Try:      cargo run -p race-condition -- --no-sleep --increments 1000000
//! Try:      cargo run -p race-condition -- --threads 1   # exits 1: no race
//! See also: mutex-fix, the same code with a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// How often each thread adds 1
    #[arg(long, default_value_t = 1000)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000_000))]
    increments: u64,
    /// Do not sleep between load and store: whether that loses any update is
    /// luck
    #[arg(long)]
    no_sleep: bool,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // Rust lets several threads use an atomic at the same time, since each load
    // is one step, and each store is one step. A load plus a store are two, and
    // that is the race. Relaxed is not the cause: any other Ordering would lose
    // updates, too.
    let counter = AtomicU64::new(0);

    thread::scope(|scope| -> Result<()> {
        for _ in 0..args.threads {
            // scope.spawn would panic where the kernel refuses a thread.
            let thread = thread::Builder::new()
                .spawn_scoped(scope, || add(&counter, &args));
            thread.context("cannot start a thread")?;
        }
        Ok(())
    })?; // the scope ends when all its threads have ended

    // At least one update must be lost, and the count must be possible.
    judge(&args, counter.into_inner())
}

/// What each thread does. Between load and store it does not notice others.
fn add(counter: &AtomicU64, args: &Args) {
    for _ in 0..args.increments {
        let value = counter.load(Relaxed);
        let sum = value + 1;
        if !args.no_sleep {
            // The kernel may stop a thread at any time, but it rarely does so
            // just here. This short sleep makes it do so each time. Meanwhile
            // the other threads often load the same value.
            thread::sleep(Duration::from_micros(1));
        }
        counter.store(sum, Relaxed); // overwrites what others stored meanwhile
    }
}

/// The highest count possible is all of them: no update is lost. The lowest is
/// 2, with the two exceptions below. Neither is measured: they follow from the
/// steps.
///
/// Why 2 is possible: thread A loads 0, and waits. All others do their work,
/// but thread B stops before its last increment. A stores 1. B loads that 1,
/// and waits. A does the rest of its work. B stores 2, the last store of all.
///
/// Why 1 is not: the last store of all is the last one of its thread. That
/// thread has stored before, at least 1. No thread ever stores less than 1, so
/// it loaded at least 1 now, and stores at least 2.
fn lowest_possible(args: &Args) -> u64 {
    if args.threads == 1 {
        return args.increments; // nobody is there to overwrite anything
    }
    if args.increments == 1 {
        return 1; // all load 0, then all store 1
    }
    2
}

fn judge(args: &Args, counted: u64) -> Result<()> {
    println!(
        "threads: {}, each adds 1 to one counter, {} times\n",
        args.threads, args.increments
    );
    let expected = args.threads * args.increments;
    let lowest = lowest_possible(args);
    print_row("highest possible", expected, expected);
    print_row("counted", counted, expected);
    print_row("lowest possible", lowest, expected);
    println!("What is possible is not measured: main.rs derives it.\n");

    ensure!(
        counted < expected,
        "no update was lost: expected {expected}, counted {counted}"
    );
    ensure!(counted >= lowest, "impossible: counted {counted}");
    let lost = expected - counted;
    println!("expected {expected}, counted {counted}: {lost} updates lost");
    Ok(())
}

/// A count, and a bar that shows its share of what was expected.
fn print_row(label: &str, count: u64, expected: u64) {
    let width = 50;
    let full = (width * count / expected) as usize;
    let bar = "█".repeat(full);
    let rest = "░".repeat(width as usize - full);
    println!("{label:<16} {count:>9} {bar}{rest}");
}
