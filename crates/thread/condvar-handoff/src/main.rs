//! Condition variable: a thread sleeps until another one tells it that something has changed.
//!
//! A mutex keeps two threads apart, but does not say who is next: often the one that just had it.
//! To alternate they share whose turn it is, under the mutex, and wait until it is their own. Who
//! is woken knows only that something may have changed: the wait stands in a loop that looks again.
//! Sources: std::sync::Condvar; pthread_cond_wait(3p), "Condition Wait Semantics".
//!
//! Predict:  two threads write to one list under one mutex, 30 times each. In which order?
//! Try:      cargo run -p condvar-handoff -- --spurious
//! See also: semaphore-limit, built from the same two parts.

use std::sync::{Condvar, Mutex};
use std::{process, thread};

use anyhow::ensure;
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Turns of each thread
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u16).range(1..=1000))]
    turns: u16,
    /// Let a third thread call notify_all until ten wake-ups came before anybody's turn
    #[arg(long)]
    spurious: bool,
}

/// What the mutex protects. Turn 0 is nobody's.
#[derive(Default)]
struct Shared {
    turn: u8,
    list: Vec<u8>,
    woken: u32,
    too_early: u32,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    println!(
        "2 threads add to one list, {} times each: ▀ thread 1, ▄ thread 2\n",
        args.turns
    );
    let (unordered, ordered) = (run(&args, false), run(&args, true));
    let runs = [
        ("mutex alone", &unordered),
        ("mutex and condition variable", &ordered),
    ];
    for (label, Shared { list, .. }) in runs {
        let picture = list
            .iter()
            .take(60)
            .map(|&me| if me == 1 { '▀' } else { '▄' });
        println!("{label}:\n{}\n", picture.collect::<String>());
    }
    let Shared {
        list,
        woken,
        too_early,
        ..
    } = ordered;
    ensure!(
        list == [1, 2].repeat(args.turns.into()),
        "the threads do not alternate: {list:?}"
    );
    ensure!(
        too_early >= 10 || !args.spurious,
        "only {too_early} wake-ups came too early"
    );
    println!(
        "woken {woken} times; sent back to sleep by the loop, as too early: {too_early}"
    );
    let longest_run = unordered
        .list
        .chunk_by(|one, next| one == next)
        .map(<[u8]>::len)
        .max();
    println!(
        "{} entries in strict alternation; with the mutex alone, up to {} in a row",
        list.len(),
        longest_run.unwrap_or(0)
    );
    Ok(())
}

/// Lets both threads write, either whenever they get the mutex, or each only when it is its turn.
fn run(args: &Args, take_turns: bool) -> Shared {
    let (mutex, changed) = (Mutex::new(Shared::default()), Condvar::new());
    let write = |me: u8| {
        for _ in 0..args.turns {
            let mut shared = mutex.lock().unwrap();
            // A loop and not an `if`, as the turn may still be the other one's.
            while take_turns && shared.turn != me {
                shared = changed.wait(shared).unwrap(); // unlocks, sleeps, is woken, locks again
                shared.woken += 1;
                shared.too_early += u32::from(shared.turn != me);
            }
            shared.list.push(me);
            shared.turn = 3 - me; // the other one's
            changed.notify_one();
        }
    };
    thread::scope(|scope| {
        let mut shared = mutex.lock().unwrap(); // neither begins before both exist
        for me in [1, 2] {
            if let Err(error) =
                thread::Builder::new().spawn_scoped(scope, move || write(me))
            {
                eprintln!("cannot start a thread: {error}");
                process::exit(1);
            }
        }
        while take_turns && args.spurious && shared.too_early < 10 {
            drop(shared);
            changed.notify_all(); // though nothing has changed
            thread::yield_now();
            shared = mutex.lock().unwrap();
        }
        shared.turn = 1;
        changed.notify_all();
    });
    mutex.into_inner().unwrap()
}
