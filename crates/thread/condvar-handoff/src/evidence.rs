//! Whether the threads have taken turns.

use std::io::{self, Write};
use std::panic;
use std::process;

use anyhow::{Result, ensure};

use crate::{Shared, TURNS};

/// Prints a list in one word, as 123123.
pub fn print_list(run: &str, list: &[u8]) {
    println!("{run}:");
    for entry in list {
        print!("{entry}");
    }
    println!("\n");
}

/// How many entries differ from 1, 2, 3, 1, 2, 3 and so on, if 3 is the last.
fn not_in_turn(list: &[u8], last: u8) -> usize {
    let mut count = 0;
    for (entry, turn) in list.iter().zip((1..=last).cycle()) {
        if *entry != turn {
            count += 1;
        }
    }
    count
}

pub fn judge(list: &[u8], shared: &Shared, last: u8) -> Result<()> {
    let all = TURNS * usize::from(last);
    ensure!(list.len() == all, "only {} of {all} entries", list.len());
    let entries = shared.list.len();
    ensure!(entries == all, "only {entries} of {all} entries");
    let alone = not_in_turn(list, last);
    let with_both = not_in_turn(&shared.list, last);
    ensure!(
        alone > 0,
        "the mutex alone was enough, by luck: run it again"
    );
    ensure!(
        with_both == 0,
        "{with_both} of {all} entries are not in turn"
    );
    println!("threads were woken {} times for {all} turns", shared.woken);
    println!("not in turn with the mutex alone: {alone} of {all} entries");
    println!("not in turn with the condition variable: {with_both} of {all}");
    Ok(())
}

/// println! panics if it cannot write, as on a full disk. This program shall
/// end with a sentence then, or quietly if nobody reads on (`| head -1`).
pub fn end_if_output_fails() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if !message.starts_with("failed printing to stdout") {
            usual(info);
            return;
        }
        if !message.contains("Broken pipe") {
            // If this fails, too, nobody can be told.
            _ = writeln!(io::stderr(), "Error: {message}");
        }
        process::exit(1);
    }));
}
