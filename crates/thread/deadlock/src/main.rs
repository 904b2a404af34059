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

mod evidence;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use evidence::{is_deadlock, look, need_schedstat, print_and_judge};

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

    // is_deadlock looks for 50 ms: no round is done, both locks are held, and
    // both threads sleep. Then each has one lock, and waits for the other.
    while !is_deadlock()? {
        let ended = thread_1.is_finished() && thread_2.is_finished();
        let rounds = ROUNDS_DONE.load(Ordering::Relaxed);
        ensure!(!ended, "no deadlock: both ended after {rounds} rounds");
    }
    let before = look()?; // the state and the CPU time of both threads
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

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Both threads lock A before B
    #[arg(long)]
    same_order: bool,
}
