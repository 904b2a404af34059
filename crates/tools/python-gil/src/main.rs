//! Python's GIL: however many threads compute, CPython lets one of them go on at a time.
//!
//! src/gil.py does the same work in one thread, in threads, and in processes; below them the same
//! loop in Rust. A thread computes only with the global interpreter lock: the others are blocked.
//! It waits for a server without the lock: all can wait at once.
//!
//! Predict:  2 threads compute, on 2 cores: how many are busy? And with 2 processes?
//! Try:      cargo run -p python-gil -- --workers 8
//! Try:      cargo run -p python-gil -- --python python3.14t (a build without the GIL)
//! Try:      taskset -c 0 cargo run -p python-gil
//! See also: embarrassingly-parallel and blocking-operations, the two kinds of work in Rust.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{hint, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, value_parser};
use nix::sys::{resource::UsageWho, resource::getrusage, time::TimeValLike};

const ANSWER_AFTER: Duration = Duration::from_millis(50);

/// Requests that the server has taken and not yet answered, and the most there have been.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// The CPython to run
    #[arg(long, default_value = "python3")]
    python: String,
    /// Threads, or processes, that share the work
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(2..=16))]
    workers: u32,
    /// Rounds of the loop, all workers together
    #[arg(long, default_value_t = 3_000_000,
        value_parser = value_parser!(u32).range(1_000_000..=10_000_000))]
    rounds: u32,
}

fn main() -> Result<()> {
    let knobs = Knobs::parse();
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot serve on loopback")?;
    let port = listener.local_addr()?.port().to_string();
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|c| _ = thread::spawn(|| answer(c)))
    });
    let mut command = Command::new(&knobs.python);
    command.args(["-c", include_str!("gil.py"), &port]);
    let mut python = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound && knobs.python == "python3" => {
            eprintln!("cannot run here: no python3; apt-get (dnf, brew, pkg) install python3");
            exit(77);
        }
        started => started.with_context(|| format!("cannot start {}", knobs.python))?,
    };
    let shown = show(&knobs, &mut python);
    _ = python.kill(); // a Python would end by itself now, but --python may be anything
    python.wait()?;
    shown
}

fn show(knobs: &Knobs, python: &mut Child) -> Result<()> {
    let mut orders = python.stdin.take().context("no pipe to Python")?;
    let reports = BufReader::new(python.stdout.take().context("no pipe from Python")?);
    let mut reports = reports.lines().map_while(io::Result::ok);
    let hello = reports.next().unwrap_or_default();
    let ["cpython", version, gil] = hello.split(' ').collect::<Vec<_>>()[..] else {
        bail!("{} does not answer as CPython does", knobs.python)
    };
    let (gil, count) = (gil == "True", knobs.workers);
    println!("CPython {version} {} the GIL, {count} workers", if gil { "with" } else { "without" });

    // One row: each worker reports at its begin and its end. Sums of: busy cores, wanted cores,
    // how often per second of computing a worker blocked; then the most requests under way.
    let mut row = |kind: &str, count: u32, task: &str, amount: u32| {
        writeln!(orders, "{kind} {count} {task} {}", amount / count)?;
        let lines = reports.by_ref().take_while(|line| !line.is_empty());
        let numbers = |line: String| line.split(' ').map(str::parse).collect();
        let workers: Vec<Vec<f64>> = lines.map(numbers).collect::<Result<_, _>>()?;
        ensure!(workers.len() == count as usize, "{kind}: a worker of Python failed");
        let begin = workers.iter().map(|report| report[0]).fold(f64::MAX, f64::min);
        let end = workers.iter().map(|report| report[4]).fold(0.0, f64::max);
        let sum = |i: usize| workers.iter().map(|report| report[4 + i] - report[i]).sum();
        let (wall, [cpu, waited, blocked]): (f64, [f64; 3]) = (end - begin, [1, 2, 3].map(sum));
        let (busy, wanted, at_once) = (cpu / wall, (cpu + waited) / wall, MOST.swap(0, Relaxed));
        println!(
            "Python, {kind:<17}{:>7.3}{busy:>12.2}{wanted:>11.2}{blocked:>9}{at_once:>9}",
            wall / 1e9
        );
        Ok([busy, wanted, 1e9 * blocked / cpu, at_once as f64])
    };

    println!(
        "\n{:>8} rounds         seconds  cores busy  or wanted  blocked  at once",
        knobs.rounds
    );
    row("serial", 1, "compute", knobs.rounds)?;
    let [busy, wanted, blocked, _] = row("threading", count, "compute", knobs.rounds)?;
    let [_, processes, ..] = row("multiprocessing", count, "compute", knobs.rounds)?;
    rust_threads(count, knobs.rounds / count)?;
    println!("\n{:>8} answers, each after {ANSWER_AFTER:?}", 4 * count);
    let [.., alone] = row("serial", 1, "ask", 4 * count)?;
    let [.., together] = row("threading", count, "ask", 4 * count)?;
    row("multiprocessing", count, "ask", 4 * count)?;

    // Who wants the GIL blocks, for 5 ms at most, and again: some 200 times per second.
    let one_at_a_time = busy < 1.2 && (blocked > 20.0 || !cfg!(target_os = "linux"));
    ensure!(
        one_at_a_time == gil && (gil || wanted > 1.4),
        "threads kept {busy:.2} cores busy, wanted {wanted:.2}, blocked {blocked:.0} times a second"
    );
    ensure!(processes > 1.4, "processes wanted only {processes:.2} cores");
    ensure!(alone == 1.0 && together > 1.0, "under way at once: {alone}; with threads {together}");
    let saw = if gil {
        format!("one thread computes at a time: {busy:.2} cores busy")
    } else {
        format!("no GIL, the exception: threads wanted {wanted:.2} cores")
    };
    println!("\n{saw}; processes wanted {processes:.2}; {together} threads waited at once");
    Ok(())
}

/// The loop of gil.py.
fn rust_threads(count: u32, rounds: u32) -> Result<()> {
    let step = |x: u32, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let (begin, before) = (Instant::now(), getrusage(UsageWho::RUSAGE_SELF)?);
    thread::scope(|scope| {
        let work = || _ = hint::black_box((0..rounds).fold(hint::black_box(1), step));
        (0..count).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, work).map(drop))
    })?;
    let (wall, after) = (begin.elapsed().as_secs_f64(), getrusage(UsageWho::RUSAGE_SELF)?);
    let cpu = after.user_time() + after.system_time() - before.user_time() - before.system_time();
    let busy = cpu.num_microseconds() as f64 / 1e6 / wall;
    println!("Rust threads            {wall:>8.3}{busy:>12.2}");
    Ok(())
}

/// The server's side of one request.
fn answer(mut client: TcpStream) -> io::Result<()> {
    client.read_exact(&mut [0])?;
    MOST.fetch_max(1 + UNDER_WAY.fetch_add(1, Relaxed), Relaxed);
    thread::sleep(ANSWER_AFTER); // stands for a disk, a database, another continent
    UNDER_WAY.fetch_sub(1, Relaxed);
    client.write_all(b"!")
}
