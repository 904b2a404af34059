//! How much of the cores the threads used, and whether they gave one result.
//!
//! Sources: sched-stats.rst of the kernel's documentation, for schedstat;
//! setrlimit(2), RLIMIT_NPROC, and cgroups(7), for limits on threads.

use std::fs;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{Interval, MEASURE_FOR};

/// What the threads of the pool have used since they were started.
struct Usage {
    /// Seconds that they were on a core, all together
    busy: f64,
    /// Seconds that they were ready, while others were on their core
    waited: f64,
}

/// A line of the table.
pub struct Row {
    threads: usize,
    /// Of the fastest bootstrap
    seconds: f64,
    /// Cores that the threads were on, on average
    busy: f64,
    /// Cores that they were on, or waited for
    wanted: f64,
    /// What each bootstrap gave
    intervals: Vec<Interval>,
}

/// A measurement that has begun.
pub struct Measurement {
    begin: Instant,
    before: Usage,
    /// Of the fastest bootstrap so far
    fastest: Duration,
    intervals: Vec<Interval>,
}

impl Measurement {
    pub fn begin() -> Result<Measurement> {
        let before = usage_of_pool()?;
        Ok(Measurement {
            begin: Instant::now(),
            before,
            fastest: Duration::MAX,
            intervals: Vec::new(),
        })
    }

    /// Adds a bootstrap: what it gave, and how long it took.
    pub fn add(&mut self, interval: Interval, took: Duration) {
        self.intervals.push(interval);
        self.fastest = self.fastest.min(took);
    }

    /// Whether the threads have computed for long enough. On a very busy
    /// machine it does not wait for that.
    pub fn is_long_enough(&self, threads: usize) -> Result<bool> {
        let busy = usage_of_pool()?.busy - self.before.busy;
        let wanted = MEASURE_FOR.as_secs_f64() * threads as f64;
        Ok(busy > wanted || self.begin.elapsed() > 10 * MEASURE_FOR)
    }

    pub fn end(self, threads: usize) -> Result<Row> {
        let seconds = self.begin.elapsed().as_secs_f64();
        let after = usage_of_pool()?;
        let busy = after.busy - self.before.busy;
        let waited = after.waited - self.before.waited;
        Ok(Row {
            threads,
            seconds: self.fastest.as_secs_f64(),
            busy: busy / seconds,
            wanted: (busy + waited) / seconds,
            intervals: self.intervals,
        })
    }
}

/// Ends the demo if it has one core only, or cannot tell how cores are used.
pub fn cores_of_this_process() -> Result<usize> {
    let file = "/proc/thread-self/schedstat";
    if fs::read(file).is_err() {
        eprintln!("cannot run here: it needs {file}, as Linux has it");
        exit(77);
    }
    let cores = thread::available_parallelism()?.get();
    if cores == 1 {
        eprintln!("cannot run here: it needs two cores, and may use one only");
        exit(77);
    }
    Ok(cores)
}

/// Starts that many threads, and ends them: there may be a limit.
pub fn check_that_threads_start(count: usize) -> Result<()> {
    let mut handles = Vec::new();
    for _ in 0..count {
        let sleeping = thread::Builder::new().spawn(thread::park);
        handles.push(sleeping.context("cannot start a thread")?);
    }
    for handle in handles {
        handle.thread().unpark();
        handle.join().expect("no panic");
    }
    // What is joined has ended, but may count for a moment.
    while fs::read_dir("/proc/self/task")?.count() > 1 {
        thread::yield_now();
    }
    Ok(())
}

/// What all threads but main have used: main only hands out and collects.
fn usage_of_pool() -> Result<Usage> {
    let main = fs::read_link("/proc/self")?; // the process's PID, main's TID
    let mut usage = Usage {
        busy: 0.0,
        waited: 0.0,
    };
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        if folder.file_name() == main.file_name() {
            continue;
        }
        // On a core, and waiting for one, both in ns; and a third number.
        let schedstat = fs::read_to_string(folder.join("schedstat"))?;
        let mut numbers = schedstat.split_whitespace();
        let busy = numbers.next().context("no time in schedstat")?;
        let waited = numbers.next().context("one time in schedstat")?;
        usage.busy += busy.parse::<f64>()? / 1e9;
        usage.waited += waited.parse::<f64>()? / 1e9;
    }
    Ok(usage)
}

/// Prints the last row; above the first one, what the columns are.
pub fn print_last(rows: &[Row]) {
    let first = &rows[0];
    let row = &rows[rows.len() - 1];
    if row.threads == 1 {
        print!("threads  seconds  speed-up  efficiency  cores busy  wanted");
        println!("  interval, km/s");
    }
    let speed_up = first.seconds / row.seconds;
    let efficiency = 100.0 * speed_up / row.threads as f64;
    print!("{:>7}{:>9.3}", row.threads, row.seconds);
    print!("{speed_up:>10.2}{efficiency:>10.0} %");
    print!("{:>12.2}{:>8.2}", row.busy, row.wanted);
    println!("  {}", text(row.intervals[0]));
}

fn text(interval: Interval) -> String {
    let low = 299_000 + u32::from(interval.low);
    let high = 299_000 + u32::from(interval.high);
    format!("{low} to {high}")
}

pub fn judge(rows: &[Row]) -> Result<()> {
    let by_one = rows[0].wanted;
    let mut by_several = f64::INFINITY; // the least of them
    for row in &rows[1..] {
        by_several = by_several.min(row.wanted);
    }
    let interval = rows[0].intervals[0];
    let mut bootstraps = 0;
    let mut same = 0;
    for row in rows {
        for other in &row.intervals {
            bootstraps += 1;
            if *other == interval {
                same += 1;
            }
        }
    }
    ensure!(
        by_several > 1.2 * by_one,
        "cores wanted: {by_one:.2} by 1 thread, {by_several:.2} by several"
    );
    ensure!(
        same == bootstraps,
        "the same interval in {same} of {bootstraps} bootstraps only"
    );
    println!();
    println!("seconds: those of the fastest bootstrap");
    println!("speed-up: how many times as fast as 1 thread");
    println!("efficiency: speed-up per thread");
    println!("cores wanted: threads computed on them, or had to wait for them");
    println!();
    println!("cores wanted by 1 thread: {by_one:.2}");
    println!("cores wanted by several threads: {by_several:.2} or more");
    println!("the same interval in {same} of {bootstraps} bootstraps");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_bootstrap_counts() {
        let Ok(mut measurement) = Measurement::begin() else {
            return eprintln!("not tested: no schedstat here");
        };
        let interval = Interval {
            low: 840,
            high: 870,
        };
        for milliseconds in [3, 2, 4] {
            measurement.add(interval, Duration::from_millis(milliseconds));
        }
        let row = measurement.end(1).unwrap();
        assert_eq!(row.seconds, 0.002);
        assert_eq!(row.intervals.len(), 3);
    }
}
