//! What a child sees, how each child ended, and whether that is the point.
//!
//! Sources: signal(7); signal-safety(7); sigaction(2), "EINVAL"; sigpending(2).

use std::sync::atomic::Ordering;

use anyhow::{Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::WaitStatus;

use crate::HANDLER_RUNS;

/// What a child sees of SIGUSR1.
pub struct Seen {
    pub handler_runs: u32,
    /// It has been sent, and waits to be unblocked
    pub pending: bool,
}

/// Prints and returns what the child sees.
pub fn look(when: &str) -> Result<Seen> {
    let handler_runs = HANDLER_RUNS.load(Ordering::Relaxed);
    let pending = is_pending(Signal::SIGUSR1)?;
    println!("{when:<23}handler runs: {handler_runs}   pending: {pending}");
    Ok(Seen {
        handler_runs,
        pending,
    })
}

/// sigpending(2)
fn is_pending(signal: Signal) -> Result<bool> {
    let mut kernel_set: libc::sigset_t = *SigSet::empty().as_ref();
    // SAFETY: sigpending writes the set that it is given.
    let result = unsafe { libc::sigpending(&raw mut kernel_set) };
    Errno::result(result)?;
    // SAFETY: the kernel has written a valid set.
    let pending = unsafe { SigSet::from_sigset_t_unchecked(kernel_set) };
    Ok(pending.contains(signal))
}

/// How a child ended.
pub struct End {
    name: &'static str,
    /// The signal that killed it; None if it exited with code 0
    killed_by: Option<Signal>,
}

/// Prints and returns how a child ended.
pub fn show_end(name: &'static str, status: WaitStatus) -> Result<End> {
    let killed_by = match status {
        WaitStatus::Exited(_, 0) => {
            println!(" parent: {name} exited with code 0\n");
            None
        }
        WaitStatus::Signaled(_, signal, _) => {
            println!(" parent: {name} was killed by {signal}\n");
            Some(signal)
        }
        _ => bail!("{name} did not see what it should: {status:?}"),
    };
    Ok(End { name, killed_by })
}

pub fn judge(ends: &[End]) -> Result<()> {
    let mut survivors = Vec::new();
    let mut dead = Vec::new();
    for End { name, killed_by } in ends {
        match killed_by {
            None => survivors.push(name.to_string()),
            Some(signal) => dead.push(format!("{name} by {signal}")),
        }
    }
    let children = ends.len();
    let survived = survivors.join(", ");
    let killed = dead.join(", ");
    ensure!(
        survived == "handled, ignored, blocked",
        "survived: {survived}"
    );
    ensure!(
        killed == "default by SIGUSR1, refused by SIGKILL",
        "killed: {killed}"
    );
    println!("{} of {children} survived: {survived}", survivors.len());
    println!("{} of {children} were killed: {killed}", dead.len());
    Ok(())
}
