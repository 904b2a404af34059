//! Failing operations: work is given to processes, which may fail, by somebody who notices.
//!
//! A process that crashes closes its pipe; one that hangs does not answer in time; one that has
//! gone wrong answers what cannot be. The supervisor ends it, starts another and hands the job on.
//! The failures are real; they are ordered with three of the jobs, at the first attempt.
//!
//! Predict:  three of twelve jobs go wrong. How many results arrive, how many workers are started?
//! Try:      cargo run -p failing-operations -- --workers 1
//! See also: process-isolation, why the workers are processes and not threads.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write, stdin};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, value_parser};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal::SIGKILL, raise};
use nix::unistd::{alarm, pause};

const JOBS: u64 = 12;
const ORDERED: [(u64, &str); 3] = [(2, "crash"), (5, "hang"), (8, "nonsense")];
const PATIENCE_MS: u16 = 300;

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Worker processes at a time
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=8))]
    workers: u8,
    /// Be a worker: so the supervisor starts this program
    #[arg(long, hide = true)]
    be_worker: bool,
}

fn main() -> Result<()> {
    let knobs = Knobs::parse();
    if knobs.be_worker {
        return work();
    }
    let jobs = Mutex::new((1..=JOBS).map(|job| (job, 1)).collect());
    let (sender, receiver) = mpsc::channel();
    let started = thread::scope(|scope| {
        let supervisors =
            (0..knobs.workers).map(|_| scope.spawn(|| supervise(&jobs, sender.clone())));
        let supervisors: Vec<_> = supervisors.collect();
        supervisors.into_iter().map(|thread| thread.join().expect("no panic")).sum::<Result<u64>>()
    })?;
    drop(sender);
    let mut results: Vec<(u64, u64)> = receiver.into_iter().collect();
    results.sort_unstable();

    let pairs: Vec<_> = results.iter().map(|(job, result)| format!("{job}:{result}")).collect();
    println!("\n{}\n", pairs.join("  "));
    let replaced = started - u64::from(knobs.workers);
    let right = (1..=JOBS).map(|job| (job, job * job));
    ensure!(results.iter().copied().eq(right), "results are missing, wrong or double");
    ensure!(replaced >= 3, "only {replaced} failures were noticed");
    println!("{JOBS} jobs, each result once; {replaced} workers failed and were replaced");
    Ok(())
}

/// Hands jobs to one worker at a time until none is left, and sends on what it answers.
/// Returns how many workers that took.
fn supervise(jobs: &Mutex<VecDeque<(u64, u32)>>, results: mpsc::Sender<(u64, u64)>) -> Result<u64> {
    let (mut worker, mut started) = (Worker::start()?, 1);
    let next = || jobs.lock().expect("no panic").pop_front();
    while let Some((job, attempt)) = next() {
        let order = ORDERED.iter().find(|(ordered, _)| *ordered == job && attempt == 1);
        match worker.ask(job, order.map_or("square", |(_, order)| order)) {
            Ok(result) => results.send((job, result))?,
            Err(failure) => {
                let failed = worker.process.id();
                worker = Worker::start()?; // the failed one is dropped: killed and reaped
                started += 1;
                println!("job {job}: worker {failed} {failure}; now {}", worker.process.id());
                jobs.lock().expect("no panic").push_back((job, attempt + 1));
            }
        }
    }
    Ok(started)
}

/// A process that answers each line `job square` with `job` and its square. Ended when dropped.
struct Worker {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> Result<Worker> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("--be-worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a worker")?;
        let to = process.stdin.take().context("its standard input")?;
        let from = BufReader::new(process.stdout.take().context("its standard output")?);
        Ok(Worker { process, to, from })
    }

    fn ask(&mut self, job: u64, order: &str) -> Result<u64> {
        _ = writeln!(self.to, "{job} {order}"); // if it is dead, that shows below
        let mut fds = [PollFd::new(self.from.get_ref().as_fd(), PollFlags::POLLIN)];
        ensure!(poll(&mut fds, PATIENCE_MS)? > 0, "hangs: no answer for {PATIENCE_MS} ms");
        let mut answer = String::new();
        if self.from.read_line(&mut answer)? == 0 {
            bail!("crashed: {}", self.process.wait()?);
        }
        let result =
            answer.strip_prefix(&format!("{job} ")).and_then(|word| word.trim().parse().ok());
        result.with_context(|| format!("answers nonsense: {}", answer.trim()))
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
    for line in stdin().lines() {
        let line = line?;
        let (job, order) = line.split_once(' ').context("no order")?;
        match order {
            "crash" => raise(SIGKILL)?, // as when memory runs out
            "hang" => pause(),
            "nonsense" => println!("colourless green ideas"),
            _ => println!("{job} {}", job.parse::<u64>()?.pow(2)),
        }
    }
    Ok(())
}
