//! Failing operations: a worker that fails is noticed, and another one tries.
//!
//! A worker is a process that does one job: here, a shell squares a number. It
//! writes its answer to a pipe, and exits. A worker may crash, hang, answer
//! nonsense, or write half of an answer. A supervisor must notice each of these
//! failures, and must not wait for ever. It ends a worker that hangs, and hands
//! each job that failed to a new worker.
//! There are eight jobs. Four of them make their first worker fail.
//!
//! Predict:  How many results arrive? How many workers have to be started?
//! Try:      cargo run -p failing-operations -- --attempts 1   # exits 1
//! See also: process-isolation, why the workers are processes, not threads.

mod evidence;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{judge, print_failures};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The jobs are the numbers 1 to 8, the results are their squares.
const JOBS: u8 = 8;

/// How long a worker may take before the supervisor ends it.
const LIMIT: Duration = Duration::from_secs(1);

/// What the shell runs. It finds the number of its job in the variable JOB.
fn script(job: u8, attempt: u8) -> &'static str {
    match (job, attempt) {
        (2, 1) => "exit 101", // crashes: a Rust panic has this exit code
        // Hangs after half of "4 16\n". A real hang would never end; this one
        // ends after 5 s, so that nothing stays if this program is killed.
        (4, 1) => "printf '4 1'; sleep 5; echo 6",
        (6, 1) => "echo six 36",  // nonsense
        (8, 1) => "printf '8 6'", // half of "8 64\n"
        _ => "echo $JOB $((JOB * JOB))",
    }
}

/// A worker has tried a job, and has ended.
struct Attempt {
    job: u8,
    worker: u32,    // its PID
    output: Output, // what it wrote, and how it ended
    result: Result<u16, Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Crash,
    Hang,
    Nonsense,
    HalfAnswer,
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();

    // The jobs are done at the same time. A thread supervises each of them.
    let mut supervisors = Vec::new();
    for job in 1..=JOBS {
        let supervisor = thread::spawn(move || supervise(job, args.attempts));
        supervisors.push(supervisor);
    }
    let mut attempts: Vec<Attempt> = Vec::new();
    for supervisor in supervisors {
        // expect: the thread did not panic. `?` ends this program if a worker
        // could not be started, read or ended. A worker that only failed is no
        // error here: it is in the list, as an Attempt.
        let of_one_job = supervisor.join().expect("no panic")?;
        attempts.extend(of_one_job);
    }

    print_failures(&attempts);
    // The verdict: each way to fail was noticed, and each job has one result,
    // the right one. On a busy machine more workers may fail, as they are late.
    judge(&attempts)
}

/// Hands a job to one worker after another, until there is a result.
fn supervise(job: u8, most: u8) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for number in 1..=most {
        let attempt = run_worker(job, number)?;
        let done = attempt.result.is_ok();
        attempts.push(attempt);
        if done {
            break;
        }
    }
    Ok(attempts)
}

/// Starts a worker, and returns when it has ended.
///
/// Its limits: a long answer fills the memory. Ctrl-C ends this program, but
/// not its workers, which are in other process groups. What a worker leaves
/// running in the background is ended only if the worker is too late. If it has
/// left the process group, too, this program gives up with an error. A
/// number that is wrong is not noticed: `check` does not compute.
fn run_worker(job: u8, attempt: u8) -> Result<Attempt> {
    let worker = Command::new("sh")
        .args(["-c", script(job, attempt)])
        .env("JOB", job.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // A new process group: the worker, and what it starts. Its number is
        // the worker's PID.
        .process_group(0)
        .spawn()
        .context("cannot start sh")?;
    let pid = worker.id();

    // A program that the worker starts (here: sleep) inherits the pipe. Another
    // thread reads until all of them have closed it. Then it waits until the
    // worker has ended.
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(worker.wait_with_output()));

    // Waits for that thread, at most as long as the limit.
    let mut received = receiver.recv_timeout(LIMIT);
    let in_time = received.is_ok();
    if !in_time {
        // Ends the whole group: a signal to the worker alone would not end what
        // it has started. This fails if all of the group has just ended.
        let group = Pid::from_raw(pid.cast_signed());
        _ = killpg(group, Signal::SIGKILL);
        // Now the thread sends the output, unless a process that has left the
        // group still has the pipe open. So this wait has a limit, too: after
        // that, this program gives up.
        received = receiver.recv_timeout(3 * LIMIT);
    }
    let output = received.context("killed, but its pipe is still open")?;
    let output = output.context("cannot read or wait")?;

    Ok(Attempt {
        job,
        worker: pid,
        result: check(job, &output, in_time),
        output,
    })
}

/// The result, or how the worker failed.
fn check(job: u8, output: &Output, in_time: bool) -> Result<u16, Failure> {
    if !in_time {
        return Err(Failure::Hang);
    }
    if !output.status.success() {
        return Err(Failure::Crash);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Half a line is no answer: "8 6" may be the beginning of "8 64\n".
    let Some(line) = text.strip_suffix('\n') else {
        return Err(Failure::HalfAnswer);
    };
    // The answer to job 8 is "8 ", and then a number.
    let start = format!("{job} ");
    let square = line.strip_prefix(&start).ok_or(Failure::Nonsense)?;
    square.parse().map_err(|_| Failure::Nonsense)
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// How many workers may try a job
    #[arg(long, default_value_t = 5)]
    #[arg(value_parser = value_parser!(u8).range(1..=5))]
    attempts: u8,
}
