//! Failing operations: jobs are done by processes, and some of these fail.
//!
//! A supervisor hands jobs to three worker processes, and reads their answers,
//! both through pipes. A worker may crash, hang or answer nonsense. It may even
//! write half of its answer first. The supervisor must notice each of these,
//! and must not wait for ever. It ends a worker that fails, and starts another.
//! Of twelve jobs, five make a worker fail, each at its first attempt.
//!
//! Predict:  How many results arrive? How many workers have to be started?
//! Try:      cargo run -p failing-operations -- --workers 1
//! Try:      cargo run -p failing-operations -- --attempts 1   # exits 1
//! See also: process-isolation, why the workers are processes, not threads.

mod evidence;

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::process::exit;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{Answer, Ending, Failure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, fork, pause};

/// The jobs are the numbers up to this one, the results are their squares.
const JOBS: u8 = 12;

/// How long a worker may take for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Worker processes at a time
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(1..=8))]
    workers: u8,
    /// How often a job is handed out, before it is given up
    #[arg(long, default_value_t = 5)]
    #[arg(value_parser = value_parser!(u8).range(1..=5))]
    attempts: u8,
}

struct Job {
    number: u8,
    attempt: u8, // 1 if it is handed out for the first time
}

/// A worker process, and the supervisor's ends of two pipes.
struct Worker {
    pid: Pid,
    jobs: PipeWriter,
    answers: PipeReader,
}

fn main() -> Result<()> {
    let args = Args::parse();

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let mut jobs: Vec<Job> = Vec::new();
    for number in 1..=JOBS {
        jobs.push(Job { number, attempt: 1 });
    }
    let mut workers: Vec<Worker> = Vec::new();
    for _ in 0..args.workers {
        workers.push(start_worker()?);
    }
    let mut started = workers.len();
    let mut results: Vec<(u8, u16)> = Vec::new(); // a job, and its square
    let mut failures: Vec<Failure> = Vec::new();

    while !jobs.is_empty() {
        // A round: the next jobs, at most as many as there are workers.
        let count = jobs.len().min(workers.len());
        let round: Vec<Job> = jobs.drain(..count).collect();

        for (worker, job) in workers.iter_mut().zip(&round) {
            // This fails if somebody else has killed the worker meanwhile. Then
            // there is no answer below, and it is replaced there.
            _ = worker.jobs.write_all(&[job.number, job.attempt]);
        }
        // Now all these workers work, and they have the same deadline. An
        // answer that has come by then waits in its pipe until it is read.
        let deadline = Instant::now() + PATIENCE;

        for (worker, job) in workers.iter_mut().zip(&round) {
            let answer = read_answer(worker, deadline)?;
            if let Some(square) = square_in(&answer.text, job) {
                results.push((job.number, square));
                continue;
            }
            // The worker has failed: another one takes its place.
            let status = end_worker(worker)?;
            failures.push(Failure {
                job: job.number,
                worker: worker.pid,
                answer,
                status,
            });
            *worker = start_worker()?;
            started += 1;
            // The job is handed out again, in a later round.
            if job.attempt < args.attempts {
                jobs.push(Job {
                    number: job.number,
                    attempt: job.attempt + 1,
                });
            }
        }
    }
    for worker in &workers {
        end_worker(worker)?;
    }

    // The verdict demands: each way to fail was noticed, a worker was started
    // for each that failed, and each job has one result, which is the right
    // one.
    // Only now: until here, a write to a dead worker shall be an error.
    sigpipe::reset();
    evidence::print(&failures)?;
    evidence::judge(args.workers, started, &failures, &results)
}

fn start_worker() -> Result<Worker> {
    let (job_reader, job_writer) = pipe()?;
    let (answer_reader, answer_writer) = pipe()?;

    // fork returns twice: in the supervisor, and in the new worker.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    match result {
        ForkResult::Child => {
            // The ends of the supervisor. A worker waits for jobs as long as
            // any process has the end for writing them open, even itself.
            drop(job_writer);
            drop(answer_reader);
            work(job_reader, answer_writer) // never returns
        }
        ForkResult::Parent { child } => {
            // Now only the worker has this end. If it dies, the kernel closes
            // that, and the supervisor reads the end of the pipe: 0 bytes.
            drop(answer_writer);
            Ok(Worker {
                pid: child,
                jobs: job_writer,
                answers: answer_reader,
            })
        }
    }
}

/// Reads until there is a whole line, the worker is dead, or its time is over.
fn read_answer(worker: &mut Worker, deadline: Instant) -> Result<Answer> {
    let mut text = String::new();
    let ending = loop {
        // Half a line is no answer: "8 6" may be the beginning of "8 64\n".
        if text.ends_with('\n') {
            break Ending::WholeLine;
        }
        // poll waits until there is something to read, or the time is over.
        // The deadline is for the whole line, not only for its first part.
        let left = deadline.saturating_duration_since(Instant::now());
        let pipe = PollFd::new(worker.answers.as_fd(), PollFlags::POLLIN);
        let ready = poll(&mut [pipe], PollTimeout::try_from(left)?)?;
        if ready == 0 {
            break Ending::TimeOver;
        }
        let mut part = [0; 100];
        let length = worker.answers.read(&mut part)?;
        if length == 0 {
            break Ending::PipeClosed; // the worker is dead
        }
        text += &String::from_utf8_lossy(&part[..length]);
    };
    Ok(Answer { text, ending })
}

/// The square in a line such as "8 64\n", if it is an answer to this job.
fn square_in(line: &str, job: &Job) -> Option<u16> {
    let (number, square) = line.strip_suffix('\n')?.split_once(' ')?;
    if number != job.number.to_string() {
        return None;
    }
    square.parse().ok()
}

/// Ends a worker, whatever it does. Returns how it ended.
fn end_worker(worker: &Worker) -> Result<WaitStatus> {
    kill(worker.pid, Signal::SIGKILL)?; // no effect if it is dead already
    Ok(waitpid(worker.pid, None)?)
}

/// What a worker does: for each job it writes a line, unless it fails.
fn work(mut jobs: PipeReader, mut answers: PipeWriter) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);

    let mut job = [0; 2];
    while jobs.read_exact(&mut job).is_ok() {
        let [number, attempt] = job;
        let square = u16::from(number).pow(2);
        match (number, attempt) {
            (2, 1) => exit(101), // crashes: a panic has this exit code
            (4, 1) => pause(),   // hangs: waits for a signal
            (6, 1) => write(&mut answers, "six 36\n"), // nonsense
            (8, 1) => {
                write(&mut answers, "8 6"); // half of "8 64\n"
                exit(101)
            }
            (10, 1) => {
                write(&mut answers, "10 10"); // half of "10 100\n"
                pause();
            }
            _ => write(&mut answers, &format!("{number} {square}\n")),
        }
    }
    exit(0) // the supervisor is gone
}

fn write(answers: &mut PipeWriter, text: &str) {
    if answers.write_all(text.as_bytes()).is_err() {
        exit(1); // the supervisor is gone
    }
}
