//! Orphan: a process whose parent has ended.
//!
//! An orphan runs on, and the kernel gives it a new parent: the nearest
//! ancestor that has declared itself a subreaper, or else init, PID 1.
//! Here a grandparent forks a parent, which forks a child. Then the grandparent
//! kills the parent. Is it now the child's parent? Then it can reap the child.
//!
//! Predict:  the parent is killed. Is the grandparent the child's new parent?
//! Try:      cargo run -p orphan-process -- --adopt
//! See also: zombie-creation, where the parent lives on, and does not reap.

mod evidence;

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::Result;
use clap::Parser;
#[cfg(not(target_os = "linux"))]
use evidence::set_child_subreaper;
use evidence::{judge, read_pid};
#[cfg(target_os = "linux")]
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, getpid, getppid};

/// The grandparent.
fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    set_child_subreaper(args.adopt)?; // with --adopt, this is a subreaper

    // A socket between the grandparent and the child: what is written into one
    // end is read from the other, in both directions. Only the grandparent
    // keeps its end: the parent drops its copy before it forks. So if the
    // grandparent dies, a read from the child's end gives an end of file, and
    // the child ends, too.
    let (grandparents_end, childs_end) = UnixStream::pair()?;

    // fork returns twice: in the grandparent, and in a new process. That one
    // is a child of the grandparent, and will be the parent of the next one.
    // SAFETY: this process has one thread. fork copies only the thread that
    // calls it: a lock held by another would stay locked in the child.
    let result = unsafe { fork() }?;
    let parent = match result {
        ForkResult::Child => {
            drop(grandparents_end); // this process's copy
            return be_the_parent(childs_end); // and leaves main
        }
        ForkResult::Parent { child } => child, // here: the parent's PID
    };
    drop(childs_end);
    let mut socket = BufReader::new(grandparents_end);

    let grandparent = getpid();
    let child = read_pid(&mut socket)?;
    let before = read_pid(&mut socket)?; // the child's first getppid
    println!("      grandparent parent      child    getppid");
    println!("fork  {grandparent:<7}───▶ {parent:<7}───▶ {child:<9}{before}");

    kill(parent, Signal::SIGKILL)?;
    waitpid(parent, None)?; // until it has ended: the child is an orphan

    socket.get_mut().write_all(b"?")?; // asks the child once more
    let after = read_pid(&mut socket)?; // the child's second getppid
    println!("kill  {grandparent:<7}───▶ {parent:<12}{child:<9}{after}");

    // waitpid waits until a child has ended, and reaps it. If the process that
    // calls it is not the parent, waitpid fails at once with ECHILD: no child.
    let reaped = waitpid(child, None);
    judge(parent, child, before, after, reaped, args.adopt)
}

/// Forks the child and waits for it, until the grandparent kills this process.
fn be_the_parent(childs_end: UnixStream) -> Result<()> {
    // SAFETY: as above, there is no other thread.
    let result = unsafe { fork() }?;
    match result {
        ForkResult::Child => be_the_child(childs_end),
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(())
        }
    }
}

/// Asks twice who its parent is.
fn be_the_child(mut socket: UnixStream) -> Result<()> {
    writeln!(socket, "{}", getpid())?;
    writeln!(socket, "{}", getppid())?;
    // Waits for a byte. The grandparent sends it when the parent has ended.
    let count = socket.read(&mut [0])?;
    if count == 0 {
        return Ok(()); // an end of file: the grandparent has ended
    }
    writeln!(socket, "{}", getppid())?;
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Make the grandparent a subreaper
    #[arg(long)]
    adopt: bool,
}
