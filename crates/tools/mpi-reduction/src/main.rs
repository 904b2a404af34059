//! MPI: processes that share no memory add up what each one computed.
//!
//! MPI is the Message Passing Interface. Its program mpirun starts a program
//! several times, on one computer or on many. Each of these processes has a
//! number, its rank: 0, 1, 2 ... Here each one computes a part of a sum, and
//! the whole sum is pi. A reduce adds up the parts: many numbers become one.
//!
//! Predict:  Two processes add up pi. How many of them know it in the end?
//! Try:      cargo run -p mpi-reduction -- --ranks 4
//! Try:      sudo scripts/mpi-hosts.sh   # two hosts; needs the repository
//! See also: openmp-reduction, the same sum by threads, which share memory.

mod evidence;

use std::f64::consts::PI;

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Root};
use nix::unistd::alarm;

/// Steps of the sum.
const STEPS: u64 = 10_000_000;

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
    let ranks = world.size() as u64;

    // The rank of a process decides which steps it computes.
    let first = STEPS * rank / ranks;
    let end = STEPS * (rank + 1) / ranks;
    let part = area(first, end);
    let sum = reduce(&world, part);

    // How many processes know pi now? Each gives 1 or 0 to another reduce.
    let off = (sum - PI).abs();
    let knows = if off < 1e-9 { 1.0 } else { 0.0 };
    let knowing = reduce(&world, knows);

    let heading = "  first step     area of its part  sum, after a reduce";
    let numbers = format!("{first:>12}{part:>21.12}{sum:>21.12}");
    evidence::print_table(&world, heading, &numbers)?;

    if rank > 0 {
        return Ok(());
    }
    ensure!(off < 1e-9, "the parts make {sum}: off pi by {off:.0e}");
    ensure!(knowing == 1.0, "{knowing} processes know pi, not one");
    println!("sum on rank 0: {sum:.12}, off pi by {off:.0e}");
    println!("processes: {ranks}, of which know pi: {knowing}");
    Ok(())
}

/// The area under 4 / (1 + x²), where x goes from 0 to 1 in STEPS steps. All
/// of it is pi. This adds up rectangles, from step `first` on; `end` is the
/// first that is left out.
fn area(first: u64, end: u64) -> f64 {
    let width = 1.0 / STEPS as f64;
    let mut area = 0.0;
    for step in first..end {
        let x = (step as f64 + 0.5) * width;
        area += 4.0 / (1.0 + x * x) * width;
    }
    area
}

/// Each process gives a number, MPI adds up, and one gets the sum: the root,
/// here rank 0. All processes have to take part. On the others, MPI does not
/// touch `sum`: it stays 0.
fn reduce(world: &SimpleCommunicator, number: f64) -> f64 {
    let root = world.process_at_rank(0);
    let mut sum = 0.0;
    if world.rank() == 0 {
        root.reduce_into_root(&number, &mut sum, SystemOperation::sum());
    } else {
        root.reduce_into(&number, SystemOperation::sum());
    }
    sum
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes to start (if you start mpirun yourself: its -n)
    #[arg(long, default_value_t = 2)]
    #[arg(value_parser = value_parser!(u8).range(1..=16))]
    ranks: u8,
}
