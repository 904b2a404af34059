//! Lets a given order, or the class, decide whose step is next.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::evidence::{first_row, heading, letter_of, row_of_step};
use crate::{Args, Execution};

/// The thread with this letter, if it has a step left; or else, why not.
fn thread_called(letter: char, execution: &Execution) -> Result<usize, String> {
    for thread in 0..execution.threads.len() {
        if letter.to_ascii_uppercase() == letter_of(thread) {
            if execution.ready_threads().contains(&thread) {
                return Ok(thread);
            }
            return Err(format!("{} has no step left", letter_of(thread)));
        }
    }
    Err(format!("there is no thread {letter:?}"))
}

/// Executes the steps in the order of the letters. If they are no interleaving
/// of all steps, says what is one, and ends with exit code 2.
pub fn obey(order: &str, start: &Execution) -> Execution {
    let mut execution = start.clone();
    for letter in order.chars() {
        match thread_called(letter, &execution) {
            Ok(thread) => execution.execute_step_of(thread),
            Err(reason) => refuse(order, &reason, &execution),
        }
    }
    if let Some(thread) = execution.ready_threads().first() {
        let reason = format!("{} has steps left", letter_of(*thread));
        refuse(order, &reason, &execution);
    }
    execution
}

fn refuse(order: &str, reason: &str, execution: &Execution) -> ! {
    let steps = execution.program.len();
    let mut possible = String::new();
    for thread in 0..execution.threads.len() {
        for _ in 0..steps {
            possible.push(letter_of(thread));
        }
    }
    let message = format!(
        "--order {order:?}: {reason}\n\
         possible is {possible}, and these letters in any other order"
    );
    let error = Args::command().error(ErrorKind::ValueValidation, message);
    error.exit() // with exit code 2
}

/// Asks for each step whose it shall be, and draws it. None if the input ends
/// before the last step. The text is the same at a terminal and in a pipe.
pub fn ask_for_each_step(start: &Execution) -> Result<Option<Execution>> {
    println!("You are the scheduler. Can you make an update get lost?");
    println!("Type the letter of a thread, and Enter.\n");
    println!("{}", heading(start));

    let steps = start.threads.len() * start.program.len();
    let width = heading(start).len() + 5;
    let mut execution = start.clone();
    let mut left = first_row(start); // what stands left of the question
    let mut typed: VecDeque<char> = VecDeque::new(); // but not used yet
    while !execution.ready_threads().is_empty() {
        print!("{left:<width$}next step: {}? ", choice(&execution));
        if typed.is_empty() {
            let Some(line) = read_line()? else {
                let done = execution.order.len();
                println!(
                    "\nThe input has ended after {done} of {steps} steps."
                );
                return Ok(None);
            };
            typed.extend(line.chars());
        } else {
            println!("{}", typed[0]); // it came in the same line as the last
        }
        // For an empty line, a line break takes the place of the letter.
        let letter = typed.pop_front().unwrap_or('\n');
        match thread_called(letter, &execution) {
            Ok(thread) => left = row_of_step(&mut execution, thread),
            Err(reason) => {
                typed.clear();
                left = format!("    {reason}");
            }
        }
    }
    println!("{left}\n");
    Ok(Some(execution))
}

/// The letters that are possible now: "A or B", say.
fn choice(execution: &Execution) -> String {
    let mut letters = Vec::new();
    for thread in execution.ready_threads() {
        letters.push(letter_of(thread).to_string());
    }
    letters.join(" or ")
}

/// The next line without blanks around it; None at the end of the input.
fn read_line() -> Result<Option<String>> {
    stdout().flush()?; // the question has no line break
    let mut bytes = Vec::new();
    let mut input = stdin().lock();
    let count = input.read_until(b'\n', &mut bytes);
    if count.context("cannot read whose step is next")? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&bytes).trim().to_string();
    if !stdin().is_terminal() {
        println!("{line}"); // a terminal shows what is typed by itself
    }
    Ok(Some(line))
}
