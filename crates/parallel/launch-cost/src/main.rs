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

mod evidence;

use std::ffi::CStr;
use std::hint::black_box;
use std::process::exit;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use evidence::{measure, print_and_judge};
use nix::libc::_exit;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execvp, fork};
use threadpool::ThreadPool;

const LAUNCHES: usize = 100;

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    Args::parse();

    // Processes first: fork is safe as long as there is no other thread.
    let of_python = LAUNCHES / 20; // it takes long to start
    // No `?` here: if there is no Python, the other rows are shown.
    let pythons = measure(of_python, || start_process(become_python));
    let execs = measure(LAUNCHES, || start_process(become_true))?;
    let forks = measure(LAUNCHES, || start_process(exit_at_once))?;
    let threads = measure(LAUNCHES, start_thread)?;
    let pool = ThreadPool::new(1); // starts one thread
    let jobs = measure(LAUNCHES, || run_job(&pool))?;
    // To compare with. One call would be too short for the clock.
    let calls = measure(LAUNCHES, call_1000_times)?;

    println!("{LAUNCHES} launches of each kind, {of_python} of Python\n");
    print_and_judge(&calls, &jobs, &threads, &forks, &execs, pythons)
}

/// The work of a call, a job, a thread and a fork.
fn do_nothing() {}

/// Calls the function, and does nothing else.
fn call_1000_times() -> Result<()> {
    // If the compiler knew which function it is, it would leave the calls out.
    let function: fn() = black_box(do_nothing);
    for _ in 0..1000 {
        function();
    }
    Ok(())
}

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
    // SAFETY: this process has one thread. fork copies only the thread that
    // calls it: a lock held by another would stay locked in the child.
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

#[derive(Parser)]
#[command(about)]
struct Args {}
