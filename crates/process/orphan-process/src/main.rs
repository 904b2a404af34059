//! Orphan: a process whose parent has ended.
//!
//! An orphan runs on, and the kernel gives it a new parent at once, to reap it
//! later. To reap a child is to ask the kernel how it ended, and only its
//! parent may ask. A process can declare itself a subreaper: it wants to be
//! the new parent of orphans among its descendants.
//! In this demo a grandparent forks a parent, which forks a child. Then the
//! grandparent kills the parent.
//!
//! Predict:  the parent is killed. Is the grandparent the child's new parent?
//! Try:      cargo run -p orphan-process -- --adopt
//! See also: zombie-creation, where the parent lives on, and does not reap.

mod evidence;

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::process::exit;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Make the grandparent a subreaper
    #[arg(long)]
    adopt: bool,
}

/// The grandparent.
fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // The system call is prctl, with PR_SET_CHILD_SUBREAPER. Without --adopt
    // this clears it: a program that became this one may have set it.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(args.adopt)?;
    #[cfg(not(target_os = "linux"))]
    evidence::no_subreapers_here(args.adopt);

    // The child writes lines to the grandparent. In between it waits: it reads
    // from wait_here, until the grandparent drops go_on. fork copies both ends
    // of a pipe, and such a read waits while any copy of go_on is open.
    let (reader, to_grandparent) = pipe()?;
    let (wait_here, go_on) = pipe()?;

    // fork returns twice: in the grandparent, and in its new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let parent = match result {
        ForkResult::Child => {
            drop(go_on); // only the grandparent keeps it
            return be_the_parent(wait_here, to_grandparent);
        }
        ForkResult::Parent { child } => child,
    };
    // Only the child shall have the end for writing. Then from_child reaches
    // its end when the child has ended.
    drop(to_grandparent);
    let mut from_child = BufReader::new(reader);

    let child = read_pid(&mut from_child)?;
    let before = read_pid(&mut from_child)?; // the child's first getppid
    kill(parent, Signal::SIGKILL)?;
    waitpid(parent, None)?; // now the parent has ended: child is an orphan

    drop(go_on); // so that the child asks again
    let after = read_pid(&mut from_child)?; // the child's second getppid
    let reaped = waitpid(child, None); // ECHILD, unless this is its parent
    from_child.read_to_end(&mut Vec::new())?; // until the child has ended

    let family = evidence::Family {
        parent,
        child,
        before,
        after,
        reaped,
    };
    evidence::show_ancestors(&family)?;
    // `before` must be the killed parent. `after` must be the grandparent with
    // --adopt, and some other process without. Whoever is the child's parent
    // after that may reap it, and nobody else.
    evidence::judge(&family, args.adopt)
}

/// Forks the child and waits for it. The grandparent kills this process then.
fn be_the_parent(
    wait_here: PipeReader,
    to_grandparent: PipeWriter,
) -> Result<()> {
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    match result {
        ForkResult::Child => be_the_child(wait_here, to_grandparent),
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(())
        }
    }
}

/// Asks twice who its parent is.
fn be_the_child(
    mut wait_here: PipeReader,
    mut to_grandparent: PipeWriter,
) -> Result<()> {
    writeln!(to_grandparent, "{}", getpid())?;
    writeln!(to_grandparent, "{}", getppid())?;
    wait_here.read_to_end(&mut Vec::new())?; // by then the parent is gone
    writeln!(to_grandparent, "{}", getppid())?;
    Ok(())
}

/// Each line from the child is a PID.
fn read_pid(from_child: &mut BufReader<PipeReader>) -> Result<Pid> {
    let mut line = String::new();
    from_child.read_line(&mut line)?;
    if line.is_empty() {
        exit(1); // the parent, or the child, has said what failed
    }
    let pid: i32 = line.trim().parse()?;
    Ok(Pid::from_raw(pid))
}
