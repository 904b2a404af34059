//! The states of a process, and the events that lead from one to another.
//!
//! A process that is executing has a CPU. A process that is ready waits for a
//! CPU, and for nothing else. A blocked process waits for data, a delayed one
//! until some time is over, a suspended one for the signal SIGCONT. A zombie
//! has ended, and waits for its parent to reap it: to ask how it ended.
//! Linux has fewer words: "running" for ready and executing, "sleeping" for
//! blocked and delayed. (Some blocked processes are in "disk sleep" instead.)
//! Here six children and their parent share one CPU. Each child gets one event.
//!
//! Predict:  two processes compute on one CPU. Which state has each?
//! Try:      cargo run -p process-states -- --delay 5 & sleep 3; ps l --ppid $!
//!           # $! is the demo's PID; ps shows the states of its children
//! See also: zombie-creation, more about zombies; fair-scheduling, how
//!           processes share a CPU.

mod evidence;

use std::io::{Read, Write, pipe};
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{end_with, judge, look, need_schedstat, pin_to_this_cpu};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid};

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let delay = Duration::from_secs(args.delay);
    need_schedstat(); // or exits with 77
    pin_to_this_cpu()?; // the children inherit it
    let (mut reader, mut writer) = pipe()?; // empty: a read from it waits

    let begin = Instant::now();
    let first = start(compute)?;
    let second = start(compute)?;
    let blocked = start(|| {
        // One byte is enough. A read until the end of the file would wait for
        // ever: a pipe ends when no process can write any more, and this child
        // and those that start later have copies of `writer`. (They would have
        // to drop these: see stdio-redirection.)
        reader.read_exact(&mut [0]).expect("a byte");
        compute();
    })?;
    let delayed = start(|| {
        sleep(delay);
        compute();
    })?;
    let suspended = start(|| {
        raise(Signal::SIGSTOP).expect("a signal to this process");
        compute();
    })?;
    let zombie = start(|| exit(0))?;

    // look waits until the kernel says that the child is in this state, and
    // prints a line. After 5 s it gives up, with an error.
    println!("child                    PID  state");
    look("ready or executing", first, "R (running)")?;
    look("ready or executing", second, "R (running)")?;
    look("blocked in a read", blocked, "S (sleeping)")?;
    look("delayed in a sleep", delayed, "S (sleeping)")?;
    look("suspended", suspended, "T (stopped)")?;
    look("zombie", zombie, "Z (zombie)")?;

    sleep(delay); // meanwhile the first two children want the same CPU

    println!("\nevent                    PID  new state");
    kill(first, Signal::SIGSTOP)?;
    look("SIGSTOP", first, "T (stopped)")?;

    kill(second, Signal::SIGKILL)?;
    look("SIGKILL", second, "Z (zombie)")?;

    let wall_time = begin.elapsed(); // neither has the CPU from now on

    writer.write_all(b"x")?; // one byte
    look("a byte in the pipe", blocked, "R (running)")?;

    // The event of this child has come already: its time is over.
    look("end of the sleep", delayed, "R (running)")?;

    kill(suspended, Signal::SIGCONT)?;
    look("SIGCONT", suspended, "R (running)")?;

    waitpid(zombie, None)?; // reaps it
    look("waitpid", zombie, "gone")?;

    // The first two must have been executing and ready in turns.
    judge([first, second], wall_time)?;

    // Leave no child: end it, and reap it.
    for child in [first, second, blocked, delayed, suspended] {
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
    }
    Ok(())
}

/// Starts a child that does this work.
fn start(work: impl FnOnce()) -> Result<Pid> {
    let parent = getpid();
    // fork returns twice: in the parent, and in the new child.
    // SAFETY: this process has one thread. fork copies only the thread that
    // calls it: a lock held by another would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    match result {
        ForkResult::Child => {
            // Only for a lecture: the child ends when its parent does.
            // In a real program, remove it.
            end_with(parent);
            work();
            exit(0)
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

/// Computes for longer than the demo takes, but not for ever.
fn compute() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {}
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Seconds for which the delayed child sleeps
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u64).range(1..=5))]
    delay: u64,
}
