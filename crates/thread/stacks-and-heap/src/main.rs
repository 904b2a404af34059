//! Each thread has a stack of its own; the heap is one for all of them.
//!
//! A forked child, then some threads, do the same: add 1 to a local variable and to a value on the
//! heap. The child has its parent's addresses and a copy of all that is there. A thread has another
//! stack and the very same heap. Sources: fork(2), pthreads(7); proc_pid_maps(5) for the mappings.
//!
//! Predict:  a child, then three threads add 1 to a value on the heap. What does main see of it?
//! Try:      cargo run -p stacks-and-heap -- --threads 8
//! See also: race-condition, what threads can do to a value that they share.

use std::io::{IsTerminal, stdin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, mpsc::channel};
use std::{fs, process, ptr, thread};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};

const STACK: usize = 2 << 20; // bytes for each thread

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add 1, one after the other, when the child is gone
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(1..=8))]
    threads: u64,
}

fn main() -> Result<()> {
    let Args { threads } = Args::parse();
    if !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: it reads from Linux's /proc where memory is mapped"
        );
        process::exit(77);
    }
    let mut local = 0;
    let heap = &Box::new(AtomicU64::new(0));
    println!(
        "              local on the stack, in this mapping          value on the heap"
    );

    // SAFETY: this process has one thread, so the child may do all that a program may.
    let child = match unsafe { fork() }
        .map_err(|errno| anyhow!("fork refused: {errno}"))?
    {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            local += 1;
            heap.fetch_add(1, Relaxed); // the same address, but only the child's copy changes
            let seen = look("forked child", &local, heap);
            process::exit(seen.map_or(0, |_| heap.load(Relaxed) as i32))
        }
    };
    let status = waitpid(child, None)?;
    ensure!(
        status == WaitStatus::Exited(child, 1),
        "the child saw no 1: {status:?}"
    );
    let mut stacks = vec![look("main", &local, heap)?];
    let of_child = heap.load(Relaxed);

    println!();
    let all_seen = &Mutex::new(());
    thread::scope(|scope| {
        let _not_yet = all_seen.lock(); // no thread ends before the last has begun: all stacks exist
        for number in 1..=threads {
            let (report, reports) = channel();
            let work = move || {
                let mut local = 0; // on this thread's own stack
                local += 1;
                heap.fetch_add(1, Relaxed); // on the heap of all
                _ = report.send(look(
                    &format!("thread {number}"),
                    &local,
                    heap,
                ));
                drop(all_seen.lock());
            };
            let started = thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work);
            started
                .map_err(|error| anyhow!("cannot start a thread: {error}"))?;
            stacks.push(reports.recv()??);
        }
        look("main", &local, heap)?;
        if stdin().is_terminal() {
            println!(
                "\nThe threads wait. Elsewhere: cat /proc/{}/maps; then Enter",
                process::id()
            );
            stdin().read_line(&mut String::new())?;
        }
        anyhow::Ok(())
    })?;

    stacks.sort();
    // By distance, not by mapping: with a recent glibc, stacks side by side are one mapping.
    let apart = stacks
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap_or_default();
    let of_threads = heap.load(Relaxed) - of_child;
    ensure!(
        apart >= STACK,
        "two locals are {apart} bytes apart: on the same stack"
    );
    ensure!(
        (of_child, of_threads) == (0, threads),
        "main sees {of_child} and {of_threads}"
    );
    println!(
        "\nstacks: {}, each at least {} KiB from the next",
        stacks.len(),
        apart >> 10
    );
    println!(
        "heap: main sees {of_child} of the child's 1, {of_threads} of the threads' {threads}"
    );
    Ok(())
}

/// Prints what the caller sees, and where. Returns the address of its local.
fn look(who: &str, local: &u64, heap: &AtomicU64) -> Result<usize> {
    let (on_stack, on_heap) =
        (ptr::from_ref(local).addr(), ptr::from_ref(heap).addr());
    let maps = fs::read_to_string("/proc/self/maps")?;
    let bound = |hex| usize::from_str_radix(hex, 16).unwrap_or_default();
    let mut mappings = maps
        .lines()
        .filter_map(|line| line.split_once(' ')?.0.split_once('-'));
    let mapping = mappings
        .find(|(begin, end)| (bound(begin)..bound(end)).contains(&on_stack));
    let (begin, end) = mapping.context("no mapping holds the local")?;
    let value = heap.load(Relaxed);
    println!(
        "{who:<14}{on_stack:x} = {local}  {begin}-{end}  {on_heap:x} = {value}"
    );
    Ok(on_stack)
}
