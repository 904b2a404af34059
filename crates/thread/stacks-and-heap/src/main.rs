//! Stacks and the heap: who sees it when a value in memory changes?
//!
//! A local variable is on a stack, until its function returns. What a Box
//! points to is on the heap, until the Box is dropped. fork makes a child: a
//! process that begins with a copy of its parent's memory. The copies are at
//! the same addresses, and yet in other places of the machine. Here a child
//! adds 1 to a local variable, and 1 to a number on the heap. When it has
//! ended, some threads do the same, one after the other.
//!
//! Predict:  a child, then 3 threads add 1 on the heap. What does main see?
//! Try:      cargo run -p stacks-and-heap -- --threads 8
//! See also: race-condition, what threads can do to a value that they share.

mod evidence;

use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, alarm, fork};

use evidence::Row;

/// Bytes of stack for each thread.
const STACK_SIZE: usize = 2 * 1024 * 1024;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add 1, when the child has ended
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u64).range(1..=8))]
    threads: u64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let mut local = 0; // on the stack of main
    // The number is on the heap. Atomic: several threads may change it.
    let heap = Box::new(AtomicU64::new(0));
    evidence::print_header();

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => add_in_child(&mut local, &heap), // never returns
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?; // until the child has ended
    let after_child = evidence::look(&local, &heap);
    evidence::print_row("main", &after_child);

    println!();
    let (sender, receiver) = channel(); // for what the threads see
    let mut threads: Vec<Row> = Vec::new();
    // No thread ends while main has this lock, so all stacks exist at once.
    // It protects no data, which is ().
    let lock = Mutex::new(());

    let at_end = thread::scope(|scope| -> Result<Row> {
        let guard = lock.lock(); // locks, until guard is dropped
        for number in 1..=args.threads {
            thread::Builder::new()
                .stack_size(STACK_SIZE)
                .spawn_scoped(scope, || add_in_thread(&heap, &sender, &lock))
                .context("cannot start a thread")?; // an error also unlocks
            let seen = receiver.recv()?; // waits until the thread has added 1
            evidence::print_row(&format!("thread {number}"), &seen);
            threads.push(seen);
        }
        let at_end = evidence::look(&local, &heap);
        evidence::print_row("main", &at_end);
        evidence::pause_at_a_terminal()?;
        drop(guard); // unlocks: now the threads end
        Ok(at_end)
    })?; // the scope ends when all its threads have ended

    // The verdict demands: the child saw 1 on the heap, but main still saw 0.
    // Thread 1 saw 1, thread 2 saw 2, and so on, and at the end main saw them
    // all. The local variable of main stayed 0. The local variables of main and
    // of the threads are so far apart that no two of them are on one stack.
    evidence::judge(status, &after_child, &threads, &at_end)
}

/// What the child does. Its memory is a copy of its parent's.
fn add_in_child(local: &mut u64, heap: &AtomicU64) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);

    *local += 1; // in the child's copy of the stack
    heap.fetch_add(1, Ordering::Relaxed); // in the child's copy of the heap
    let seen = evidence::look(local, heap);
    evidence::print_row("forked child", &seen);
    exit(seen.heap as i32) // the exit code tells main: 1 is expected
}

/// What each thread does.
fn add_in_thread(heap: &AtomicU64, sender: &Sender<Row>, lock: &Mutex<()>) {
    let mut local = 0; // on the stack of this thread
    local += 1;
    heap.fetch_add(1, Ordering::Relaxed); // on the heap of all threads
    sender.send(evidence::look(&local, heap)).unwrap();
    drop(lock.lock()); // waits until main unlocks it
}
