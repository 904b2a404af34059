//! OpenMP: one pragma spreads a loop over the cores of one computer, through shared memory.
//!
//! src/pi.c has the loop: the integral of 4 / (1 + x²) from 0 to 1. build.rs compiles it twice.
//! Without the compiler's OpenMP flag the pragma is ignored and the loop is serial. With it the
//! OpenMP library starts threads, gives each a share of the loop, and adds up their sums.
//!
//! Predict:  to how many digits do the two sums agree, and why not to all?
//! Try:      cargo run -p openmp-reduction -- --threads 8
//! Try:      OMP_THREAD_LIMIT=1 cargo run -p openmp-reduction
//! See also: rayon-reduction, the same loop in Rust; mpi-reduction, processes instead of threads.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};
use nix::time::{ClockId, clock_gettime};

// SAFETY: src/pi.c takes these two numbers and returns one; it reads and writes nothing else.
unsafe extern "C" {
    safe fn pi_serial(steps: i64, threads: i32) -> f64;
    safe fn pi_openmp(steps: i64, threads: i32) -> f64;
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads for OpenMP [default: one per core, but 2 to 16]
    #[arg(long, value_parser = value_parser!(u16).range(2..=64))]
    threads: Option<u16>,
    /// Steps from 0 to 1, in millions
    #[arg(long, default_value_t = 100, value_parser = value_parser!(i64).range(20..=10_000))]
    steps: i64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !cfg!(openmp) {
        eprintln!(
            "cannot run here: the C compiler has no OpenMP; to install one that has: \
             apt install gcc, dnf install gcc, brew install libomp, pkg install gcc (and CC=gcc)"
        );
        process::exit(77);
    }
    let cores = thread::available_parallelism()?.get();
    let threads = args.threads.map_or(cores.clamp(2, 16) as i32, i32::from);
    let steps = 1_000_000 * args.steps;
    println!(
        "steps: {} million; cores: {cores}; threads for OpenMP: {threads}",
        args.steps
    );

    let [serial, alone] = run("serial", 1, || pi_serial(steps, 1))?;
    let [openmp, wanted] =
        run("OpenMP", threads, || pi_openmp(steps, threads))?;
    ensure!(
        wanted > 1.2 * alone,
        "OpenMP wanted {wanted:.2} cores, the serial loop {alone:.2}"
    );
    let speed_up = serial / openmp;
    println!(
        "\n{threads} threads wanted {wanted:.2} cores, one {alone:.2}: {speed_up:.2} times as fast"
    );
    Ok(())
}

/// Integrates, prints what came out and which threads did it; returns seconds and cores wanted.
fn run(
    name: &str,
    threads: i32,
    integral: impl Fn() -> f64,
) -> Result<[f64; 2]> {
    let (begin, before) = (Instant::now(), times()?);
    let integral = integral();
    let (seconds, mut times) = (begin.elapsed().as_secs_f64(), times()?);
    for (id, before) in before {
        times.entry(id).and_modify(|time| {
            *time = [time[0] - before[0], time[1] - before[1]];
        });
    }
    let (cpu, error) = (
        times.values().map(|time| time[0]).sum::<f64>(),
        (integral - PI).abs(),
    );
    let [busy, wanted] =
        [cpu, times.values().flatten().sum()].map(|time| time / seconds);
    print!(
        "\n{name} {seconds:.2} s, cores busy {busy:.2}, wanted {wanted:.2}; "
    );
    println!("sum {integral:.15}, off {error:.0e}");
    for (id, [time, _]) in &times {
        println!(
            "{id:>9} {time:.3} s {}",
            "█".repeat((60.0 * time / cpu) as usize)
        );
    }
    ensure!(error < 1e-9, "the integral is {integral}, not pi");
    let counted = times.len();
    let right = counted == threads as usize || times.contains_key(&0); // 0: nothing counts them
    ensure!(
        right,
        "{name} was to use {threads} threads, the kernel counts {counted}"
    );
    Ok([seconds, wanted])
}

/// Seconds that each thread of this process has spent on a core, and waiting for one (schedstat,
/// proc(5)). Where there is none: 0, and the seconds on a core of all threads together.
fn times() -> Result<BTreeMap<u32, [f64; 2]>> {
    if !fs::exists("/proc/self/schedstat")? {
        let cpu =
            Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        return Ok([(0, [cpu.as_secs_f64(), 0.0])].into());
    }
    thread::yield_now(); // has the kernel bring this thread's own figures up to date
    let mut times = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        let ns = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<f64>, _>>()?;
        times.insert(
            task.file_name().to_string_lossy().parse()?,
            [ns[0] / 1e9, ns[1] / 1e9],
        );
    }
    Ok(times)
}
