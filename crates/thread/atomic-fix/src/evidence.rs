//! How long the ways of counting took, and whether they counted all.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{Args, ROUNDS};

/// When a thread worked.
pub struct Span {
    pub begin: Instant,
    pub end: Instant,
}

/// From the first thread's begin until the last thread's end, divided by the
/// increments of all threads.
pub fn nanoseconds_per_increment(args: &Args, spans: &[Span]) -> f64 {
    let mut begin = spans[0].begin;
    let mut end = spans[0].end;
    for span in spans {
        begin = begin.min(span.begin);
        end = end.max(span.end);
    }
    let increments = args.threads * args.increments;
    (end - begin).as_nanos() as f64 / increments as f64
}

/// One way of counting: what it counted in all rounds together, and how many
/// nanoseconds an increment took in the fastest, slowest and median round.
pub struct Row {
    name: &'static str,
    counted: u64,
    fastest: f64,
    slowest: f64,
    median: f64,
}

impl Row {
    pub fn new(name: &'static str, counted: u64, mut times: Vec<f64>) -> Row {
        times.sort_by(f64::total_cmp);
        let last = times.len() - 1;
        Row {
            name,
            counted,
            fastest: times[0],
            slowest: times[last],
            median: times[last / 2],
        }
    }
}

/// What all threads shall count in all rounds together.
fn expected(args: &Args) -> u64 {
    args.threads * args.increments * ROUNDS
}

pub fn print_table(args: &Args, rows: &[Row; 4]) {
    let expected = expected(args);
    println!(
        "threads: {}, each adds 1, {} times, in {ROUNDS} rounds\n",
        args.threads, args.increments
    );
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    println!(
        "expected {expected:>11}          ns per increment, {build} build"
    );
    println!("             counted      lost   fastest   slowest  median");

    let mut longest = 0.0;
    for row in rows {
        longest = row.median.max(longest);
    }
    for row in rows {
        let name = row.name;
        let counted = row.counted;
        let lost = expected - counted;
        let bar = "█".repeat((16.0 * row.median / longest).round() as usize);
        let fastest = short(row.fastest);
        let slowest = short(row.slowest);
        let median = short(row.median);
        print!("{name:<9} {counted:>10} {lost:>9} {fastest:>9}");
        println!(" {slowest:>9} {median:>7} {bar}");
    }
}

/// Without decimals if they would not fit, as with --increments 1.
fn short(nanoseconds: f64) -> String {
    if nanoseconds < 1000.0 {
        format!("{nanoseconds:.2}")
    } else {
        format!("{nanoseconds:.0}")
    }
}

pub fn judge(args: &Args, rows: &[Row; 4]) -> Result<()> {
    let expected = expected(args);
    let [race, mutex, fetch_add, private] = rows;
    for row in [mutex, fetch_add, private] {
        ensure!(
            row.counted == expected,
            "{}: expected {expected}, counted {}",
            row.name,
            row.counted
        );
    }
    println!("\nexact: mutex, fetch_add and private counted {expected}");
    println!(
        "median ns: mutex {:.2}, fetch_add {:.2}, private {:.2}",
        mutex.median, fetch_add.median, private.median
    );
    let counted = race.counted;
    println!("race counted {counted}: {} lost", expected - counted);
    Ok(())
}
