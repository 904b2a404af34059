//! Race condition: the result depends on the order in which threads run.
//!
//! Threads add 1 to one counter. To add takes three steps: load the value, add
//! 1 to it, store the sum. If two threads load the same value, both store the
//! same sum. Then the counter grows by 1 and not by 2: an update is lost.
//!
//! Predict:  4 threads add 1, 1000 times each. What is the count at the end?
//! Try:      cargo run -p race-condition -- --no-sleep --increments 1000000
//! Try:      cargo run -p race-condition -- --threads 1   # exits 1: no race
//! See also: mutex-fix, the same code with a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// What each thread does. Between load and store it does not notice others.
fn add(counter: &AtomicU64, args: &Args) {
    for _ in 0..args.increments {
        let value = counter.load(Relaxed);
        let sum = value + 1;
        if !args.no_sleep {
            // Load and store are so close that other threads rarely come
            // between. This sleep makes room for them. It asks for 1 µs, and
            // takes about 60 on Linux: a million of them take a minute.
            thread::sleep(Duration::from_micros(1));
        }
        counter.store(sum, Relaxed); // overwrites what others stored meanwhile
    }
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();

    // An atomic makes a single load one step, and a single store. So Rust lets
    // several threads use it at the same time. But a load and a store are two
    // steps, and that is the race. Relaxed says that this number orders no
    // other memory; any other Ordering would lose updates, too.
    let counter = AtomicU64::new(0);

    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| add(&counter, &args));
        }
    }); // the scope ends when all its threads have ended

    judge(&args, counter.into_inner())
}

/// At least one update must have been lost.
fn judge(args: &Args, counted: u64) -> Result<()> {
    let threads = args.threads;
    let increments = args.increments;
    let expected = threads * increments;
    println!("{threads} threads, each adds 1, {increments} times\n");
    print_row("expected", expected, expected);
    print_row("counted", counted, expected);
    ensure!(
        counted < expected,
        "no update was lost: expected {expected}, counted {counted}"
    );
    let lost = expected - counted;
    println!("\nexpected {expected}, counted {counted}: {lost} updates lost");
    Ok(())
}

/// A count, and a bar that shows its share of what was expected.
fn print_row(label: &str, count: u64, expected: u64) {
    let width = 50;
    let full = (width * count / expected) as usize;
    let bar = "█".repeat(full);
    let rest = "░".repeat(width as usize - full);
    println!("{label:<9} {count:>9} {bar}{rest}");
}

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
    /// Do not sleep between load and store: then it is luck if updates are lost
    #[arg(long)]
    no_sleep: bool,
}
