//! Semaphore: a counter of permits. Who takes one may go in; at zero everybody else waits outside.
//!
//! Rust's standard library has none, but it takes only a mutex around the counter, and a condition
//! variable to wait until it is not zero. Here all threads ask at the same time, and none leaves
//! while a permit is free that another one still wants: so every run reaches the limit.
//! Sources: E. W. Dijkstra, "Cooperating sequential processes", EWD 123; sem_overview(7).
//!
//! Predict:  8 threads, 3 permits. How many are inside at once, at most?
//! Try:      cargo run -p semaphore-limit -- --permits 8
//! Try:      cargo run -p semaphore-limit -- --permits 1
//! See also: condvar-handoff, the condition variable alone.

use std::sync::{Barrier, Condvar, Mutex};
use std::{process, thread};

use anyhow::ensure;
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that want to go inside
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u8).range(1..=9))]
    threads: u8,
    /// Threads that may be inside at once
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=9))]
    permits: u8,
}

struct Semaphore {
    free: Mutex<usize>,
    released: Condvar,
}

impl Semaphore {
    fn acquire(&self) {
        let mut free = self.free.lock().unwrap();
        while *free == 0 {
            free = self.released.wait(free).unwrap(); // another one may have been faster: look again
        }
        *free -= 1;
    }

    fn release(&self) {
        *self.free.lock().unwrap() += 1;
        self.released.notify_one();
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (threads, permits) =
        (usize::from(args.threads), usize::from(args.permits));
    let semaphore = Semaphore {
        free: Mutex::new(permits),
        released: Condvar::new(),
    };
    let (all_started, entered) = (Barrier::new(threads), Condvar::new());
    let log = Mutex::new(Vec::new()); // of entries (thread, 1) and exits (thread, -1)
    let entries = |log: &[(usize, i32)]| {
        log.iter().filter(|(_, change)| *change == 1).count()
    };
    let visit = |me| {
        all_started.wait(); // so that they all ask at once
        semaphore.acquire(); // the first ones pass, the others sleep here

        let mut log = log.lock().unwrap();
        log.push((me, 1));
        entered.notify_all();
        // Opens the window wide: stays until all permits are taken, or nobody is left to take one.
        let full = threads.min(entries(&log) + permits - 1);
        log = entered.wait_while(log, |log| entries(log) < full).unwrap();
        log.push((me, -1));
        drop(log);

        semaphore.release();
    };
    thread::scope(|scope| {
        for me in 0..threads {
            if let Err(error) =
                thread::Builder::new().spawn_scoped(scope, move || visit(me))
            {
                eprintln!("cannot start a thread: {error}");
                process::exit(1);
            }
        }
    });

    let log = log.into_inner().unwrap();
    println!(
        "{threads} threads, {permits} permits; one column for each entry and each exit:\n"
    );
    for thread in 0..threads {
        let mut cell = "· ";
        let cells = log.iter().map(|&(who, change)| {
            if who == thread {
                cell = if change == 1 { "██" } else { "  " };
            }
            cell
        });
        println!(
            "thread {}  {}",
            thread + 1,
            cells.collect::<String>().trim_end()
        );
    }
    let (mut inside, mut most, mut row) = (0, 0, String::new());
    for (_, change) in log {
        inside += change;
        most = most.max(inside);
        row += &format!("{inside} ");
    }
    println!("inside    {}", row.trim_end());
    let limit = i32::from(args.permits.min(args.threads));
    ensure!(
        most == limit,
        "{permits} permits, but {most} were inside at once"
    );
    println!(
        "\npermits: {permits}; at most {most} of {threads} threads were inside at once"
    );
    Ok(())
}
