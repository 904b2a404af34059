//! Mutex: a lock that one thread can have, while others that want it wait.
//!
//! What stands between lock and unlock is a critical section: only the thread
//! that has the lock is in it. Here it is the three steps of an addition: load,
//! add, store. No other thread can load before the sum is stored.
//!
//! Predict:  the same race, now with a lock. What is the count at the end?
//! Try:      cargo run -p mutex-fix -- --no-sleep --increments 1000000
//! See also: race-condition, the same code without the lock; atomic-fix, what
//!           a lock costs.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// What each thread does. Between lock and unlock, no other thread is.
fn add(counter: &Mutex<u64>, args: &Args) {
    for _ in 0..args.increments {
        let mut guard = counter.lock().unwrap(); // waits until it is unlocked
        let value = *guard;
        let sum = value + 1;
        if !args.no_sleep {
            // As in race-condition. While this thread sleeps, it has the lock,
            // and the others wait: the sleeps come one after the other.
            thread::sleep(Duration::from_micros(1));
        }
        *guard = sum;
        drop(guard); // unlocks
    }
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();

    // The counter is in the mutex: no thread can use it without the lock.
    let counter = Mutex::new(0);

    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| add(&counter, &args));
        }
    }); // the scope ends when all its threads have ended

    // An error if a thread panicked while it had the lock.
    let counted = counter.into_inner()?;
    judge(&args, counted)
}

/// No update must have been lost.
fn judge(args: &Args, counted: u64) -> Result<()> {
    let threads = args.threads;
    let increments = args.increments;
    let expected = threads * increments;
    println!("{threads} threads, each adds 1, {increments} times\n");
    print_row("expected", expected, expected);
    print_row("counted", counted, expected);
    ensure!(
        counted == expected,
        "updates were lost: expected {expected}, counted {counted}"
    );
    println!("\nexpected {expected}, counted {counted}: 0 updates lost");
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
    /// Do not sleep between load and store
    #[arg(long)]
    no_sleep: bool,
}
