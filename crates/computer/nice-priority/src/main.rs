//! Priority: two processes want the same CPU, and one of them is nicer.
//!
//! A process has a nice value, from -20 to 19: the higher, the nicer it is to
//! the others. Linux gives it a weight for its nice value: 1024 for nice 0,
//! and each step up divides that by about 1.25. Processes that want the same
//! CPU share it: each gets its weight divided by the sum of all weights.
//! (Linux may first divide the CPU between terminals, or control groups.) Here
//! two children compute on one CPU, and the kernel counts for how long.
//!
//! Predict:  nice 0 against nice 10: what share of the CPU does nice 10 get?
//! Try:      cargo run -p nice-priority -- --nice 0
//! Try:      cargo run -p nice-priority -- --nice 19
//! See also: fair-scheduling, the same for equals.

mod evidence;

use std::hint::spin_loop;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use evidence::{Row, cpu_time, nice_of, pin_to_this_cpu, print_and_judge};
use nix::libc;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, alarm, fork};

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let cpu = pin_to_this_cpu()?; // the children inherit it

    let begin = Instant::now();
    let mut children = Vec::new();
    for nicer in [0, args.nice] {
        // fork returns twice: in the parent, and in the new child.
        // SAFETY: this process has one thread. fork copies only the thread that
        // calls it: a lock held by another would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                // nice adds to the nice value of its caller, up to 19.
                // SAFETY: it takes a number and returns one.
                unsafe { libc::nice(nicer) };
                compute(); // never returns
            }
            ForkResult::Parent { child } => children.push(child),
        }
    }

    // The children compete until they have had the CPU for half a second. On a
    // busy machine, where others have it, too, that takes longer: 8 s at most.
    for _ in 0..8 {
        sleep(Duration::from_secs(1));
        if cpu_time(children[0])? + cpu_time(children[1])? > 0.5 {
            break;
        }
    }
    for child in &children {
        kill(*child, SIGKILL)?;
    }

    let mut rows = Vec::new();
    for child in children {
        rows.push(Row {
            child,
            cpu_time: cpu_time(child)?,
            nice: nice_of(child),
        });
        waitpid(child, None)?; // reaps it
    }
    ensure!(
        args.nice == 0 || rows[1].nice > rows[0].nice,
        "both have nice value {}: nothing is nicer",
        rows[0].nice
    );
    // The verdict: together they had no more CPU time than one CPU has, and the
    // share of the nicer child is what the weights predict, give or take 3
    // percentage points, and at least 0.1 %: it did run.
    print_and_judge(cpu, &rows, begin.elapsed())
}

/// The weight of a nice value, from which evidence.rs predicts the shares. The
/// kernel has a table of weights; these differ from it by less than 3 %.
fn weight(nice: i32) -> f64 {
    1024.0 / 1.25_f64.powi(nice)
}

/// What each child does.
fn compute() -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);
    loop {
        spin_loop(); // this is all that the child computes
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// How much nicer the second child is than the first
    #[arg(long, default_value_t = 10)]
    #[arg(value_parser = value_parser!(i32).range(0..=19))]
    nice: i32,
}
