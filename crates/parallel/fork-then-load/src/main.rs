//! Fork, then load: each worker process loads its own part of the data.
//!
//! Memory comes in pages, mostly of 4 KiB. fork copies the page table, which
//! says where each page is: the more pages, the longer that takes. The pages
//! are not copied. Parent and child share them. When a process writes to a
//! shared page, the kernel gives that process a copy of it: copy-on-write. The
//! other processes keep the old page.
//! In CPython, even to read an object changes its reference counter, which is
//! stored in most objects. The numbers in a NumPy array have no counters.
//!
//! Predict:  A parent loads 256 MiB, 4 workers overwrite 64 each: MiB in use?
//! Try:      cargo run -p fork-then-load -- --mib 64
//! See also: launch-cost, what it takes to fork a small process;
//!           shared-text, what else processes share.

mod evidence;

use std::hint::black_box;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{Meter, Row, need_memory, print_and_judge};
use nix::unistd::{ForkResult, fork};

const WORKERS: usize = 4;

/// The parent has no data. Each worker loads its part. Meter adds up the memory
/// of parent and workers, a shared page once, while all of them still live.
fn fork_then_load(bytes: usize) -> Result<Row> {
    let meter = Meter::start()?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        // fork returns twice: in the parent, and in the new worker.
        // SAFETY: this process has one thread. fork copies only the thread that
        // calls it: a lock held by another would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                let mut part = load(bytes / WORKERS);
                work(&mut part);
                // This takes `meter` away. In a loop that is allowed, as the
                // function never returns: the loop goes on in the parent alone.
                meter.wait_and_exit()
            }
            ForkResult::Parent { child } => workers.push(child),
        }
    }
    meter.measure(&workers)
}

/// The parent loads all of the data. Each worker works on its part.
fn load_then_fork(bytes: usize) -> Result<Row> {
    let mut data = load(bytes);
    let meter = Meter::start()?;
    let mut workers = Vec::new();
    for part in data.chunks_mut(bytes / WORKERS) {
        // SAFETY: as above, there is no other thread.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                work(part); // its pages are shared: the kernel copies each one
                meter.wait_and_exit() // never returns
            }
            ForkResult::Parent { child } => workers.push(child),
        }
    }
    meter.measure(&workers)
}

/// A real program would read a file here.
fn load(bytes: usize) -> Vec<u8> {
    let data = vec![1; bytes];
    black_box(data) // the compiler must not leave it out
}

/// A real program would compute here. This one writes to each page.
fn work(part: &mut [u8]) {
    part.fill(2);
    black_box(part);
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    // Data and copies are twice the data. Asks for four times the data, as
    // other programs need memory, too.
    need_memory(4 * u64::from(args.mib))?; // or exits with 77

    let bytes = usize::from(args.mib) * 1024 * 1024;
    let fork_first = fork_then_load(bytes)?;
    let load_first = load_then_fork(bytes)?;

    println!("{} MiB of data, {WORKERS} workers\n", args.mib);
    // The verdict: loaded by the workers, the data is in memory once. Loaded
    // first, it is there twice, as the workers overwrite all of it. If they
    // only read it, it would be there once, too.
    print_and_judge(args.mib, &fork_first, &load_first)
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// MiB of data, at most a quarter of the free memory
    #[arg(long, default_value_t = 256)]
    #[arg(value_parser = value_parser!(u16).range(16..=4096))]
    mib: u16,
}
