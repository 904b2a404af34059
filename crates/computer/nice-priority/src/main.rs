//! Priority: two processes want the same core, and the nicer one gets less of it.
//!
//! Linux gives each process a weight for its nice value, and shares a core by weight: one step of
//! nice is about 25 % of weight. Nice values say nothing as long as every process has its own core.
//! Sources: sched(7), nice(2), the kernel's sched_prio_to_weight in kernel/sched/core.c.
//!
//! Predict:  nice 0 against nice 10: what share of the core does the nicer one still get?
//! Try:      cargo run -p nice-priority -- --nice 0
//! Try:      cargo run -p nice-priority -- --nice 19
//! See also: fair-scheduling, the same for equals.

use std::io::{Read, pipe};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, hint};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::libc;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};

/// What a process weighs, by its nice value from -20 to 19.
#[rustfmt::skip]
const WEIGHT: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
     9548,  7620,  6100,  4904,  3906,  3121,  2501,  1991,  1586,  1277,
     1024,   820,   655,   526,   423,   335,   272,   215,   172,   137,
      110,    87,    70,    56,    45,    36,    29,    23,    18,    15,
];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// How much nicer the second child is than the first
    #[arg(long, default_value_t = 10, value_parser = value_parser!(i32).range(0..=19))]
    nice: i32,
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
    for nicer in [0, args.nice] {
        // SAFETY: this process has one thread, so the child may do all that a program may.
        match unsafe { fork() }
            .map_err(|errno| anyhow!("fork refused: {errno}"))?
        {
            ForkResult::Parent { child } => children.push(Spinner(child)),
            ForkResult::Child => {
                alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
                drop(gate);
                // SAFETY: nice(2) takes and returns a number.
                unsafe { libc::nice(nicer) };
                _ = start.read(&mut [0]); // until the parent drops its end
                loop {
                    hint::black_box(()); // computes
                }
            }
        }
    }
    println!("two children compute on core {core}\n");
    println!("    PID  nice  weight  CPU time  predicted  measured");
    drop(gate); // one event starts both

    let (begin, mut seen, mut times) = (Instant::now(), Vec::new(), 0.0);
    while times < 0.9 && begin.elapsed().as_secs() < 8 {
        sleep(Duration::from_secs(1)); // the time in which they compete; on a busy machine, again
        // This process shares their core: while it looks, neither of them runs.
        seen = children
            .iter()
            .map(|child| look(child.0))
            .collect::<Result<_>>()?;
        times = seen.iter().map(|(_, _, time)| time).sum();
    }
    let weights: f64 = seen.iter().map(|(_, weight, _)| weight).sum();
    let mut off = 0.0;
    for (child, (nice, weight, time)) in children.iter().zip(&seen) {
        let (predicted, measured) =
            (100.0 * weight / weights, 100.0 * time / times);
        let bar = "█".repeat((measured / 4.0).round() as usize);
        println!(
            "{:>7}{nice:>6}{weight:>8}{time:>8.3} s{predicted:>9.1} %{measured:>8.1} % {bar}",
            child.0
        );
        off = f64::abs(measured - predicted);
    }
    let nicer = args.nice == 0 || seen[1].0 > seen[0].0;
    ensure!(
        nicer,
        "both have nice value {}: nothing is nicer",
        seen[0].0
    );
    ensure!(
        off <= 3.0,
        "measured and predicted share are {off:.1} percentage points apart"
    );
    println!(
        "\nmeasured and predicted share are {off:.1} percentage points apart"
    );
    Ok(())
}

/// Nice value and CPU time in seconds, as the kernel has them, and between them the table's weight.
fn look(child: Pid) -> Result<(i32, f64, f64)> {
    // SAFETY: getpriority(2) takes and returns numbers.
    let nice =
        unsafe { libc::getpriority(libc::PRIO_PROCESS, child.as_raw() as _) };
    let schedstat = fs::read_to_string(format!("/proc/{child}/schedstat"))
        .context("CPU time")?;
    let nanoseconds: f64 =
        schedstat.split(' ').next().unwrap_or_default().parse()?;
    Ok((nice, WEIGHT[(nice + 20) as usize].into(), nanoseconds / 1e9))
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
        "cannot run here: it pins processes to a core, and knows the weights, of Linux only"
    );
    std::process::exit(77)
}
