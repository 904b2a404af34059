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

mod evidence;
mod work;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, value_parser};
use evidence::{draw, judge};
use work::{Span, TEXT, words_of, work_for};

/// How long the first and the last stage work on a sentence. How long the
/// second one does is an argument, --split. All three only sleep for so long.
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
    // ones that it uses. When its function returns, they are dropped, and so
    // the loop of the next stage ends, too.
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
    // The verdict: the words were counted right. And the time that the pipeline
    // took is nearer to that of its busiest stage than to that of all together.
    judge(counted, took, [&reading, &splitting, &counting])
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Milliseconds that the second stage works on a sentence
    #[arg(long, default_value_t = 80)]
    #[arg(value_parser = value_parser!(u64).range(20..=100))]
    split: u64,
}
