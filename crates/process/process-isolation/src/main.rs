//! Isolation: how far the writes and the crashes of a process reach.
//!
//! fork makes a child: a process that begins with all variables of its parent,
//! at the same addresses. Memory comes in pages, mostly of 4 KiB. After a fork
//! both use the same pages, and may only read them. A write to such a page is
//! a page fault: the kernel must do something about the page before it goes
//! on. A write where there is no memory is a crash: the kernel sends SIGSEGV.
//!
//! Predict:  a child writes to a variable. What does its parent read there?
//! Try:      cargo run -p process-isolation -- --pages 100
//! See also: race-condition, where threads share a variable.

mod evidence;

use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ptr, thread};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork, getpid};

/// The child writes one byte in each block, this far from its start. A block is
/// twice as long, and no page is larger than 64 KiB. So the page of that byte
/// is within the block: nothing else is in it that could be written to.
const MIDDLE: usize = 64 * 1024;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Pages of memory that the child writes to
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=100))]
    pages: u8,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    evidence::prepare()?; // a crash shall leave no file with its memory

    a_child_writes(usize::from(args.pages))?;
    a_child_crashes()?;
    a_thread_crashes()?;
    println!("\nparent {} outlived both crashes", getpid());
    Ok(())
}

/// What the child writes is not what the parent reads.
fn a_child_writes(pages: usize) -> Result<()> {
    let mut blocks = vec![vec![1; 2 * MIDDLE]; pages]; // each byte is 1
    evidence::print_header(pages);
    evidence::print_row("parent reads", &blocks);

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => write_twice(&mut blocks),
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?;
    evidence::print_row("parent reads", &blocks);

    // A page fault per page at first, then none, and the parent still reads 1.
    evidence::judge_writes(status, &blocks)
}

/// What the child does: it writes 2 to each page, then 3.
fn write_twice(blocks: &mut [Vec<u8>]) -> ! {
    evidence::print_row("child reads", blocks);

    // A warm-up: the first call takes page faults for its code and its stack.
    write(&mut [vec![0; 2 * MIDDLE]], 0);

    let first = write(blocks, 2);
    evidence::print_write(blocks, first);
    let second = write(blocks, 3);
    evidence::print_write(blocks, second);

    // Each page was copied at its first write, and never again.
    let copied_once = first == blocks.len() as i64 && second == 0;
    exit(if copied_once { 0 } else { 1 }) // the parent judges this code
}

/// Writes to a page of each block. Returns how many page faults that took.
#[inline(never)] // so that each call runs the very same code
fn write(blocks: &mut [Vec<u8>], value: u8) -> i64 {
    let before = evidence::page_faults();
    for block in blocks {
        // While parent and child share the page: a page fault, and a copy.
        block[MIDDLE] = value;
    }
    evidence::page_faults() - before
}

/// A child crashes, and its parent lives on.
fn a_child_crashes() -> Result<()> {
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => crash(),
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?;
    let core_file = false;
    let crashed = WaitStatus::Signaled(child, Signal::SIGSEGV, core_file);
    ensure!(status == crashed, "the child did not crash: {status:?}");
    println!("child {child} writes to address 1: killed by SIGSEGV");
    Ok(())
}

/// A thread of a child crashes, and the child's other thread dies with it.
fn a_thread_crashes() -> Result<()> {
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => count_for_ever(),
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?; // until each of its threads is dead
    if status == WaitStatus::Exited(child, 1) {
        exit(1); // the child has said why
    }
    let core_file = false;
    let crashed = WaitStatus::Signaled(child, Signal::SIGSEGV, core_file);
    ensure!(status == crashed, "the thread did not crash: {status:?}");
    println!("child {child}, with both threads: killed by SIGSEGV");
    Ok(())
}

/// How far the child's first thread has counted.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What the child's first thread does. It never ends by itself.
fn count_for_ever() -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);

    let second = thread::Builder::new().spawn(crash_in_a_thread);
    if let Err(error) = second {
        eprintln!("Error: cannot start a thread: {error}");
        exit(1);
    }
    loop {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the child's second thread does, once the first one is at work.
fn crash_in_a_thread() {
    while COUNT.load(Ordering::Relaxed) == 0 {
        thread::yield_now(); // to the first thread, if it shares this core
    }
    let count = COUNT.load(Ordering::Relaxed);
    let child = getpid();
    println!("child {child}: thread 1 has counted to {count}, and goes on");
    println!("child {child}: thread 2 writes to address 1");
    crash()
}

/// Writes to address 1, where there is no memory.
fn crash() -> ! {
    let nowhere = ptr::without_provenance_mut::<u8>(1);
    // SAFETY: none, on purpose. The kernel ends the process at this write.
    unsafe { nowhere.write_volatile(0) };
    exit(0) // not reached, or it was no crash
}
