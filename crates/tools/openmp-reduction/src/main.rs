//! OpenMP: one pragma in C spreads a loop over the threads of one computer.
//!
//! The loop in src/pi.c adds up numbers, and the result is pi. A pragma is a
//! line for the compiler; this one, above the loop, makes OpenMP start threads
//! and give each a share of the steps:
//!     #pragma omp parallel for reduction(+ : sum) num_threads(threads)
//! In the end it adds up their sums. That is a reduction: many numbers become
//! one.
//!
//! Predict:  several threads: how many times as fast? The same sum, each digit?
//! Try:      cargo run -p openmp-reduction -- --threads 8
//! Try:      OMP_THREAD_LIMIT=1 cargo run -p openmp-reduction # exits 1: alone
//! See also: rayon-reduction, the same loop in Rust; mpi-reduction, where
//!           processes do it, which share no variables.

use std::f64::consts::PI;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};
use nix::time::{ClockId, clock_gettime};

// The function of src/pi.c, which build.rs compiles.
// SAFETY: its arguments and its result are those of the C function, which gets
// at least one step and one thread.
unsafe extern "C" {
    safe fn pi_openmp(steps: i64, threads: i32) -> f64;
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_openmp(); // or exits with 77

    let at_once = thread::available_parallelism()?.get();
    let threads = args.threads.unwrap_or(at_once.clamp(2, 8) as i32);
    println!("threads that this machine runs at once, for us: {at_once}\n");

    println!("           seconds  main computed  others computed  sum");
    let one = measure(1)?;
    print_row(1, &one);
    // In here OpenMP starts the other threads. Main computes a share, too.
    let several = measure(threads)?;
    print_row(threads, &several);

    for sum in [one.sum, several.sum] {
        ensure!((sum - PI).abs() < 1e-9, "{sum} is not pi");
    }
    // If shares are equal, the others have a half (of 2 threads) or more.
    let all = several.main_computed + several.others_computed;
    let share = several.others_computed / all;
    ensure!(
        share > 0.25,
        "the other threads computed {:.0} % of all: does an OMP_ variable \
         in the environment keep them away?",
        100.0 * share
    );
    let speed_up = one.seconds / several.seconds;
    println!("\nof all, others than main computed {:.0} %", 100.0 * share);
    println!("speed-up: {speed_up:.2} times as fast as 1 thread");
    Ok(())
}

/// A run of the loop. Times are in seconds.
struct Run {
    seconds: f64,
    main_computed: f64,
    others_computed: f64,
    sum: f64,
}

/// Runs the loop. The kernel knows how long each thread, and how long a whole
/// process has computed. Source: clock_gettime(2).
fn measure(threads: i32) -> Result<Run> {
    let steps = 100_000_000;
    let main_before = cpu_seconds(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let all_before = cpu_seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    let begin = Instant::now();

    let sum = pi_openmp(steps, threads);

    let seconds = begin.elapsed().as_secs_f64();
    let main = cpu_seconds(ClockId::CLOCK_THREAD_CPUTIME_ID)? - main_before;
    let all = cpu_seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - all_before;
    Ok(Run {
        seconds,
        main_computed: main,
        // The clocks are read one after the other: it might be below 0.
        others_computed: (all - main).max(0.0),
        sum,
    })
}

/// CPU time so far: of this thread, or of all threads of this process.
fn cpu_seconds(clock: ClockId) -> Result<f64> {
    let time = clock_gettime(clock)?;
    Ok(Duration::from(time).as_secs_f64())
}

fn print_row(threads: i32, run: &Run) {
    let Run {
        seconds,
        main_computed,
        others_computed,
        sum,
    } = run;
    let name = if threads == 1 { "thread" } else { "threads" };
    print!("{threads} {name:<9}{seconds:>7.3}");
    println!("{main_computed:>13.3} s{others_computed:>15.3} s  {sum:.15}");
}

fn need_openmp() {
    if !cfg!(openmp) {
        eprintln!(
            "cannot run here: the C compiler has no OpenMP for this target; \
             to install one that has: apt install gcc, dnf install gcc, \
             brew install libomp, pkg install gcc (and CC=gcc)"
        );
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads for OpenMP [default: as many as run at once, but 2 to 8]
    #[arg(long)]
    #[arg(value_parser = value_parser!(i32).range(2..=64))]
    threads: Option<i32>,
}
