//! How long each kind of launch takes, and whether the kinds are in order.
//!
//! Sources: the methods are those of lmbench, in its lat_proc.c: fork and
//! exit, and fork and exec; proc_pid_statm(5) for RSS.

use std::panic::{self, UnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

/// A kind of launch, and the times that its launches took.
pub struct Kind {
    name: &'static str,
    launch: Box<dyn Fn() -> Result<()>>,
    times: Vec<Duration>,
}

impl Kind {
    pub fn new(
        name: &'static str,
        launch: impl Fn() -> Result<()> + 'static,
    ) -> Kind {
        Kind {
            name,
            launch: Box::new(launch),
            times: Vec::new(),
        }
    }

    /// Times so many launches, and prints a row.
    pub fn time(&mut self, launches: usize) -> Result<()> {
        self.add(launches)?;
        self.print_row("");
        Ok(())
    }

    /// Times more launches.
    fn add(&mut self, launches: usize) -> Result<()> {
        for _ in 0..launches {
            let begin = Instant::now();
            let result = (self.launch)();
            let time = begin.elapsed();
            if let Err(error) = result {
                self.times.clear(); // there will be no row
                bail!("{}: {error:#}", self.name);
            }
            self.times.push(time);
        }
        Ok(())
    }

    fn print_row(&self, note: &str) {
        let name = format!("{} {note}", self.name);
        let count = self.times.len();
        let median = self.slower_than(50);
        let low = self.slower_than(10);
        let high = self.slower_than(90);
        let spread = format!("{low:.1?} to {high:.1?}");
        let job = 100 * median;
        // Two cells for each factor of ten, from 100 ns on.
        let cells = 2.0 * (nanoseconds(median) / 100.0).log10();
        let bar = "█".repeat(cells as usize);
        println!(
            "{name:<20}{count:>5}{median:>9.1?}  {spread:<19}{job:>9.1?}  {bar}"
        );
    }

    /// The time that is longer than that of so many percent of the launches.
    fn slower_than(&self, percent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort();
        sorted[percent * sorted.len() / 100]
    }

    fn is_faster_than(&self, other: &Kind) -> bool {
        self.slower_than(10) < other.slower_than(10)
    }
}

pub fn print_heading(launches: usize) {
    println!(
        "{launches} launches of each kind; more if their order is unclear\n"
    );
    println!(
        "launched            times   median  10 to 90 %   \
         1 % of a job of  ██: × 10"
    );
}

/// Launches that are made at a time, by kinds that take turns
const TURN: usize = 10;
/// Turns more, at most, until the order is clear
const MORE_TURNS: usize = 50;

/// Times both, at least so many launches of each, and prints their rows.
pub fn time_in_turns(
    exec: &mut Kind,
    fork: &mut Kind,
    launches: usize,
) -> Result<()> {
    let parent = match rss()? {
        Some(mib) => format!("(RSS {mib:.1} MiB)"),
        None => "(RSS not told)".to_string(),
    };
    let turns = launches.div_ceil(TURN);
    for turn in 1..=turns + MORE_TURNS {
        exec.add(TURN)?;
        fork.add(TURN)?;
        if turn >= turns && fork.is_faster_than(exec) {
            break;
        }
    }
    exec.print_row("");
    fork.print_row(&parent);
    Ok(())
}

/// Times one kind until it is faster than the other, and prints its row.
pub fn time_until_faster(
    thread: &mut Kind,
    fork: &Kind,
    launches: usize,
) -> Result<()> {
    let turns = launches.div_ceil(TURN);
    for turn in 1..=turns + MORE_TURNS {
        thread.add(TURN)?;
        if turn >= turns && thread.is_faster_than(fork) {
            break;
        }
    }
    thread.print_row("");
    Ok(())
}

/// MiB of this process that are in memory (resident set size); None where the
/// kernel does not tell, as without /proc.
fn rss() -> Result<Option<f64>> {
    let pid = get_current_pid()?;
    let mut system = System::new()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing().with_memory(),
    );
    let process = system.process(pid);
    Ok(process.map(|process| process.memory() as f64 / 1024.0 / 1024.0))
}

/// None if it panics. Nothing is printed then.
pub fn catch_panic<T>(start: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let result = catch_unwind(start);
    panic::set_hook(hook);
    result.ok()
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// How many calls take as long as a thread and a Python, in the median.
pub fn print_in_calls(thread: &Kind, python: &Kind, calls: &Kind) {
    let call = nanoseconds(calls.slower_than(50)) / 1000.0;
    let in_calls = nanoseconds(thread.slower_than(50)) / call;
    print!("\nin the median, a thread takes as long as {in_calls:.0} calls");
    if !python.times.is_empty() {
        let millions = nanoseconds(python.slower_than(50)) / call / 1e6;
        print!(", a Python as {millions:.1} million");
    }
    println!();
}

pub fn judge(
    calls: &Kind,
    thread: &Kind,
    fork: &Kind,
    exec: &Kind,
) -> Result<()> {
    let mut last_name = "call";
    let mut last_time = nanoseconds(calls.slower_than(10)) / 1e6;
    let mut order = format!("{last_name} {last_time:.4} µs");
    for kind in [thread, fork, exec] {
        let name = kind.name;
        let time = nanoseconds(kind.slower_than(10)) / 1000.0;
        ensure!(
            last_time < time,
            "not in order: the fastest 10 % of {last_name} took up to \
             {last_time:.1} µs, those of {name} up to {time:.1} µs"
        );
        order += &format!(" < {name} {time:.1} µs");
        last_name = name;
        last_time = time;
    }
    println!("in order, by the 10th percentiles:");
    println!("{order}");
    Ok(())
}
