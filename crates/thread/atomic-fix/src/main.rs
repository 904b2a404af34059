//! Atomic: fetch_add is load, add and store in one step. No update gets lost, and there is no lock.
//!
//! Four ways to count together. The race may lose updates. With a mutex and with fetch_add the count
//! is exact, but each increment has to get hold of the one counter that all threads want. A thread
//! that races with nobody, in a variable of its own, adds its sum at the end: once is enough.
//! Source: std::sync::atomic. Times with --release: unoptimised code mostly calls functions.
//!
//! Predict:  mutex, fetch_add, private variable: how many nanoseconds does an increment take?
//! Run:      cargo run --release -p atomic-fix
//! Try:      cargo run --release -p atomic-fix -- --threads 1
//! See also: race-condition; mutex-fix; race-interleavings, why one step cannot lose an update.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::{Parser, value_parser};

const ROUNDS: usize = 5;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the counter
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// How often each thread adds 1 in a round
    #[arg(long, default_value_t = 250_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    increments: u64,
}

fn main() -> Result<()> {
    let Args {
        threads,
        increments,
    } = Args::parse();
    let (racy, locked) = (AtomicU64::new(0), Mutex::new(0));
    let (atomic, sum) = (AtomicU64::new(0), AtomicU64::new(0));

    let race = || {
        (0..increments)
            .for_each(|_| racy.store(racy.load(Relaxed) + 1, Relaxed));
    };
    let mutex = || (0..increments).for_each(|_| *locked.lock().unwrap() += 1);
    let fetch_add =
        || (0..increments).for_each(|_| _ = atomic.fetch_add(1, Relaxed)); // one step
    let private = || {
        let own = AtomicU64::new(0);
        let own = black_box(&own); // not optimised away, though no other thread can see it
        (0..increments).for_each(|_| own.store(own.load(Relaxed) + 1, Relaxed)); // as in the race
        sum.fetch_add(own.load(Relaxed), Relaxed);
    };

    let methods: [&(dyn Fn() + Sync); 4] =
        [&race, &mutex, &fetch_add, &private];
    let mut times = [[0.0; ROUNDS]; 4];
    for round in 0..ROUNDS {
        for (times, method) in times.iter_mut().zip(methods) {
            times[round] =
                nanoseconds(threads, method)? / (threads * increments) as f64;
        }
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let median = times.map(|times| times[ROUNDS / 2]);
    let longest = median.into_iter().fold(0.0, f64::max);

    let expected = threads * increments * ROUNDS as u64;
    let counted = [
        racy.into_inner(),
        locked.into_inner()?,
        atomic.into_inner(),
        sum.into_inner(),
    ];
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    println!(
        "threads: {threads}, each adds 1, {increments} times, in {ROUNDS} rounds\n"
    );
    println!(
        "expected {expected:>11}          ns per increment, {build} build"
    );
    println!(
        "             counted      lost   fastest   slowest  median round"
    );
    for (i, name) in
        ["race", "mutex", "fetch_add", "private"].iter().enumerate()
    {
        let [fastest, .., slowest] = times[i];
        let bar = "█".repeat((16.0 * median[i] / longest).round() as usize);
        print!("{name:<9} {:>10} {:>9}", counted[i], expected - counted[i]);
        println!(" {fastest:>9.2} {slowest:>9.2} {:>7.2} {bar}", median[i]);
    }
    ensure!(
        counted[1..] == [expected; 3],
        "expected {expected}, counted {counted:?}"
    );
    let [_, mutex, fetch_add, private] = median;
    print!(
        "\nexact: mutex {mutex:.1} ns, fetch_add {fetch_add:.1} ns, private {private:.1} ns; "
    );
    println!("race lost {}", expected - counted[0]);
    Ok(())
}

/// Lets all threads do the same work at the same time. Returns how long that took.
fn nanoseconds(threads: u64, work: &(dyn Fn() + Sync)) -> Result<f64> {
    let gate = RwLock::new(());
    thread::scope(|scope| {
        let closed = gate.write();
        let timed = || {
            drop(gate.read()); // waits until all threads have been started
            let begin = Instant::now();
            work();
            (begin, Instant::now())
        };
        let start = |_| thread::Builder::new().spawn_scoped(scope, timed);
        let started = (0..threads).map(start).collect::<Result<Vec<_>, _>>();
        let started = started
            .map_err(|error| anyhow!("cannot start a thread: {error}"))?;
        drop(closed);
        let times = started.into_iter().map(|thread| thread.join().unwrap());
        let (first, last) = times
            .reduce(|one, two| (one.0.min(two.0), one.1.max(two.1)))
            .unwrap();
        Ok((last - first).as_secs_f64() * 1e9)
    })
}
