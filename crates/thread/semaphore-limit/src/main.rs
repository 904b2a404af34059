//! Semaphore: a counter of permits, for a limited number of threads at a time.
//!
//! A thread that takes a permit may go inside. It gives the permit back when it
//! leaves. If no permit is free, a thread sleeps until another one is given
//! back. Rust's standard library has no semaphore. This one is a counter, a
//! mutex that protects it, and a condition variable: on that, threads sleep
//! until they are notified. Here all threads ask at the same time.
//!
//! Predict:  8 threads, 3 permits. How many are inside at once, at most?
//! Try:      cargo run -p semaphore-limit -- --permits 8
//! Try:      cargo run -p semaphore-limit -- --permits 1 # that is a mutex
//! See also: condvar-handoff, the condition variable alone.

use std::process::exit;
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that want to go inside
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = value_parser!(u8).range(1..=9))]
    threads: u8,
    /// Threads that may be inside at once
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(1..=9))]
    permits: u8,
}

struct Semaphore {
    free: Mutex<u8>, // permits that nobody has
    released: Condvar,
}

impl Semaphore {
    fn acquire(&self) {
        let mut free = self.free.lock().unwrap();
        // A loop: another thread may have taken the permit in the meantime.
        while *free == 0 {
            // Unlocks the mutex, sleeps until notified, and locks it again.
            free = self.released.wait(free).unwrap();
        }
        *free -= 1;
    }

    fn release(&self) {
        let mut free = self.free.lock().unwrap();
        *free += 1;
        self.released.notify_one(); // wakes one of those that sleep
    }
}

/// What the threads do, with their numbers.
enum Event {
    Enters(u8),
    Leaves(u8),
}

/// What happens inside, behind the semaphore. It only shows that the limit is
/// reached, and not exceeded. A real program would do its work there.
#[derive(Default)]
struct Room {
    log: Mutex<Log>,
    one_has_entered: Condvar,
}

#[derive(Default)]
struct Log {
    events: Vec<Event>,
    entered: u8, // how many threads have, so far
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let semaphore = Semaphore {
        free: Mutex::new(args.permits),
        released: Condvar::new(),
    };
    let all_started = Barrier::new(args.threads.into());
    let room = Room::default();

    let visit = |thread: u8| {
        all_started.wait(); // so that all ask at the same time
        semaphore.acquire(); // the first ones pass, the others sleep here
        stay_inside(thread, &room, &args);
        semaphore.release();
    };
    thread::scope(|scope| {
        for number in 1..=args.threads {
            // Unlike scope.spawn, this does not panic if no thread can start.
            let thread = thread::Builder::new();
            let started = thread.spawn_scoped(scope, move || visit(number));
            if let Err(error) = started {
                eprintln!("Error: cannot start a thread: {error}");
                exit(1); // ends the threads that wait for this one, too
            }
        }
    }); // here the scope waits until all threads have ended

    let events = room.log.into_inner()?.events;
    draw_threads(&args, &events);
    let most = draw_and_count_inside(&events);

    // The verdict demands: at the fullest time, as many were inside as there
    // are permits. If there are fewer threads than permits, all of them were.
    let limit = args.permits.min(args.threads);
    ensure!(most == limit, "{most} were inside at once, not {limit}");
    print!("\npermits: {}; at most {most} of ", args.permits);
    println!("{} threads were inside at once", args.threads);
    Ok(())
}

/// Stays until permits - 1 more threads have entered, or all threads have. With
/// 3 permits, the first thread waits for the third one, the second one for the
/// fourth. So in every run, all permits are taken at some time.
fn stay_inside(thread: u8, room: &Room, args: &Args) {
    let mut log = room.log.lock().unwrap();
    log.events.push(Event::Enters(thread));
    log.entered += 1;
    room.one_has_entered.notify_all();

    let enough = args.threads.min(log.entered + args.permits - 1);
    while log.entered < enough {
        log = room.one_has_entered.wait(log).unwrap();
    }
    log.events.push(Event::Leaves(thread)); // before it gives its permit back
}

/// Draws a row for each thread, with a column for each event.
fn draw_threads(args: &Args, events: &[Event]) {
    println!("threads: {}, permits: {}", args.threads, args.permits);
    println!("each column: one enters or leaves; · waits, █ is inside\n");
    for thread in 1..=args.threads {
        let mut row = format!("thread {thread}  ");
        let mut now = "· ";
        for event in events {
            match event {
                Event::Enters(number) if *number == thread => now = "██",
                Event::Leaves(number) if *number == thread => now = "  ",
                _ => (), // of another thread: this one goes on as before
            }
            row += now;
        }
        println!("{}", row.trim_end());
    }
}

/// Draws how many are inside after each event. Returns the largest number.
fn draw_and_count_inside(events: &[Event]) -> u8 {
    let mut inside = 0;
    let mut most = 0;
    let mut row = String::from("inside    ");
    for event in events {
        match event {
            Event::Enters(_) => inside += 1,
            Event::Leaves(_) => inside -= 1,
        }
        row += &format!("{inside} ");
        most = most.max(inside);
    }
    println!("{}", row.trim_end());
    most
}
