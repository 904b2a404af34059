//! How fast the numbers go there and back, and how often somebody sleeps.
//!
//! Source: getrusage(2), ru_nvcsw, the voluntary context switches: how often a
//! thread has left its core to wait for something, that is, has slept.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// How long each way is measured.
const MEASURE_FOR: Duration = Duration::from_millis(300);

/// Round trips of a way.
pub struct Trips {
    count: u64,
    seconds: f64,
}

/// A row of the table.
pub struct Row {
    way: String,
    trips: u64,
    trips_per_second: f64,
    /// Of both sides, in all trips, and at the start and the end
    sleeps: i64,
    sleeps_per_trip: f64,
}

/// Sends 1, 2, 3 and so on. Each number has to come back.
pub fn measure(
    mut there_and_back: impl FnMut(u64) -> Result<u64>,
) -> Result<Trips> {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < MEASURE_FOR {
        // 16 trips, so that the clock costs little
        for _ in 0..16 {
            count += 1;
            let number = there_and_back(count)?;
            ensure!(number == count, "{count} was sent, {number} came back");
        }
    }
    Ok(Trips {
        count,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

pub fn print_header() {
    print!("                        round trips/s  sleeps per trip");
    println!("  each █: 1.8 times");
}

/// Measures a way, and prints its row.
pub fn row(way: &str, run: impl FnOnce() -> Result<Trips>) -> Result<Row> {
    let sleeps_before = sleeps()?;
    let trips = run()?;
    let sleeps = sleeps()? - sleeps_before;
    let row = Row {
        way: way.to_string(),
        trips: trips.count,
        trips_per_second: trips.count as f64 / trips.seconds,
        sleeps,
        sleeps_per_trip: sleeps as f64 / trips.count as f64,
    };
    // 4 boxes for each factor of 10, so 1.8 for a box; none for 100 per second
    let boxes = 4.0 * (row.trips_per_second / 100.0).log10();
    let bar = "█".repeat(boxes as usize);
    print!("{way:<24}{:>13.0}", row.trips_per_second);
    println!("{:>17.2}  {bar}", row.sleeps_per_trip);
    Ok(row)
}

/// How often the threads of this process have slept, and its children, which
/// count when they are reaped.
fn sleeps() -> Result<i64> {
    let this = getrusage(UsageWho::RUSAGE_SELF)?;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(this.voluntary_context_switches()
        + children.voluntary_context_switches())
}

pub fn judge(pipe: &Row, channel: &Row, memory: &Row) -> Result<()> {
    let mut fastest = pipe;
    for row in [channel, memory] {
        if row.trips_per_second > fastest.trips_per_second {
            fastest = row;
        }
    }
    println!(
        "\nthe fastest way: {}, {:.0} round trips/s",
        fastest.way, fastest.trips_per_second
    );
    let at_pipe = pipe.sleeps_per_trip;
    let at_channel = channel.sleeps_per_trip;
    let Row { sleeps, trips, .. } = memory;
    println!(
        "sleeps per round trip: {at_pipe:.2} at the pipe, \
         {at_channel:.2} at the channel"
    );
    println!("sleeps at shared memory: {sleeps} in {trips} round trips");
    ensure!(at_pipe > 0.5, "the sides hardly slept at the pipe");
    ensure!(at_channel > 0.1, "the sides hardly slept at the channel");
    ensure!(*sleeps < 30, "the sides slept at shared memory");
    Ok(())
}
