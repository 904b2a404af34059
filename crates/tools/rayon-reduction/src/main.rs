//! Rayon: `into_par_iter` spreads an iterator over the cores, as OpenMP's pragma does a loop.
//!
//! The integral of 4 / (1 + x²) from 0 to 1. Rayon halves the range again and again, and a thread
//! without work steals half of another's; OpenMP (src/pi.c) cuts equal shares before it starts.
//! The two are compared in a release build: in a debug build the C is optimised, the Rust is not.
//!
//! Predict:  is C with OpenMP faster than Rust with Rayon, and by how much?
//! Run:      cargo run --release -p rayon-reduction
//! Try:      cargo run --release -p rayon-reduction -- --threads 8
//! Try:      cargo run -p rayon-reduction
//! See also: openmp-reduction, where the C side is shown.

use std::f64::consts::PI;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};
use nix::time::{ClockId, clock_gettime};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

const ROUNDS: usize = 5;
/// Without optimisation the Rust loop is slow: fewer steps, and nothing to compare C to.
const RELEASE: bool = !cfg!(debug_assertions);
const STEPS: i64 = if RELEASE { 100 } else { 5 }; // in millions, at least

// SAFETY: src/pi.c takes these two numbers and returns one; it reads and writes nothing else.
unsafe extern "C" {
    safe fn pi_openmp(steps: i64, threads: i32) -> f64;
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads, for Rayon and for OpenMP [default: one per core, but 2 to 6]
    #[arg(long, value_parser = value_parser!(u16).range(2..=32))]
    threads: Option<u16>,
    /// Steps from 0 to 1, in millions
    #[arg(long, default_value_t = STEPS, value_parser = value_parser!(i64).range(STEPS..=10_000))]
    steps: i64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let cores = thread::available_parallelism()?.get();
    let threads = args.threads.map_or(cores.clamp(2, 6), usize::from);
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    print!(
        "{} million steps, {threads} threads, {cores} cores; ",
        args.steps
    );
    println!(
        "the fastest of {ROUNDS} rounds\n\n        seconds  cores busy  sum"
    );

    let steps = 1_000_000 * args.steps;
    let width = 1.0 / steps as f64;
    let height = |step| {
        let x = (step as f64 + 0.5) * width;
        4.0 / (1.0 + x * x)
    };
    let serial =
        fastest("serial", || (0..steps).map(height).sum::<f64>() * width)?;
    let rayon = fastest("Rayon", || {
        (0..steps).into_par_iter().map(height).sum::<f64>() * width
    })?;
    let openmp = || fastest("OpenMP", || pi_openmp(steps, threads as i32));
    let openmp = (cfg!(openmp) && RELEASE).then(openmp).transpose()?;

    let computed = rayon::broadcast(|_| cpu(ClockId::CLOCK_THREAD_CPUTIME_ID)); // asks each thread
    let computed = computed.into_iter().collect::<Result<Vec<f64>>>()?;
    let all: f64 = computed.iter().sum();
    println!("\nRayon's CPU time, and of it each thread's share:");
    for (share, time) in ["█", "░"].iter().cycle().zip(&computed) {
        print!("{}", share.repeat((70.0 * time / all).round() as usize));
    }
    let busy = computed
        .iter()
        .filter(|time| **time > 0.1 * all / threads as f64)
        .count();
    ensure!(busy > 1, "{busy} of Rayon's {threads} threads computed");
    match openmp {
        Some(openmp) => println!(
            "\n\nRayon took {:.2} times OpenMP's seconds",
            rayon / openmp
        ),
        None if RELEASE => {
            println!("\n\nnot compared to OpenMP: the C compiler has none");
        }
        None => println!("\n\nnot compared to OpenMP: that takes --release"),
    }
    println!(
        "{busy} threads computed: {:.2} times as fast as one",
        serial / rayon
    );
    Ok(())
}

/// Prints what came out and how long it took; returns the seconds.
fn fastest(name: &str, integral: impl Fn() -> f64) -> Result<f64> {
    let round = |_| {
        let (begin, before) =
            (Instant::now(), cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        let sum = integral();
        let used = cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - before;
        Ok((begin.elapsed().as_secs_f64(), used, sum))
    };
    let mut rounds = (0..ROUNDS).map(round).collect::<Result<Vec<_>>>()?;
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, used, sum) = rounds[0];
    println!("{name:<8}{seconds:>7.3}{:>12.2}  {sum:.15}", used / seconds);
    ensure!(
        (sum - PI).abs() < 1e-9,
        "{name}: the integral is {sum}, not pi"
    );
    Ok(seconds)
}

/// Seconds on a core, of this thread or of all threads of this process (clock_gettime(2)).
fn cpu(clock: ClockId) -> Result<f64> {
    Ok(Duration::from(clock_gettime(clock)?).as_secs_f64())
}
