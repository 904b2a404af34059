//! Deadlock: two threads hold one lock each, and each waits for the lock of the other one.
//!
//! No error, no CPU time, no end: nothing tells of it, one can only look whether anything moves.
//! It takes a cycle of waiting, and where all take their locks in one order, none can close.
//! Opposite orders often go well, so tests miss them; here a barrier makes sure that they do not.
//! Sources: proc(5), futex(2); Coffman, Elphick, Shoshani, "System Deadlocks", 1971.
//!
//! Predict:  two threads wait for each other. What does the kernel see, and what does it do?
//! Try:      cargo run -p deadlock -- --no-barrier (when, or whether, is luck)
//! See also: mutex-fix, what a lock is good for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::time::Duration;
use std::{fs, process, thread};

use anyhow::{Context, Result, ensure};
use clap::Parser;

static LOCKS: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2]; // A and B
static EACH_HOLDS_ONE: Barrier = Barrier::new(2);
static HELD: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2]; // locks, by each thread
static DONE: AtomicUsize = AtomicUsize::new(0); // rounds: a thread had both locks
const ROUNDS: usize = 100_000; // per thread

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Leave out the barrier: whether, and when, the threads deadlock is luck
    #[arg(long)]
    no_barrier: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !fs::exists("/proc/self/task")? {
        eprintln!(
            "cannot run here: it reads the threads' states from Linux's /proc"
        );
        process::exit(77);
    }
    println!("one order: both threads take lock A, then B");
    let (left, in_order) = run(["AB", "AB"], false)?;
    ensure!(
        left.is_empty() && in_order == 2 * ROUNDS,
        "after {in_order} rounds: {left:?}"
    );
    println!("both threads have ended, after {in_order} rounds\n");

    println!(
        "opposite order: thread 1 takes lock A, then B; thread 2 takes B, then A"
    );
    let orders = ["AB", "BA"];
    let (stuck, done) = run(orders, !args.no_barrier)?;
    if args.no_barrier && done == 2 * ROUNDS {
        println!(
            "both threads have ended, after {done} rounds: no deadlock this time"
        );
        return Ok(());
    }
    ensure!(stuck.len() == 2, "no deadlock in {done} rounds: {stuck:?}");
    println!(
        "   thread    TID  holds  waits for  state  sleeps in               CPU time"
    );
    for (i, [name, tid, state, sleeps_in, time]) in stuck.iter().enumerate() {
        let (holds, wants) = orders[i].split_at(HELD[i].load(Relaxed));
        let [left, right] = [["┌▶", "─┐"], ["└─", "◀┘"]][i];
        print!(
            "{left} {name:<6}{tid:>7}  {holds:<5}  {wants:<9}  {state:<5}  "
        );
        println!("{sleeps_in:<19}{time:>10} ns {right}");
        ensure!(
            holds.len() == 1 && LOCKS[i].try_lock().is_err(),
            "thread {name} holds no lock"
        );
    }
    println!("no change in 50 ms\n");
    println!(
        "opposite order: stuck after {done} rounds; one order: all {in_order} done"
    );
    Ok(()) // this ends the process, and with it the stuck threads
}

/// Lets two threads take both locks, and waits until nothing moves: they have ended or are stuck.
/// Returns those that are left, and in how many rounds a thread held both locks.
fn run(
    orders: [&'static str; 2],
    barrier: bool,
) -> Result<(BTreeSet<[String; 5]>, usize)> {
    for (i, order) in orders.into_iter().enumerate() {
        let work =
            move || (0..ROUNDS).for_each(|_| take_both(i, order, barrier));
        let thread = thread::Builder::new().name((i + 1).to_string());
        thread.spawn(work).context("cannot start a thread")?;
    }
    loop {
        let before = look()?;
        thread::sleep(Duration::from_millis(50)); // standing still is no event: look again later
        let threads = look()?;
        if threads == before
            && threads.iter().all(|[_, _, state, ..]| state == "S")
        {
            return Ok((threads, DONE.swap(0, Relaxed)));
        }
    }
}

fn take_both(thread: usize, order: &str, barrier: bool) {
    let [first, second] =
        [0, 1].map(|i| &LOCKS[usize::from(order.as_bytes()[i] - b'A')]);
    let _first = first.lock().unwrap();
    HELD[thread].store(1, Relaxed);
    if barrier {
        EACH_HOLDS_ONE.wait();
    }
    let _second = second.lock().unwrap(); // in opposite order: each waits here for the other one
    DONE.fetch_add(1, Relaxed);
    HELD[thread].store(0, Relaxed); // both are unlocked next
}

/// Every thread but main: name, TID, state, kernel function that it sleeps in, CPU time in ns.
fn look() -> Result<BTreeSet<[String; 5]>> {
    let main = process::id().to_string();
    let tasks = fs::read_dir("/proc/self/task")?
        .flatten()
        .filter(|t| t.file_name() != *main);
    let thread = |task: fs::DirEntry| {
        let read = |file| {
            fs::read_to_string(task.path().join(file)).unwrap_or_default()
        };
        let state = read("stat")
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .chars()
            .take(1)
            .collect();
        let time = read("schedstat")
            .split(' ')
            .next()
            .unwrap_or_default()
            .into();
        let tid = task.file_name().to_string_lossy().into();
        [read("comm").trim().into(), tid, state, read("wchan"), time]
    };
    Ok(tasks.map(thread).collect())
}
