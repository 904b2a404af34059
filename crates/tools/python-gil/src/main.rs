//! Python's GIL: the lock that a thread must hold to run Python code.
//!
//! GIL is short for global interpreter lock. CPython, the usual Python, has
//! one in each process; python3.14t is a CPython without it. A thread lets go
//! of the GIL while it waits: for a file, a network, or another process.
//! src/gil.py starts workers: first as threads, then as processes. Each worker
//! waits for an answer and then computes, and tells when it did what.
//!
//! Predict:  2 threads compute on 2 cores: how many are busy? And 2 processes?
//! Try:      cargo run -p python-gil -- --workers 8
//! Try:      taskset -c 0 cargo run -p python-gil   # all of it on one core
//! Try:      cargo run -p python-gil -- --python python3.14t   # if installed
//! See also: embarrassingly-parallel, threads that compute in Rust;
//!           blocking-operations, threads that wait in Rust.

mod evidence;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use evidence::Worker;
use nix::sys::signal::{SigHandler, Signal, signal};

/// So long does main.rs take to answer. It stands for a disk, or a server.
const ANSWER_AFTER: Duration = Duration::from_millis(20);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// The Python to run: a CPython
    #[arg(long, default_value = "python3")]
    python: String,
    /// Threads, and then processes, that do the same work each
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(2..=8))]
    workers: u8,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let mut command = Command::new(&args.python);
    // -I: Python's own files, and no threading.py from the current folder.
    command.args(["-I", "-c", include_str!("gil.py")]);
    command.arg(args.workers.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let spawned = command.spawn();
    let mut python = evidence::started(spawned, &args.python)?;

    // There are two pipes. What Python prints comes out of `lines`, and it
    // reads what goes into `answers`. Its errors are shown as they are.
    let output = python.stdout.take().context("no pipe from Python")?;
    let mut lines = BufReader::new(output).lines();
    let mut answers = python.stdin.take().context("no pipe to Python")?;
    let interpreter = evidence::greeting(&mut lines, &args.python)?;

    // gil.py starts the threads. Once they have ended, it starts processes.
    let threads = attend(args.workers, &mut lines, &mut answers)?;
    let processes = attend(args.workers, &mut lines, &mut answers)?;
    let status = python.wait()?;
    ensure!(status.success(), "{} ended with {status}", args.python);

    evidence::print_legend(&interpreter);
    evidence::draw("threads", &threads);
    evidence::draw("processes", &processes);

    // The verdict demands: all threads waited for their answers at once. With
    // the GIL, no two threads computed at once. They were blocked more than 20
    // times per second of computing: a thread that waits for the GIL is blocked
    // anew every 5 ms, 200 times per second. Processes were blocked less often
    // than 20 times per second, and worked at the same time: on one core they
    // take turns. Without a GIL, threads must not be like that.
    evidence::judge(&interpreter, &threads, &processes)
}

/// Answers all workers, and returns what they tell of themselves.
fn attend(
    workers: u8,
    lines: &mut Lines<BufReader<ChildStdout>>,
    answers: &mut ChildStdin,
) -> Result<Vec<Worker>> {
    evidence::hear_all_ask(workers, lines)?;
    // Each worker has asked, and none has an answer: all of them wait.
    sleep(ANSWER_AFTER);
    let one_byte_each = vec![b'!'; usize::from(workers)];
    let written = answers.write_all(&one_byte_each);
    written.context("Python is gone")?;
    // Now they compute. Each one that is done tells when it did what.
    evidence::hear_all_tell(workers, lines)
}
