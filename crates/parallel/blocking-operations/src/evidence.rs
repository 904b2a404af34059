//! Which threads waited when, how many at once, and what a core did meanwhile.
//!
//! Sources: read(2) and socket(7) for what blocks; getrusage(2) for the time
//! on a core.

use std::thread::ThreadId;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::ANSWER_AFTER;

/// Columns for the longer of both pictures
const COLUMNS: u32 = 72;

/// A thread has waited for an answer.
pub struct Wait {
    pub thread: ThreadId,
    pub sent: Instant,
    pub answered: Instant,
}

/// When the first request was sent.
fn start(waits: &[Wait]) -> Instant {
    waits.iter().map(|wait| wait.sent).min().expect("a request")
}

/// From the first request to the last answer.
fn duration(waits: &[Wait]) -> Duration {
    let end = waits.iter().map(|wait| wait.answered).max();
    end.expect("a request") - start(waits)
}

/// The threads, in the order of their first request.
fn threads(waits: &[Wait]) -> Vec<ThreadId> {
    let mut threads = Vec::new();
    for wait in waits {
        if !threads.contains(&wait.thread) {
            threads.push(wait.thread);
        }
    }
    threads
}

/// How many threads waited at the same time, at most.
fn most_at_once(waits: &[Wait]) -> usize {
    let mut most = 0;
    for wait in waits {
        // Those that waited when this request was sent.
        let mut count = 0;
        for other in waits {
            if other.sent <= wait.sent && wait.sent < other.answered {
                count += 1;
            }
        }
        most = most.max(count);
    }
    most
}

/// A line for each thread: where it sent a request, and where it waited.
pub fn draw(alone: &[Wait], together: &[Wait]) {
    println!(
        "Each answer takes {ANSWER_AFTER:?}. \
         ▌ a thread sends a request, ▒ and waits."
    );
    let longer = duration(alone).max(duration(together));
    draw_threads(alone, longer / COLUMNS);
    draw_threads(together, longer / COLUMNS);
}

fn draw_threads(waits: &[Wait], column: Duration) {
    println!();
    let mut number = 0;
    for thread in threads(waits) {
        let mut picture = String::new();
        for x in 0..COLUMNS {
            let from = start(waits) + x * column;
            let until = from + column;
            let mut symbol = ' ';
            for wait in waits.iter().filter(|wait| wait.thread == thread) {
                if wait.sent >= from && wait.sent < until {
                    symbol = '▌';
                    break;
                }
                if wait.sent < from && wait.answered > from {
                    symbol = '▒';
                }
            }
            picture.push(symbol);
        }
        number += 1;
        println!("{number:>4} {}", picture.trim_end());
    }
}

/// Seconds that the process has spent on a core, all threads together. What it
/// was before an exec counts, too: `cargo run`, say.
pub fn seconds_on_a_core() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

pub fn judge(alone: &[Wait], together: &[Wait], on_a_core: f64) -> Result<()> {
    let one = most_at_once(alone);
    let many = most_at_once(together);
    ensure!(one == 1, "one thread waited for {one} answers at once");
    ensure!(many > 1, "no two of the threads waited at the same time");
    let long = duration(alone).as_secs_f64();
    let short = duration(together).as_secs_f64();
    let ratio = long / short;
    ensure!(ratio > 1.3, "many threads: only {ratio:.1} times as fast");
    let both = long + short;
    ensure!(
        on_a_core < both / 2.0,
        "{on_a_core:.3} s of {both:.3} s on a core"
    );

    let count = threads(together).len();
    println!();
    print_run("1 thread", long, one);
    print_run(&format!("{count} threads"), short, many);
    println!(
        "{ratio:.1} times as fast; on a core {on_a_core:.3} s of {both:.3} s"
    );
    Ok(())
}

fn print_run(threads: &str, seconds: f64, most: usize) {
    let times = seconds / ANSWER_AFTER.as_secs_f64();
    println!(
        "{threads}: {seconds:.3} s = {times:.1} times {ANSWER_AFTER:?}, \
         waiting at the same time: {most}"
    );
}
