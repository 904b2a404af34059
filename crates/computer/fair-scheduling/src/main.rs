//! Fair scheduling: equal processes want the same core, and each gets an equal share of it.
//!
//! Whoever has had its turn of a few milliseconds loses the core to one that has had less.
//! A process that computes never gives it up by itself: at most once here, to wait for the start.
//! Sources: sched(7); proc_pid_status(5), voluntary_ctxt_switches; Jain, Chiu, Hawe: A Quantitative
//! Measure of Fairness, DEC-TR-301 (1984).
//!
//! Predict:  4 processes compute on one core. How often does each of them lose it in a second?
//! Try:      cargo run -p fair-scheduling -- --processes 2
//! Try:      cargo run -p fair-scheduling -- --processes 16
//! See also: nice-priority, the same for processes of different weight.

use std::io::{Read, pipe};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, hint};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes that share the core
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u8).range(2..=16))]
    processes: u8,
}

/// A child that wants to compute without end. Killed and reaped when dropped, so on every path out.
struct Spinner(Pid);

impl Drop for Spinner {
    fn drop(&mut self) {
        _ = kill(self.0, SIGKILL).and(waitpid(self.0, None).map(drop));
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let core = pin_to_this_core()?; // the children inherit it
    let (mut start, gate) = pipe()?;
    let mut children = Vec::new();
    for _ in 0..args.processes {
        // SAFETY: this process has one thread, so the child may do all that a program may.
        match unsafe { fork() }
            .map_err(|errno| anyhow!("fork refused: {errno}"))?
        {
            ForkResult::Parent { child } => children.push(Spinner(child)),
            ForkResult::Child => {
                alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
                drop(gate);
                _ = start.read(&mut [0]); // until the parent drops its end
                loop {
                    hint::black_box(()); // computes
                }
            }
        }
    }
    println!("{} children compute on core {core}\n", args.processes);
    println!(
        "    PID    CPU time  gave up core  lost core  per turn  ├── fair share ──┤"
    );
    let begin = Instant::now();
    drop(gate); // one event starts all

    let (mut seen, mut index) = (Vec::new(), 0.0);
    while index < 0.99 && begin.elapsed().as_secs() < 5 {
        sleep(Duration::from_secs(1)); // the time in which they compete; on a busy machine, again
        // This process shares their core: while it looks, none of them runs.
        seen = children
            .iter()
            .map(|child| look(child.0))
            .collect::<Result<_>>()?;
        let (sum, squares) = seen
            .iter()
            .fold((0.0, 0.0), |(a, b), [x, ..]| (a + x, b + x * x));
        index = sum * sum / (seen.len() as f64 * squares); // Jain: 1 all equal, 1/n one has all
    }
    let seconds = begin.elapsed().as_secs_f64();

    let mean =
        seen.iter().map(|[time, ..]| time).sum::<f64>() / seen.len() as f64;
    for (child, [time, gave_up, lost]) in children.iter().zip(&seen) {
        let turn = time / (gave_up + lost);
        let bar = "█".repeat((18.0 * time / mean).round() as usize);
        println!(
            "{:>7}{time:>9.1} ms{gave_up:>14}{lost:>11}{turn:>7.1} ms  {bar}",
            child.0
        );
    }
    let switches: f64 = seen.iter().map(|[_, _, lost]| lost).sum();
    ensure!(
        seen.iter().all(|[_, _, lost]| *lost > 0.0),
        "a process never lost the core"
    );
    let verdict = format!(
        "{switches} forced switches in {seconds:.1} s: Jain's index {index:.4}"
    );
    ensure!(index >= 0.99, "{verdict}, which is not fair");
    println!(
        "\n{verdict} ({:.2}: one has all, 1: equal)",
        1.0 / seen.len() as f64
    );
    Ok(())
}

/// CPU time in milliseconds; how often the child gave up the core (voluntary), and lost it (forced).
fn look(child: Pid) -> Result<[f64; 3]> {
    let read = |file| {
        fs::read_to_string(format!("/proc/{child}/{file}")).context(file)
    };
    let (schedstat, status) = (read("schedstat")?, read("status")?);
    let nanoseconds: f64 =
        schedstat.split(' ').next().unwrap_or_default().parse()?;
    let switches = |field| -> Result<f64> {
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .context(field)?;
        Ok(count.trim().parse()?)
    };
    let gave_up = switches("voluntary_ctxt_switches:")?;
    Ok([
        nanoseconds / 1e6,
        gave_up,
        switches("nonvoluntary_ctxt_switches:")?,
    ])
}

/// Lets this process run on no other core than the one it is on now.
#[cfg(target_os = "linux")]
fn pin_to_this_core() -> Result<usize> {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let (core, mut only) = (sched_getcpu()?, CpuSet::new());
    only.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &only)
        .context("cannot pin to a core")?;
    Ok(core)
}

#[cfg(not(target_os = "linux"))]
fn pin_to_this_core() -> Result<usize> {
    eprintln!(
        "cannot run here: it pins processes to a core, and counts switches, of Linux only"
    );
    std::process::exit(77)
}
