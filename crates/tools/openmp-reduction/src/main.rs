//! OpenMP: one pragma in C spreads a loop over the cores of one computer.
//!
//! The loop in src/pi.c adds up numbers, and the result is pi. A pragma is a
//! line for the compiler. This one makes OpenMP start threads and give each one
//! a share of the steps. The threads belong to one process, so they share its
//! memory. In the end OpenMP adds up their sums. That is a reduction: many
//! numbers become one.
//!
//! Predict:  2 threads, not 1: half the time? The same sum, to the last digit?
//! Try:      cargo run -p openmp-reduction -- --threads 8
//! Try:      OMP_THREAD_LIMIT=1 cargo run -p openmp-reduction # exits 1: alone
//! See also: rayon-reduction, the same loop in Rust; mpi-reduction, where
//!           processes do it, which share no memory.

mod evidence;

use anyhow::Result;
use clap::{Parser, value_parser};

// The function of src/pi.c, which build.rs compiles.
// SAFETY: it takes two numbers and gives one; it touches no other memory.
unsafe extern "C" {
    safe fn pi_openmp(steps: i64, threads: i32) -> f64;
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads for OpenMP [default: one per core, but 2 to 8]
    #[arg(long)]
    #[arg(value_parser = value_parser!(i32).range(2..=64))]
    threads: Option<i32>,
    /// Steps of the loop, in millions
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = value_parser!(i64).range(20..=10_000))]
    steps: i64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    // If one of these is missing, this ends the program.
    evidence::check_that_c_has_openmp();
    evidence::check_that_waiting_is_told();
    let cores = evidence::cores_of_this_process()?;
    let threads = args.threads.unwrap_or(cores.clamp(2, 8));
    let steps = 1_000_000 * args.steps;
    print!("{} million steps; ", args.steps);
    println!("cores that this process may use: {cores}");

    let one = evidence::measure(1, || pi_openmp(steps, 1))?;
    evidence::draw(&one, &one); // the second one is the scale

    // In here OpenMP starts the other threads. Main computes a share, too.
    let several = evidence::measure(threads, || pi_openmp(steps, threads))?;
    evidence::draw(&several, &one);

    // The verdict demands: both sums are pi. OpenMP used as many threads as it
    // was told to. Several threads wanted at least 1.2 times as many cores as
    // one thread. A thread wants a core while it computes on it, and while it
    // has to wait for it. So one thread wants 1 core, and two want up to 2, no
    // matter what else the machine does. They may also sleep for a while.
    evidence::judge(&one, &several)
}
