//! Sharded data: each rank keeps its own rows, and only sums travel.
//!
//! A rank is one of several processes that MPI starts, on one computer or on
//! many. They share no memory. So together they can hold more rows than one
//! computer can: each rank has a shard, which is its part of the rows. Here
//! they fit one line, y = b0 + b1 x, to all rows. In each step every rank
//! computes how fast the error of its own rows grows with b0 and with b1: the
//! gradient. An all-reduce adds up the gradients, and gives the sum to every
//! rank. Then the line takes a step to where the error is less.
//!
//! Predict:  A rank keeps 1.6 MB of rows. How much does it send in 40 steps?
//! Try:      cargo run -p mpi-sharded-regression -- --rows-per-rank 1000000
//! Try:      cargo run -p mpi-sharded-regression -- --ranks 4
//! Try:      cargo run -p mpi-sharded-regression -- --steps 10   # exits 1
//! See also: mpi-reduction, which tells what a message costs.

mod evidence;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use mpi::collective::SystemOperation;
use mpi::traits::{Communicator, CommunicatorCollectives};

struct Row {
    x: f64,
    y: f64,
}

struct Line {
    b0: f64,
    b1: f64,
}

/// The rows lie about this line, up to 1 above or below.
const TRUTH: Line = Line { b0: 3.0, b1: -2.0 };
/// The length of a step is this times the mean gradient of a row.
const RATE: f64 = 1.5;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes to start (if you start mpirun yourself: its -n)
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(1..=16))]
    ranks: u8,
    /// Rows that each rank keeps
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u64).range(100..=2_000_000))]
    rows_per_rank: u64,
    /// Steps of gradient descent
    #[arg(long, default_value_t = 40)]
    #[arg(value_parser = value_parser!(u64).range(1..=200))]
    steps: u64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    if !evidence::is_a_rank() {
        // mpirun -n RANKS starts this program again, RANKS times, with the same
        // arguments. When all have ended, this first process ends, too.
        return evidence::run_mpirun(args.ranks);
    }

    // From here on, every rank runs these lines, each in its own memory.
    evidence::die_if_mpirun_dies()?;
    // MPI ends when `universe` is dropped, at the end of main.
    let universe = mpi::initialize().context("MPI does not start")?;
    let world = universe.world(); // all ranks that mpirun has started
    evidence::check_that_none_is_missing(&world, args.ranks)?;
    let rank = world.rank() as u64; // 0, 1, 2 ...
    let all_rows = (args.rows_per_rank * world.size() as u64) as f64;

    // A rank's number decides which rows it holds.
    let first = args.rows_per_rank * rank;
    let end = first + args.rows_per_rank;
    let shard: Vec<Row> = (first..end).map(make_row).collect();

    let mut line = Line { b0: 0.0, b1: 0.0 };
    let mut sent = 0; // bytes
    for _ in 0..args.steps {
        let part: [f64; 2] = gradient(&shard, &line);
        let mut total = [0.0, 0.0];
        // The rows stay where they are: only these two numbers travel.
        world.all_reduce_into(&part, &mut total, SystemOperation::sum());
        sent += size_of_val(&part);
        // All ranks have had the same line, and have the same total. So the
        // next line is the same on all ranks, too.
        line.b0 -= RATE * total[0] / all_rows;
        line.b1 -= RATE * total[1] / all_rows;
    }

    // For a line there is a formula, too, of sums over all rows. It says what
    // the steps have to arrive at. (Most models have no such formula.)
    let exact = evidence::closed_form(&world, &shard);
    evidence::print_table(&world, first, &shard, sent)?;

    if rank > 0 {
        return Ok(());
    }
    // b0 and b1 must differ from the formula's by less than 0.000001. What was
    // kept and sent is only printed.
    evidence::judge(&world, &shard, sent, args.steps, &line, &exact)
}

/// In a real program a rank would read its rows from a file. Here a row is
/// made from its number: row 7 is the same, whichever rank makes it.
fn make_row(number: u64) -> Row {
    let x = evidence::random(2 * number); // from -1 to 1
    let noise = evidence::random(2 * number + 1);
    let y = TRUTH.b0 + TRUTH.b1 * x + noise;
    Row { x, y }
}

/// How fast half the squared errors of these rows grow with b0, and with b1.
fn gradient(shard: &[Row], line: &Line) -> [f64; 2] {
    let mut by_b0 = 0.0;
    let mut by_b1 = 0.0;
    for row in shard {
        let error = line.b0 + line.b1 * row.x - row.y;
        by_b0 += error;
        by_b1 += error * row.x;
    }
    [by_b0, by_b1]
}
