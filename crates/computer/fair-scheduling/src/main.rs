//! Fair scheduling: processes that want the same CPU take turns on it.
//!
//! A CPU (Linux counts each hardware thread as one) runs one process at a time.
//! The kernel's scheduler decides whose turn it is, and can take the CPU away
//! from a process. Here some children compute on one CPU; none gives it up by
//! itself. Each notes when it had the CPU, and the kernel counts for how long.
//!
//! Predict:  4 processes compute on 1 CPU. How often does each lose it in 2 s?
//! Try:      cargo run -p fair-scheduling -- --processes 2
//! Try:      cargo run -p fair-scheduling -- --processes 16
//! See also: nice-priority, the same for processes of different weight.

mod evidence;

use std::hint::spin_loop;
use std::io::{PipeWriter, Write, pipe, read_to_string};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{Row, cpu_time, draw_turns, pin_to_this_cpu, print_and_judge};
use nix::sys::resource::{UsageWho::RUSAGE_CHILDREN, getrusage};
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, alarm, fork};

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let cpu = pin_to_this_cpu()?; // the children inherit it

    // The children begin at the same moment, in a tenth of a second. One that
    // is forked later than that begins at once.
    let begin = Instant::now();
    let start = begin + Duration::from_millis(100);
    let mut children = Vec::new();
    for _ in 0..args.processes {
        // Through this pipe the child will report. At the end of each round the
        // parent drops its copy of `writer`: a read ends when no process has
        // one any more.
        let (reader, writer) = pipe()?;
        // fork returns twice: in the parent, and in the new child.
        // SAFETY: this process has one thread. fork copies only the thread that
        // calls it: a lock held by another would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => compute(start, writer), // never returns
            ForkResult::Parent { child } => children.push((child, reader)),
        }
    }

    sleep(Duration::from_secs(2)); // the children compete
    for (child, _) in &children {
        kill(*child, SIGKILL)?;
    }

    let mut rows = Vec::new();
    for (child, reader) in children {
        // Killed, but not reaped yet: the kernel keeps its CPU time and counts
        // until waitpid fetches (reaps) it. Its report waits in the pipe.
        let cpu_time = cpu_time(child)?;
        // How often did the kernel take the CPU away (forced switches)? There
        // is one sum for all children that were reaped. So read that before
        // and after reaping this child: the difference is this child's.
        let before = getrusage(RUSAGE_CHILDREN)?.involuntary_context_switches();
        waitpid(child, None)?; // reaps it
        let after = getrusage(RUSAGE_CHILDREN)?.involuntary_context_switches();
        rows.push(Row {
            child,
            cpu_time,
            lost: after - before,
            picture: read_to_string(reader)?,
        });
    }
    // The verdict: together the children had no more CPU time than one CPU has,
    // each child lost the CPU at least twice, and their times are nearly equal.
    print_and_judge(cpu, &rows, begin.elapsed())
}

/// What each child does: it computes. For the first 100 ms it notes when it had
/// the CPU, and reports that as a picture.
fn compute(start: Instant, mut report: PipeWriter) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);
    sleep(start.saturating_duration_since(Instant::now())); // until then
    // Reads the clock again and again. A gap: another process had the CPU.
    let picture = draw_turns(start);
    write!(report, "{picture}").expect("a pipe has room for it");
    loop {
        spin_loop(); // it goes on to compute
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes that share the CPU
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u8).range(2..=16))]
    processes: u8,
}
