//! Sharded data: each rank keeps its own rows, and only the gradient travels.
//!
//! MPI's mpirun starts several processes, on one computer or on many. Each has
//! a number, its rank, and keeps a shard: rows that no other process has. So
//! the data can be larger than the memory of one computer. Together the
//! processes fit one line to all rows, y = b0 + b1 x, in steps. In each step,
//! each computes the gradient of its own rows: how fast their error grows with
//! b0 and with b1. An all-reduce adds up these gradients, and gives all of them
//! the total, by which they change b0 and b1.
//!
//! Predict:  A rank keeps 1.6 MB of rows. What does it send in 40 steps?
//! Try:      cargo run -p mpi-sharded-regression -- --rows-per-rank 1000000
//! Try:      cargo run -p mpi-sharded-regression -- --ranks 4
//! See also: mpi-reduction, where one rank gets the sum.

mod data;
mod evidence;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use data::{Row, make_row};
use mpi::collective::SystemOperation;
use mpi::traits::{Communicator, CommunicatorCollectives};
use nix::unistd::alarm;

const STEPS: u32 = 40;
/// In a step, b0 and b1 change by this times the mean gradient, downwards.
const RATE: f64 = 1.5;

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    if !evidence::has_a_rank() {
        // mpirun did not start this process. So it becomes mpirun (by exec),
        // which starts this program --ranks times, with the same arguments.
        return evidence::become_mpirun(args.ranks);
    }

    // From here on, every process runs these lines, each in its own memory.

    // Only for a lecture: if a process fails, the others may wait for it, but
    // in 10 s a signal ends them. In a real program, remove it.
    alarm::set(10);

    // MPI ends when `universe` is dropped, at the end of main.
    let universe = mpi::initialize().context("MPI does not start")?;
    let world = universe.world(); // all processes that mpirun has started
    evidence::ensure_not_alone(&world, args.ranks)?;
    let rank = world.rank() as u64;
    let all_rows = (args.rows_per_rank * world.size() as u64) as f64;

    // The rank of a process decides which rows it holds. In a real program, a
    // rank would read its rows from a file.
    let first = args.rows_per_rank * rank;
    let end = first + args.rows_per_rank;
    let shard: Vec<Row> = (first..end).map(make_row).collect();

    let mut b0 = 0.0;
    let mut b1 = 0.0;
    let mut own = [0.0, 0.0];
    let mut total = [0.0, 0.0];
    let mut contributed = 0; // bytes
    for _ in 0..STEPS {
        own = gradient(&shard, b0, b1);
        // The rows stay where they are: only these two numbers travel.
        world.all_reduce_into(&own, &mut total, SystemOperation::sum());
        contributed += size_of_val(&own); // MPI may send it more than once
        // All ranks had the same b0 and b1, and now have the same total. So
        // they compute the same new b0 and b1: no rank has to send them.
        b0 -= RATE * total[0] / all_rows;
        b1 -= RATE * total[1] / all_rows;
    }

    let outcome = evidence::Outcome {
        first,
        held: size_of_val(shard.as_slice()),
        contributed,
        b0,
        b1,
        own_per_row: evidence::length(own) / shard.len() as f64,
        total_per_row: evidence::length(total) / all_rows,
    };
    // The verdict: the line is near the truth. At the best line for all rows,
    // the total of the gradients is 0. There a rank's own is not 0: for its own
    // rows alone, another line is the best.
    evidence::print_and_judge(&world, &outcome)
}

/// How fast half the squared errors of these rows grow with b0, and with b1.
fn gradient(shard: &[Row], b0: f64, b1: f64) -> [f64; 2] {
    let mut by_b0 = 0.0;
    let mut by_b1 = 0.0;
    for row in shard {
        let error = b0 + b1 * row.x - row.y;
        by_b0 += error;
        by_b1 += error * row.x;
    }
    [by_b0, by_b1]
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes to start (if you start mpirun yourself: its -n)
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(1..=16))]
    ranks: u8,
    /// Rows that each rank keeps
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u64).range(100_000..=1_000_000))]
    rows_per_rank: u64,
}
