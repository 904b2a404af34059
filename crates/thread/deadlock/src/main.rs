//! Deadlock: threads wait for each other in a circle, and so for ever.
//!
//! A mutex is a lock. Only one thread at a time can hold it. Another thread
//! that locks it has to wait until the holder unlocks it.
//! Here two threads need lock A and lock B at the same time, again and again.
//! Thread 1 locks A before B, and thread 2 locks B before A.
//!
//! Predict:  how much CPU time do two threads in a deadlock use?
//! Try:      cargo run -p deadlock -- --same-order   # exits 1: no deadlock
//! See also: mutex-fix, what a lock is good for.

use std::fs;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

/// A mutex protects data. These two protect none, and that is written (). Only
/// the order of locking matters here.
static LOCK_A: Mutex<()> = Mutex::new(());
static LOCK_B: Mutex<()> = Mutex::new(());

/// How often each thread needs both locks.
const ROUNDS: u32 = 10_000;

/// How often both locks were held, by thread 1 or thread 2.
static ROUNDS_DONE: AtomicU32 = AtomicU32::new(0);

/// What each thread does.
fn work(first: &Mutex<()>, second: &Mutex<()>) {
    for _ in 0..ROUNDS {
        let first_held = first.lock().unwrap();
        // Long enough for the other thread to lock its first one, too.
        sleep(Duration::from_micros(1));
        let second_held = second.lock().unwrap(); // in a deadlock: for ever
        ROUNDS_DONE.fetch_add(1, Ordering::Relaxed);
        drop(second_held); // unlocks it
        drop(first_held);
    }
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_schedstat(); // or exits with 77

    // Nothing joins these threads: stuck ones never end.
    let thread_1 = start("thread 1", &LOCK_A, &LOCK_B)?;
    let thread_2 = if args.same_order {
        start("thread 2", &LOCK_A, &LOCK_B)?
    } else {
        start("thread 2", &LOCK_B, &LOCK_A)?
    };

    while !is_deadlock()? {
        let ended = thread_1.is_finished() && thread_2.is_finished();
        let rounds = ROUNDS_DONE.load(Ordering::Relaxed);
        ensure!(!ended, "no deadlock: both ended after {rounds} rounds");
    }
    let before = look()?;
    sleep(Duration::from_millis(50));
    let after = look()?;
    print_and_judge(&before, &after)
} // When main returns, the process ends, and with it the stuck threads.

/// Builder gives the thread a name, by which `look` finds it. A static lives as
/// long as the program, so the thread may borrow it for ever.
fn start(
    name: &str,
    first: &'static Mutex<()>,
    second: &'static Mutex<()>,
) -> Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_string());
    Ok(thread.spawn(|| work(first, second))?)
}

/// For 50 ms no round is done. Then both locks are held, and both threads
/// sleep. A thread that has both locks does not sleep. So each has one lock,
/// and waits for the other lock.
fn is_deadlock() -> Result<bool> {
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

fn print_and_judge(before: &[Thread], after: &[Thread]) -> Result<()> {
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
struct Thread {
    name: String,
    state: String,
    /// In ns, since the thread was started
    cpu_time: u64,
}

/// Thread 1 and thread 2, unless they have ended. The kernel describes each
/// thread in a folder: its name in comm, its state in status, and its CPU time
/// as the first number in schedstat. Sources: proc_pid_status(5); the kernel's
/// sched-stats.rst.
fn look() -> Result<Vec<Thread>> {
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

fn need_schedstat() {
    if fs::read("/proc/thread-self/schedstat").is_err() {
        eprintln!(
            "cannot run here: no /proc/thread-self/schedstat, as on Linux"
        );
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Both threads lock A before B
    #[arg(long)]
    same_order: bool,
}
