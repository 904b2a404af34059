//! Deadlock: threads wait for each other in a circle, and so for ever.
//!
//! A mutex is a lock. Only one thread at a time can hold it. Another thread
//! that locks it has to wait until the holder unlocks it.
//! Here two threads need lock A and lock B at the same time, again and again.
//! In the first run both threads lock A before B. In the second run thread 1
//! still does, but thread 2 locks B before A.
//!
//! Predict:  how much CPU time do two threads in a deadlock use?
//! Try:      cargo run -p deadlock -- --no-barrier   # a deadlock only by luck
//! See also: mutex-fix, what a lock is good for.

mod evidence;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread::{Builder, sleep};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// A mutex protects data. These two protect none, and that is written (). Only
/// the order of locking matters here.
static LOCK_A: Mutex<()> = Mutex::new(());
static LOCK_B: Mutex<()> = Mutex::new(());

/// A barrier for 2 threads: the thread that comes first waits for the second.
/// So each thread holds one lock before either of them asks for its other one.
static EACH_HOLDS_ONE: Barrier = Barrier::new(2);

/// How often each thread needs both locks.
const ROUNDS: u32 = 100_000;

/// How often both locks were held in this run, by thread 1 or thread 2.
static ROUNDS_DONE: AtomicU32 = AtomicU32::new(0);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Leave out the barrier: whether there is a deadlock is luck
    #[arg(long)]
    no_barrier: bool,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    evidence::exit_unless_the_kernel_tells(); // 77: it cannot run here

    println!("same order: both threads lock A, then B");
    start_in_same_order()?;
    // The threads that are left when all have ended or are stuck.
    let left = evidence::wait_until_nothing_moves()?;
    let same_order = ROUNDS_DONE.swap(0, Ordering::Relaxed); // read, set to 0
    ensure!(left.is_empty(), "stuck after {same_order} rounds");
    println!("both threads have ended, after {same_order} rounds\n");

    println!("opposite order: thread 1 locks A, then B; thread 2 B, then A");
    let meet = !args.no_barrier;
    start_in_opposite_order(meet)?;
    let before = evidence::wait_until_nothing_moves()?;
    sleep(Duration::from_millis(50)); // a thread that is not stuck goes on
    let after = evidence::look()?; // the same threads, if they are stuck
    let opposite_order = ROUNDS_DONE.load(Ordering::Relaxed);
    if args.no_barrier && opposite_order == 2 * ROUNDS {
        println!("both threads have ended, after {opposite_order} rounds");
        println!("no deadlock this time");
        return Ok(());
    }
    evidence::print_table(&before, &after);

    // In the same order all rounds must have been done, in opposite order not.
    // There thread 1 must wait for lock B and thread 2 for lock A, while both
    // locks are held. During the 50 ms no thread must have used CPU time.
    evidence::judge(same_order, opposite_order, &before, &after)
} // When main returns, the process ends, and with it the stuck threads.

fn start_in_same_order() -> Result<()> {
    // No barrier: thread 1 would wait there with lock A, which thread 2 needs
    // before it comes to the barrier.
    let meet = false;
    let thread_1 = Builder::new().name("thread 1".to_string());
    let thread_2 = Builder::new().name("thread 2".to_string());
    thread_1
        .spawn(move || a_then_b(&LOCK_A, &LOCK_B, meet))
        .context("cannot start a thread")?;
    thread_2
        .spawn(move || a_then_b(&LOCK_A, &LOCK_B, meet))
        .context("cannot start a thread")?;
    Ok(())
}

/// Nothing joins these threads: stuck ones never end.
fn start_in_opposite_order(meet: bool) -> Result<()> {
    let thread_1 = Builder::new().name("thread 1".to_string());
    let thread_2 = Builder::new().name("thread 2".to_string());
    thread_1
        .spawn(move || a_then_b(&LOCK_A, &LOCK_B, meet))
        .context("cannot start a thread")?;
    thread_2
        .spawn(move || b_then_a(&LOCK_A, &LOCK_B, meet))
        .context("cannot start a thread")?;
    Ok(())
}

fn a_then_b(lock_a: &Mutex<()>, lock_b: &Mutex<()>, meet: bool) {
    for _ in 0..ROUNDS {
        let held_a = lock_a.lock().unwrap();
        if meet {
            EACH_HOLDS_ONE.wait();
        }
        let held_b = lock_b.lock().unwrap(); // in a deadlock: waits for ever
        ROUNDS_DONE.fetch_add(1, Ordering::Relaxed);
        drop(held_b); // unlocks lock B
        drop(held_a); // unlocks lock A
    }
}

fn b_then_a(lock_a: &Mutex<()>, lock_b: &Mutex<()>, meet: bool) {
    for _ in 0..ROUNDS {
        let held_b = lock_b.lock().unwrap();
        if meet {
            EACH_HOLDS_ONE.wait();
        }
        let held_a = lock_a.lock().unwrap(); // in a deadlock: waits for ever
        ROUNDS_DONE.fetch_add(1, Ordering::Relaxed);
        drop(held_a); // unlocks lock A
        drop(held_b); // unlocks lock B
    }
}
