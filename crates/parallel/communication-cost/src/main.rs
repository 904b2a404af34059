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

use std::hint;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, yield_now};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};

/// The partner is a process. It runs cat, which writes what it reads.
fn by_pipe() -> Result<Trips> {
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cat")?;
    let mut to_cat = cat.stdin.take().context("no pipe to cat")?;
    let mut from_cat = cat.stdout.take().context("no pipe from cat")?;

    // `measure` calls this closure with 1, 2, 3 and so on, and counts.
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
    // `| head -1` ends this program quietly. Not before: if cat dies, to write
    // to it shall be an error that is told.
    sigpipe::reset();
    let channel = count_sleeps(by_channel)?;
    let memory = count_sleeps(by_memory)?;

    println!("                        round trips/s  sleeps per trip");
    print_row("processes, pipe", &pipe);
    print_row("threads, channel", &channel);
    print_row("threads, shared memory", &memory);

    // To judge: do the sides sleep? Expected are one or two sleeps per trip at
    // pipe and channel; fewer if an answer is often there before a side waits.
    ensure!(pipe.sleeps_per_trip > 0.5, "hardly any sleep at the pipe");
    let at_channel = channel.sleeps_per_trip;
    ensure!(at_channel > 0.1, "hardly any sleep at the channel");
    // Threads sleep a few times when they start and end. FreeBSD counts each
    // yield as a sleep, too: no verdict there.
    let sleeps = memory.sleeps;
    let few = sleeps < 30 || cfg!(target_os = "freebsd");
    ensure!(few, "{sleeps} sleeps at shared memory");
    println!(
        "\nsleeps at shared memory: {sleeps}, in {} trips",
        memory.trips
    );
    Ok(())
}

/// Round trips of a way.
struct Trips {
    count: u64,
    seconds: f64,
}

/// Sends 1, 2, 3 and so on, for a while. Each number has to come back.
fn measure(
    mut there_and_back: impl FnMut(u64) -> Result<u64>,
) -> Result<Trips> {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_millis(300) {
        count += 1;
        let number = there_and_back(count)?;
        ensure!(number == count, "{count} was sent, {number} came back");
    }
    Ok(Trips {
        count,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// A row of the table.
struct Row {
    trips: u64,
    trips_per_second: f64,
    /// Of both sides together
    sleeps: i64,
    sleeps_per_trip: f64,
}

fn count_sleeps(way: fn() -> Result<Trips>) -> Result<Row> {
    let before = sleeps()?;
    let trips = way()?;
    let sleeps = sleeps()? - before;
    Ok(Row {
        trips: trips.count,
        trips_per_second: trips.count as f64 / trips.seconds,
        sleeps,
        sleeps_per_trip: sleeps as f64 / trips.count as f64,
    })
}

fn print_row(way: &str, row: &Row) {
    let trips = row.trips_per_second;
    let sleeps = row.sleeps_per_trip;
    println!("{way:<24}{trips:>13.0}{sleeps:>17.2}");
}

/// How often the threads of this process have left their CPU to wait, and its
/// children, which count when they are reaped. Source: getrusage(2), ru_nvcsw.
fn sleeps() -> Result<i64> {
    let this = getrusage(UsageWho::RUSAGE_SELF)?;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(this.voluntary_context_switches()
        + children.voluntary_context_switches())
}

#[derive(Parser)]
#[command(about)]
struct Args {}
