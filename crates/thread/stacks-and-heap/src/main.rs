//! Stacks and the heap: what does each thread have, and what do all share?
//!
//! A stack is the memory for the local variables of functions that run. Each
//! thread has one. The heap is memory for what shall live longer; what an Arc
//! points to is there. Here some threads call the same function. It adds 1 to a
//! local variable, and 1 to a number on the heap.
//!
//! Predict:  4 threads have each added 1 to both. Which numbers do they see?
//! Try:      cargo run -p stacks-and-heap -- --threads 8
//! Try:      RUST_MIN_STACK=99000000 cargo run -p stacks-and-heap # larger ones
//! See also: race-condition, what threads can do to a value that they share;
//!           task-vs-process, where a child has copies of all of it.

use std::ptr;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// In bytes: far less than a stack has, and far more than this program puts on
/// one. So variables that are farther apart are on different stacks.
const FAR_APART: usize = 16_384;

/// What a thread sees when all have added 1.
struct Row {
    local_address: usize,
    local: u64,
    heap_address: usize,
    heap: u64,
}

/// What each thread does.
fn add(on_heap: &Mutex<u64>, all_have_added: &Barrier) -> Row {
    let mut local = 0; // on the stack of the thread that calls `add`
    local += 1;
    *on_heap.lock().unwrap() += 1; // unlocks at the end of this statement

    // Waits for the others. Now all have added 1, and all stacks exist.
    all_have_added.wait();
    let number = on_heap.lock().unwrap();
    Row {
        local_address: ptr::from_ref(&local).addr(),
        local,
        heap_address: ptr::from_ref(&*number).addr(),
        heap: *number,
    }
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let count = Args::parse().threads;

    // thread::spawn, so that each thread needs an Arc of its own. A scope would
    // wait for the threads at the barrier even if one of them could not start.
    let on_heap = Arc::new(Mutex::new(0)); // the number, 0, is on the heap
    let all_have_added = Arc::new(Barrier::new(count as usize));
    let mut threads = Vec::new();
    for _ in 0..count {
        let on_heap = Arc::clone(&on_heap); // points to the same number
        let all_have_added = Arc::clone(&all_have_added);
        let work = move || add(&on_heap, &all_have_added);
        threads.push(thread::spawn(work));
    }

    println!("            local variable         on the heap");
    println!("            address       number   address       number");
    let mut addresses = Vec::new(); // of the local variables
    for (index, thread) in threads.into_iter().enumerate() {
        let row = thread.join().unwrap(); // what `add` returned
        print!("thread {:<5}", index + 1);
        print!("{:<12x}  {:>6}   ", row.local_address, row.local);
        println!("{:<12x}  {:>6}", row.heap_address, row.heap);

        ensure!(row.local == 1, "a local variable is {}, not 1", row.local);
        ensure!(row.heap == count, "on the heap is {}", row.heap);
        addresses.push(row.local_address);
    }

    addresses.sort_unstable();
    let mut closest = usize::MAX;
    for pair in addresses.windows(2) {
        closest = closest.min(pair[1] - pair[0]);
    }
    let kib = closest / 1024;
    println!();
    println!("heap:   {count} threads added 1 to one number: all see {count}");
    println!("stacks: {count} threads added 1 to their own: all see 1");
    println!("        the nearest two of these are {kib} KiB apart");
    ensure!(closest >= FAR_APART, "two local variables are on one stack");
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add 1
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u64).range(2..=8))]
    threads: u64,
}
