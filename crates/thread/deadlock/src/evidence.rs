//! What the kernel says of the two threads, and whether it is a deadlock.
//!
//! Sources: proc_pid_status(5), proc_pid_syscall(5); sched-stats.rst of the
//! kernel's documentation, for schedstat; futex(2), the system call by which a
//! thread sleeps until a mutex is unlocked; Coffman, Elphick, Shoshani,
//! "System Deadlocks", 1971.

use std::fs;
use std::path::Path;
use std::process::exit;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{LOCK_A, LOCK_B, ROUNDS};

/// What is drawn of a deadlock.
const CIRCLE: &str = "
        thread 1 ── waits for ──▶ lock B
           ▲                        │
        held by                  held by
           │                        ▼
        lock A ◀── waits for ── thread 2
";

/// What the kernel says of a thread.
#[derive(PartialEq)]
pub struct Thread {
    name: String,
    tid: String,
    /// As "S (sleeping)"
    state: String,
    /// "lock A", "lock B" or "?"
    waits_for: &'static str,
    /// In ns, since the thread was started
    cpu_time: u64,
}

/// Ends the demo if the kernel does not say what a thread waits for.
pub fn exit_unless_the_kernel_tells() {
    for file in ["syscall", "schedstat"] {
        let path = format!("/proc/thread-self/{file}");
        if fs::read(&path).is_err() {
            eprintln!("cannot run here: it needs {path}, as Linux has it");
            exit(77);
        }
    }
}

/// Returns when each thread but main has ended, or sleeps and does not wake
/// up. Gives the threads that sleep.
pub fn wait_until_nothing_moves() -> Result<Vec<Thread>> {
    loop {
        let before = look()?;
        sleep(Duration::from_millis(10)); // no event tells of a deadlock
        let after = look()?;
        let mut all_sleep = true;
        for thread in &after {
            if thread.state != "S (sleeping)" {
                all_sleep = false;
            }
        }
        if all_sleep && before == after {
            return Ok(after);
        }
    }
}

/// What the kernel says of each thread but main.
pub fn look() -> Result<Vec<Thread>> {
    let main = fs::read_link("/proc/self")?; // the process's PID, main's TID
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        if folder.file_name() != main.file_name() {
            threads.push(look_at(&folder));
        }
    }
    threads.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(threads)
}

/// What the kernel says of the thread with this folder of /proc.
fn look_at(folder: &Path) -> Thread {
    // If the thread has just ended, each text is empty.
    let read = |file| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let status = read("status");
    let schedstat = read("schedstat"); // its first number is the CPU time
    let cpu_time = schedstat.split(' ').next().unwrap_or_default();
    Thread {
        name: field(&status, "Name:\t"),
        tid: field(&status, "Pid:\t"),
        state: field(&status, "State:\t"),
        waits_for: lock_in(&read("syscall")),
        cpu_time: cpu_time.parse().unwrap_or(0),
    }
}

fn field(status: &str, name: &str) -> String {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    value.unwrap_or_default().to_string()
}

/// Which lock a thread waits for, by the system call in which it sleeps. That
/// is futex, and its first argument is an address inside the mutex.
fn lock_in(syscall: &str) -> &'static str {
    // The number of the system call, its first argument as 0x1234, and more.
    let argument = syscall.split(' ').nth(1).unwrap_or_default();
    let digits = argument.trim_start_matches("0x");
    let Ok(address) = usize::from_str_radix(digits, 16) else {
        return "?"; // not in a system call
    };
    if is_inside(address, &LOCK_A) {
        "lock A"
    } else if is_inside(address, &LOCK_B) {
        "lock B"
    } else {
        "?"
    }
}

fn is_inside(address: usize, lock: &'static Mutex<()>) -> bool {
    let start = std::ptr::from_ref(lock).addr();
    let end = start + size_of::<Mutex<()>>();
    (start..end).contains(&address)
}

/// Prints each thread as it was at the first look, and its CPU time at both.
pub fn print_table(before: &[Thread], after: &[Thread]) {
    println!(
        "              TID  state         waits for     CPU time  50 ms later"
    );
    for (old, new) in before.iter().zip(after) {
        print!("{:<10}{:>7}  {:<14}", old.name, old.tid, old.state);
        print!("{:<9}{:>10} ns", old.waits_for, old.cpu_time);
        println!("{:>10} ns", new.cpu_time);
    }
}

pub fn judge(
    same_order: u32,
    opposite_order: u32,
    before: &[Thread],
    after: &[Thread],
) -> Result<()> {
    let all = 2 * ROUNDS;
    ensure!(same_order == all, "only {same_order} of {all} rounds");
    ensure!(
        before.len() == 2 && after.len() == 2,
        "no deadlock in {opposite_order} rounds"
    );
    for thread in [&before[0], &after[0]] {
        ensure!(thread.waits_for == "lock B", "thread 1 does not want B");
    }
    for thread in [&before[1], &after[1]] {
        ensure!(thread.waits_for == "lock A", "thread 2 does not want A");
    }
    // A lock that one of the two threads waits for is held by the other
    // thread, as there is no third one.
    ensure!(LOCK_A.try_lock().is_err(), "nobody holds lock A");
    ensure!(LOCK_B.try_lock().is_err(), "nobody holds lock B");
    let cpu_time_before = before[0].cpu_time + before[1].cpu_time;
    let cpu_time_after = after[0].cpu_time + after[1].cpu_time;
    let used = cpu_time_after - cpu_time_before;
    ensure!(used == 0, "the threads have used {used} ns of CPU time");

    println!("{CIRCLE}");
    println!("CPU time that both threads have used in 50 ms: {used} ns");
    println!("rounds done in opposite order: {opposite_order} of {all}");
    println!("rounds done in the same order: {same_order} of {all}");
    Ok(())
}
