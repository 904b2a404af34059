//! Whether the threads have taken turns.

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
