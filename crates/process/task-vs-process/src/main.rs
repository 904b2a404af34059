//! What does a process see of its tasks' work, and what of a forked process's?
//!
//! A task is Linux's word for a thread. A process starts with one, the main
//! task, and can start more. fork makes another process, with a copy of all but
//! the tasks. Each process has a number, its PID, and each task has its TID.
//! Here some tasks, and then a forked process, do the same two things: add 1 to
//! a variable, and open a file. A descriptor is the number of an open file.
//!
//! Predict:  3 tasks and a forked process add 1 to 0. What does main read then?
//! Try:      cargo run -p task-vs-process -- --threads 8
//! See also: process-components, all that a process has;
//!           process-isolation, how far a crash reaches.

use std::fs::{self, File};
use std::process::exit;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// The variable. It is an atomic: Rust lets several threads write to one.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let tasks = usize::from(args.threads);
    need_proc(); // or exits with 77

    println!(
        "tasks: {tasks}, forked processes: 1. Each adds 1, opens a file\n"
    );
    println!("                PID/task/TID              number   descriptors");
    print_row("main task")?;
    let before = count_descriptors()?;

    let mut files = Vec::new();
    for _ in 0..tasks {
        let task = thread::spawn(|| act("task"));
        // One after another, so that a row shows the work of all before it.
        let file = task.join().expect("the task panicked")?;
        files.push(file); // so that it stays open
    }

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: the tasks have ended: there is no other thread. fork would not
    // copy it, and a lock that it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => {
            let _file = act("forked process")?; // stays open until the exit
            exit(0)
        }
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?;
    print_row("main task")?;

    let number = NUMBER.load(Relaxed);
    let after = count_descriptors()?;
    let ended = WaitStatus::Exited(child, 0);
    ensure!(status == ended, "the forked process failed: {status:?}");
    ensure!(number == tasks, "{tasks} tasks, and the number is {number}");
    ensure!(
        after == before + tasks,
        "descriptors: {before}, then {after}"
    );
    println!("\nmain task at the start: number 0, descriptors {before}");
    println!("main task at the end:   number {number}, descriptors {after}");
    Ok(())
}

/// What each task does, and the forked process, too.
fn act(label: &str) -> Result<File> {
    NUMBER.fetch_add(1, Relaxed);
    let file = File::open("/dev/null")?;
    print_row(label)?;
    Ok(file)
}

/// The task that calls this, and what it sees of the variable and the files.
fn print_row(label: &str) -> Result<()> {
    // A link: it leads to PID/task/TID, with the TID of the task that reads it.
    let folder = fs::read_link("/proc/thread-self")?;
    let ids = folder.display();
    let number = NUMBER.load(Relaxed);
    let descriptors = count_descriptors()?;
    println!("{label:<16}{ids:<24}{number:>8}{descriptors:>14}");
    Ok(())
}

/// How many descriptors are open in the process.
fn count_descriptors() -> Result<usize> {
    let descriptors = fs::read_dir("/proc/self/fd")?.count();
    Ok(descriptors - 1) // without the one that reads this folder
}

fn need_proc() {
    if !fs::exists("/proc/thread-self/fd").unwrap_or(false) {
        eprintln!("cannot run here: it reads numbers from /proc, as on Linux");
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Tasks beside the main one
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(1..=8))]
    threads: u8,
}
