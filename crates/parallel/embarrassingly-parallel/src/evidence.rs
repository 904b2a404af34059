//! How long the bootstraps take, and whether any number of threads gives the
//! same medians.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{JOBS, job};

/// How often each number of threads does the bootstrap. The fastest one counts:
/// something else may have run on the computer during a slower one.
const ROUNDS: u8 = 3;

/// What is known of the bootstraps with a number of threads.
pub struct Row {
    threads: u8,
    /// Of the fastest bootstrap
    seconds: f64,
    at_once: usize,
    interval: String,
}

pub fn print_heading() -> Result<()> {
    let here = thread::available_parallelism()?;
    println!("{JOBS} jobs; threads that can run at once here: {here}\n");
    println!("threads  seconds  speed-up  interval, km/s");
    Ok(())
}

/// One job after the other, done by the thread that calls this.
pub fn bootstrap_without_threads() -> Vec<u16> {
    let mut medians = Vec::new();
    for number in 0..JOBS {
        medians.extend(job(number));
    }
    medians.sort_unstable();
    medians
}

pub fn measure(
    threads: u8,
    expected: &[u16],
    bootstrap: impl Fn() -> (Vec<u16>, usize),
) -> Result<Row> {
    let mut fastest = f64::INFINITY;
    let mut interval = String::new();
    let mut most_at_once = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let (medians, at_once) = bootstrap();
        fastest = fastest.min(begin.elapsed().as_secs_f64());
        most_at_once = most_at_once.max(at_once);
        interval = interval_of(&medians);
        ensure!(medians == expected, "{threads} threads: other medians");
    }
    Ok(Row {
        threads,
        seconds: fastest,
        at_once: most_at_once,
        interval,
    })
}

pub fn print_last(rows: &[Row]) {
    let row = &rows[rows.len() - 1];
    let speed_up = rows[0].seconds / row.seconds;
    println!(
        "{:>7}{:>9.3}{speed_up:>10.2}  {}",
        row.threads, row.seconds, row.interval
    );
}

pub fn judge(rows: &[Row], expected: &[u16]) -> Result<()> {
    let mut most_at_once = 0;
    for row in rows {
        most_at_once = most_at_once.max(row.at_once);
    }
    ensure!(most_at_once > 1, "only one job was under way at any time");

    println!("\nseconds: of the fastest of {ROUNDS} bootstraps");
    println!("speed-up: how many times as fast as 1 thread\n");
    println!("jobs under way at once, at most: {most_at_once}");
    let most = rows.len();
    let count = expected.len();
    println!("with 1 to {most} threads the same {count} medians as without");
    Ok(())
}

/// The middle 95 %: leaves out 2.5 %, which is 1 in 40, at each end.
fn interval_of(medians: &[u16]) -> String {
    let left_out = medians.len() / 40;
    let middle = &medians[left_out..medians.len() - left_out];
    let low = 299_000 + u32::from(middle[0]);
    let high = 299_000 + u32::from(middle[middle.len() - 1]);
    format!("{low} to {high}")
}
