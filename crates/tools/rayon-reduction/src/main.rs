//! Rayon: one more word spreads an iterator over threads.
//!
//! The loop adds up numbers, and the result is pi. Rayon's threads halve the
//! range of the loop again and again. A thread that has no work left takes a
//! half that another thread has not begun. That is called work stealing.
//! In the end the sums of all parts are added: a reduction.
//!
//! Predict:  one word more: how many times as fast? The same sum, each digit?
//! Run:      cargo run --release -p rayon-reduction
//! Try:      cargo run --release -p rayon-reduction -- --threads 8
//! See also: openmp-reduction, the same loop in C.

use std::f64::consts::PI;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::time::{ClockId, clock_gettime};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

const STEPS: i64 = 20_000_000;

fn pi_serial() -> f64 {
    let sum: f64 = (0..STEPS).map(height).sum();
    sum / STEPS as f64
}

/// The same with one more word: `into_par_iter` hands out the range to threads.
fn pi_rayon() -> f64 {
    let sum: f64 = (0..STEPS).into_par_iter().map(height).sum();
    sum / STEPS as f64
}

/// The area under this curve from x = 0 to 1 is pi. It is cut into thin strips.
fn height(step: i64) -> f64 {
    let x = (step as f64 + 0.5) / STEPS as f64;
    4.0 / (1.0 + x * x)
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let at_once = thread::available_parallelism()?.get();
    let threads = match args.threads {
        Some(threads) => usize::from(threads),
        None => at_once.clamp(2, 6),
    };
    println!("threads that this machine runs at once, for us: {at_once}");
    println!("threads of Rayon: {threads}\n");

    // Without this, Rayon starts as many threads as the machine runs at once.
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("cannot start the threads of Rayon")?;

    println!("        seconds  sum");
    let begin = Instant::now();
    let serial = pi_serial();
    let serial_seconds = begin.elapsed().as_secs_f64();
    println!("serial{serial_seconds:>9.3}  {serial:.15}");

    let begin_rayon = Instant::now();
    let rayon = pi_rayon();
    let rayon_seconds = begin_rayon.elapsed().as_secs_f64();
    println!("Rayon {rayon_seconds:>9.3}  {rayon:.15}");

    // Runs this once on each thread of Rayon, and collects what they return.
    let answers = rayon::broadcast(|_| cpu_seconds_of_this_thread());
    let mut computed = Vec::new();
    for answer in answers {
        computed.push(answer?);
    }
    judge(&computed)?;
    for sum in [serial, rayon] {
        ensure!((sum - PI).abs() < 1e-9, "{sum} is not pi");
    }
    let speed_up = serial_seconds / rayon_seconds;
    println!("speed-up: {speed_up:.2} times as fast as the serial loop");
    Ok(())
}

/// How long this thread has computed. Source: clock_gettime(2).
fn cpu_seconds_of_this_thread() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(time).as_secs_f64())
}

/// At least two threads must have computed, each for a tenth of an equal share
/// or more. Shares may differ: others steal the work of a thread without a CPU.
fn judge(computed: &[f64]) -> Result<()> {
    let threads = computed.len();
    let all: f64 = computed.iter().sum();
    let equal_share = all / threads as f64;
    let mut busy = 0;
    println!("\nthread   computed, and its share of all");
    for (i, seconds) in computed.iter().enumerate() {
        let bar = "█".repeat((50.0 * seconds / all).round() as usize);
        println!("{i:>6}{seconds:>9.3} s  {bar}");
        if *seconds > 0.1 * equal_share {
            busy += 1;
        }
    }
    ensure!(busy > 1, "{busy} of Rayon's {threads} threads computed");
    println!("\nthreads that computed, of {threads}: {busy}");
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads of Rayon [default: as many as run at once, but 2 to 6]
    #[arg(long)]
    #[arg(value_parser = value_parser!(u8).range(2..=32))]
    threads: Option<u8>,
}
