//! Isolation: how far the writes and the crashes of a process reach.
//!
//! fork makes a child: a process that begins with the same variables and values
//! as its parent, at the same addresses. An address has a meaning within one
//! process: for another one, the same address leads to other memory.
//! Here a child writes to a variable, and starts a second thread, which reads
//! it. That thread crashes: it writes to an address that leads nowhere. The
//! kernel answers with the signal SIGSEGV, which ends all threads of a process.
//!
//! Predict:  a child writes to a variable. What does its parent read there?
//! Try:      cargo run -p process-isolation -- --no-fork; echo $?
//! See also: task-vs-process, more that threads share and processes do not;
//!           race-condition, where threads share a variable.

use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{ptr, thread};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getpid};

/// The variable. It is an atomic: Rust lets several threads write to one.
static NUMBER: AtomicU64 = AtomicU64::new(1);

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    leave_no_core_file()?;

    println!("                     PID  thread       address         number");
    print_row("parent reads");
    if args.no_fork {
        write_and_crash("parent writes"); // does not come back
    }

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: this process has one thread. fork copies only the thread that
    // calls it: a lock held by another would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => write_and_crash("child writes"),
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?; // until each of its threads is dead
    print_row("parent reads");

    // false: it left no core file
    let crashed = WaitStatus::Signaled(child, Signal::SIGSEGV, false);
    ensure!(status == crashed, "the child did not crash: {status:?}");
    let number = NUMBER.load(Relaxed);
    ensure!(
        number == 1,
        "the child's write reached its parent: {number}"
    );
    let parent = getpid();
    println!("\nchild {child}, with both threads: killed by SIGSEGV");
    println!("parent {parent} outlived that crash, and still reads {number}");
    Ok(())
}

/// What the child does. Only its second thread does anything wrong.
fn write_and_crash(label: &str) -> ! {
    NUMBER.store(2, Relaxed);
    print_row(label);
    let second_thread = thread::spawn(read_and_crash);
    second_thread.join().expect("the second thread panicked"); // waits for it
    // Not reached: the crash ends this thread, too.
    println!("only the second thread ended");
    exit(1)
}

/// What the second thread does.
fn read_and_crash() {
    print_row("thread 2 reads");
    println!("thread 2 writes to address 1, which leads nowhere");
    // A raw pointer to address 1. "Without provenance": made from a number, and
    // not from a variable.
    let nowhere = ptr::without_provenance_mut::<u8>(1);
    // SAFETY: none, on purpose. The kernel ends the process at this write.
    // (volatile: the compiler must not leave it out.)
    unsafe { nowhere.write_volatile(0) };
}

/// The process and the thread that call this, where the variable is for them,
/// and what is in it.
fn print_row(label: &str) {
    let pid = getpid();
    let id = format!("{:?}", thread::current().id());
    let address = &NUMBER;
    let number = NUMBER.load(Relaxed);
    println!("{label:<16}{pid:>8}  {id:<13}{address:<16p}{number:>6}");
}

/// So that the crash leaves nothing on the disk: a core file would hold the
/// memory of the process.
fn leave_no_core_file() -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Programs that collect crashes do not heed that limit, but this:
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Without a child: the parent itself writes and crashes
    #[arg(long)]
    no_fork: bool,
}
