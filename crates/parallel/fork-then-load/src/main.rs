//! Fork, then load: each worker process loads its part of the data itself.
//!
//! A process has its memory in pages, mostly of 4 KiB. Its page table says
//! where in physical memory each page is. fork copies the page table, but not
//! the pages: parent and child share them.
//! A page fault is an access to a page that the process does not have yet, or
//! a write to a page that it shares. Then the kernel gives the process a page
//! of its own: a new one, or a copy of the shared one.
//! Workers in Python that only read do write: into each object Python writes
//! how many others refer to it. So they get copies, too.
//!
//! Predict:  A parent loads 256 MiB, 4 workers overwrite 64 each: MiB in use?
//! Try:      cargo run -p fork-then-load -- --mib 64
//! See also: process-isolation, the copy of one page;
//!           launch-cost, what it takes to fork a small process.

mod evidence;

use std::hint::black_box;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{Meter, Row};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, Pid, fork};

const WORKERS: usize = 4;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// MiB of data, at most a quarter of the free memory
    #[arg(long, default_value_t = 256)]
    #[arg(value_parser = value_parser!(u16).range(16..=4096))]
    mib: u16,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let bytes = usize::from(args.mib) * 1024 * 1024;
    // Data and copies are twice the data. If less than twice that is free, the
    // program says so, and exits with 77: it cannot run here.
    evidence::need_memory(4 * bytes)?;

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let fork_first = fork_then_load(bytes)?;
    let load_first = load_then_fork(bytes)?;

    evidence::draw(bytes, &fork_first, &load_first);
    // If the workers load, the memory in use must be less than 1.5 times the
    // data: it is in memory once, and the program itself needs a few MiB.
    // If the parent loads, copies must take at least 0.9 times the data more.
    // There must also be more page faults then, one for each copy, and the
    // forks must take longer: they copy a page table with more pages in it.
    evidence::judge(bytes, &fork_first, &load_first)
}

/// The parent has no data. Each worker loads a quarter of it.
fn fork_then_load(bytes: usize) -> Result<Row> {
    let mut meter = Meter::start()?; // counts page faults from here on
    meter.begin_forks()?; // and the parent's CPU time from here on

    let mut workers: Vec<Pid> = Vec::new();
    for _ in 0..WORKERS {
        // fork returns twice: in the parent, and in the new worker.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                let mut quarter = load(bytes / WORKERS);
                work(&mut quarter);
                meter.wait_until_measured_and_exit()
            }
            ForkResult::Parent { child } => workers.push(child),
        }
    }
    meter.measure_and_reap(&workers)
}

/// The parent loads all of the data. Each worker gets a quarter of it.
fn load_then_fork(bytes: usize) -> Result<Row> {
    let mut meter = Meter::start()?;
    let mut data = load(bytes);
    meter.begin_forks()?;

    let mut workers: Vec<Pid> = Vec::new();
    for quarter in data.chunks_mut(bytes / WORKERS) {
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                work(quarter); // shared pages: the kernel copies each one
                meter.wait_until_measured_and_exit()
            }
            ForkResult::Parent { child } => workers.push(child),
        }
    }
    meter.measure_and_reap(&workers)
}

/// A real program would read a file here.
fn load(bytes: usize) -> Vec<u8> {
    let data = vec![1; bytes];
    black_box(data) // the compiler must not leave it out
}

/// A real program would compute here. This one writes to each page.
fn work(quarter: &mut [u8]) {
    quarter.fill(2);
    black_box(quarter);
}
