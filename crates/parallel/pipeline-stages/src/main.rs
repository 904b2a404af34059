//! A pipeline: the work has stages, and each stage has a thread of its own.
//!
//! Here three stages count the words of a text: read a sentence, split it into
//! words, count them. While a stage works on a sentence, the stage before it
//! works on a later one. Between two stages is a channel, which is a queue: one
//! thread sends, another thread receives. It is bounded: it can hold only a few
//! sentences. When it is full, the sender has to wait. So a fast stage cannot
//! fill the memory with its results. This is called back-pressure.
//!
//! Predict:  10 sentences, 40, 80 and 20 ms each in 3 stages: how long in all?
//! Try:      cargo run -p pipeline-stages -- --workers 2
//! Try:      cargo run -p pipeline-stages -- --bound 1
//! See also: embarrassingly-parallel, where the work splits into equal jobs.

mod evidence;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::Stage;

/// Ten sentences of Abraham Lincoln, 1863, one in each line.
const TEXT: &str = include_str!("gettysburg.txt");

/// How long each stage sleeps for each sentence. It stands for waiting for a
/// disk, a database or another machine. So one core is enough here.
const TIME_TO_READ: Duration = Duration::from_millis(40);
const TIME_TO_SPLIT: Duration = Duration::from_millis(80);
const TIME_TO_COUNT: Duration = Duration::from_millis(20);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads in the slow stage, split
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=8))]
    workers: u8,
    /// Sentences that a channel can hold
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(1..=10))]
    bound: u8,
}

/// What the first channel holds. The sentences have the numbers 0 to 9.
struct Sentence {
    number: usize,
    text: String,
}

/// What the second channel holds.
struct Words {
    number: usize, // of the sentence
    words: Vec<String>,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    // A channel has two ends: a sender, and a receiver.
    let (to_split, sentences) = sync_channel::<Sentence>(args.bound.into());
    let (to_count, words) = sync_channel::<Words>(args.bound.into());
    let begin = Instant::now();

    // move: the thread owns the sender, and drops it when it ends.
    // If a thread cannot start, main returns, and that ends all threads.
    Builder::new()
        .spawn(move || read(&to_split))
        .context("cannot start a thread")?;

    // The workers share a receiver. With Arc it belongs to all of them, and
    // with Mutex only one at a time can use it.
    let sentences = Arc::new(Mutex::new(sentences));
    for worker in 1..=args.workers {
        let sentences = Arc::clone(&sentences);
        let to_count = to_count.clone();
        Builder::new()
            .spawn(move || split(worker, &sentences, &to_count))
            .context("cannot start a thread")?;
    }
    drop(to_count); // now only the workers have a sender for count

    let counts = count(words); // the last stage is done by this thread
    let time = begin.elapsed();
    evidence::draw(args.workers, begin); // what the stages have noted

    // The verdict demands: the time that the pipeline took is nearer to the
    // time that its busiest thread worked than to the time that all threads
    // worked together. The words are counted as they are without a pipeline.
    // Never more sentences were between read and split than may be: as many as
    // the channel holds, one that read wants to send, one that each worker has.
    evidence::judge(args.workers, args.bound, time, &counts)
}

/// The first stage: gets one sentence after the other.
fn read(to_split: &SyncSender<Sentence>) {
    for (number, line) in TEXT.lines().enumerate() {
        let begin = Instant::now();
        sleep(TIME_TO_READ);
        let text = line.replace([',', '.', '-'], " ").to_lowercase();
        evidence::note(Stage::Read, number, begin);

        // Waits while the channel is full. Fails if its receiver is dropped.
        let sent = to_split.send(Sentence { number, text });
        if sent.is_err() {
            return; // a worker could not start
        }
    }
}

/// The second stage: finds the words of a sentence. Several workers may do it.
fn split(
    worker: u8,
    sentences: &Mutex<Receiver<Sentence>>,
    to_count: &SyncSender<Words>,
) {
    loop {
        // Waits while the channel is empty, with the mutex locked: the other
        // workers wait for that. Fails if it is empty and has no sender left.
        // The mutex is unlocked before the work begins.
        let received = sentences.lock().unwrap().recv();
        let Ok(sentence) = received else {
            return; // there is no sentence left
        };

        let begin = Instant::now();
        sleep(TIME_TO_SPLIT);
        let mut words: Vec<String> = Vec::new();
        for word in sentence.text.split_whitespace() {
            words.push(word.to_string());
        }
        let number = sentence.number;
        evidence::note(Stage::Split(worker), number, begin);

        let sent = to_count.send(Words { number, words });
        if sent.is_err() {
            return; // another worker could not start
        }
    }
}

/// The last stage: counts how often each word comes.
fn count(results: Receiver<Words>) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    // Receives until all senders are dropped.
    for result in results {
        let begin = Instant::now();
        sleep(TIME_TO_COUNT);
        for word in result.words {
            *counts.entry(word).or_insert(0) += 1;
        }
        evidence::note(Stage::Count, result.number, begin);
    }
    counts
}
