//! Communication cost: a number goes to a partner and back, as often as it can.
//!
//! The partner is another process, or another thread of this process. A pipe
//! takes the number from process to process, a channel from thread to thread.
//! A side that waits there sleeps until the kernel wakes it up. Threads have a
//! third way, as they share their memory: a side writes the number there. The
//! other side does not sleep, but looks there again and again. After so many
//! looks it yields, which means that it lets others have its core.
//!
//! Predict:  Pipe, channel or shared memory: which way is the fastest?
//! Run:      cargo run --release -p communication-cost
//! Try:      taskset -c 0 cargo run -p communication-cost   # only one core
//! Try:      taskset -c 0 cargo run -p communication-cost -- --looks 10000
//! See also: launch-cost, what it takes to start a process or a thread.

mod evidence;

use std::hint;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{Builder, yield_now};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::Trips;
use nix::sys::signal::{SigHandler, Signal, signal};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Looks at shared memory before a side yields
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = value_parser!(u32).range(1..=10_000))]
    looks: u32,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // Each way makes round trips for a while. That gives a row of the table.
    evidence::print_header();
    let pipe = evidence::row("processes, pipe", by_pipe)?;
    let channel = evidence::row("threads, channel", by_channel)?;
    let memory =
        evidence::row("threads, shared memory", || by_memory(args.looks))?;

    // Sleeping and waking up is what the first two ways cost. So that is
    // judged: the kernel counts how often this process has gone to sleep.
    // The verdict demands at least 0.5 sleeps per round trip at the pipe, 0.1
    // at the channel. It would be 1 or more, but an answer may be there before
    // a side waits for it. At shared memory up to 30 sleeps in all are allowed:
    // threads also sleep when they start and end.
    evidence::judge(&pipe, &channel, &memory)
}

/// The partner is a process. It runs cat, which writes what it reads.
fn by_pipe() -> Result<Trips> {
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cat")?;
    let mut to_cat = cat.stdin.take().context("no pipe to cat")?;
    let mut from_cat = cat.stdout.take().context("no pipe from cat")?;

    // measure calls this closure with 1, 2, 3 and so on, and counts.
    let trips = evidence::measure(|number| {
        to_cat.write_all(&number.to_ne_bytes())?; // its 8 bytes
        let mut answer = [0; 8];
        from_cat.read_exact(&mut answer)?; // sleeps until they are back
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
    let partner = Builder::new()
        .spawn(move || {
            for number in numbers {
                answers.send(number).expect("main receives");
            }
        })
        .context("cannot start a thread")?;

    let trips = evidence::measure(|number| {
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
fn by_memory(looks: u32) -> Result<Trips> {
    let partner = Builder::new()
        .spawn(move || {
            loop {
                let number = take(&TO_PARTNER, looks);
                if number == END {
                    break;
                }
                FROM_PARTNER.store(number, Ordering::SeqCst);
            }
        })
        .context("cannot start a thread")?;

    let trips = evidence::measure(|number| {
        TO_PARTNER.store(number, Ordering::SeqCst);
        let answer = take(&FROM_PARTNER, looks); // does not sleep
        Ok(answer)
    })?;

    TO_PARTNER.store(END, Ordering::SeqCst);
    partner.join().expect("no panic");
    Ok(trips)
}

/// Looks until there is a number, and takes it away.
fn take(place: &AtomicU64, looks: u32) -> u64 {
    loop {
        for _ in 0..looks {
            let number = place.swap(0, Ordering::SeqCst); // reads, and sets 0
            if number != 0 {
                return number;
            }
            hint::spin_loop(); // tells the core that this is a waiting loop
        }
        // If both threads share a core, the partner can answer only now.
        yield_now(); // no sleep: if nobody else wants the core, it goes on
    }
}
