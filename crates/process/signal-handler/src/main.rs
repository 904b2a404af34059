//! Signals: what one does is up to the process that gets it, except for SIGKILL and SIGSTOP.
//!
//! A handler runs in the middle of whatever the process is at, perhaps inside malloc or println!.
//! So it may do only what is async-signal-safe: here it adds to an atomic, and the program looks
//! at that later. Sources: signal(7), signal-safety(7), sigaction(2), sigpending(2), raise(3).
//!
//! Predict:  five children, each prepared in its own way, get a signal. Which ones survive it?
//! Try:      cargo run -p signal-handler -- --wait
//! See also: exit-status, how a parent learns what its child died of.

use std::mem::MaybeUninit;
use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use nix::libc;
use nix::sys::signal::SigHandler::{Handler, SigDfl, SigIgn};
use nix::sys::signal::Signal::{self, SIGINT, SIGKILL, SIGUSR1};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, raise, sigaction,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork, getpid};

static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn handler(_signal: libc::c_int) {
    CAUGHT.fetch_add(1, Relaxed); // no println!, no allocation, no lock: they are not safe here
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Catch Ctrl-C (SIGINT) three times, then end
    #[arg(long)]
    wait: bool,
}

fn main() -> Result<()> {
    if Args::parse().wait {
        return catch_three();
    }
    let (open, blocked) = (SigSet::empty(), SigSet::from(SIGUSR1));
    let exited = |pending, ran, later| Ok([pending, ran, later]);
    let cases = [
        ("default", SIGUSR1, SigDfl, open, Err(SIGUSR1)),
        ("handled", SIGUSR1, Handler(handler), open, exited(0, 1, 1)),
        ("ignored", SIGUSR1, SigIgn, open, exited(0, 0, 0)),
        (
            "blocked",
            SIGUSR1,
            Handler(handler),
            blocked,
            exited(1, 0, 1),
        ),
        ("handled", SIGKILL, Handler(handler), open, Err(SIGKILL)),
    ];
    println!(
        "prepared  signal   left pending  handler ran  after unblocking child"
    );
    let mut survivors = Vec::new();
    for (prepared, signal, disposition, mask, expected) in cases {
        let status = child_that_gets(signal, disposition, mask)?;
        let end = match status {
            WaitStatus::Exited(_, code) => {
                Ok([code / 100, code / 10 % 10, code % 10])
            }
            WaitStatus::Signaled(_, signal, _) => Err(signal),
            _ => return Err(anyhow!("unexpected: {status:?}")),
        };
        print!("{prepared:<10}{:<9}", signal.as_str());
        match end {
            Ok([pending, ran, later]) => {
                println!("{pending:<14}{ran:<13}{later:<17}exited");
            }
            Err(signal) => {
                println!("{:<14}{:<13}{:<17}killed by {signal}", "-", "-", "-");
            }
        }
        ensure!(end == expected, "expected {expected:?}");
        survivors.extend(end.is_ok().then_some(prepared));
    }
    let refused = dispose(SIGKILL, Handler(handler));
    println!("\nsigaction for SIGKILL: {refused:?}");
    ensure!(refused.is_err(), "a handler for SIGKILL was accepted");
    println!(
        "{} of 5 children survived: {}",
        survivors.len(),
        survivors.join(", ")
    );
    Ok(())
}

/// Forks a child that prepares for `signal`, and then sends it to itself.
/// Its exit code tells what it saw: 100 if pending + 10 x handler ran + 1 x ran once unblocked.
fn child_that_gets(
    signal: Signal,
    disposition: SigHandler,
    mask: SigSet,
) -> Result<WaitStatus> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Parent { child } => Ok(waitpid(child, None)?),
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            _ = dispose(signal, disposition);
            _ = mask.thread_set_mask();
            _ = raise(signal); // not blocked: it has been delivered when this returns
            let seen =
                100 * i32::from(is_pending(signal)) + 10 * CAUGHT.load(Relaxed);
            _ = SigSet::empty().thread_set_mask(); // what was pending is delivered now
            exit(seen + CAUGHT.load(Relaxed))
        }
    }
}

/// sigaction(2): what `signal` does to this process from now on.
fn dispose(signal: Signal, disposition: SigHandler) -> nix::Result<()> {
    let action = SigAction::new(disposition, SaFlags::empty(), SigSet::empty());
    // SAFETY: the only handler here does nothing but one operation on an atomic.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// sigpending(2): whether `signal` has been sent and waits to be unblocked.
fn is_pending(signal: Signal) -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigpending writes the set.
    unsafe { libc::sigpending(set.as_mut_ptr()) };
    // SAFETY: sigismember reads the set, which sigpending has written.
    unsafe { libc::sigismember(set.as_ptr(), signal as libc::c_int) == 1 }
}

/// Ctrl-C is blocked but for the wait, so that none arrives between the look and the wait.
fn catch_three() -> Result<()> {
    dispose(SIGINT, Handler(handler))?;
    SigSet::from(SIGINT).thread_block()?;
    println!(
        "PID {}: press Ctrl-C three times (elsewhere: kill -INT {})",
        getpid(),
        getpid()
    );
    while CAUGHT.load(Relaxed) < 3 {
        SigSet::empty().suspend()?; // returns when the handler has run
        println!("caught {} of 3", CAUGHT.load(Relaxed));
    }
    Ok(())
}
