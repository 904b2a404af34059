//! Race condition, step by step: threads add 1 to one counter.
//!
//! To add 1, a thread takes three steps. It loads the counter into a register,
//! a place for a number that only this thread uses. It adds 1 there, and stores
//! the register in the counter. The scheduler decides whose step is next. Each
//! order of all the steps is called an interleaving.
//! This demo executes every interleaving on a model: it has a counter and
//! registers, but no real threads.
//!
//! Predict:  two threads, three steps each: how many orders? How many end at 2?
//! Try:      cargo run -p race-interleavings -- --steps 1 # all three at once
//! Try:      cargo run -p race-interleavings -- --order AABBAB
//! Try:      cargo run -p race-interleavings -- --play # you are the scheduler
//! See also: race-condition, with real threads; atomic-fix, one step for all.

mod evidence;
mod scheduler;

use Instruction::{Add, Load, Store};
use anyhow::Result;
use clap::{Parser, value_parser};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that add 1: A and B, or A, B and C
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(2..=3))]
    threads: u8,
    /// Steps of each thread: 3 (load | add | store), 2 (load | add + store)
    /// or 1 (load + add + store, as fetch_add does)
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = value_parser!(u8).range(1..=3))]
    steps: u8,
    /// Execute this interleaving, such as AABBAB
    #[arg(long, value_name = "LETTERS")]
    order: Option<String>,
    /// You are the scheduler: type whose step is next
    #[arg(long, conflicts_with = "order")]
    play: bool,
}

enum Instruction {
    Load,
    Add,
    Store,
}

/// Instructions that no other thread can come in between. They are written in
/// this file, so they live as long as the program, like a string: 'static.
type Step = &'static [Instruction];

/// The model of a thread.
#[derive(Clone, Default)]
struct Thread {
    register: usize,
    steps_done: usize,
}

/// The threads, and the counter that they share.
#[derive(Clone)]
struct Execution {
    program: &'static [Step], // what each thread has to do
    threads: Vec<Thread>,
    counter: usize,
    order: Vec<usize>, // whose steps were executed: 0 is thread A, 1 is B
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let program: &[Step] = match args.steps {
        1 => &[&[Load, Add, Store]],
        2 => &[&[Load], &[Add, Store]],
        _ => &[&[Load], &[Add], &[Store]],
    };
    let start = Execution {
        program,
        threads: vec![Thread::default(); args.threads.into()],
        counter: 0,
        order: Vec::new(),
    };
    let all = every_interleaving(&start);

    if let Some(order) = args.order {
        let chosen = scheduler::obey(&order, &start); // or exits with 2
        evidence::draw_timelines(&start, &[&chosen]);
        // The chosen one must be among all, with the same count at its end.
        return evidence::judge_one(&chosen, &all);
    }
    if args.play {
        let Some(played) = scheduler::ask_for_each_step(&start)? else {
            return Ok(()); // the input has ended too early
        };
        return evidence::judge_one(&played, &all); // demands the same
    }
    evidence::draw_counts(&all);
    evidence::draw_timelines(&start, &evidence::examples(&all));
    // The verdict demands: no interleaving is missing. Those in which one
    // thread does all its steps after the other lose no update. Each of the
    // rest loses at least one.
    evidence::judge(&all)
}

/// Executes all interleavings together, one step in each round. Where several
/// threads could be next, the execution goes on in several ways.
fn every_interleaving(start: &Execution) -> Vec<Execution> {
    let mut executions = vec![start.clone()];
    // All executions have the same number of steps behind them.
    while !executions[0].ready_threads().is_empty() {
        let mut longer = Vec::new();
        for execution in &executions {
            for thread in execution.ready_threads() {
                let mut next = execution.clone();
                next.execute_step_of(thread);
                longer.push(next);
            }
        }
        executions = longer;
    }
    executions
}

impl Execution {
    /// The numbers of the threads that have a step left.
    fn ready_threads(&self) -> Vec<usize> {
        let mut ready = Vec::new();
        for (number, thread) in self.threads.iter().enumerate() {
            if thread.steps_done < self.program.len() {
                ready.push(number);
            }
        }
        ready
    }

    /// Executes the next step of the thread with this number.
    fn execute_step_of(&mut self, number: usize) {
        let thread = &mut self.threads[number];
        for instruction in self.program[thread.steps_done] {
            match instruction {
                Load => thread.register = self.counter,
                Add => thread.register += 1,
                // If another thread has stored since this thread's load,
                // that is overwritten: its update is lost.
                Store => self.counter = thread.register,
            }
        }
        thread.steps_done += 1;
        self.order.push(number);
    }
}
