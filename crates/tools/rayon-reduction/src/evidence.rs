//! How long the loops took, which threads computed, and whether Rayon and
//! OpenMP may be compared.
//!
//! Sources: clock_gettime(2), for CPU time; proc_pid_status(5), for the cores
//! that a thread may use.

use std::f64::consts::PI;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};

use crate::RELEASE;

const ROUNDS: u32 = 5;

/// Columns of the bar for the CPU time of all threads.
const WIDTH: f64 = 70.0;

/// One round of a loop.
pub struct Round {
    seconds: f64,
    /// Of all threads together, on a core
    cpu_seconds: f64,
    sum: f64,
}

/// Prints and returns the fastest of the rounds.
pub fn fastest(name: &str, pi: impl Fn() -> f64) -> Result<Round> {
    let mut fastest = measure(&pi)?;
    for _ in 1..ROUNDS {
        let round = measure(&pi)?;
        if round.seconds < fastest.seconds {
            fastest = round;
        }
    }
    if name == "serial" {
        println!("\n        seconds  CPU seconds  sum");
    }
    let Round {
        seconds,
        cpu_seconds,
        sum,
    } = fastest;
    println!("{name:<8}{seconds:>7.3}{cpu_seconds:>13.3}  {sum:.15}");
    ensure!((sum - PI).abs() < 1e-9, "{name}: {sum} is not pi");
    Ok(fastest)
}

fn measure(pi: impl Fn() -> f64) -> Result<Round> {
    let before = cpu_seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    let begin = Instant::now();
    let sum = pi();
    let seconds = begin.elapsed().as_secs_f64();
    let after = cpu_seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(Round {
        seconds,
        cpu_seconds: after - before,
        sum,
    })
}

/// Seconds on a core, of this thread or of all threads of this process.
fn cpu_seconds(clock: ClockId) -> Result<f64> {
    let time = clock_gettime(clock)?;
    Ok(Duration::from(time).as_secs_f64())
}

/// Of each thread, since it was started.
pub fn cpu_seconds_of_rayon_threads() -> Result<Vec<f64>> {
    // Each thread of Rayon runs this, and answers for itself.
    let answers =
        rayon::broadcast(|_| cpu_seconds(ClockId::CLOCK_THREAD_CPUTIME_ID));
    answers.into_iter().collect()
}

/// The cores that each thread of this process may use, as text: `0-3`. Empty
/// where the kernel has no such list.
pub fn cores_of_threads() -> Result<Vec<String>> {
    let mut threads = Vec::new();
    if !fs::exists("/proc/self/task")? {
        return Ok(threads);
    }
    for task in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for line in status.lines() {
            if let Some(cores) = line.strip_prefix("Cpus_allowed_list:") {
                threads.push(cores.trim().to_string());
            }
        }
    }
    Ok(threads)
}

/// If not, prints why.
pub fn can_compare() -> bool {
    let why_not = if !RELEASE {
        "that takes --release"
    } else if !cfg!(openmp) {
        "the C compiler has none"
    } else if !Path::new("/proc/self/task").exists() {
        "that takes a list of threads and their cores, as Linux has it"
    } else {
        return true;
    };
    println!("\nnot compared to OpenMP: {why_not}");
    false
}

/// Compares the seconds, if the conditions were the same. `before` are the
/// threads before those of OpenMP: main, and Rayon's.
pub fn compare(rayon: &Round, openmp: &Round, before: &[String]) -> Result<()> {
    let after = cores_of_threads()?;
    let of_rayon = before.len() - 1;
    let of_openmp = after.len() - before.len() + 1; // main computes, too
    ensure!(
        of_openmp == of_rayon,
        "no comparison: {of_rayon} threads of Rayon, {of_openmp} of OpenMP; \
         unset OMP_THREAD_LIMIT and OMP_DYNAMIC"
    );
    let cores = after.first().context("no list of cores")?;
    for other in &after {
        ensure!(
            other == cores,
            "no comparison: one thread may use core {cores}, another {other}; \
             unset OMP_PROC_BIND, OMP_PLACES and GOMP_CPU_AFFINITY"
        );
    }
    let ratio = rayon.seconds / openmp.seconds;
    let cpu_ratio = rayon.cpu_seconds / openmp.cpu_seconds;
    println!();
    println!("Rayon:  {of_rayon} threads, cores that each may use: {cores}");
    println!("OpenMP: {of_openmp} threads, cores that each may use: {cores}");
    println!("Rayon took {ratio:.2} times the seconds of OpenMP,");
    println!(
        "and {cpu_ratio:.2} times its CPU seconds, which are those on a core"
    );
    Ok(())
}

pub fn judge(serial: &Round, rayon: &Round, computed: &[f64]) -> Result<()> {
    let threads = computed.len();
    let all: f64 = computed.iter().sum();
    println!("\nCPU time of Rayon's threads, and each thread's share of it:");
    for (i, seconds) in computed.iter().enumerate() {
        let columns = (WIDTH * seconds / all).round() as usize;
        let shade = if i % 2 == 0 { "█" } else { "░" };
        print!("{}", shade.repeat(columns));
    }
    println!();

    let equal_share = all / threads as f64;
    let mut busy = 0;
    for seconds in computed {
        if *seconds > 0.1 * equal_share {
            busy += 1;
        }
    }
    ensure!(busy > 1, "{busy} of Rayon's {threads} threads computed");
    let speed_up = serial.seconds / rayon.seconds;
    println!();
    println!("speed-up: {speed_up:.2} times as fast as the serial loop");
    println!("an equal share: {equal_share:.3} s in all {ROUNDS} rounds");
    println!("threads that had a tenth of it or more: {busy} of {threads}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> Round {
        Round {
            seconds: 1.0,
            cpu_seconds: 1.0,
            sum: PI,
        }
    }

    #[test]
    fn two_threads_must_have_computed() {
        // An equal share is 1 s, and a tenth of it 0.1 s.
        assert!(judge(&round(), &round(), &[1.91, 0.09]).is_err());
        assert!(judge(&round(), &round(), &[1.89, 0.11]).is_ok());
        assert!(judge(&round(), &round(), &[0.04, 0.04, 2.92]).is_err());
    }

    #[test]
    fn a_loop_must_give_pi() {
        assert!(fastest("wrong", || PI + 2e-9).is_err());
        assert!(fastest("wrong", || PI - 2e-9).is_err());
        assert!(fastest("right", || PI + 5e-10).is_ok());
    }
}
