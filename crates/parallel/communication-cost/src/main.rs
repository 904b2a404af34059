//! Communication cost: one 8-byte value goes back and forth between two threads or two processes.
//!
//! Memory that both see needs no kernel: each side looks until it sees the other one's value. With
//! a channel or a pipe the waiting side sleeps, and the kernel has to wake it. How often they went
//! to sleep is counted by the kernel: voluntary context switches, getrusage(2).
//!
//! Predict:  which of the four is fastest on two cores, and which if both sides share one core?
//! Try:      cargo run --release -p communication-cost
//! Try:      cargo run --release -p communication-cost -- --pin
//! See also: launch-cost, what it takes to start the two.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{hint, process, thread};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};

const MEASURE_FOR: Duration = Duration::from_millis(200);
const STOP: u64 = u64::MAX;

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Pin both sides to one core
    #[arg(long)]
    pin: bool,
}

fn main() -> Result<()> {
    alarm::set(10); // a side that waits in vain for the other one shall not wait for ever
    if Knobs::parse().pin {
        println!("both sides on core {}", pin_to_first_core()?);
    }
    println!("                           round trips/s  sleeps each");
    // Processes first: fork is for a process that has one thread.
    let pipes = show("processes, pipes", process_pipes)?;
    let shared = show("processes, shared memory", process_memory)?;
    let channels = show("threads, channels", thread_channels)?;
    let memory = show("threads, shared memory", thread_memory)?;
    ensure!(pipes[1] > 0.5 && channels[1] > 0.1, "hardly anybody slept at a pipe or channel");
    ensure!(shared[2].max(memory[2]) < 30.0, "somebody slept at shared memory");
    println!(
        "\nthreads by memory make {:.1} times the round trips of processes by pipe",
        memory[0] / pipes[0]
    );
    Ok(())
}

/// Prints a row; returns round trips per second, how often either side slept in one of them, and
/// how often in all, which is a few times at the start and the end in any case.
fn show(way: &str, exchange: fn() -> Result<(u64, Duration)>) -> Result<[f64; 3]> {
    let before = sleeps()?;
    let (rounds, time) = exchange()?;
    let (rate, slept) = (rounds as f64 / time.as_secs_f64(), (sleeps()? - before) as f64);
    let each = slept / rounds as f64;
    let bar = "█".repeat((5.0 * (rate.log10() - 2.0)) as usize); // logarithmic, 5 cells a factor of 10
    println!("{way:<26}{rate:>14.0}{each:>13.2}  {bar}");
    Ok([rate, each, slept])
}

/// Voluntary context switches of this process and of the children that it has reaped.
fn sleeps() -> Result<i64> {
    let [this, children] = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(getrusage);
    Ok(this?.voluntary_context_switches() + children?.voluntary_context_switches())
}

/// The asking side: round trips as long as the time lasts.
fn ping(mut send: impl FnMut(u64), mut receive: impl FnMut() -> u64) -> Result<(u64, Duration)> {
    let (begin, mut round) = (Instant::now(), 0);
    while round % 16 != 0 || begin.elapsed() < MEASURE_FOR {
        round += 1;
        send(round);
        ensure!(receive() == round, "another value came back");
    }
    let time = begin.elapsed();
    send(STOP);
    Ok((round, time))
}

/// The answering side: sends back what it gets.
fn pong(mut send: impl FnMut(u64), mut receive: impl FnMut() -> u64) {
    loop {
        match receive() {
            STOP => return,
            value => send(value),
        }
    }
}

fn thread_memory() -> Result<(u64, Duration)> {
    let [there, back] = [AtomicU64::new(0), AtomicU64::new(0)];
    thread::scope(|scope| {
        scope.spawn(|| pong(put(&back), take(&there)));
        ping(put(&there), take(&back))
    })
}

fn process_memory() -> Result<(u64, Duration)> {
    let (length, access) = (NonZeroUsize::MIN, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
    // SAFETY: a new page of zeros, which are valid atomics; it stays, and stays shared after fork.
    let [there, back] = unsafe {
        let page = mmap_anonymous(None, length, access, MapFlags::MAP_SHARED)?;
        page.cast::<[AtomicU64; 2]>().as_ref()
    };
    with_partner(|| pong(put(back), take(there)), || ping(put(there), take(back)))
}

fn thread_channels() -> Result<(u64, Duration)> {
    let ((there, asked), (back, answered)) = (channel(), channel());
    thread::scope(|scope| {
        scope.spawn(move || pong(|value| back.send(value).unwrap(), || asked.recv().unwrap()));
        ping(|value| there.send(value).unwrap(), || answered.recv().unwrap())
    })
}

fn process_pipes() -> Result<(u64, Duration)> {
    let ((asked, there), (answered, back)) = (pipe()?, pipe()?);
    let partner = || pong(write_to(&back), read_from(&asked));
    with_partner(partner, || ping(write_to(&there), read_from(&answered)))
}

/// Runs one function in a forked child, the other one here.
fn with_partner<T>(partner: impl FnOnce(), this: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            partner();
            process::exit(0)
        }
        ForkResult::Parent { child } => {
            let result = this();
            waitpid(child, None)?;
            result
        }
    }
}

fn put(place: &AtomicU64) -> impl FnMut(u64) {
    |value| place.store(value, SeqCst)
}

/// Looks until a value is there, and takes it away. Now and then it lets others have the core.
fn take(place: &AtomicU64) -> impl FnMut() -> u64 {
    || {
        for looks in 1.. {
            match place.swap(0, SeqCst) {
                0 if looks % 200 == 0 => thread::yield_now(),
                0 => hint::spin_loop(),
                value => return value,
            }
        }
        unreachable!("the loop has no end")
    }
}

fn write_to(mut pipe: &PipeWriter) -> impl FnMut(u64) {
    move |value| pipe.write_all(&value.to_ne_bytes()).unwrap()
}

fn read_from(mut pipe: &PipeReader) -> impl FnMut() -> u64 {
    move || {
        let mut bytes = [0; 8];
        pipe.read_exact(&mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    }
}

/// Lets this process run on nothing but the first core that it is allowed to use.
#[cfg(target_os = "linux")]
fn pin_to_first_core() -> Result<usize> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let first = (0..CpuSet::count()).find(|&core| allowed.is_set(core) == Ok(true));
    let first = first.context("no core allowed")?;
    let mut only = CpuSet::new();
    only.set(first)?;
    sched_setaffinity(this, &only).context("cannot pin to a core")?;
    Ok(first)
}

#[cfg(not(target_os = "linux"))]
fn pin_to_first_core() -> Result<usize> {
    eprintln!("cannot run here: it pins to a core as Linux does; without --pin it runs");
    std::process::exit(77)
}
