//! Condition variable: threads sleep until another thread changes something.
//!
//! A mutex protects data: a thread locks it, uses the data and unlocks it, and
//! meanwhile no other thread can lock it. But it does not say which thread is
//! next. Here threads add to a list, at first with a mutex alone. Then each
//! thread that is out of turn waits on a condition variable: it unlocks the
//! mutex again and sleeps, until another thread has changed the turn.
//!
//! Predict:  in which order do 3 threads add to a list with a mutex alone?
//! Try:      cargo run -p condvar-handoff -- --threads 9   # twice: the same?
//! See also: semaphore-limit, built from the same two parts.

use std::sync::{Condvar, Mutex};
use std::thread;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// How often each thread adds its number to the list.
const TURNS: usize = 8;

/// What the mutex protects.
struct Shared {
    list: Vec<u8>,
    /// The number of the thread that may add to the list
    turn: u8,
}

// Statics, so that each thread can use them for as long as it lives.
static SHARED: Mutex<Shared> = Mutex::new(Shared {
    list: Vec::new(),
    turn: 1,
});
/// Threads wait on it until `turn` changes.
static TURN_CHANGED: Condvar = Condvar::new();

/// What each thread does with the mutex alone. `me` is its number.
fn add_at_any_time(me: u8) {
    for _ in 0..TURNS {
        let mut shared = SHARED.lock().unwrap();
        shared.list.push(me);
        drop(shared); // unlocks the mutex
    }
}

/// What each thread does with the condition variable.
fn add_in_turn(me: u8, last: u8) {
    for _ in 0..TURNS {
        let mut shared = SHARED.lock().unwrap();
        // A loop, for two reasons: all threads are woken, though only one has
        // its turn; and wait may also return for no reason.
        while shared.turn != me {
            // wait takes the lock (`shared`), unlocks it and sleeps until it is
            // woken. Then it locks again, and gives the lock back.
            shared = TURN_CHANGED.wait(shared).unwrap();
        }
        shared.list.push(me);
        shared.turn = if me == last { 1 } else { me + 1 };
        TURN_CHANGED.notify_all(); // wakes all threads that sleep in wait
        // Unlocks the mutex. The threads that were woken lock it one after the
        // other; the one whose turn it is goes on, the others sleep again.
        drop(shared);
    }
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let last = args.threads; // the number of the last thread; the first is 1
    println!("{last} threads add their number to a list, {TURNS} times each\n");

    let alone = list_of(last, add_at_any_time);
    print("mutex alone", &alone);
    let in_turn = list_of(last, move |me| add_in_turn(me, last));
    print("mutex and condition variable", &in_turn);

    let all = TURNS * usize::from(last);
    let wrong_alone = out_of_turn(&alone, last);
    let wrong_in_turn = out_of_turn(&in_turn, last);
    ensure!(
        alone.len() == all && in_turn.len() == all,
        "entries are lost"
    );
    ensure!(
        wrong_alone > 0,
        "in turn with the mutex alone, by luck: run again"
    );
    ensure!(
        wrong_in_turn == 0,
        "{wrong_in_turn} entries are out of turn"
    );
    println!(
        "out of turn with the mutex alone: {wrong_alone} of {all} entries"
    );
    println!(
        "out of turn with the condition variable: {wrong_in_turn} of {all}"
    );
    Ok(())
}

/// Lets threads add to the list until all are done, and takes it. `add` can be
/// copied and sent to each thread, and borrows nothing ('static).
fn list_of(last: u8, add: impl Fn(u8) + Copy + Send + 'static) -> Vec<u8> {
    // Main has the lock until all threads are started. Otherwise thread 1 might
    // have finished before thread 2 starts.
    let locked = SHARED.lock().unwrap();
    let mut threads = Vec::new();
    for me in 1..=last {
        threads.push(thread::spawn(move || add(me)));
    }
    drop(locked); // unlocks the mutex: now they add
    for thread in threads {
        thread.join().unwrap();
    }
    std::mem::take(&mut SHARED.lock().unwrap().list) // leaves an empty one
}

/// Prints a list in one word, as 123123.
fn print(title: &str, list: &[u8]) {
    println!("{title}:");
    for entry in list {
        print!("{entry}");
    }
    println!("\n");
}

/// How many entries differ from 1, 2, 3, 1, 2, 3 and so on, if 3 is the last.
fn out_of_turn(list: &[u8], last: u8) -> usize {
    let mut count = 0;
    let mut turn = 1;
    for entry in list {
        if *entry != turn {
            count += 1;
        }
        turn = if turn == last { 1 } else { turn + 1 };
    }
    count
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add to the list
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(2..=9))]
    threads: u8,
}
