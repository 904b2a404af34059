//! Lets mpirun start the processes, shows what each of them has, and judges it.
//!
//! Sources: mpirun(1); MPI 4.0, chapter 6 "Collective Communication".

use std::env;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit, id};

use anyhow::{Context, Result, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Root};
use nix::unistd::alarm;

use crate::STEPS;
use crate::data::{B0, B1};

/// Variables that Open MPI 4 and 5 heed, and other MPIs ignore.
const SETTINGS: [(&str, &str); 6] = [
    // Root may start processes, as in a container.
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    // There may be more processes than cores.
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    // A process may use any core.
    ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ("PRTE_MCA_hwloc_default_binding_policy", "none"),
];
/// A variable of this program alone. Who has it was started by its mpirun.
const STARTED: &str = "STARTED_BY_MPIRUN";

/// Whether mpirun, or another launcher, gave this process a rank.
pub fn has_a_rank() -> bool {
    // The names that Open MPI, MPICH and launchers with PMIx use.
    let names = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];
    names.iter().any(|name| env::var_os(name).is_some())
}

/// Replaces this program by mpirun, which starts this program as `ranks`
/// processes. So it returns only if that fails.
pub fn become_mpirun(ranks: u8) -> Result<()> {
    // Else each process would start mpirun again, and so on.
    let again = env::var_os(STARTED).is_some();
    ensure!(!again, "mpirun does not tell its processes their ranks");

    // Only for a lecture: in 30 s a signal ends mpirun in any case. In a real
    // program, remove it.
    alarm::set(30);

    let mut mpirun = Command::new("mpirun");
    mpirun.envs(SETTINGS).env(STARTED, "1");
    mpirun.args(["-n", &ranks.to_string()]);
    mpirun.args(env::args_os()); // this program, and its arguments
    let error = mpirun.exec();
    if error.kind() == ErrorKind::NotFound {
        eprintln!(
            "cannot run here: no mpirun \
             (apt install openmpi-bin, brew install open-mpi)"
        );
        exit(77);
    }
    Err(error).context("mpirun does not start")
}

/// An error if this process should be one of several, and is alone.
pub fn ensure_not_alone(world: &SimpleCommunicator, ranks: u8) -> Result<()> {
    ensure!(
        world.size() > 1 || ranks == 1,
        "one rank alone, not {ranks}: mpirun is of another MPI than the \
         library, or an outer job has set PMI_RANK or PMIX_RANK (unset it)"
    );
    Ok(())
}

/// What a process has in the end.
pub struct Outcome {
    /// The first row that it holds
    pub first: u64,
    /// Bytes of its rows
    pub held: usize,
    /// Bytes
    pub contributed: usize,
    /// The line
    pub b0: f64,
    pub b1: f64,
    /// Lengths of the gradients there, per row
    pub own_per_row: f64,
    pub total_per_row: f64,
}

pub fn print_and_judge(
    world: &SimpleCommunicator,
    outcome: &Outcome,
) -> Result<()> {
    let Outcome {
        first,
        held,
        contributed,
        b0,
        b1,
        own_per_row,
        total_per_row,
    } = *outcome;
    let heading = "  from row   bytes held  contributed  gradient per row";
    let bytes = format!("{held:>13}{contributed:>13}");
    let numbers = format!("{first:>10}{bytes}{own_per_row:>18.1e}");
    print_table(world, heading, &numbers)?;

    if world.rank() > 0 {
        return Ok(());
    }
    println!("truth: b0 = {B0}, b1 = {B1}");
    println!("found: b0 = {b0:.12}, b1 = {b1:.12}");

    let off = (b0 - B0).abs().max((b1 - B1).abs());
    ensure!(off < 0.02, "the line is off by {off:.3}");
    ensure!(
        total_per_row < 1e-6,
        "the gradient is {total_per_row:.1e} per row"
    );
    if world.size() > 1 {
        ensure!(own_per_row > 1e-6, "rank 0's own is {own_per_row:.1e}, too");
    }
    print!("\ngradient per row: rank 0's own {own_per_row:.1e}, ");
    println!("of all rows {total_per_row:.1e}");
    print!("rank 0 held {held} bytes, and contributed {contributed}: ");
    println!("{STEPS} steps, 2 numbers each");
    Ok(())
}

pub fn length(gradient: [f64; 2]) -> f64 {
    gradient[0].hypot(gradient[1])
}

/// Prints what all processes have, one row each. `numbers` has to be equally
/// long on all of them.
fn print_table(
    world: &SimpleCommunicator,
    heading: &str,
    numbers: &str,
) -> Result<()> {
    let rank = world.rank();
    let host = mpi::environment::processor_name()?;
    let pid = id();
    let row = format!("{rank:>4}  {host:<12.12}{pid:>8}{numbers}");

    // A gather: rank 0 gets the rows, in the order of the ranks.
    let root = world.process_at_rank(0);
    if rank > 0 {
        root.gather_into(row.as_bytes());
        return Ok(());
    }
    let mut table = vec![0; row.len() * world.size() as usize];
    root.gather_into_root(row.as_bytes(), &mut table);

    println!("rank  host             PID{heading}");
    for line in table.chunks(row.len()) {
        println!("{}", String::from_utf8_lossy(line));
    }
    println!();
    Ok(())
}
