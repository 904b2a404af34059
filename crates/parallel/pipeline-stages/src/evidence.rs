//! Who worked on which sentence when, and whether that is a pipeline.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::TEXT;

/// Time that a column of the timeline stands for.
const COLUMN: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq)]
pub enum Stage {
    Read,
    /// With the number of the worker
    Split(u8),
    Count,
}

/// The work of a stage on a sentence.
struct Work {
    stage: Stage,
    sentence: usize,
    begin: Instant,
    end: Instant,
}

/// All work, in the order in which it ended.
static WORK: Mutex<Vec<Work>> = Mutex::new(Vec::new());

/// Notes work that ends now.
pub fn note(stage: Stage, sentence: usize, begin: Instant) {
    let mut all = WORK.lock().unwrap();
    all.push(Work {
        stage,
        sentence,
        begin,
        end: Instant::now(),
    });
}

/// One stage for each thread.
fn stages(workers: u8) -> Vec<Stage> {
    let mut stages = vec![Stage::Read];
    for worker in 1..=workers {
        stages.push(Stage::Split(worker));
    }
    stages.push(Stage::Count);
    stages
}

/// Draws a timeline for each thread: in a column is the number of the sentence
/// that it worked on.
pub fn draw(workers: u8, start: Instant) {
    println!("stage  sentence it works on, 0 to 9; a digit is {COLUMN:?}\n");
    let column = |time: Instant| {
        let columns = (time - start).div_duration_f32(COLUMN);
        columns as usize
    };
    for stage in stages(workers) {
        let mut line = String::new();
        for work in WORK.lock().unwrap().iter() {
            if work.stage != stage {
                continue;
            }
            while line.len() < column(work.begin) {
                line += " ";
            }
            while line.len() < column(work.end) {
                line += &work.sentence.to_string();
            }
        }
        let name = match stage {
            Stage::Read => "read",
            Stage::Split(_) => "split",
            Stage::Count => "count",
        };
        println!("{name:<7}{line}");
    }
}

/// Seconds that a thread has worked on sentences.
fn seconds_of_work(stage: Stage) -> f64 {
    let mut time = Duration::ZERO;
    for work in WORK.lock().unwrap().iter() {
        if work.stage == stage {
            time += work.end - work.begin;
        }
    }
    time.as_secs_f64()
}

/// Most sentences that were read and not yet split at any time.
fn most_between() -> u8 {
    let mut between = 0;
    let mut most = 0;
    for work in WORK.lock().unwrap().iter() {
        match work.stage {
            Stage::Read => between += 1,
            Stage::Split(_) => between -= 1,
            Stage::Count => (),
        }
        most = most.max(between);
    }
    most
}

/// How often each word comes, without a pipeline.
fn counts_without_pipeline() -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for word in TEXT.split(|letter: char| !letter.is_alphabetic()) {
        if !word.is_empty() {
            *counts.entry(word.to_lowercase()).or_insert(0) += 1;
        }
    }
    counts
}

pub fn judge(
    workers: u8,
    bound: u8,
    time: Duration,
    counts: &HashMap<String, u32>,
) -> Result<()> {
    let seconds = time.as_secs_f64();
    let mut busiest = 0.0_f64;
    let mut together = 0.0;
    for stage in stages(workers) {
        let busy = seconds_of_work(stage);
        busiest = busiest.max(busy);
        together += busy;
    }
    // In the hand of read, in the channel, in the hands of the workers
    let limit = 1 + bound + workers;
    let most = most_between();
    let words: u32 = counts.values().sum();
    let expected = counts_without_pipeline();
    let expected_words: u32 = expected.values().sum();

    ensure!(
        most <= limit,
        "{most} sentences read and not yet split, more than {limit}"
    );
    ensure!(
        *counts == expected,
        "the counts of {words} words differ from those without a pipeline"
    );
    println!("\nwords counted: {words}, without a pipeline: {expected_words}");
    println!(
        "most sentences read and not yet split: {most} of {limit} allowed"
    );
    println!("the pipeline took {seconds:.3} s");
    println!("its busiest thread worked {busiest:.3} s");
    println!("all its threads together worked {together:.3} s");
    ensure!(
        seconds < (busiest + together) / 2.0,
        "that is nearer to all threads together than to the busiest one"
    );
    Ok(())
}
