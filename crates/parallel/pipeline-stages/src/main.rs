//! A pipeline: each stage works on one item while the stages before it work on the next ones.
//!
//! The stages are joined by bounded channels. A fast stage fills the channel to its slow successor
//! and then blocks: back-pressure, which keeps memory bounded. The stages here wait rather than
//! compute (for a disk, a model, a database), so that the demo needs no second core.
//! An item is a sentence of A. Lincoln's address at Gettysburg (1863, public domain).
//!
//! Predict:  10 items; 10, 20 and 5 ms in the three stages. How long does the pipeline take?
//! Try:      cargo run -p pipeline-stages -- --workers 2
//! Try:      cargo run -p pipeline-stages -- --bound 1
//! See also: embarrassingly-parallel, where the work splits into equal jobs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

const TEXT: &str = include_str!("gettysburg.txt");
const CELL: Duration = Duration::from_millis(5); // of the timeline
const READ: u32 = 2; // so many cells an item takes in each stage
const TRANSFORM: u32 = 4;
const AGGREGATE: u32 = 1;

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Threads in the slow stage, transform
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(1..=8))]
    workers: u8,
    /// Items that may wait between two stages
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..=10))]
    bound: u8,
}

type Counts = BTreeMap<String, u32>;

/// Row of the timeline, item, and when the work on it began and ended.
type Work = (usize, usize, Duration, Duration);

fn main() -> Result<()> {
    let knobs = Knobs::parse();
    let (begin, mut expected) = (Instant::now(), Counts::new());
    for sentence in TEXT.lines() {
        aggregate(&mut expected, transform(read(sentence)));
    }
    let serial = begin.elapsed().as_secs_f64();
    println!("one thread, one stage after the other: {serial:.3} s\n");

    let (counts, seconds, overlaps, waited) = pipeline(knobs.workers.into(), knobs.bound.into());
    println!("\nmost items that waited for transform: {}, for aggregate: {}", waited[0], waited[1]);
    println!("items transformed while the next one was read already: {overlaps}");
    ensure!(counts == expected, "the pipeline counted other words than the one thread");
    ensure!(waited.iter().all(|&most| most <= knobs.bound.into()), "more waited than the bound");
    ensure!(overlaps > 0, "no two stages worked at the same time");
    println!(
        "pipeline {seconds:.3} s, one thread {serial:.3} s: {:.1} times as fast",
        serial / seconds
    );
    Ok(())
}

/// Each stage in its own threads; draws who worked on which item when. Returns the counts, the
/// seconds, for how many items the first two stages overlapped, and how many items waited at most
/// for the second and for the third stage.
fn pipeline(workers: usize, bound: usize) -> (Counts, f64, usize, [i32; 2]) {
    let (to_transform, sentences) = sync_channel(bound);
    let (to_aggregate, words) = sync_channel(bound);
    let (sentences, waiting) = (Mutex::new(sentences), [Gauge::default(), Gauge::default()]);
    let (begin, done) = (Instant::now(), Mutex::new(Vec::new()));
    let log = |row: usize, item: usize, from: Duration| {
        done.lock().unwrap().push((row, item, from, begin.elapsed()));
    };
    let mut counts = Counts::new();
    thread::scope(|scope| {
        let (log, sentences, waiting) = (&log, &sentences, &waiting);
        scope.spawn(move || {
            for (item, sentence) in TEXT.lines().enumerate() {
                let from = begin.elapsed();
                let sentence = read(sentence);
                log(0, item, from);
                to_transform.send((item, sentence)).unwrap(); // blocks while the channel is full
                waiting[0].add(1);
            }
        });
        for worker in 1..=workers {
            let to_aggregate = to_aggregate.clone();
            let next = || {
                waiting[0].add(-1);
                sentences.lock().unwrap().recv().ok()
            };
            scope.spawn(move || {
                while let Some((item, sentence)) = next() {
                    let from = begin.elapsed();
                    let words = transform(sentence);
                    log(worker, item, from);
                    to_aggregate.send((item, words)).unwrap();
                    waiting[1].add(1);
                }
            });
        }
        drop(to_aggregate); // the workers have theirs: the channel closes with the last of them
        waiting[1].add(-1);
        for (item, words) in words {
            let from = begin.elapsed();
            aggregate(&mut counts, words);
            log(workers + 1, item, from);
            waiting[1].add(-1);
        }
    });
    let (seconds, done) = (begin.elapsed().as_secs_f64(), done.into_inner().unwrap());
    for row in 0..workers + 2 {
        let mut line = String::new();
        for (_, item, from, until) in done.iter().filter(|work| work.0 == row) {
            let [from, until] = [from, until].map(|time| time.div_duration_f32(CELL) as usize);
            line = format!("{line:<from$}{}", item.to_string().repeat(until - from));
        }
        let name = if row == 0 { "read" } else { ["transform", "aggregate"][row / (workers + 1)] };
        println!("{name:<9} {line}");
    }
    let next_is_read = |&&(row, item, _, until): &&Work| {
        let early = |read: &Work| (read.0, read.1) == (0, item + 1) && read.2 < until;
        (1..=workers).contains(&row) && done.iter().any(early)
    };
    let overlaps = done.iter().filter(next_is_read);
    (counts, seconds, overlaps.count(), waiting.map(|gauge| gauge.most.into_inner()))
}

fn read(line: &str) -> String {
    thread::sleep(READ * CELL); // stands for a disk
    line.to_lowercase()
}

fn transform(sentence: String) -> Vec<String> {
    thread::sleep(TRANSFORM * CELL); // stands for a model on another machine
    sentence.split(|c: char| !c.is_alphabetic()).filter(|w| w.len() > 3).map(Into::into).collect()
}

fn aggregate(counts: &mut Counts, words: Vec<String>) {
    thread::sleep(AGGREGATE * CELL); // stands for a database
    words.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
}

/// Counts up after a send and down before a receive: never more than the channel holds.
#[derive(Default)]
struct Gauge {
    now: AtomicI32,
    most: AtomicI32,
}

impl Gauge {
    fn add(&self, change: i32) {
        self.most.fetch_max(self.now.fetch_add(change, Relaxed) + change, Relaxed);
    }
}
