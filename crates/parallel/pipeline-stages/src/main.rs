//! A pipeline: each stage works on one item while the stages before it work on the next ones.
//!
//! The stages are joined by bounded channels. A fast stage fills the channel to its slow successor
//! and then blocks, one more item in its hand: back-pressure, which keeps memory bounded. The
//! stages wait rather than compute (for a disk, a model, a database), so one core is enough.
//!
//! Predict:  10 items; 40, 80 and 20 ms in the three stages. How long does the pipeline take?
//! Try:      cargo run -p pipeline-stages -- --workers 2
//! Try:      cargo run -p pipeline-stages -- --bound 1
//! See also: embarrassingly-parallel, where the work splits into equal jobs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

const TEXT: &str = include_str!("gettysburg.txt"); // A. Lincoln, 1863; an item is a sentence
const CELL: Duration = Duration::from_millis(20); // of the timeline; long, for busy machines

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads in the slow stage, transform
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(1..=8))]
    workers: u8,
    /// Items that may wait between two stages
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..=10))]
    bound: u8,
}

/// Row of the timeline, item, and when the work on it began and ended; in the order of the ends.
static LOG: Mutex<Vec<(u8, usize, Instant, Instant)>> = Mutex::new(Vec::new());

fn main() -> Result<()> {
    let Args { workers, bound } = Args::parse();
    let mut expected = BTreeMap::new();
    for sentence in TEXT.lines() {
        aggregate(&mut expected, transform(&read(sentence)));
    }
    let begin = Instant::now();
    let counts = pipeline(workers, bound);
    let (seconds, log) = (begin.elapsed().as_secs_f64(), LOG.lock().unwrap());

    println!("who worked on which item when (a digit is {CELL:?}):\n");
    let cell = |time: &Instant| (*time - begin).div_duration_f32(CELL) as usize;
    let (mut busiest, mut sum) = (0.0_f64, 0.0); // seconds of work, of a row and of all
    for row in 0..workers + 2 {
        let (mut line, mut busy) = (String::new(), 0.0);
        for (_, item, from, until) in log.iter().filter(|work| work.0 == row) {
            let digits = item.to_string().repeat(cell(until) - cell(from));
            line = format!("{line:<0$}{digits}", cell(from));
            busy += (*until - *from).as_secs_f64();
        }
        let name = ["read", "transform", "aggregate"]
            [usize::from(row > 0) + usize::from(row > workers)];
        println!("{name:<9} {line}");
        (busiest, sum) = (busiest.max(busy), sum + busy);
    }

    let (mut between, mut most) = (0, 0); // items read and not yet transformed
    for (row, ..) in log.iter().filter(|work| work.0 <= workers) {
        between = if *row == 0 { between + 1 } else { between - 1 };
        most = most.max(between);
    }
    let limit = 1 + bound + workers; // in the reader's hand, in the channel, in the workers' hands
    println!(
        "\nmost items read and not yet transformed: {most}, the limit is {limit}"
    );
    ensure!(
        most <= limit,
        "back-pressure failed: {most} items were read and not yet transformed"
    );
    ensure!(
        counts == expected,
        "the pipeline counted other words than it should"
    );
    print!(
        "pipeline {seconds:.3} s: the busiest thread worked {busiest:.3} s, "
    );
    println!("all together {sum:.3} s");
    ensure!(
        seconds < (busiest + sum) / 2.0,
        "that is nearer to the sum than to the slowest stage"
    );
    Ok(())
}

/// Each stage in its own threads.
fn pipeline(workers: u8, bound: u8) -> BTreeMap<String, u32> {
    let (to_transform, sentences) = sync_channel(bound.into());
    let (to_aggregate, words) = sync_channel(bound.into());
    let (sentences, mut counts) = (&Mutex::new(sentences), BTreeMap::new());
    thread::scope(|scope| {
        scope.spawn(move || {
            for (item, sentence) in TEXT.lines().enumerate() {
                let sentence = work_on(0, item, 2 * CELL, || read(sentence));
                to_transform.send((item, sentence)).unwrap(); // blocks while the channel is full
            }
        });
        for worker in 1..=workers {
            let to_aggregate = to_aggregate.clone();
            let next = || sentences.lock().unwrap().recv();
            scope.spawn(move || {
                while let Ok((item, sentence)) = next() {
                    let words = work_on(worker, item, 4 * CELL, || {
                        transform(&sentence)
                    });
                    to_aggregate.send((item, words)).unwrap();
                }
            });
        }
        drop(to_aggregate); // the workers have theirs: the channel closes with the last of them
        for (item, words) in words {
            work_on(workers + 1, item, CELL, || aggregate(&mut counts, words));
        }
    });
    counts
}

/// Works on an item, for so long: that stands for a disk, a model on another machine, a database.
fn work_on<T>(
    row: u8,
    item: usize,
    time: Duration,
    stage: impl FnOnce() -> T,
) -> T {
    let from = Instant::now();
    thread::sleep(time);
    let result = stage();
    LOG.lock().unwrap().push((row, item, from, Instant::now()));
    result
}

fn read(line: &str) -> String {
    line.to_lowercase()
}

fn transform(sentence: &str) -> Vec<String> {
    sentence
        .split(|c: char| !c.is_alphabetic())
        .filter(|w| w.len() > 3)
        .map(Into::into)
        .collect()
}

fn aggregate(counts: &mut BTreeMap<String, u32>, words: Vec<String>) {
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
}
