//! Zombie: a process that has exited, and that its parent has not reaped.
//!
//! To reap a child is to ask the kernel how it ended: the kernel tells that
//! once, and forgets the child. Until then it keeps an entry for the child in
//! its list of processes, with the exit code. The child's memory is given back
//! already when the child exits.
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
use evidence::{judge, look, need_proc, pause_at_a_terminal};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

const EXIT_CODE: i32 = 7; // a number that the parent will recognise

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_proc(); // or exits with 77

    // SIGCHLD tells a parent that a child has ended. Whoever started this demo
    // may have had it ignored, and that is inherited: then Linux reaps our
    // children itself, and there are no zombies. So set it to the default.
    // SAFETY: no function is installed, which could run at a bad moment.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // The children wait until the parent closes the write end of this pipe.
    let (reader, writer) = pipe()?;
    let mut children: Vec<Pid> = Vec::new();
    for _ in 0..args.count {
        // fork returns twice: in the parent, and in the new child, which has
        // a copy of all variables, and of both ends of the pipe.
        // SAFETY: this process has one thread. fork copies only the thread that
        // calls it: a lock held by another would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            // This function never returns, so the loop ends here for a child,
            // and both ends can move into the function.
            ForkResult::Child => wait_and_exit(reader, writer),
            ForkResult::Parent { child } => children.push(child),
        }
    }
    // look prints what the kernel says of each child, and counts the states.
    println!("                  PID  state         memory");
    let alive = look("alive", &children);

    drop(writer); // no write end is open any more: now the children exit
    wait_without_reaping(&children)?;
    let exited = look("exited", &children);

    for child in &children {
        // No error, as the zombie has an entry; and it changes nothing.
        kill(*child, Signal::SIGKILL)?;
    }
    let after_kill = look("SIGKILL sent", &children);
    pause_at_a_terminal(&children)?;

    let mut statuses = Vec::new();
    for child in &children {
        statuses.push(waitpid(*child, None)?); // reaps it, gets its exit code
    }
    let reaped = look("reaped", &children);

    judge(&alive, &exited, &after_kill, &reaped, &statuses)
}

/// What each child does.
fn wait_and_exit(mut reader: PipeReader, writer: PipeWriter) -> ! {
    drop(writer); // this copy; the parent still has its own
    // Waits for a byte. No process writes one, so it waits until no process
    // has the write end open any more.
    let read = reader.read(&mut [0]);
    if read.is_err() {
        exit(1);
    }
    exit(EXIT_CODE)
}

/// Returns when each child has exited (WEXITED), and reaps none (WNOWAIT).
#[cfg(not(target_os = "macos"))]
fn wait_without_reaping(children: &[Pid]) -> Result<()> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    for child in children {
        waitid(Id::Pid(*child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    }
    Ok(())
}

#[cfg(target_os = "macos")]
fn wait_without_reaping(_: &[Pid]) -> Result<()> {
    unreachable!("there is no /proc on macOS")
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Children that become zombies
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=100))]
    count: u8,
}
