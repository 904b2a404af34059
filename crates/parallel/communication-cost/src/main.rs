//! Communication cost: one 8-byte value goes back and forth between two threads or two processes.
//!
//! At a pipe or a channel the waiting side sleeps until the kernel wakes it. How often is counted by
//! the kernel: voluntary context switches, getrusage(2). At memory that both see, it looks again and
//! again, and after so many looks lets others have the core. If both sides share one core, nobody
//! can answer before that: then it depends on `--looks` which way is the fastest.
//!
//! Predict:  which of the three is fastest on two cores, and which if both sides share one core?
//! Run:      cargo run --release -p communication-cost
//! Try:      taskset -c 0 cargo run --release -p communication-cost
//! Try:      taskset -c 0 cargo run --release -p communication-cost -- --looks 10000
//! See also: launch-cost, what it takes to start the two.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{hint, iter, thread};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::sys::resource::{UsageWho, getrusage};

const MEASURE_FOR: Duration = Duration::from_millis(300);
const STOP: u64 = u64::MAX;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Looks at shared memory before a side lets others have the core
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=10_000))]
    looks: u32,
}

fn main() -> Result<()> {
    let Args { looks } = Args::parse();
    println!("                        round trips/s  sleeps per trip");
    let pipes = show("processes, pipes", process_pipes)?;
    let channels = show("threads, channels", thread_channels)?;
    let memory = show("threads, shared memory", || thread_memory(looks))?;
    ensure!(
        pipes[1] > 0.5 && channels[1] > 0.1,
        "hardly anybody slept at a pipe or channel"
    );
    ensure!(
        memory[2] < 30.0,
        "somebody slept at shared memory, {} times",
        memory[2]
    );
    print!("\nround trips/s: {:.0} of threads by memory, ", memory[0]);
    println!("{:.0} of processes by pipe", pipes[0]);
    Ok(())
}

/// Prints a row; returns round trips per second, how often either side slept in one of them, and
/// how often in all, which is a few times at the start and the end in any case.
fn show(
    way: &str,
    run: impl FnOnce() -> Result<(f64, Duration)>,
) -> Result<[f64; 3]> {
    let before = sleeps()?;
    let (trips, time) = run()?;
    let (rate, slept) =
        (trips / time.as_secs_f64(), (sleeps()? - before) as f64);
    let bar = "█".repeat((4.0 * (rate.log10() - 2.0)) as usize); // 4 cells for each factor of 10
    println!("{way:<24}{rate:>13.0}{:>17.2}  {bar}", slept / trips);
    Ok([rate, slept / trips, slept])
}

/// Voluntary context switches of this process and of the children that it has reaped.
fn sleeps() -> Result<i64> {
    let [this, children] =
        [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(getrusage);
    Ok(this?.voluntary_context_switches()
        + children?.voluntary_context_switches())
}

/// Makes round trips as long as the time lasts: how many, and the time.
fn measure(
    mut there_and_back: impl FnMut(u64) -> Result<u64>,
) -> Result<(f64, Duration)> {
    let (begin, mut trips) = (Instant::now(), 0);
    while trips % 16 != 0 || begin.elapsed() < MEASURE_FOR {
        trips += 1;
        ensure!(there_and_back(trips)? == trips, "another value came back");
    }
    Ok((trips as f64, begin.elapsed()))
}

/// The other process is cat, which sends back what it gets until its input is closed.
fn process_pipes() -> Result<(f64, Duration)> {
    let mut cat = Command::new("cat");
    let mut cat = cat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("no cat")?;
    let ends = cat.stdin.take().zip(cat.stdout.take());
    let (mut there, mut back) = ends.context("no pipes")?;
    let result = measure(|value| {
        let mut bytes = value.to_ne_bytes();
        there.write_all(&bytes)?;
        back.read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    });
    drop(there); // cat ends, and even if this process is killed
    cat.wait()?;
    result
}

fn thread_channels() -> Result<(f64, Duration)> {
    let ((there, asked), (back, answered)) = (channel(), channel());
    thread::scope(|scope| {
        scope
            .spawn(move || asked.iter().try_for_each(|value| back.send(value)));
        measure(move |value| {
            there.send(value)?;
            Ok(answered.recv()?)
        })
    })
}

fn thread_memory(looks: u32) -> Result<(f64, Duration)> {
    let [there, back] = [AtomicU64::new(0), AtomicU64::new(0)];
    let take = |place: &AtomicU64| {
        loop {
            for _ in 0..looks {
                match place.swap(0, SeqCst) {
                    0 => hint::spin_loop(),
                    value => return value,
                }
            }
            thread::yield_now(); // on one core, the other side can answer only now
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let values = iter::repeat_with(|| take(&there))
                .take_while(|value| *value != STOP);
            values.for_each(|value| back.store(value, SeqCst));
        });
        let result = measure(|value| {
            there.store(value, SeqCst);
            Ok(take(&back))
        });
        there.store(STOP, SeqCst);
        result
    })
}
