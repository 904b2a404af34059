//! Round trips and sleeps: counted, printed, and judged.
//! Source: getrusage(2), ru_nvcsw.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// Round trips of a way.
pub struct Trips {
    count: u64,
    seconds: f64,
}

/// Sends 1, 2, 3 and so on, for a while. Each number has to come back.
pub fn measure(
    mut there_and_back: impl FnMut(u64) -> Result<u64>,
) -> Result<Trips> {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_millis(300) {
        count += 1;
        let number = there_and_back(count)?;
        ensure!(number == count, "{count} was sent, {number} came back");
    }
    Ok(Trips {
        count,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// A row of the table.
pub struct Row {
    trips: u64,
    trips_per_second: f64,
    /// Of both sides together
    sleeps: i64,
    sleeps_per_trip: f64,
}

pub fn count_sleeps(way: fn() -> Result<Trips>) -> Result<Row> {
    let before = sleeps()?;
    let trips = way()?;
    let sleeps = sleeps()? - before;
    Ok(Row {
        trips: trips.count,
        trips_per_second: trips.count as f64 / trips.seconds,
        sleeps,
        sleeps_per_trip: sleeps as f64 / trips.count as f64,
    })
}

pub fn print_row(way: &str, row: &Row) {
    let trips = row.trips_per_second;
    let sleeps = row.sleeps_per_trip;
    println!("{way:<24}{trips:>13.0}{sleeps:>17.2}");
}

/// An error if the sides hardly sleep at pipe or channel, or if they often
/// sleep at shared memory.
pub fn judge(pipe: &Row, channel: &Row, memory: &Row) -> Result<()> {
    // To judge: do the sides sleep? Expected are one or two sleeps per trip at
    // pipe and channel; fewer if an answer is often there before a side waits.
    ensure!(pipe.sleeps_per_trip > 0.5, "hardly any sleep at the pipe");
    let at_channel = channel.sleeps_per_trip;
    ensure!(at_channel > 0.1, "hardly any sleep at the channel");
    // Threads sleep a few times when they start and end. FreeBSD counts each
    // yield as a sleep, too: no verdict there.
    let sleeps = memory.sleeps;
    let few = sleeps < 30 || cfg!(target_os = "freebsd");
    ensure!(few, "{sleeps} sleeps at shared memory");
    println!(
        "\nsleeps at shared memory: {sleeps}, in {} trips",
        memory.trips
    );
    Ok(())
}

/// How often the threads of this process have left their CPU to wait, and its
/// children, which count when they are reaped.
fn sleeps() -> Result<i64> {
    let this = getrusage(UsageWho::RUSAGE_SELF)?;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(this.voluntary_context_switches()
        + children.voluntary_context_switches())
}
