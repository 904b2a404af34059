//! Tasks and a forked process do the same. What does the main task see of it?
//!
//! A task is what others call a thread. A process starts with one, the main
//! task, and can start more. fork makes another process, a copy of this one.
//! The kernel gives each process a PID, and each task a TID.
//! Here some tasks, and a forked process, do the same three things: write to a
//! variable, open a file, call nice. nice raises a nice value; the higher it
//! is, the less of the processor one gets.
//!
//! Predict:  a task writes, opens a file, calls nice. What do other tasks see?
//! Try:      cargo run -p task-vs-process -- --threads 8
//! See also: process-components, all that a process has.

mod evidence;

use std::collections::BTreeMap;
use std::fs::{File, canonicalize};
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::path::PathBuf;
use std::process::exit;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use nix::libc::nice;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, alarm, fork};

/// The variable. Each writer adds the path of a file, which holds its PID and
/// TID, and an address on its stack.
static WRITTEN: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Tasks beside the main one
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(1..=8))]
    threads: u8,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    evidence::need_proc()?;

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // Each pipe stands for an event: nothing is ever written to it, so a read
    // waits until all copies of its write end are closed.
    // Each task, and the forked process, gets a copy of `done`. Only the main
    // task keeps `end`.
    let (mut until_all_done, done) = pipe()?;
    let (until_end, end) = pipe()?;

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => {
            // fork copied `end`, too. If the child kept its copy open, its read
            // from until_end would wait for ever.
            drop(end);
            be_process(args.threads + 1, done, until_end)
        }
        ForkResult::Parent { child } => child,
    };

    let mut tasks: Vec<JoinHandle<Result<()>>> = Vec::new();
    for number in 1..=args.threads {
        let done = done.try_clone()?;
        let until_end = until_end.try_clone()?;
        let task = thread::Builder::new()
            .spawn(move || act(number, done, until_end))
            .context("cannot start a task")?;
        tasks.push(task);
    }

    drop(done); // the main task's copy
    until_all_done.read_to_end(&mut Vec::new())?;
    // Now each is done, and waits. What does the main task see of it?
    let seen = evidence::look(child, &WRITTEN.lock().unwrap())?;

    drop(end); // now they end
    for task in tasks {
        task.join().expect("a task panicked")?;
    }
    let status = waitpid(child, None)?;

    // All writes and files of the tasks are seen, none of the forked process.
    // Each task has its own stack. The main task's nice value has not changed,
    // and those of the other tasks are above it.
    evidence::judge(args.threads, &seen, status)
}

/// What the forked process does.
fn be_process(number: u8, done: PipeWriter, until_end: PipeReader) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);
    if let Err(error) = act(number, done, until_end) {
        eprintln!("in the forked process: {error}");
        exit(1)
    }
    exit(0)
}

/// What each task does, and the forked process, too.
fn act(number: u8, done: PipeWriter, mut until_end: PipeReader) -> Result<()> {
    // The kernel shows each task as a file: /proc/PID/task/TID/stat.
    let own_file = canonicalize("/proc/thread-self/stat")?;
    let stack = (&raw const number).addr(); // a parameter is on the stack

    // 1. It writes to a variable.
    WRITTEN.lock().unwrap().insert(own_file.clone(), stack);
    // 2. It opens a file.
    let _file = File::open(own_file)?;
    // 3. It calls nice, which adds the number to its nice value.
    // SAFETY: nice takes a number and returns one.
    unsafe { nice(number.into()) };

    drop(done);
    until_end.read_to_end(&mut Vec::new())?; // with its file still open
    Ok(())
}
