//! At which addresses the numbers are, and whether stacks and heap are shared.
//!
//! Sources: fork(2); pthreads(7), for what threads share.

use std::io::{IsTerminal, stdin};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use nix::sys::wait::WaitStatus;

use crate::STACK_SIZE;

/// What main, the child or a thread sees.
pub struct Row {
    local_address: usize,
    local: u64,
    heap_address: usize,
    pub heap: u64,
}

/// What the caller sees of its local variable, and of the number on the heap.
pub fn look(local: &u64, heap: &AtomicU64) -> Row {
    Row {
        local_address: ptr::from_ref(local).addr(),
        local: *local,
        heap_address: ptr::from_ref(heap).addr(),
        heap: heap.load(Ordering::Relaxed),
    }
}

pub fn print_header() {
    println!("                local variable           on the heap");
    println!("                address       number     address       number");
}

pub fn print_row(who: &str, row: &Row) {
    println!(
        "{who:<16}{:<12x}  {:>6}     {:<12x}  {:>6}",
        row.local_address, row.local, row.heap_address, row.heap
    );
}

/// At a terminal, waits for Enter, so that the class can look at the memory
/// from another one. Only Linux shows it in a file.
pub fn pause_at_a_terminal() -> Result<()> {
    if stdin().is_terminal() && cfg!(target_os = "linux") {
        let process = process::id();
        println!("\nThe threads wait. To end them, press Enter.");
        println!("In another terminal: cat /proc/{process}/maps");
        stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// Bytes between the two local variables that are closest to each other.
fn smallest_distance(main: &Row, threads: &[Row]) -> usize {
    let mut addresses = vec![main.local_address];
    for row in threads {
        addresses.push(row.local_address);
    }
    addresses.sort_unstable();
    let mut smallest = usize::MAX;
    for i in 1..addresses.len() {
        let distance = addresses[i] - addresses[i - 1];
        smallest = smallest.min(distance);
    }
    smallest
}

pub fn judge(
    status: WaitStatus,
    after_child: &Row,
    threads: &[Row],
    at_end: &Row,
) -> Result<()> {
    let WaitStatus::Exited(_, child_saw) = status else {
        bail!("the child did not end by itself: {status:?}");
    };
    ensure!(child_saw == 1, "the child saw {child_saw} on the heap");
    let mut number = after_child.heap;
    for row in threads {
        number += 1;
        ensure!(row.local == 1, "a thread's local variable: {}", row.local);
        ensure!(
            row.heap == number,
            "thread {number} saw {} on the heap",
            row.heap
        );
    }

    let count = threads.len() as u64;
    let of_child = after_child.heap;
    let of_threads = at_end.heap;
    ensure!(
        of_child == 0,
        "main sees the child's {of_child} on the heap"
    );
    ensure!(
        of_threads == count,
        "main sees {of_threads} of the threads' {count} on the heap"
    );
    for row in [after_child, at_end] {
        ensure!(row.local == 0, "main's local variable: {}", row.local);
    }
    let distance = smallest_distance(at_end, threads);
    ensure!(
        distance >= STACK_SIZE,
        "two local variables are {distance} bytes apart: on one stack"
    );

    let stacks = count + 1;
    let apart = distance / 1024;
    let size = STACK_SIZE / 1024;
    println!();
    print!("heap: main sees {of_child} of the child's {child_saw}, ");
    println!("and {of_threads} of the threads' {count}");
    println!("main's local variable is still {}", at_end.local);
    print!("stacks: {stacks}, as no two local variables are closer than ");
    println!("{apart} KiB,\n        and a thread's stack has {size} KiB");
    Ok(())
}
