//! Launch cost: how long it takes to start some work, and to see it finished.
//!
//! The work is to do nothing, so only the launch and the end are measured. Five
//! ways: call a function; give the call to a thread that waits for jobs (a
//! pool); start a thread; copy this process (fork); copy it, and load another
//! program into the copy (fork + exec).
//!
//! Predict:  How many function calls could run while one Python starts?
//! Try:      cargo run --release -p launch-cost
//! Try:      taskset -c 0 cargo run -p launch-cost
//! See also: communication-cost, what they cost once they run;
//!           fork-then-load, the fork of a large process.

use std::ffi::CStr;
use std::hint::black_box;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::libc::_exit;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execvp, fork};
use threadpool::ThreadPool;

const LAUNCHES: usize = 100;

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    Args::parse();

    // Processes first: fork is safe as long as there is no other thread.
    let of_python = LAUNCHES / 20;
    // No `?` here: if there is no Python, the other rows are shown.
    let pythons = measure(of_python, || start_process(become_python));
    let execs = measure(LAUNCHES, || start_process(become_true))?;
    let forks = measure(LAUNCHES, || start_process(exit_at_once))?;
    let threads = measure(LAUNCHES, start_thread)?;
    let pool = ThreadPool::new(1); // starts one thread
    let jobs = measure(LAUNCHES, || run_job(&pool))?;
    let calls = measure(LAUNCHES, call_1000_times)?;

    println!("{LAUNCHES} launches of each kind, {of_python} of Python\n");
    println!(
        "launched              fastest   in calls   median  1 % of a job of  \
         ██: × 10"
    );
    print_row("1000 function calls", &calls, &calls);
    print_row("job, warm pool", &jobs, &calls);
    print_row("thread", &threads, &calls);
    print_row("fork", &forks, &calls);
    print_row("fork + exec true", &execs, &calls);
    match pythons {
        Ok(pythons) => print_row("fork + exec python3", &pythons, &calls),
        Err(error) => println!("fork + exec python3: {error}"),
    }

    // The fastest launches are compared: on a busy machine many are slow, but
    // not all. A job of the pool is not compared: to wake up a thread may take
    // as long as to start one.
    let thread = in_calls(&threads, &calls);
    let forked = in_calls(&forks, &calls);
    let executed = in_calls(&execs, &calls);
    println!(
        "\na thread takes as long as {thread:.0} calls, a fork {forked:.0}, \
         with exec {executed:.0}"
    );
    let order = [1.0, thread, forked, executed];
    ensure!(
        order.is_sorted(),
        "expected: call, thread, fork, fork + exec"
    );
    Ok(())
}

/// One call would be too short for the clock.
fn call_1000_times() -> Result<()> {
    // If the compiler knew which function it is, it would leave the calls out.
    let function: fn() = black_box(do_nothing);
    for _ in 0..1000 {
        function();
    }
    Ok(())
}

fn do_nothing() {}

/// Hands a job to the thread of the pool, and waits until it is done.
fn run_job(pool: &ThreadPool) -> Result<()> {
    pool.execute(do_nothing);
    pool.join();
    Ok(())
}

/// Starts a thread, and waits until it has ended.
fn start_thread() -> Result<()> {
    let thread = thread::spawn(do_nothing);
    thread.join().expect("the thread panicked");
    Ok(())
}

/// Makes a child, and waits until it has exited. What the child does is a
/// function that never returns.
fn start_process(child_main: fn() -> !) -> Result<()> {
    // fork returns twice: in the parent, and in the new child.
    // SAFETY: this process has one thread. A lock that another one held would
    // stay locked in the child, as fork does not copy that thread.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => child_main(), // never returns
        ForkResult::Parent { child } => child,
    };
    let status = waitpid(child, None)?;
    ensure!(status == WaitStatus::Exited(child, 0), "{status:?}");
    Ok(())
}

/// exit would first clean up, and take longer: it writes, say, what is left in
/// a copy of the parent's buffers. _exit only ends the process.
fn exit_at_once() -> ! {
    do_nothing();
    // SAFETY: a C function that takes a number and does not return.
    unsafe { _exit(0) }
}

/// `true` is a program that does nothing.
fn become_true() -> ! {
    become_program(&[c"true"])
}

/// `pass` is a line of Python that does nothing.
fn become_python() -> ! {
    become_program(&[c"python3", c"-c", c"pass"])
}

fn become_program(words: &[&CStr]) -> ! {
    // exec returns only if it fails. So its result is never Ok, and this `let`
    // needs no `else`.
    let Err(error) = execvp(words[0], words);
    eprintln!("exec {:?}: {error}", words[0]);
    exit(127) // as a shell does if there is no such command
}

/// The times of one kind of launch.
struct Times {
    fastest: Duration,
    median: Duration,
}

fn measure(launches: usize, launch: impl Fn() -> Result<()>) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..launches {
        let begin = Instant::now();
        launch()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(Times {
        fastest: times[0],
        median: times[launches / 2],
    })
}

/// How many calls take as long, by the fastest of each kind.
fn in_calls(times: &Times, calls: &Times) -> f64 {
    let one_call = calls.fastest.as_secs_f64() / 1000.0;
    times.fastest.as_secs_f64() / one_call
}

fn print_row(name: &str, times: &Times, calls: &Times) {
    let fastest = times.fastest;
    let in_calls = in_calls(times, calls);
    let median = times.median;
    let job = 100 * median;
    // Two cells for each factor of ten, from 100 ns on.
    let cells = 2.0 * (fastest.as_secs_f64() / 100e-9).log10();
    let bar = "█".repeat(cells as usize);
    print!("{name:<20}{fastest:>9.1?}{in_calls:>11.0}");
    println!("{median:>9.1?}{job:>12.1?}  {bar}");
}

#[derive(Parser)]
#[command(about)]
struct Args {}
