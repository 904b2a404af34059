//! Python's GIL: however many threads compute, CPython lets one of them go on at a time.
//!
//! src/gil.py does the same work in one thread, in threads, and in processes. A thread computes
//! only with the global interpreter lock: the others are blocked. It waits for a server without
//! the lock: all can wait at once.
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
use nix::time::{ClockId, clock_gettime};

const ANSWER_AFTER: Duration = Duration::from_millis(50);

/// Requests that the server has taken and not yet answered, and the most there have been.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// The CPython to run
    #[arg(long, default_value = "python3")]
    python: String,
    /// Threads, or processes, that share the work
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(2..=16))]
    workers: u32,
    /// Rounds of the loop, in millions, all workers together
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(3..=10))]
    rounds: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let listener =
        TcpListener::bind("127.0.0.1:0").context("cannot serve on loopback")?;
    let port = listener.local_addr()?.port().to_string();
    thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|c| _ = thread::spawn(|| answer(c)));
    });
    let mut command = Command::new(&args.python);
    command.args(["-c", include_str!("gil.py"), &port]);
    let mut python = match command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && args.python == "python3" =>
        {
            eprintln!(
                "cannot run here: no python3; apt-get (dnf, brew, pkg) install python3"
            );
            exit(77);
        }
        started => {
            started.with_context(|| format!("cannot start {}", args.python))?
        }
    };
    let shown = show(&args, &mut python);
    _ = python.kill(); // a Python would end by itself now, but --python may be anything
    python.wait()?;
    shown
}

fn show(args: &Args, python: &mut Child) -> Result<()> {
    let mut orders = python.stdin.take().context("no pipe to Python")?;
    let reports =
        BufReader::new(python.stdout.take().context("no pipe from Python")?);
    let mut reports = reports.lines().map_while(io::Result::ok);
    let hello = reports.next().unwrap_or_default();
    let ["cpython", version, gil] = hello.split(' ').collect::<Vec<_>>()[..]
    else {
        bail!("{} does not answer as CPython does", args.python)
    };
    let (gil, workers, rounds) =
        (gil == "True", args.workers, 1_000_000 * args.rounds);
    let which = if gil { "with" } else { "without" };
    println!("CPython {version}, {which} the GIL\n");

    // Orders one row. Returns: cores busy, workers at work at once on average, how often they
    // blocked in a second of computing, and the most that waited for the server at once.
    let mut row = |kind: &str,
                   workers: u32,
                   task: &str,
                   amount: u32|
     -> Result<_> {
        let begin = Instant::now();
        writeln!(orders, "{kind} {workers} {task} {}", amount / workers)?;
        let lines = reports.by_ref().take_while(|line| !line.is_empty());
        let numbers =
            lines.map(|line| line.split(' ').map(str::parse).collect());
        let numbers: Vec<Vec<f64>> = numbers.collect::<Result<_, _>>()?;
        ensure!(
            numbers.len() == workers as usize,
            "{kind}: a worker of Python failed"
        );
        let seconds = begin.elapsed().as_secs_f64();
        let sum =
            |i: usize| numbers.iter().map(|worker| worker[i]).sum::<f64>();
        let ([at_work, cpu, blocked], waited) =
            ([0, 1, 2].map(sum), MOST.swap(0, Relaxed));
        let busy = cpu / seconds;
        println!(
            "{workers:>4} {kind:<15}{seconds:>8.3}{busy:>12.2}{blocked:>15}{waited:>17}"
        );
        Ok([busy, at_work / seconds, blocked / cpu, waited as f64])
    };
    println!("compute: {} million rounds", args.rounds);
    println!(
        "                     seconds  cores busy  times blocked  waiting at once"
    );
    row("serial", 1, "compute", rounds)?;
    let [threads, _, blocked, _] =
        row("threading", workers, "compute", rounds)?;
    let [processes, at_once, never, _] =
        row("multiprocessing", workers, "compute", rounds)?;
    rust_threads(workers, rounds / workers)?;
    println!("wait: ask a server {} times", 4 * workers);
    let [.., alone] = row("serial", 1, "ask", 4 * workers)?;
    let [.., together] = row("threading", workers, "ask", 4 * workers)?;
    row("multiprocessing", workers, "ask", 4 * workers)?;

    // Who wants the GIL blocks, for 5 ms at most, and again: 200 times a second. Who needs no lock
    // never does: at work at once, they keep busy as many cores as are to be had.
    let one_at_a_time =
        threads < 1.2 && (blocked > 20.0 || !cfg!(target_os = "linux"));
    ensure!(
        one_at_a_time == gil,
        "threads kept {threads:.2} cores busy and blocked {blocked:.0} times a second: no Python \
         {which} the GIL does that"
    );
    ensure!(
        at_once > 1.2 && never < 20.0,
        "{at_once:.2} processes computed at once on average, and blocked {never:.0} times a second"
    );
    ensure!(
        alone == 1.0 && together > 1.0,
        "under way at once: {alone}; with threads {together}"
    );
    print!("\ncores busy: threads {threads:.2}, processes {processes:.2}; ");
    println!("waiting at once: {together} threads");
    Ok(())
}

/// The loop of gil.py, ten times as often: this is compiled.
fn rust_threads(workers: u32, rounds: u32) -> Result<()> {
    let step =
        |x: u32, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let work =
        || _ = hint::black_box((0..10 * rounds).fold(hint::black_box(1), step));
    let cpu =
        || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    let (begin, before) = (Instant::now(), cpu()?);
    thread::scope(|scope| (0..workers).for_each(|_| _ = scope.spawn(work)));
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu()? - before);
    let busy = cpu.as_secs_f64() / seconds;
    println!(
        "{workers:>4} {:<15}{seconds:>8.3}{busy:>12.2}",
        "in Rust, 10 x"
    );
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
