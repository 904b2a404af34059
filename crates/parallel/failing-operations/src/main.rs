//! Failing operations: work is given to processes, which may fail, by somebody who notices.
//!
//! A process that crashes closes its pipe; one that hangs does not answer in time; one that has
//! gone wrong answers what cannot be. The supervisor ends it, starts another and hands the job on.
//! The failures are real; a worker has them in store for three jobs, at the first attempt.
//!
//! Predict:  three of twelve jobs go wrong. How many results arrive, how many workers are started?
//! Try:      cargo run -p failing-operations -- --workers 1
//! See also: process-isolation, why the workers are processes and not threads.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write, stdin};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal::SIGKILL, raise};
use nix::unistd::{alarm, pause};

const JOBS: u64 = 12;
const PATIENCE_MS: u16 = 300;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Worker processes at a time
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=8))]
    workers: u8,
    /// Be a worker: so the supervisor starts this program
    #[arg(long, hide = true)]
    be_worker: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.be_worker {
        return work();
    }
    let jobs = Mutex::new((1..=JOBS).map(|job| (job, 1)).collect());
    let (sender, receiver) = mpsc::channel();
    let failures = thread::scope(|scope| {
        let start = |_| scope.spawn(|| supervise(&jobs, &sender));
        let supervisors: Vec<_> = (0..args.workers).map(start).collect();
        let ends = supervisors
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        ends.collect::<Result<Vec<_>>>()
    })?
    .concat();
    let mut results: Vec<(u64, u64)> = receiver.try_iter().collect();
    results.sort_unstable();

    let pairs: Vec<_> = results
        .iter()
        .map(|(job, result)| format!("{job}:{result}"))
        .collect();
    println!("\n{}\n", pairs.join("  "));
    let right = (1..=JOBS).map(|job| (job, job * job));
    ensure!(
        results.into_iter().eq(right),
        "results are missing, wrong or double"
    );
    for kind in ["crashed", "hangs", "answers nonsense"] {
        ensure!(
            failures.iter().any(|failure| failure.starts_with(kind)),
            "no worker {kind}"
        );
    }
    let (failed, started) =
        (failures.len(), usize::from(args.workers) + failures.len());
    println!(
        "{JOBS} jobs, each result once; {started} workers started, as {failed} failed"
    );
    Ok(())
}

/// Hands jobs to one worker at a time until none is left, and sends on what it answers. Returns how
/// workers failed: for each of them it has started another one.
fn supervise(
    jobs: &Mutex<VecDeque<(u64, u32)>>,
    results: &mpsc::Sender<(u64, u64)>,
) -> Result<Vec<String>> {
    let next = || jobs.lock().expect("no panic").pop_front();
    let (mut worker, mut failures) = (Worker::start()?, Vec::new());
    while let Some((job, attempt)) = next() {
        match worker.ask(job, attempt) {
            Ok(result) => results.send((job, result))?,
            Err(failure) => {
                ensure!(
                    attempt < 5,
                    "job {job}: {attempt} workers failed, the last one {failure}"
                );
                let failed = worker.process.id();
                worker = Worker::start()?; // the failed one is dropped: killed and reaped
                println!(
                    "job {job}: worker {failed} {failure}; now {}",
                    worker.process.id()
                );
                failures.push(failure.to_string());
                jobs.lock().expect("no panic").push_back((job, attempt + 1));
            }
        }
    }
    Ok(failures)
}

/// A process that answers each line `job attempt` with the job and its square. Ended when dropped.
struct Worker {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> Result<Worker> {
        let mut command = Command::new(env::current_exe()?);
        command
            .arg("--be-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a worker")?;
        let answers = BufReader::new(
            process.stdout.take().context("its standard output")?,
        );
        let (mut worker, mut line) =
            (Worker { process, answers }, String::new());
        worker.answers.read_line(&mut line)?; // it may take its time to start, but not to answer
        ensure!(line == "ready\n", "a worker ended before it was ready");
        Ok(worker)
    }

    fn ask(&mut self, job: u64, attempt: u32) -> Result<u64> {
        let jobs = self.process.stdin.as_mut().context("its standard input")?;
        _ = writeln!(jobs, "{job} {attempt}"); // if it is dead, that shows below
        let mut fds = [PollFd::new(
            self.answers.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        ensure!(
            poll(&mut fds, PATIENCE_MS)? > 0,
            "hangs: no answer for {PATIENCE_MS} ms"
        );
        let mut line = String::new();
        ensure!(
            self.answers.read_line(&mut line)? > 0,
            "crashed: {}",
            self.process.wait()?
        );
        let answer = line
            .split_once(' ')
            .filter(|(word, _)| *word == job.to_string());
        let answer = answer.and_then(|(_, number)| number.trim().parse().ok());
        answer.with_context(|| format!("answers nonsense: {}", line.trim()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The worker's side.
fn work() -> Result<()> {
    alarm::set(10); // whatever happens to the supervisor, nothing is left after 10 s
    println!("ready");
    for line in stdin().lines() {
        match line?.split_once(' ').context("no job")? {
            ("2", "1") => raise(SIGKILL)?, // as when memory runs out
            ("5", "1") => pause(),
            ("8", "1") => println!("colourless green ideas"),
            (job, _) => println!("{job} {}", job.parse::<u64>()?.pow(2)),
        }
    }
    Ok(())
}
