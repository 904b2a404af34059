//! A picture of how the threads waited, and whether they waited at the same
//! time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};

use crate::ANSWER_AFTER;

/// From when to when a thread has waited for an answer.
pub struct Wait {
    pub sent: Instant,
    pub answered: Instant,
}

/// The time that the threads of this process have spent on a core, added up.
pub fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(Duration::from(time))
}

/// A row for each request: blank until it is sent, then filled while a thread
/// waits for its answer.
pub fn draw(alone: &[Wait], together: &[Wait]) {
    println!("Each answer takes {ANSWER_AFTER:?}. ▒ a thread waits for one.");
    // The longer run fills 72 columns.
    let column = duration(alone).max(duration(together)) / 72;
    for waits in [alone, together] {
        println!();
        for wait in waits {
            let before = wait.sent - waits[0].sent;
            let blank = before.div_duration_f64(column) as usize;
            let waited = wait.answered - wait.sent;
            let filled = waited.div_duration_f64(column) as usize;
            println!("{}{}", " ".repeat(blank), "▒".repeat(filled));
        }
    }
}

/// From the first request to the last answer.
fn duration(waits: &[Wait]) -> Duration {
    let last = waits.iter().map(|wait| wait.answered).max();
    last.expect("a request") - waits[0].sent
}

/// How many threads waited at the same time, on average: all their waits, added
/// up, as a multiple of the time from the first request to the last answer.
fn at_once(waits: &[Wait]) -> f64 {
    let mut waited = Duration::ZERO;
    for wait in waits {
        waited += wait.answered - wait.sent;
    }
    waited.div_duration_f64(duration(waits))
}

pub fn judge(
    alone: &[Wait],
    together: &[Wait],
    threads: u8,
    on_a_core: Duration,
) -> Result<()> {
    let one = at_once(alone);
    let many = at_once(together);
    ensure!(one <= 1.0, "one thread waited for {one:.1} answers at once");
    // The speed-up is no verdict: it shrinks where a machine is busy.
    ensure!(many > 1.1, "only {many:.1} threads waited at the same time");
    let long = duration(alone);
    let short = duration(together);
    let ratio = long.div_duration_f64(short);
    let both = long + short;
    ensure!(
        on_a_core < both / 2,
        "{on_a_core:.3?} of {both:.3?} on a core"
    );

    println!();
    print_run("1 thread", long, one);
    print_run(&format!("{threads} threads"), short, many);
    let on_a_core = on_a_core.as_secs_f64();
    let both = both.as_secs_f64();
    println!(
        "{ratio:.1} times as fast; on a core {on_a_core:.3} s of {both:.3} s"
    );
    Ok(())
}

fn print_run(threads: &str, time: Duration, at_once: f64) {
    let seconds = time.as_secs_f64();
    let times = time.div_duration_f64(ANSWER_AFTER);
    println!(
        "{threads}: {seconds:.3} s = {times:.1} times {ANSWER_AFTER:?}, \
         waiting at the same time: {at_once:.1}"
    );
}
