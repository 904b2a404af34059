//! Zombie: a process that has exited, and that its parent has not reaped.
//!
//! To reap a child is to ask the kernel how it ended. Until then the kernel
//! keeps an entry for it in its list of processes, with the exit status. The
//! memory of the process is freed already when it exits.
//! This demo makes zombies, sends them SIGKILL, which is kill -9, and reaps.
//!
//! Predict:  kill -9 is sent to a zombie. What happens to it?
//! Try:      cargo run -p zombie-creation -- --count 2
//! See also: fork-exec-exit-reap, the whole life cycle; orphan-process,
//!           where the parent is the one that ends.

mod evidence;

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::process::exit;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Children that become zombies
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=100))]
    count: u8,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    evidence::need_process_table()?; // or exits with 77

    // SIGCHLD tells a parent that a child has ended. If a process ignores it,
    // the kernel reaps its children, and there are no zombies. A process may
    // inherit that, so set the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // The children wait until the parent closes the write end of this pipe.
    let (reader, writer) = pipe()?;

    let mut children: Vec<Pid> = Vec::new();
    for _ in 0..args.count {
        // fork returns twice: in the parent, and in the new child, which has
        // a copy of all variables, and of both ends of the pipe.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => wait_and_exit(reader, writer), // never returns
            ForkResult::Parent { child } => children.push(child),
        }
    }
    evidence::wait_until_asleep(&children)?; // each waits for the pipe
    let alive = evidence::look("alive", &children)?;

    drop(writer); // no write end is open any more: now the children exit
    evidence::wait_without_reaping(&children)?; // waitid(2) can do that
    let exited = evidence::look("exited", &children)?;

    for child in &children {
        kill(*child, Signal::SIGKILL)?; // no error: the zombie has an entry
    }
    let killed = evidence::look("SIGKILL sent", &children)?;
    evidence::pause_at_a_terminal(&children)?;

    let mut statuses = Vec::new();
    for child in &children {
        statuses.push(waitpid(*child, None)?); // reaps it
    }
    let reaped = evidence::look("reaped", &children)?;

    // The verdict demands: alive, each child has memory. Before and after
    // SIGKILL it is a zombie and has none. It ended with exit code 7. Once
    // reaped, it has no entry.
    evidence::judge(&alive, &exited, &killed, &statuses, &reaped)
}

/// What each child does.
fn wait_and_exit(mut reader: PipeReader, writer: PipeWriter) -> ! {
    drop(writer); // this copy; the parent still has its own
    let read = reader.read(&mut [0]); // waits until no write end is open
    if read.is_err() {
        exit(1);
    }
    exit(7) // a number that the parent will recognise
}
