//! Signal handlers: a process can prepare for a signal before it arrives.
//!
//! A signal is a number that the kernel delivers to a process. To prepare, a
//! process can install a handler, a function that the signal then calls. It
//! can also ignore the signal, or block it. A signal that is sent while it is
//! blocked is pending: it waits until the process unblocks it. In this demo
//! four children prepare for SIGUSR1, each in its own way, and a fifth child
//! prepares for SIGKILL.
//!
//! Predict:  each child sends itself its signal. Which of the five survive?
//! Try:      cargo run -p signal-handler -- --wait   # asks for Ctrl-C
//! See also: exit-status, how a parent learns what its child died of.

mod evidence;

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signal::{raise, sigaction};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, getpid};

/// How often the handler ran in this process. Each child has its own copy.
static HANDLER_RUNS: AtomicU32 = AtomicU32::new(0);

/// This interrupts the program anywhere, perhaps in the middle of a println!,
/// which holds a lock. A println! here would wait for that lock for ever. So
/// there is no lock here, and no new memory. An atomic is safe.
extern "C" fn handler(_signal: c_int) {
    HANDLER_RUNS.fetch_add(1, Ordering::Relaxed);
}

/// From now on, `signal` does `action` to this process.
fn prepare(signal: Signal, action: SigHandler) -> nix::Result<()> {
    let action = SigAction::new(action, SaFlags::empty(), SigSet::empty());
    // SAFETY: the only handler here just adds to an atomic.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Handle Ctrl-C (SIGINT) three times, then end
    #[arg(long)]
    wait: bool,
}

/// What a child does.
type ChildFunction = fn() -> Result<()>;

fn main() -> Result<()> {
    sigpipe::reset();
    if Args::parse().wait {
        return handle_three_interrupts();
    }

    // Whoever started this may ignore or block signals. That is inherited.
    prepare(Signal::SIGUSR1, SigHandler::SigDfl)?; // default: not ignored
    prepare(Signal::SIGCHLD, SigHandler::SigDfl)?; // else waitpid may fail
    SigSet::empty().thread_set_mask()?; // nothing is blocked

    // Each child runs one of the functions below.
    let children: [(&str, ChildFunction); 5] = [
        ("default", default),
        ("handled", handled),
        ("ignored", ignored),
        ("blocked", blocked),
        ("refused", refused),
    ];
    let mut ends = Vec::new();
    for (name, function) in children {
        // fork returns twice: in the parent, and in the new child.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            // The child ends here: with code 0, or 1 if there is an error.
            ForkResult::Child => return function(),
            ForkResult::Parent { child } => {
                let status = waitpid(child, None)?;
                ends.push(evidence::show_end(name, status)?);
            }
        }
    }
    // SIGUSR1 must have killed default, and SIGKILL must have killed refused.
    // The other three must have exited with code 0.
    evidence::judge(&ends)
}

/// Prepares nothing.
fn default() -> Result<()> {
    println!("default: sends itself SIGUSR1");
    raise(Signal::SIGUSR1)?;
    println!("default: still runs"); // never printed
    Ok(())
}

/// Installs the handler.
fn handled() -> Result<()> {
    prepare(Signal::SIGUSR1, SigHandler::Handler(handler))?;
    raise(Signal::SIGUSR1)?; // before this returns, the handler runs
    let sent = evidence::look("handled: SIGUSR1 sent")?;
    ensure!(sent.handler_runs == 1, "the handler did not run once");
    Ok(())
}

/// Ignores the signal: it is lost.
fn ignored() -> Result<()> {
    prepare(Signal::SIGUSR1, SigHandler::SigIgn)?;
    raise(Signal::SIGUSR1)?;
    let sent = evidence::look("ignored: SIGUSR1 sent")?;
    ensure!(!sent.pending && sent.handler_runs == 0, "it is not lost");
    Ok(())
}

/// Installs the handler, blocks the signal, and unblocks it later.
fn blocked() -> Result<()> {
    prepare(Signal::SIGUSR1, SigHandler::Handler(handler))?;
    SigSet::from(Signal::SIGUSR1).thread_block()?;
    raise(Signal::SIGUSR1)?;
    let sent = evidence::look("blocked: SIGUSR1 sent")?;
    ensure!(sent.pending && sent.handler_runs == 0, "it did not wait");

    SigSet::from(Signal::SIGUSR1).thread_unblock()?; // now the handler runs
    let unblocked = evidence::look("blocked: unblocked")?;
    ensure!(unblocked.handler_runs == 1, "the handler did not run once");
    Ok(())
}

/// Wants a handler for SIGKILL.
fn refused() -> Result<()> {
    let answer = prepare(Signal::SIGKILL, SigHandler::Handler(handler));
    println!("refused: a handler for SIGKILL? sigaction says {answer:?}");
    // EINVAL is the error number for an argument that is not allowed.
    ensure!(answer == Err(Errno::EINVAL), "it was not refused");
    println!("refused: sends itself SIGKILL");
    raise(Signal::SIGKILL)?;
    println!("refused: still runs"); // never printed
    Ok(())
}

/// With --wait: the handler interrupts the program at each Ctrl-C.
fn handle_three_interrupts() -> Result<()> {
    prepare(Signal::SIGINT, SigHandler::Handler(handler))?;
    // SIGINT is blocked, except during suspend. Otherwise the third Ctrl-C
    // could come after the check in `while`, but before suspend: it would be
    // counted, and suspend would still wait for a fourth.
    SigSet::from(Signal::SIGINT).thread_block()?;
    let pid = getpid();
    println!("PID {pid}: press Ctrl-C three times (or: kill -INT {pid})");
    while HANDLER_RUNS.load(Ordering::Relaxed) < 3 {
        // Unblocks all signals (the empty set), waits until a handler has run,
        // then blocks SIGINT again.
        SigSet::empty().suspend()?;
        let runs = HANDLER_RUNS.load(Ordering::Relaxed);
        println!("handler runs: {runs} of 3");
    }
    Ok(())
}
