//! A picture of when each stage worked, and whether its time was that of the
//! busiest stage.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::work::{Span, TEXT, words_of};

/// A line of the picture. A column is 20 ms: the number of the sentence, or a
/// space while the stage waits.
pub fn draw(stage: &str, spans: &[Span], start: Instant) {
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

pub fn judge(
    counted: usize,
    took: Duration,
    stages: [&[Span]; 3],
) -> Result<()> {
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
