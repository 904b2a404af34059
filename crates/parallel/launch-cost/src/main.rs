//! Launch cost: how long it takes to start some work, and to see it finished.
//!
//! The work is nothing, so that only the launch is measured. A function call
//! is the cheapest. A pool has threads that wait for jobs, which are calls. Or
//! a new thread makes the call, or a new process: fork makes it, as a copy of
//! its parent. Then the child may call exec, which replaces its program.
//! How long fork takes depends on how much memory the parent has. The output
//! says it beside fork: it is the RSS, or resident set size.
//!
//! Predict:  How many function calls could run while one Python starts?
//! Try:      cargo run --release -p launch-cost
//! Try:      taskset -c 0 cargo run -p launch-cost
//! See also: communication-cost, what they cost once they run;
//!           fork-then-load, the fork of a large process.

mod evidence;

use std::ffi::CStr;
use std::hint::black_box;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use evidence::Kind;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, execvp, fork};
use threadpool::ThreadPool;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Launches of each kind (of Python: a twentieth)
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = value_parser!(u16).range(20..=5000))]
    launches: u16,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let launches = usize::from(args.launches);

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    evidence::print_heading(launches);
    let mut python = Kind::new("fork + exec python3", start_python);
    if let Err(error) = python.time(launches / 20) {
        println!("{error}"); // not found, say: the other kinds are shown
    }

    // These two take turns, ten launches of one, ten of the other. So if the
    // machine is busy for a moment, it is busy for both. If fork is not faster
    // in the end, both get more turns, up to 50.
    let mut with_exec = Kind::new("fork + exec true", start_true);
    let mut only_fork = Kind::new("fork", start_copy);
    evidence::time_in_turns(&mut with_exec, &mut only_fork, launches)?;

    // Threads come last: as we measured, fork takes longer in a process that
    // has had a second thread.
    let mut thread = Kind::new("thread", start_thread);
    evidence::time_until_faster(&mut thread, &only_fork, launches)?;

    // ThreadPool::new panics if it cannot start its thread.
    let pool = evidence::catch_panic(|| ThreadPool::new(1))
        .context("cannot start a thread")?;
    let mut job = Kind::new("job, warm pool", move || run_job(&pool));
    job.time(launches)?;

    let mut calls = Kind::new("1000 function calls", call_1000_times);
    calls.time(launches)?;

    evidence::print_in_calls(&thread, &python, &calls);
    // A thread must take longer than a call, a fork longer than a thread, and
    // a fork with exec longer than a fork. What is compared is the 10th
    // percentile: a tenth of the launches were faster than that, and the others
    // slower. A busy machine makes many launches slow, but not all of them.
    evidence::judge(&calls, &thread, &only_fork, &with_exec)
}

/// One call would be too short for the clock.
fn call_1000_times() -> Result<()> {
    for _ in 0..1000 {
        // If the compiler saw which function it is, it would leave it out.
        let function: fn() = black_box(do_nothing);
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
    let thread = thread::Builder::new()
        .spawn(do_nothing)
        .context("cannot start a thread")?;
    ensure!(thread.join().is_ok(), "a thread panicked");
    Ok(())
}

fn start_copy() -> Result<()> {
    fork_and_wait(exit_at_once)
}

/// `true` is a program that does nothing.
fn start_true() -> Result<()> {
    fork_and_wait(become_true)
}

/// `pass` is a line of Python that does nothing.
fn start_python() -> Result<()> {
    fork_and_wait(become_python)
}

/// Makes a child that runs a function, and waits until it has exited.
fn fork_and_wait(child_main: fn() -> !) -> Result<()> {
    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    match result {
        ForkResult::Child => child_main(), // never returns
        ForkResult::Parent { child } => {
            let status = waitpid(child, None)?;
            ensure!(status != WaitStatus::Exited(child, 127), "not found");
            ensure!(status == WaitStatus::Exited(child, 0), "{status:?}");
            Ok(())
        }
    }
}

/// exit would first do what the parent has registered for its own end, such as
/// to write what is left in buffers. _exit only ends the process.
fn exit_at_once() -> ! {
    // SAFETY: it uses nothing of this process.
    unsafe { libc::_exit(0) }
}

fn become_true() -> ! {
    become_program(&[c"true"])
}

fn become_python() -> ! {
    become_program(&[c"python3", c"-c", c"pass"])
}

fn become_program(arguments: &[&CStr]) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case, also
    // after exec. In a real program, remove it.
    alarm::set(10);

    // exec returns only if it fails: its result is always Err, and so Rust asks
    // for no `else` here.
    let Err(_) = execvp(arguments[0], arguments);
    // SAFETY: it uses nothing of this process.
    unsafe { libc::_exit(127) } // as a shell does if there is no such program
}
