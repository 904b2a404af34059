//! MPI: processes that share no memory add up what each one computed.
//!
//! MPI is the Message Passing Interface. Its program mpirun starts the same
//! program several times, on one computer or on many. Each of these processes
//! is a rank, and has a number. Here the ranks share the steps of a sum, which
//! is pi. A reduce then adds up what the ranks have: many numbers become one.
//!
//! Predict:  Some ranks add up pi. How many of them know it in the end?
//! Try:      cargo run -p mpi-reduction -- --ranks 4
//! Try:      cargo run -p mpi-reduction -- --ranks 1   # alone: no messages
//! Try:      sudo scripts/mpi-hosts.sh   # two hosts; needs the repository
//! See also: openmp-reduction, the same sum by threads, which share memory.

mod evidence;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use mpi::collective::SystemOperation;
use mpi::traits::{Communicator, Root};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes to start (if you start mpirun yourself: its -n)
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(1..=16))]
    ranks: u8,
    /// Rectangles under the curve
    #[arg(long, default_value_t = 10_000_000)]
    #[arg(value_parser = value_parser!(u64).range(1000..=1_000_000_000))]
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
    let ranks = world.size() as u64;

    // A rank's number decides which steps it computes.
    let first = args.steps * rank / ranks;
    let end = args.steps * (rank + 1) / ranks;
    let part = area(first, end, args.steps);

    // The reduce: each rank gives its part, MPI adds up, rank 0 gets the sum.
    // All ranks have to take part. On the others `sum` stays 0.
    let root = world.process_at_rank(0);
    let mut sum = 0.0;
    if rank == 0 {
        root.reduce_into_root(&part, &mut sum, SystemOperation::sum());
    } else {
        root.reduce_into(&part, SystemOperation::sum());
    }

    // All ranks send rank 0 what they have, and it prints that. Then a message
    // goes to the last rank and back, many times: how long does one way take?
    let rows = evidence::table(&world, first, part, sum)?;
    let cost = evidence::ping_pong(&world);

    if rank > 0 {
        return Ok(());
    }
    // No two ranks may have the same host and PID. Rank 0's sum must differ
    // from pi by less than 0.000001, and no other rank may have it. The time of
    // a message is only printed.
    evidence::judge(&rows, cost)
}

/// The area under 4 / (1 + x²), where x goes from 0 to 1 in `steps` steps. All
/// of it is pi. This adds up rectangles: from step `first` to before `end`.
fn area(first: u64, end: u64, steps: u64) -> f64 {
    let width = 1.0 / steps as f64;
    let mut area = 0.0;
    for step in first..end {
        let x = (step as f64 + 0.5) * width;
        area += 4.0 / (1.0 + x * x) * width;
    }
    area
}
