//! Mutex: a lock that one thread can have, while all others must wait for it.
//!
//! What stands between lock and unlock is a critical section: only the thread
//! that has the lock is in it. Here these are the three steps of an addition:
//! load, add, store. The other threads cannot load before the sum is stored.
//! What the lock costs is measured in one thread alone: it never has to wait.
//!
//! Predict:  a thread alone, no waiting: how many times slower with a lock?
//! Try:      cargo run -p mutex-fix -- --increments 1000   # as in the race
//! Try:      cargo run -p mutex-fix -- --no-sleep --increments 1000000
//! Try:      cargo run --release -p mutex-fix   # optimised code
//! See also: race-condition, the same code without the lock.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// How often each thread adds 1 (few: only one thread can sleep at a time)
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000_000))]
    increments: u64,
    /// Do not sleep between load and store
    #[arg(long)]
    no_sleep: bool,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // The counter is inside the mutex: nobody gets at it without the lock.
    let counter = Mutex::new(0);

    thread::scope(|scope| -> Result<()> {
        for _ in 0..args.threads {
            // scope.spawn would panic where the kernel refuses a thread.
            let thread = thread::Builder::new()
                .spawn_scoped(scope, || add(&counter, &args));
            thread.context("cannot start a thread")?;
        }
        Ok(())
    })?; // the scope ends when all its threads have ended

    let counted = counter.into_inner().unwrap();
    let price = measure_price();

    // No update may be lost. An increment with the lock must take longer than
    // one without.
    judge(&args, counted, &price)
}

/// What each thread does. Between lock and unlock it is alone.
fn add(counter: &Mutex<u64>, args: &Args) {
    for _ in 0..args.increments {
        let mut guard = counter.lock().unwrap(); // waits until it is unlocked
        let value = *guard;
        let sum = value + 1;
        if !args.no_sleep {
            // Another thread that runs meanwhile has to wait for the lock.
            thread::sleep(Duration::from_micros(1));
        }
        *guard = sum;
        drop(guard); // unlocks
    }
}

/// Nanoseconds per increment in one thread alone, without the sleep.
struct Price {
    without_lock: f64,
    with_lock: f64,
}

fn measure_price() -> Price {
    let alone = Args {
        threads: 1,
        increments: 10_000,
        no_sleep: true,
    };
    let unlocked = AtomicU64::new(0); // the counter of race-condition
    let locked = Mutex::new(0);
    // If the compiler saw that no other thread uses these two, it could leave
    // out their loads, stores and locks. black_box hides that from it.
    Price {
        without_lock: nanoseconds(&alone, || {
            add_without_lock(black_box(&unlocked), &alone);
        }),
        with_lock: nanoseconds(&alone, || add(black_box(&locked), &alone)),
    }
}

/// What each thread of race-condition does, without the sleep.
fn add_without_lock(counter: &AtomicU64, args: &Args) {
    for _ in 0..args.increments {
        let value = counter.load(Relaxed);
        let sum = value + 1;
        counter.store(sum, Relaxed);
    }
}

/// Nanoseconds per increment, in the fastest of many rounds. That one is the
/// least likely to have been interrupted by another process.
fn nanoseconds(args: &Args, all_increments: impl Fn()) -> f64 {
    let mut fastest = Duration::MAX;
    for _ in 0..100 {
        let begin = Instant::now();
        all_increments();
        fastest = fastest.min(begin.elapsed());
    }
    fastest.as_nanos() as f64 / args.increments as f64
}

fn judge(args: &Args, counted: u64, price: &Price) -> Result<()> {
    println!(
        "threads: {}, each adds 1 to one counter, {} times, with a lock\n",
        args.threads, args.increments
    );
    let expected = args.threads * args.increments;
    print_row("expected", expected, expected);
    print_row("counted", counted, expected);

    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let without = price.without_lock;
    let with = price.with_lock;
    println!("\nOne thread alone, without the sleep, {build} build:");
    println!("without the lock {without:>9.2} ns per increment");
    println!("with the lock    {with:>9.2} ns per increment\n");

    ensure!(
        counted == expected,
        "with the lock: expected {expected}, counted {counted}"
    );
    ensure!(with > without, "with the lock it does not take longer");
    println!("expected {expected}, counted {counted}: 0 updates lost");
    print!("the lock takes {:.1} times the time, ", with / without);
    println!("even if no thread has to wait");
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
