//! What Python and its workers tell, the picture of it, and the verdict.
//!
//! Sources: Python's documentation of sys.setswitchinterval, sys.flags (-I),
//! and threading, "GIL and performance considerations"; clock_gettime(2),
//! CLOCK_MONOTONIC, which Python's time.monotonic reads, and which is the same
//! clock for all processes; getrusage(2), ru_nvcsw.

use std::collections::BTreeMap;
use std::io::{self, BufReader, ErrorKind, Lines};
use std::process::{Child, ChildStdout, exit};

use anyhow::{Context, Result, bail, ensure};

/// A shorter gap than this, in seconds, does not end a turn: see gil.py. So
/// two turns may seem to overlap for that time, though they did not.
const GAP: f64 = 0.000_02;

/// What is drawn: this many cells, of so many seconds each.
const CELLS: usize = 60;
const CELL: f64 = 0.002;

/// So many of them are before the answer: all wait for it for 20 ms at least.
const CELLS_WAITING: f64 = 10.0;

/// A thread that wants the GIL is blocked for 5 ms at most, and then again:
/// 200 times a second. A worker that needs no lock is blocked by chance only.
const OFTEN: f64 = 20.0;

/// Processes one after the other would be 1.0 at work on average. A little
/// more is nothing yet: when one ends, the next may have begun.
const AT_ONCE: f64 = 1.2;

type Output = Lines<BufReader<ChildStdout>>;

/// The Python that runs
pub struct Interpreter {
    version: String,
    gil: bool,
    /// After so many milliseconds of waiting, a thread demands the GIL.
    interval: f64,
}

/// A time in which a worker waited or computed: seconds on CLOCK_MONOTONIC
#[derive(Default)]
struct Span {
    start: f64,
    end: f64,
}

/// What a thread or a process tells of itself
#[derive(Default)]
pub struct Worker {
    /// The kernel's thread ID; on Linux, that of a process is its first one's
    id: u32,
    wait: Span,
    /// From the moment when it had its answer to the end of its last turn
    work: Span,
    turns: Vec<Span>,
    /// Seconds of CPU time while it computed
    cpu: f64,
    /// How often it gave up its core while it computed, as it had to wait
    blocked: f64,
}

/// The Python that was started. Without a python3, the demo ends here.
pub fn started(spawned: io::Result<Child>, python: &str) -> Result<Child> {
    if let Err(error) = &spawned
        && error.kind() == ErrorKind::NotFound
        && python == "python3"
    {
        cannot_run("there is no python3");
    }
    spawned.with_context(|| format!("cannot start {python}"))
}

fn cannot_run(why: &str) -> ! {
    eprintln!(
        "cannot run here: {why}; \
         to install one: apt-get (dnf, brew, pkg) install python3"
    );
    exit(77)
}

/// What Python tells of itself, first of all.
pub fn greeting(lines: &mut Output, python: &str) -> Result<Interpreter> {
    let line = lines.next().and_then(Result::ok).unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [_, "cpython", version, gil, interval] = words[..] else {
        if python == "python3" {
            cannot_run("this python3 is no working CPython 3.8 or newer");
        }
        bail!("{python} does not work as CPython 3.8 or newer does");
    };
    Ok(Interpreter {
        version: version.to_string(),
        gil: gil == "True",
        interval: 1e3 * interval.parse::<f64>()?,
    })
}

fn next_line(lines: &mut Output) -> Result<String> {
    let line = lines.next().context("Python ended before its work did")?;
    Ok(line?)
}

/// Returns when each worker has asked.
pub fn hear_all_ask(workers: u8, lines: &mut Output) -> Result<()> {
    for _ in 0..workers {
        let line = next_line(lines)?;
        ensure!(line.ends_with(" asks"), "not a question: {line}");
    }
    Ok(())
}

/// What each worker tells. Lines of several workers may be mixed.
pub fn hear_all_tell(count: u8, lines: &mut Output) -> Result<Vec<Worker>> {
    let mut workers: BTreeMap<u32, Worker> = BTreeMap::new(); // by ID
    let mut done = 0;
    while done < count {
        let line = next_line(lines)?;
        let words: Vec<&str> = line.split(' ').collect();
        let [id, what, first, second] = words[..] else {
            bail!("not understood: {line}");
        };
        let id: u32 = id.parse()?;
        let first: f64 = first.parse()?;
        let second: f64 = second.parse()?;
        let span = Span {
            start: first,
            end: second,
        };
        let worker = workers.entry(id).or_default();
        match what {
            "waited" => worker.wait = span,
            "computed" => worker.turns.push(span),
            "worked" => worker.work = span,
            "done" => {
                worker.id = id;
                worker.cpu = first;
                worker.blocked = second;
                done += 1;
            }
            _ => bail!("not understood: {line}"),
        }
    }
    Ok(workers.into_values().collect())
}

/// How many seconds two spans have in common
fn overlap(one: &Span, other: &Span) -> f64 {
    let both = one.end.min(other.end) - one.start.max(other.start);
    both.max(0.0)
}

/// The most of these spans that overlap, for the time of a gap at least.
fn most_at_once(spans: &[&Span]) -> usize {
    let mut most = 0;
    for span in spans {
        let moment = span.start;
        let mut overlapping = 0;
        for other in spans {
            if other.start <= moment && moment + GAP <= other.end {
                overlapping += 1;
            }
        }
        most = most.max(overlapping);
    }
    most
}

