//! Race condition, step by step: two threads add 1 to one counter.
//!
//! To add 1, a thread takes three steps. It loads the counter into a register,
//! a place for a number that only this thread uses. It adds 1 there, and stores
//! the register in the counter. The scheduler decides whose step is next. Each
//! order that keeps the steps of a thread in their order is an interleaving.
//! This demo executes all of them on a model, without real threads.
//!
//! Predict:  two threads, three steps each: how many orders? How many end at 2?
//! Try:      cargo run -p race-interleavings -- --order AABBAB
//! Try:      cargo run -p race-interleavings -- --order BBBAAA # loses none
//! See also: race-condition, with real threads; atomic-fix, one step for all.

use anyhow::{Result, ensure};
use clap::Parser;

/// A thread of the model.
#[derive(Default)]
struct Thread {
    register: u32,
    steps_done: u32,
}

/// The counter, and the two threads that add 1 to it.
#[derive(Default)]
struct Model {
    counter: u32,
    thread_a: Thread,
    thread_b: Thread,
}

/// Executes the next step of thread A or B. Returns a line that shows it.
fn step(model: &mut Model, letter: char) -> String {
    let thread = if letter == 'A' {
        &mut model.thread_a
    } else {
        &mut model.thread_b
    };
    let before = model.counter;
    let text = if thread.steps_done == 0 {
        thread.register = model.counter;
        format!("load {}", thread.register)
    } else if thread.steps_done == 1 {
        thread.register += 1;
        format!("+1 = {}", thread.register)
    } else {
        // If the other thread has stored since this one's load, this overwrites
        // the sum of the other: its update is lost.
        model.counter = thread.register;
        format!("store {}", thread.register)
    };
    thread.steps_done += 1;

    // A store that leaves the counter as it was repeats the other's sum.
    let counter = model.counter;
    let lost = if thread.steps_done == 3 && counter == before {
        " ← 1 lost"
    } else {
        ""
    };
    if letter == 'A' {
        format!("{text:<20}{counter}{lost}")
    } else {
        format!("          {text:<10}{counter}{lost}")
    }
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    if let Some(order) = args.order {
        draw(&order);
        let end = execute(&order);
        println!("{order}: expected 2, counted {end}: {} lost", 2 - end);
        return Ok(());
    }

    let mut exact = Vec::new();
    let mut lossy = Vec::new();
    for order in all_orders() {
        if execute(&order) == 2 {
            exact.push(order);
        } else {
            lossy.push(order);
        }
    }
    println!("no update is lost:");
    draw(&exact[0]);
    println!("an update is lost:");
    draw(&lossy[0]);
    println!("{:>3} end at 1 {}", lossy.len(), "███".repeat(lossy.len()));
    println!("{:>3} end at 2 {}", exact.len(), "███".repeat(exact.len()));

    let serial = ["AAABBB", "BBBAAA"]; // one thread after the other
    ensure!(exact == serial, "these lose no update: {exact:?}");
    ensure!(lossy.len() == 18, "{} lose an update", lossy.len());
    println!("20 orders: 18 lose an update, AAABBB and BBBAAA do not");
    Ok(())
}

/// Executes an order, such as AABBAB. Returns what the counter is at the end.
fn execute(order: &str) -> u32 {
    let mut model = Model::default();
    for letter in order.chars() {
        step(&mut model, letter);
    }
    model.counter
}

/// Executes an order, and shows each step.
fn draw(order: &str) {
    println!("A         B         counter     {order}");
    let mut model = Model::default();
    for letter in order.chars() {
        println!("{}", step(&mut model, letter));
    }
    println!();
}

/// All orders of three A and three B. The numbers from 0 to 63 have six bits,
/// one for each step: 0 stands for A, 1 for B. Those with three 1 are orders.
fn all_orders() -> Vec<String> {
    let mut orders = Vec::new();
    for number in 0_u32..64 {
        if number.count_ones() != 3 {
            continue;
        }
        let mut order = String::new();
        for bit in (0..6).rev() {
            order.push(if number & (1 << bit) == 0 { 'A' } else { 'B' });
        }
        orders.push(order);
    }
    orders
}

/// Checks the argument of --order.
fn order(text: &str) -> Result<String, String> {
    let order = text.to_uppercase();
    let count_a = order.matches('A').count();
    let count_b = order.matches('B').count();
    if count_a == 3 && count_b == 3 && order.len() == 6 {
        return Ok(order);
    }
    Err("possible is AAABBB, with its letters in any order".to_string())
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Execute this order of steps, such as AABBAB
    #[arg(long, value_name = "LETTERS", value_parser = order)]
    order: Option<String>,
}
