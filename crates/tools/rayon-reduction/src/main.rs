//! Rayon: `into_par_iter` spreads an iterator over the cores, as OpenMP's pragma does a loop.
//!
//! The integral of 4 / (1 + x²) from 0 to 1. Rayon halves the range again and again, and a thread
//! without work steals half of another's; OpenMP (src/pi.c) cuts equal shares before it starts.
//! The two are compared in a release build: in a debug build the C is optimised, the Rust is not.
//!
//! Predict:  is C with OpenMP faster than Rust with Rayon, and by how much?
//! Try:      cargo run --release -p rayon-reduction
//! Try:      cargo run --release -p rayon-reduction -- --threads 8
//! See also: openmp-reduction, where the C side is shown.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::time::{ClockId, clock_gettime};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

const ROUNDS: usize = 3;
/// Without optimisation the Rust loop is slow: fewer steps, and nothing to compare C to.
const RELEASE: bool = !cfg!(debug_assertions);
/// In millions, at least
const STEPS: i64 = if RELEASE { 100 } else { 5 };

// SAFETY: src/pi.c takes these two numbers and returns one; it reads and writes nothing else.
unsafe extern "C" {
    safe fn pi_openmp(steps: i64, threads: i32) -> f64;
}

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Threads, for Rayon and for OpenMP [default: one per core, but 2 to 6]
    #[arg(long, value_parser = value_parser!(u16).range(2..=32))]
    threads: Option<u16>,
    /// Steps from 0 to 1, in millions
    #[arg(long, default_value_t = STEPS, value_parser = value_parser!(i64).range(STEPS..=10_000))]
    steps: i64,
}

fn main() -> Result<()> {
    let knobs = Knobs::parse();
    let cores = thread::available_parallelism()?.get();
    let threads = knobs.threads.map_or(cores.clamp(2, 6), usize::from);
    println!("steps: {} million; cores: {cores}; best of {ROUNDS} rounds", knobs.steps);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let started = times()?.len() - 1;
    let right = started == threads || !cfg!(target_os = "linux");
    ensure!(right, "Rayon was to start {threads} threads, the kernel counts {started}");

    let steps = 1_000_000 * knobs.steps;
    let width = 1.0 / steps as f64;
    let height = |step| {
        let x = (step as f64 + 0.5) * width;
        4.0 / (1.0 + x * x)
    };
    let sum = || (0..steps).into_par_iter().map(height).sum::<f64>(); // (0..steps).map... is serial
    let [mut serial, mut rayon, mut openmp] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        if cfg!(openmp) && RELEASE {
            openmp.push(Run::measure(threads, || pi_openmp(steps, threads as i32))?);
        }
        // Between the two: OpenMP's threads spin for some ms after their work, waiting for more.
        serial.push(Run::measure(1, || (0..steps).map(height).sum::<f64>() * width)?);
        rayon.push(Run::measure(threads, || pool.install(sum) * width)?);
    }
    let (serial, rayon) = (Run::fastest("serial", serial)?, Run::fastest("Rayon", rayon)?);
    let (wanted, alone) = (rayon.wanted, serial.wanted);
    ensure!(wanted > 1.2 * alone, "Rayon wanted {wanted:.2} cores, the serial loop {alone:.2}");
    if openmp.is_empty() {
        let why = if RELEASE { "the C compiler has none" } else { "that takes --release" };
        println!("\nnot compared to OpenMP: {why}");
    } else {
        let openmp = Run::fastest("OpenMP", openmp)?;
        let [ratio, cpu] = [rayon.seconds / openmp.seconds, rayon.cpu / openmp.cpu];
        println!("\nRayon took {ratio:.2} times OpenMP's seconds, {cpu:.2} times its CPU time");
        ensure!(cpu < 2.0, "that is no match for OpenMP");
    }
    print!("{threads} threads wanted {wanted:.2} cores, one {alone:.2}: ");
    println!("{:.2} times as fast", serial.seconds / rayon.seconds);
    Ok(())
}

/// One run of a loop: what came out, what it took, and each thread that did its part.
struct Run {
    integral: f64,
    seconds: f64,
    cpu: f64,
    wanted: f64,
    threads: BTreeMap<u32, [f64; 2]>,
}

impl Run {
    fn measure(expected: usize, integral: impl FnOnce() -> f64) -> Result<Run> {
        let (begin, before) = (Instant::now(), times()?);
        let integral = integral();
        let (seconds, mut threads) = (begin.elapsed().as_secs_f64(), times()?);
        for (id, before) in before {
            threads.entry(id).and_modify(|time| *time = [0, 1].map(|i| time[i] - before[i]));
        }
        let cpu: f64 = threads.values().map(|time| time[0]).sum();
        let share = cpu / expected as f64;
        threads.retain(|_, time| time[0] > share / 10.0); // the others slept, or looked for work
        let wanted = threads.values().flatten().sum::<f64>() / seconds;
        Ok(Run { integral, seconds, cpu, wanted, threads })
    }

    fn fastest(name: &str, runs: Vec<Run>) -> Result<Run> {
        let fastest = runs.into_iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let run = fastest.context("no rounds")?;
        let (busy, error) = (run.cpu / run.seconds, (run.integral - PI).abs());
        print!("\n{name} {:.3} s, cores busy {busy:.2}, wanted {:.2}; ", run.seconds, run.wanted);
        println!("sum {:.15}, error {error:.0e}", run.integral);
        for (id, [time, _]) in &run.threads {
            println!("{id:>9} {time:.3} s {}", "█".repeat((60.0 * time / run.cpu) as usize));
        }
        ensure!(error < 1e-9, "the integral is {}, not pi", run.integral);
        Ok(run)
    }
}

/// Seconds that each thread of this process has spent on a core, and waiting for one (schedstat,
/// proc(5)). Where there is no /proc: seconds on a core, of all threads together.
fn times() -> Result<BTreeMap<u32, [f64; 2]>> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        let cpu = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        return Ok([(0, [cpu.as_secs_f64(), 0.0])].into());
    };
    thread::yield_now(); // has the kernel bring this thread's own figures up to date
    let mut times = BTreeMap::new();
    for task in tasks {
        let task = task?;
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        let ns = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        times.insert(task.file_name().to_string_lossy().parse()?, [ns[0] / 1e9, ns[1] / 1e9]);
    }
    Ok(times)
}
