//! Condition variable: threads sleep until another thread changes something.
//!
//! A mutex protects data: a thread locks it, uses the data and unlocks it, and
//! meanwhile no other thread can lock it. But it does not say which thread is
//! next. Here threads add to a list, at first with a mutex alone. In a second
//! run the mutex protects the list and the number of the thread whose turn it
//! is. A thread that locks the mutex out of turn waits on a condition variable:
//! it unlocks the mutex again and sleeps, until another thread has changed the
//! turn and wakes all that sleep.
//!
//! Predict:  in which order do 3 threads add to a list with a mutex alone?
//! Try:      cargo run -p condvar-handoff -- --threads 9   # twice: the same?
//! See also: semaphore-limit, built from the same two parts.

mod evidence;

use std::sync::{Condvar, Mutex};
use std::thread::Builder;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};

/// How often each thread adds its number to the list.
const TURNS: usize = 8;

/// The list of the first run, protected by a mutex alone.
static LIST: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What the mutex protects in the second run.
struct Shared {
    list: Vec<u8>,
    /// The number of the thread that may add to the list
    turn: u8,
    /// How often a thread was woken; shown beside the list
    woken: u32,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared {
    list: Vec::new(),
    turn: 1,
    woken: 0,
});

/// Threads wait on it until `turn` changes.
static TURN_CHANGED: Condvar = Condvar::new();

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add to the list
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(2..=9))]
    threads: u8,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let last = args.threads; // the number of the last thread; the first is 1
    println!("{last} threads add their number to a list, {TURNS} times each\n");

    run_with_mutex_alone(last)?;
    let list = LIST.lock().unwrap();
    evidence::print_list("mutex alone", &list);

    run_with_condition_variable(last)?;
    let shared = SHARED.lock().unwrap();
    evidence::print_list("mutex and condition variable", &shared.list);

    // With the mutex alone, some entries must be out of turn. That is luck, but
    // nothing would put all of them in turn. With the condition variable as
    // well, all of them must be in turn: 1, 2, 3, 1, 2, 3.
    evidence::judge(&list, &shared, last)
}

fn run_with_mutex_alone(last: u8) -> Result<()> {
    // No thread adds before all exist: the first one would be alone.
    let locked = LIST.lock().unwrap();
    let mut threads = Vec::new();
    for me in 1..=last {
        let thread = Builder::new().spawn(move || add_at_any_time(me));
        threads.push(thread.context("cannot start a thread")?);
    }
    drop(locked); // unlocks the mutex: now they add
    for thread in threads {
        thread.join().unwrap();
    }
    Ok(())
}

/// What each thread does in the first run. `me` is its number.
fn add_at_any_time(me: u8) {
    for _ in 0..TURNS {
        let mut list = LIST.lock().unwrap();
        list.push(me);
        drop(list); // unlocks the mutex
    }
}

fn run_with_condition_variable(last: u8) -> Result<()> {
    let locked = SHARED.lock().unwrap(); // no thread adds before all exist
    let mut threads = Vec::new();
    for me in 1..=last {
        let thread = Builder::new().spawn(move || add_in_turn(me, last));
        threads.push(thread.context("cannot start a thread")?);
    }
    drop(locked); // unlocks the mutex: now they add
    for thread in threads {
        thread.join().unwrap();
    }
    Ok(())
}

/// What each thread does in the second run. `me` is its number.
fn add_in_turn(me: u8, last: u8) {
    for _ in 0..TURNS {
        let mut shared = SHARED.lock().unwrap();
        // A loop: all threads are woken, though only one has its turn.
        while shared.turn != me {
            // wait unlocks the mutex, sleeps until it is woken, and locks it
            // again. `shared` stands for the lock: it is given and taken back.
            shared = TURN_CHANGED.wait(shared).unwrap();
            shared.woken += 1;
        }
        shared.list.push(me);
        shared.turn = next(me, last);
        TURN_CHANGED.notify_all(); // wakes all threads that sleep in wait
        drop(shared); // unlocks the mutex, so that one of them goes on
    }
}

/// The thread whose turn comes after that of `thread`.
fn next(thread: u8, last: u8) -> u8 {
    if thread == last { 1 } else { thread + 1 }
}
