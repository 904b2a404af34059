//! Rayon: one more word spreads an iterator over the cores.
//!
//! The loop adds up numbers, and the result is pi. Rayon's threads halve the
//! range of the loop again and again. A thread that has no work left takes a
//! half that another thread has not begun. That is called work stealing.
//! The C loop in src/pi.c is for comparison. There OpenMP cuts the range into
//! equal shares at the start. It is compared in a release build only: in a
//! debug build the C loop is optimised, and the Rust loop is not.
//!
//! Predict:  Is C with OpenMP faster than Rust with Rayon? By how much?
//! Run:      cargo run --release -p rayon-reduction
//! Try:      cargo run --release -p rayon-reduction -- --threads 8
//! Try:      cargo run -p rayon-reduction   # no comparison
//! See also: openmp-reduction, where the C loop is explained.

mod evidence;

use std::thread;

use anyhow::{Result, bail};
use clap::{Parser, value_parser};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Is this a release build? Then the loop is fast, and takes more steps.
const RELEASE: bool = !cfg!(debug_assertions);
const MILLION_STEPS: i64 = if RELEASE { 100 } else { 5 };

// The function of src/pi.c, which build.rs compiles.
// SAFETY: it takes two numbers and gives one; it touches no other memory.
unsafe extern "C" {
    safe fn pi_openmp(steps: i64, threads: i32) -> f64;
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads, for Rayon and for OpenMP [default: one per core, but 2 to 6]
    #[arg(long)]
    #[arg(value_parser = value_parser!(u8).range(2..=32))]
    threads: Option<u8>,
    /// Steps of the loop, in millions
    #[arg(long, default_value_t = MILLION_STEPS)]
    #[arg(value_parser = value_parser!(i64).range(MILLION_STEPS..=10_000))]
    steps: i64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let cores = thread::available_parallelism()?.get();
    let threads = match args.threads {
        Some(threads) => usize::from(threads),
        None => cores.clamp(2, 6),
    };
    println!("{} million steps, {threads} threads", args.steps);
    let steps = 1_000_000 * args.steps;

    // Without this, Rayon starts one thread per core at its first loop.
    let started = ThreadPoolBuilder::new().num_threads(threads).build_global();
    if let Err(why) = started {
        bail!("cannot start the threads of Rayon: {why}");
    }
    // On which cores may main and Rayon's threads run? Later OpenMP will use
    // main as well, and start others.
    let main_and_rayon = evidence::cores_of_threads()?;

    // Each loop runs several times, and the fastest round counts.
    let serial = evidence::fastest("serial", || pi_serial(steps))?;
    let rayon = evidence::fastest("Rayon", || pi_rayon(steps))?;
    let computed = evidence::cpu_seconds_of_rayon_threads()?;

    // In a release build, and if the C compiler has OpenMP.
    if evidence::can_compare() {
        // The first call of it starts the threads of OpenMP.
        let openmp =
            evidence::fastest("OpenMP", || pi_openmp(steps, threads as i32))?;
        // The verdict demands: OpenMP used as many threads as Rayon, and they
        // were allowed on the same cores.
        evidence::compare(&rayon, &openmp, &main_and_rayon)?;
    }

    // The verdict demands: at least two threads of Rayon computed. That means a
    // tenth of an equal share of the CPU time, or more. Of 4 threads, an equal
    // share is 25 %, and 2.5 % is enough. Shares need not be equal: a thread on
    // a busy core has its work stolen.
    evidence::judge(&serial, &rayon, &computed)
}

fn pi_serial(steps: i64) -> f64 {
    let width = 1.0 / steps as f64;
    let sum: f64 = (0..steps).map(|step| height(step, width)).sum();
    sum * width
}

/// The same with one more word: `into_par_iter` hands out the range to threads.
fn pi_rayon(steps: i64) -> f64 {
    let width = 1.0 / steps as f64;
    let sum: f64 = (0..steps)
        .into_par_iter()
        .map(|step| height(step, width))
        .sum();
    sum * width
}

/// The area under this curve from x = 0 to 1 is pi. It is cut into thin strips.
fn height(step: i64, width: f64) -> f64 {
    let x = (step as f64 + 0.5) * width;
    4.0 / (1.0 + x * x)
}
