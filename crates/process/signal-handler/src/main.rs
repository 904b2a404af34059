//! Signal handlers: a process can prepare for a signal before it arrives.
//!
//! A signal is a number that the kernel delivers to a process. SIGUSR1 kills a
//! process that has not prepared for it. To prepare, a process can install a
//! handler, a function that runs when the signal arrives. It can also ignore
//! the signal, or block it: then it waits until the process unblocks it. No
//! process can handle, ignore or block SIGKILL. Here five children do this:
//! nothing, handle, ignore, block; and the fifth tries to handle SIGKILL.
//!
//! Predict:  each child sends itself its signal. Which of the five survive?
//! Try:      cargo run -p signal-handler -- --wait   # asks for Ctrl-C
//! See also: exit-status, how a parent learns what its child died of.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signal::{raise, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getpid};

/// How often the handler ran in this process. Each child has its own copy.
static HANDLER_RUNS: AtomicU32 = AtomicU32::new(0);

/// A handler interrupts the program anywhere, perhaps in the middle of a
/// println!, which holds a lock. Another println! here could abort the program,
/// or wait for ever. So a handler takes no lock, and allocates no memory, which
/// takes one, too. To add to an atomic is allowed.
extern "C" fn handler(_signal: c_int) {
    HANDLER_RUNS.fetch_add(1, Ordering::Relaxed);
}

/// From now on, when `signal` arrives, this process does `action`.
fn prepare(signal: Signal, action: SigHandler) -> nix::Result<()> {
    let action = SigAction::new(action, SaFlags::empty(), SigSet::empty());
    // SAFETY: the only handler here just adds to an atomic.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// What a child does. There are five, from default to refused.
type ChildFunction = fn() -> Result<()>;

fn default() -> Result<()> {
    println!("default: sends itself SIGUSR1");
    raise(Signal::SIGUSR1)?; // sends it to this process itself
    println!("default: still runs"); // never printed
    Ok(())
}

fn handled() -> Result<()> {
    prepare(Signal::SIGUSR1, SigHandler::Handler(handler))?;
    raise(Signal::SIGUSR1)?; // before this returns, the handler runs
    check_runs("handled: SIGUSR1 sent", 1)
}

fn ignored() -> Result<()> {
    prepare(Signal::SIGUSR1, SigHandler::SigIgn)?;
    raise(Signal::SIGUSR1)?; // it is lost
    // If it were only waiting, this handler would run now.
    prepare(Signal::SIGUSR1, SigHandler::Handler(handler))?;
    check_runs("ignored: SIGUSR1 sent, then a handler", 0)
}

fn blocked() -> Result<()> {
    prepare(Signal::SIGUSR1, SigHandler::Handler(handler))?;
    SigSet::from(Signal::SIGUSR1).thread_block()?;
    raise(Signal::SIGUSR1)?; // it waits
    check_runs("blocked: SIGUSR1 sent", 0)?;
    SigSet::from(Signal::SIGUSR1).thread_unblock()?; // now the handler runs
    check_runs("blocked: unblocked", 1)
}

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

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    if Args::parse().wait {
        return handle_three_interrupts();
    }

    let children: [(&str, ChildFunction); 5] = [
        ("default", default),
        ("handled", handled),
        ("ignored", ignored),
        ("blocked", blocked),
        ("refused", refused),
    ];
    let mut survivors = Vec::new();
    let mut killed = Vec::new();
    for (name, function) in children {
        // fork returns twice: in the parent, and in the new child.
        // SAFETY: this process has one thread. fork copies only the thread that
        // calls it: a lock held by another would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        let child = match result {
            // The child ends here: with code 0, or 1 if there is an error.
            ForkResult::Child => return function(),
            ForkResult::Parent { child } => child,
        };
        match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => survivors.push(name),
            WaitStatus::Signaled(_, signal, _) => {
                killed.push(format!("{name} by {signal}"));
            }
            status => bail!("{name} did not see what it should: {status:?}"),
        }
    }
    let alive = survivors.len();
    println!("\n{alive} of 5 survived: {}", survivors.join(", "));
    let dead = killed.len();
    println!("{dead} of 5 were killed: {}", killed.join(", "));
    ensure!(
        killed == ["default by SIGUSR1", "refused by SIGKILL"],
        "these should be killed: default by SIGUSR1, refused by SIGKILL"
    );
    Ok(())
}

/// With --wait: the handler interrupts the program at each Ctrl-C.
fn handle_three_interrupts() -> Result<()> {
    prepare(Signal::SIGINT, SigHandler::Handler(handler))?;
    // Block SIGINT, but during suspend: a Ctrl-C in between waits for the next
    // suspend. Without this line, the third one could come after the check and
    // before suspend, which would then wait for a fourth.
    SigSet::from(Signal::SIGINT).thread_block()?;
    let pid = getpid();
    println!("PID {pid}: press Ctrl-C three times (or: kill -INT {pid})");
    let mut runs = 0;
    while runs < 3 {
        // suspend unblocks all signals (it blocks an empty set), waits until a
        // handler has run, and then blocks SIGINT again.
        SigSet::empty().suspend()?;
        runs = HANDLER_RUNS.load(Ordering::Relaxed);
        println!("handler runs: {runs} of 3");
    }
    Ok(())
}

/// Prints how often the handler has run so far, and compares.
fn check_runs(when: &str, expected: u32) -> Result<()> {
    let runs = HANDLER_RUNS.load(Ordering::Relaxed);
    println!("{when:<39}handler runs: {runs}");
    ensure!(runs == expected, "handler runs: {expected} expected");
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Handle Ctrl-C (SIGINT) three times, then end
    #[arg(long)]
    wait: bool,
}
