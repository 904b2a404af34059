//! Communication cost: a number goes to a partner and back, as often as it can.
//!
//! The partner is another process, or another thread of this process. A pipe
//! takes the number from process to process, a channel from thread to thread.
//! A side that waits there sleeps until the kernel wakes it up. Threads have a
//! third way, as they share their memory: a side writes the number there. The
//! other side does not sleep, but looks there again and again.
//!
//! Predict:  Pipe, channel or shared memory: which way is the fastest?
//! Run:      cargo run --release -p communication-cost
//! Try:      taskset -c 0 cargo run -p communication-cost   # only one CPU
//! See also: launch-cost, what it takes to start a process or a thread.

mod evidence;

use std::hint;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, yield_now};

use anyhow::{Context, Result};
use clap::Parser;
use evidence::{Trips, count_sleeps, judge, measure, print_row};

/// The partner is a process. It runs cat, which writes what it reads.
fn by_pipe() -> Result<Trips> {
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cat")?;
    let mut to_cat = cat.stdin.take().context("no pipe to cat")?;
    let mut from_cat = cat.stdout.take().context("no pipe from cat")?;

    // For a while, `measure` calls this closure with 1, 2, 3 and so on. Each
    // number has to come back.
    let trips = measure(|number| {
        let bytes = number.to_ne_bytes(); // 8 of them
        to_cat.write_all(&bytes).context("cat does not read")?;
        let mut answer = [0; 8];
        // Sleeps until they are back.
        from_cat.read_exact(&mut answer).context("no answer")?;
        Ok(u64::from_ne_bytes(answer))
    })?;

    drop(to_cat); // cat reads until the pipe is closed, then it ends
    cat.wait()?;
    Ok(trips)
}

/// The partner is a thread, with a channel in each direction.
fn by_channel() -> Result<Trips> {
    let (to_partner, numbers) = channel();
    let (answers, from_partner) = channel();
    let partner = thread::spawn(move || {
        for number in numbers {
            answers.send(number).expect("main receives");
        }
    });

    let trips = measure(|number| {
        to_partner.send(number)?;
        let answer = from_partner.recv()?; // sleeps until it is there
        Ok(answer)
    })?;

    drop(to_partner); // numbers end when their sender is dropped
    partner.join().expect("no panic");
    Ok(trips)
}

/// Memory for one number in each direction. 0 means that no number is there.
/// Atomic numbers may be used by several threads at the same time.
static TO_PARTNER: AtomicU64 = AtomicU64::new(0);
static FROM_PARTNER: AtomicU64 = AtomicU64::new(0);

/// A number that tells the partner to end.
const END: u64 = u64::MAX;

/// The partner is a thread, and both threads look at the same memory.
fn by_memory() -> Result<Trips> {
    let partner = thread::spawn(|| {
        loop {
            let number = take(&TO_PARTNER);
            if number == END {
                break;
            }
            FROM_PARTNER.store(number, Ordering::SeqCst);
        }
    });

    let trips = measure(|number| {
        TO_PARTNER.store(number, Ordering::SeqCst);
        let answer = take(&FROM_PARTNER); // does not sleep
        Ok(answer)
    })?;

    TO_PARTNER.store(END, Ordering::SeqCst);
    partner.join().expect("no panic");
    Ok(trips)
}

/// Looks until there is a number, and takes it away.
fn take(place: &AtomicU64) -> u64 {
    loop {
        for _ in 0..200 {
            let number = place.swap(0, Ordering::SeqCst); // reads, and sets 0
            if number != 0 {
                return number;
            }
            hint::spin_loop(); // tells the core that this is a waiting loop
        }
        // If both threads share a CPU, the partner can answer only if this one
        // steps aside. It does not sleep: if no other thread wants the CPU, it
        // goes on.
        yield_now();
    }
}

fn main() -> Result<()> {
    Args::parse();
    let pipe = count_sleeps(by_pipe)?;
    // From here on, `| head -1` ends this program quietly. Not above: there, a
    // write to a cat that has died must return an error, not end the program.
    sigpipe::reset();
    let channel = count_sleeps(by_channel)?;
    let memory = count_sleeps(by_memory)?;

    println!("                        round trips/s  sleeps per trip");
    print_row("processes, pipe", &pipe);
    print_row("threads, channel", &channel);
    print_row("threads, shared memory", &memory);

    judge(&pipe, &channel, &memory)
}

#[derive(Parser)]
#[command(about)]
struct Args {}
