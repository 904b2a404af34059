//! Draws executions as timelines, counts where they end, and judges.

use anyhow::{Context, Result, ensure};

use crate::Execution;
use crate::Instruction::{Add, Load, Store};

/// Columns for the steps of a thread
const COLUMN: usize = 10;

pub fn letter_of(thread: usize) -> char {
    ['A', 'B', 'C'][thread]
}

/// Whose steps they are, in order: AABBAB, say.
fn order_of(execution: &Execution) -> String {
    let mut letters = String::new();
    for thread in &execution.order {
        letters.push(letter_of(*thread));
    }
    letters
}

/// Each thread adds 1, so the counter should end at the number of threads.
fn lost_updates(execution: &Execution) -> usize {
    execution.threads.len() - execution.counter
}

/// A column for each thread, and one for the counter.
pub fn heading(execution: &Execution) -> String {
    let mut heading = String::new();
    for thread in 0..execution.threads.len() {
        heading += &format!("{:<COLUMN$}", letter_of(thread));
    }
    heading + "counter"
}

/// The row of a timeline before the first step.
pub fn first_row(start: &Execution) -> String {
    let width = COLUMN * start.threads.len();
    format!("{:width$}{}", "", start.counter)
}

/// Executes a step, and gives the row that shows it.
pub fn row_of_step(execution: &mut Execution, thread: usize) -> String {
    let before = execution.counter;
    let step = execution.program[execution.threads[thread].steps_done];
    execution.execute_step_of(thread);

    let register = execution.threads[thread].register;
    let counter = execution.counter;
    let text = match step {
        [Load] => format!("load {register}"),
        [Add] => format!("+1 = {register}"),
        [Store] => format!("store {register}"),
        [Add, Store] => "+1, store".to_string(),
        _ => "fetch_add".to_string(),
    };
    let indented = " ".repeat(COLUMN * thread) + &text;
    let width = COLUMN * execution.threads.len();
    let mut row = format!("{indented:<width$}{counter}");
    let stores = matches!(step, [.., Store]);
    // A store that loses nothing makes the counter greater by 1.
    if stores && counter < before + 1 {
        row += &format!(" ← {} lost", before + 1 - counter);
    }
    row
}

/// The first interleaving that loses nothing, and the first that does.
pub fn examples(all: &[Execution]) -> Vec<&Execution> {
    let exact = all.iter().find(|one| lost_updates(one) == 0);
    let lossy = all.iter().find(|one| lost_updates(one) > 0);
    let mut examples = Vec::new();
    examples.extend(exact); // adds one, or none
    examples.extend(lossy);
    examples
}

/// Executes interleavings once more, and draws them side by side.
pub fn draw_timelines(start: &Execution, interleavings: &[&Execution]) {
    let mut timelines: Vec<Vec<String>> = Vec::new();
    for interleaving in interleavings {
        let mut lines = vec![title(interleaving)];
        lines.push(heading(start));
        lines.push(first_row(start));
        let mut execution = start.clone();
        for thread in &interleaving.order {
            lines.push(row_of_step(&mut execution, *thread));
        }
        timelines.push(lines);
    }
    let width = heading(start).len() + 3;
    for i in 0..timelines[0].len() {
        let mut line = String::new();
        for timeline in &timelines {
            line += &format!("{:<width$}", timeline[i]);
        }
        println!("{}", line.trim_end());
    }
    println!();
}

fn title(execution: &Execution) -> String {
    let order = order_of(execution);
    match lost_updates(execution) {
        0 => format!("{order}: no update is lost"),
        1 => format!("{order}: an update is lost"),
        lost => format!("{order}: {lost} updates are lost"),
    }
}

/// How many executions end with this value of the counter.
fn count_ends(all: &[Execution], counter: usize) -> usize {
    let mut count = 0;
    for execution in all {
        if execution.counter == counter {
            count += 1;
        }
    }
    count
}

/// How many interleavings there must be.
fn expected_count(execution: &Execution) -> usize {
    let threads = execution.threads.len();
    let steps = execution.program.len();
    let mut count = factorial(threads * steps);
    for _ in 0..threads {
        count /= factorial(steps); // the steps of one thread stay in order
    }
    count
}

fn factorial(number: usize) -> usize {
    (1..=number).product()
}

/// Where the counter ends, and how often.
pub fn draw_counts(all: &[Execution]) {
    let threads = all[0].threads.len();
    let steps = all[0].program.len();
    let formula = format!("({threads} x {steps})! / ({steps}!)^{threads}");
    println!("threads: {threads}, steps of each: {steps}");
    println!("interleavings: {formula} = {}\n", expected_count(&all[0]));
    for counter in 1..=threads {
        let count = count_ends(all, counter);
        let bar = "█".repeat((60 * count).div_ceil(all.len()));
        let line = format!("{count:>5} end at {counter} {bar}");
        println!("{}", line.trim_end());
    }
    println!();
}

/// Does each thread do all its steps before the next thread begins?
fn is_serial(execution: &Execution) -> bool {
    let mut begins = 1;
    for pair in execution.order.windows(2) {
        if pair[0] != pair[1] {
            begins += 1;
        }
    }
    begins == execution.threads.len()
}

/// No interleaving may be missing, or be there twice.
fn ensure_all(all: &[Execution]) -> Result<()> {
    let expected = expected_count(&all[0]);
    let mut orders: Vec<String> = all.iter().map(order_of).collect();
    orders.sort();
    orders.dedup();
    let executed = all.len();
    let different = orders.len();
    ensure!(
        executed == expected,
        "{executed} were executed, not {expected}"
    );
    ensure!(
        different == expected,
        "only {different} of them are different"
    );
    Ok(())
}

pub fn judge(all: &[Execution]) -> Result<()> {
    ensure_all(all)?;
    let mut exact = 0;
    for execution in all {
        let lost = lost_updates(execution);
        let order = order_of(execution);
        ensure!(
            is_serial(execution) == (lost == 0),
            "{order} loses {lost} updates"
        );
        if lost == 0 {
            exact += 1;
        }
    }
    let count = all.len();
    let lossy = count - exact;
    println!("{count} interleavings executed: {lossy} lose updates");
    println!("lose none: {exact}, those with one thread after the other");
    Ok(())
}

/// One interleaving must be among all, with the same end.
pub fn judge_one(one: &Execution, all: &[Execution]) -> Result<()> {
    ensure_all(all)?;
    let order = order_of(one);
    let same = all.iter().find(|other| other.order == one.order);
    let same = same.context("this interleaving is not among all")?;
    let end = one.counter;
    let again = same.counter;
    ensure!(
        again == end,
        "{order} ended at {end}, and among all at {again}"
    );

    let expected = one.threads.len();
    let lost = lost_updates(one);
    println!("{order}: expected {expected}, counted {end}: {lost} lost");
    let count = all.len();
    let alike = count_ends(all, end);
    print!("of all {count} interleavings, ");
    println!("{alike} end at {end}, like this one");
    Ok(())
}
