//! The race condition under a microscope: every order in which the steps of threads can happen.
//!
//! To add 1 to a shared counter, a thread loads it into a register, adds 1 there, and stores it.
//! Its steps stay in order, but those of others may come in between. Each interleaving is executed
//! on a model without real threads, so every run shows the same; on a machine, some are more likely.
//!
//! Predict:  two threads, three steps each: how many interleavings are there? How many end at 2?
//! Try:      cargo run -p race-interleavings -- --steps 1
//! Try:      cargo run -p race-interleavings -- --threads 3
//! See also: race-condition, with real threads; atomic-fix, where the three steps are one.

use anyhow::ensure;
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add 1
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(2..=3))]
    threads: u8,
    /// Steps of each: 3 (load, add, store), 2 (load, add and store) or 1 (fetch_add: all at once)
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=3))]
    steps: u8,
}

/// What an instruction does to the register of its thread and to the counter of all.
type Instruction = fn(&mut usize, &mut usize);
const LOAD: Instruction = |register, counter| *register = *counter;
const ADD: Instruction = |register, _| *register += 1;
const STORE: Instruction = |register, counter| *counter = *register; // whatever it is by now

/// Name and instructions of a step. No other thread comes in between those.
type Step = (&'static str, &'static [Instruction]);

#[derive(Clone, Default)]
struct State {
    counter: usize,
    registers: [usize; 3], // one for each thread
    /// Steps so far: thread, name of the step, and after it the thread's register and the counter.
    history: Vec<(usize, &'static str, usize, usize)>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (threads, steps) = (usize::from(args.threads), usize::from(args.steps));
    let program: &[Step] = match steps {
        1 => &[("+1 =", &[LOAD, ADD, STORE])],
        2 => &[("load", &[LOAD]), ("store", &[ADD, STORE])],
        _ => &[("load", &[LOAD]), ("+1 =", &[ADD]), ("store", &[STORE])],
    };
    let mut ends = Vec::new();
    interleave(&State::default(), program, threads, &mut ends);

    let factorial = |n: usize| (1..=n).product::<usize>();
    let expected =
        factorial(threads * steps) / factorial(steps).pow(threads as u32);
    ensure!(
        ends.len() == expected,
        "{} interleavings instead of {expected}",
        ends.len()
    );
    print!("threads: {threads}, steps of each: {steps}, ");
    println!(
        "interleavings: ({threads} x {steps})! / ({steps}!)^{threads} = {expected}\n"
    );
    for counter in 1..=threads {
        let count = ends.iter().filter(|end| end.counter == counter).count();
        println!(
            "{count:>5} end at {counter} {}",
            "█".repeat((60 * count).div_ceil(expected))
        );
    }

    let (exact, lossy): (Vec<_>, Vec<_>) =
        ends.iter().partition(|end| end.counter == threads);
    let examples: Vec<_> =
        exact.iter().take(1).chain(lossy.iter().take(1)).collect();
    let heads = format!(
        "{}counter",
        &"A         B         C         "[..10 * threads]
    );
    println!("\n{}", vec![heads; examples.len()].join("    "));
    for row in 0..threads * steps {
        let mut line = Vec::new();
        for end in &examples {
            let (thread, name, register, counter) = end.history[row];
            let (before, after) = (10 * thread, 10 * (threads - thread));
            let step = format!("{name} {register}");
            line.push(format!("{:before$}{step:<after$}{counter:<7}", ""));
        }
        println!("{}", line.join("    "));
    }

    let serial = |end: &&State| {
        end.history.chunk_by(|a, b| a.0 == b.0).count() == threads
    };
    ensure!(
        exact.iter().all(serial) && !lossy.iter().any(serial),
        "not serial, and yet exact"
    );
    let (exact, lossy) = (exact.len(), lossy.len());
    print!("\n{expected} interleavings: {lossy} lose updates; ");
    println!("{exact} do not: one thread after the other");
    Ok(())
}

/// Whoever has steps left may be next: executes a step in each of these ways, and goes on from there.
fn interleave(
    state: &State,
    program: &[Step],
    threads: usize,
    ends: &mut Vec<State>,
) {
    if state.history.len() == threads * program.len() {
        return ends.push(state.clone());
    }
    for thread in 0..threads {
        let done = state.history.iter().filter(|step| step.0 == thread).count();
        if let Some(&(name, instructions)) = program.get(done) {
            let mut next = state.clone();
            for instruction in instructions {
                instruction(&mut next.registers[thread], &mut next.counter);
            }
            next.history.push((
                thread,
                name,
                next.registers[thread],
                next.counter,
            ));
            interleave(&next, program, threads, ends);
        }
    }
}
