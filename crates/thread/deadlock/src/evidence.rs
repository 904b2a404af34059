//! Whether both threads are stuck, and what the kernel says of them.
//!
//! Sources: proc_pid_status(5); the kernel's sched-stats.rst.

use std::fs;
use std::process::exit;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{LOCK_A, LOCK_B, ROUNDS, ROUNDS_DONE};

/// For 50 ms no round is done. Then both locks are held, and both threads
/// sleep. A thread that has both locks does not sleep. So each has one lock,
/// and waits for the other lock.
pub fn is_deadlock() -> Result<bool> {
    let rounds = ROUNDS_DONE.load(Ordering::Relaxed);
    sleep(Duration::from_millis(50)); // a thread that is not stuck goes on
    let nothing_moves = ROUNDS_DONE.load(Ordering::Relaxed) == rounds;
    // try_lock does not wait. It is an error if some thread holds the lock.
    let held = LOCK_A.try_lock().is_err() && LOCK_B.try_lock().is_err();
    let threads = look()?;
    let mut asleep = 0;
    for thread in &threads {
        if thread.state == "S (sleeping)" {
            asleep += 1;
        }
    }
    Ok(nothing_moves && held && asleep == 2)
}

pub fn print_and_judge(before: &[Thread], after: &[Thread]) -> Result<()> {
    println!("          state               CPU time     50 ms later");
    let mut used = 0;
    for (old, new) in before.iter().zip(after) {
        print!("{:<10}{:<14}", old.name, old.state);
        println!("{:>11} ns  {:>11} ns", old.cpu_time, new.cpu_time);
        used += new.cpu_time - old.cpu_time;
    }
    println!(
        "
        thread 1 ── waits for ──▶ lock B
           ▲                        │
        held by                  held by
           │                        ▼
        lock A ◀── waits for ── thread 2
"
    );
    let rounds = ROUNDS_DONE.load(Ordering::Relaxed);
    println!("rounds before the deadlock: {rounds} of {}", 2 * ROUNDS);
    println!("CPU time that both threads have used in 50 ms: {used} ns");
    ensure!(used == 0, "a thread in a deadlock should use none");
    Ok(())
}

/// What the kernel says of a thread.
pub struct Thread {
    name: String,
    state: String,
    /// In ns, since the thread was started
    cpu_time: u64,
}

/// Thread 1 and thread 2, unless they have ended. The kernel describes each
/// thread in a folder: its name in comm, its state in status, and its CPU time
/// as the first number in schedstat.
pub fn look() -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        // If a thread has just ended, each text is empty.
        let read = |file| {
            let text = fs::read_to_string(folder.join(file));
            text.unwrap_or_default()
        };
        let name = read("comm").trim().to_string();
        if !name.starts_with("thread ") {
            continue; // main, or a thread of some library
        }
        let status = read("status");
        let mut lines = status.lines();
        let state = lines.find_map(|line| line.strip_prefix("State:\t"));
        let schedstat = read("schedstat");
        let cpu_time = schedstat.split(' ').next().unwrap_or_default();
        threads.push(Thread {
            name,
            state: state.unwrap_or_default().to_string(),
            cpu_time: cpu_time.parse().unwrap_or(0),
        });
    }
    Ok(threads)
}

pub fn need_schedstat() {
    if fs::read("/proc/thread-self/schedstat").is_err() {
        eprintln!(
            "cannot run here: no /proc/thread-self/schedstat, as on Linux"
        );
        exit(77);
    }
}
