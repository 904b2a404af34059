//! What the stages work on, and how.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ten sentences of Abraham Lincoln, 1863, one in each line.
pub const TEXT: &str = include_str!("gettysburg.txt");

/// From when to when a stage worked on a sentence.
pub struct Span {
    pub begin: Instant,
    pub end: Instant,
}

/// Only sleeps: this stands for waiting for a disk, a database or another
/// computer. So one core is enough for all stages.
pub fn work_for(time: Duration) -> Span {
    let begin = Instant::now();
    sleep(time);
    let end = Instant::now();
    Span { begin, end }
}

pub fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.replace('-', " ").split_whitespace() {
        words.push(word.to_string());
    }
    words
}
