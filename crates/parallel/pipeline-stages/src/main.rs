//! A pipeline: the work has stages, and each stage has a thread of its own.
//!
//! Here three stages count the words of a text: read a sentence, split it into
//! words, count them. While a stage works on a sentence, the stage before it
//! works on a later one. Between two stages is a channel, which is a queue: one
//! thread sends, another thread receives.
//!
//! Predict:  10 sentences, each 40, then 80, then 20 ms in a stage: how long?
//! Try:      cargo run -p pipeline-stages -- --split 20   # which one decides?
//! See also: embarrassingly-parallel, where each thread does whole jobs.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// Ten sentences of Abraham Lincoln, 1863, one in each line.
const TEXT: &str = include_str!("gettysburg.txt");

/// How long the first and the last stage work on a sentence. How long the
/// second one does is an argument, --split.
const TIME_TO_READ: Duration = Duration::from_millis(40);
const TIME_TO_COUNT: Duration = Duration::from_millis(20);

/// How many sentences a channel can hold. When it is full, its sender waits, so
/// a fast stage cannot fill the memory: this is called back-pressure.
const BOUND: usize = 2;

/// The first stage gets one sentence after the other. As each stage does, it
/// returns from when to when it worked on each of them.
fn read(to_split: &SyncSender<String>) -> Vec<Span> {
    let mut spans = Vec::new();
    for sentence in TEXT.lines() {
        spans.push(work_for(TIME_TO_READ));
        // Waits while the channel is full. Fails if nobody can receive.
        to_split.send(sentence.to_string()).unwrap();
    }
    spans
}

/// The second stage finds the words of each sentence.
fn split(
    sentences: Receiver<String>,
    to_count: &SyncSender<Vec<String>>,
    time_to_split: Duration,
) -> Vec<Span> {
    let mut spans = Vec::new();
    // Waits while the channel is empty. When the sender is dropped, too, the
    // loop ends.
    for sentence in sentences {
        spans.push(work_for(time_to_split));
        to_count.send(words_of(&sentence)).unwrap();
    }
    spans
}

/// The last stage counts the words. Returns their number, too.
fn count(lists: Receiver<Vec<String>>) -> (usize, Vec<Span>) {
    let mut counted = 0;
    let mut spans = Vec::new();
    for words in lists {
        spans.push(work_for(TIME_TO_COUNT));
        counted += words.len();
    }
    (counted, spans)
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let time_to_split = Duration::from_millis(args.split);
    let start = Instant::now();

    // A channel has two ends: a sender, and a receiver. move: a thread owns the
    // ends that it uses, and drops them when it ends.
    let (to_split, sentences) = sync_channel(BOUND);
    let (to_count, lists) = sync_channel(BOUND);
    let reader = thread::spawn(move || read(&to_split));
    let splitter =
        thread::spawn(move || split(sentences, &to_count, time_to_split));
    let counter = thread::spawn(move || count(lists));

    // join waits until a thread has ended, and gives what its function returns.
    let reading = reader.join().unwrap();
    let splitting = splitter.join().unwrap();
    let (counted, counting) = counter.join().unwrap();
    let took = start.elapsed();

    println!("stage  sentence it works on, 0 to 9; a digit is 20 ms\n");
    draw("read", &reading, start);
    draw("split", &splitting, start);
    draw("count", &counting, start);
    judge(counted, took, [&reading, &splitting, &counting])
}

/// From when to when a stage worked on a sentence.
struct Span {
    begin: Instant,
    end: Instant,
}

/// Only sleeps: this stands for waiting for a disk, a database or another
/// computer. So one core is enough for all stages.
fn work_for(time: Duration) -> Span {
    let begin = Instant::now();
    sleep(time);
    let end = Instant::now();
    Span { begin, end }
}

fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.replace('-', " ").split_whitespace() {
        words.push(word.to_string());
    }
    words
}

/// A line of the picture. A column is 20 ms: the number of the sentence, or a
/// space while the stage waits.
fn draw(stage: &str, spans: &[Span], start: Instant) {
    let column = |time: Instant| (time - start).as_millis() as usize / 20;
    let mut line = String::new();
    for (sentence, span) in spans.iter().enumerate() {
        let pause = column(span.begin) - line.len();
        line += &" ".repeat(pause);
        let length = column(span.end) - line.len();
        line += &sentence.to_string().repeat(length);
    }
    println!("{stage:<7}{line}");
}

/// The words must have been counted right. And the time that the pipeline took
/// must be nearer to that of its busiest stage than to that of all together.
fn judge(counted: usize, took: Duration, stages: [&[Span]; 3]) -> Result<()> {
    let mut busiest = Duration::ZERO;
    let mut together = Duration::ZERO;
    for spans in stages {
        let mut worked = Duration::ZERO;
        for span in spans {
            worked += span.end - span.begin;
        }
        busiest = busiest.max(worked);
        together += worked;
    }
    let expected = words_of(TEXT).len();

    println!("\nwords counted: {counted}, without a pipeline: {expected}");
    println!("all its stages together worked {} ms", together.as_millis());
    println!("its busiest stage worked {} ms", busiest.as_millis());
    println!("the pipeline took {} ms", took.as_millis());
    ensure!(counted == expected, "{counted} words, not {expected}");
    ensure!(
        took < (busiest + together) / 2,
        "the time is nearer to that of all stages together"
    );
    Ok(())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Milliseconds that the second stage works on a sentence
    #[arg(long, default_value_t = 80)]
    #[arg(value_parser = value_parser!(u64).range(20..=100))]
    split: u64,
}