/// How many of these workers waited at the same time
fn waited_at_once(workers: &[Worker]) -> usize {
    let waits: Vec<&Span> = workers.iter().map(|worker| &worker.wait).collect();
    most_at_once(&waits)
}

/// How many of these workers computed at the same time
fn computed_at_once(workers: &[Worker]) -> usize {
    let mut turns: Vec<&Span> = Vec::new();
    for worker in workers {
        turns.extend(&worker.turns);
    }
    most_at_once(&turns)
}

/// From the first start of a worker to the last end of one, in seconds
fn duration(workers: &[Worker]) -> f64 {
    let mut first_start = f64::INFINITY;
    let mut last_end = 0.0_f64;
    for worker in workers {
        first_start = first_start.min(worker.work.start);
        last_end = last_end.max(worker.work.end);
    }
    last_end - first_start
}

/// How many were at work: had their answer, and had not ended. On average
fn at_work(workers: &[Worker]) -> f64 {
    let mut seconds = 0.0;
    for worker in workers {
        seconds += worker.work.end - worker.work.start;
    }
    seconds / duration(workers)
}

fn cpu_seconds(workers: &[Worker]) -> f64 {
    workers.iter().map(|worker| worker.cpu).sum()
}

/// How often they were blocked, per second of CPU time
fn blocked(workers: &[Worker]) -> f64 {
    let times: f64 = workers.iter().map(|worker| worker.blocked).sum();
    times / cpu_seconds(workers)
}

pub fn print_legend(interpreter: &Interpreter) {
    let version = &interpreter.version;
    if interpreter.gil {
        let interval = interpreter.interval;
        println!(
            "CPython {version} with the GIL, \
             which a waiting thread demands after {interval} ms"
        );
    } else {
        println!("CPython {version} without the GIL");
    }
    println!(
        "·: waited for the answer, █: computed for most of 2 ms, ░: for less"
    );
}

/// One row for each worker, around the moment when the answers came
pub fn draw(kind: &str, workers: &[Worker]) {
    let count = workers.len();
    let seconds = duration(workers);
    let busy = cpu_seconds(workers) / seconds;
    let title = format!(
        " {count} {kind}: {:.0} ms, {busy:.2} cores busy ",
        1e3 * seconds
    );
    let width = 1e3 * CELL * CELLS as f64;
    println!("     ID  blocked ├{title:─^51} {width:>3} ms ┤");

    let mut answer = f64::INFINITY;
    for worker in workers {
        answer = answer.min(worker.wait.end);
    }
    for worker in workers {
        let mut picture = String::new();
        for i in 0..CELLS {
            let start = answer + CELL * (i as f64 - CELLS_WAITING);
            let end = start + CELL;
            picture.push(symbol(worker, answer, &Span { start, end }));
        }
        let Worker { id, blocked, .. } = worker;
        println!("{id:>7}{blocked:>9}  {}", picture.trim_end());
    }
}

/// What this worker did for most of this cell
fn symbol(worker: &Worker, answer: f64, cell: &Span) -> char {
    let waited = Span {
        start: worker.wait.start,
        end: answer,
    };
    let mut computed = 0.0;
    for turn in &worker.turns {
        computed += overlap(turn, cell);
    }
    if overlap(&waited, cell) > 0.5 * CELL {
        '·'
    } else if computed > 0.5 * CELL {
        '█'
    } else if computed > 0.1 * CELL {
        '░'
    } else {
        ' '
    }
}

pub fn judge(
    interpreter: &Interpreter,
    threads: &[Worker],
    processes: &[Worker],
) -> Result<()> {
    let count = threads.len();
    let waited = waited_at_once(threads);
    let computed = computed_at_once(threads);
    let threads_blocked = blocked(threads);
    let processes_blocked = blocked(processes);
    let at_work = at_work(processes);

    ensure!(
        waited == count,
        "of {count} threads, {waited} waited at once"
    );
    // macOS does not tell how often a thread was blocked.
    let often = threads_blocked > OFTEN || cfg!(target_os = "macos");
    let one_at_a_time = computed == 1 && often;
    let which = if interpreter.gil { "with" } else { "without" };
    ensure!(
        one_at_a_time == interpreter.gil,
        "{computed} threads computed at once, and were blocked \
         {threads_blocked:.0} times per CPU second: \
         no Python {which} the GIL does that"
    );
    ensure!(
        processes_blocked < OFTEN,
        "processes were blocked {processes_blocked:.0} times per CPU second"
    );
    ensure!(
        at_work > AT_ONCE,
        "on average only {at_work:.2} processes were at work at once"
    );

    let at_once = computed_at_once(processes);
    if at_once > 1 {
        println!("Up to {at_once} processes computed at once.");
    } else {
        println!(
            "No two processes computed at once: \
             the scheduler let them take turns."
        );
    }
    println!(
        "threads: at once, {waited} waited and {computed} computed; \
         blocked {threads_blocked:.0} times per CPU second"
    );
    println!(
        "processes: at once, {at_work:.2} were at work on average; \
         blocked {processes_blocked:.0} times per CPU second"
    );
    Ok(())
}
