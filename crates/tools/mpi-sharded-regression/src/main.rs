//! More data than one computer holds: each rank keeps its own rows, and only sums travel.
//!
//! Fits the line y = b0 + b1 x by gradient descent. A rank makes its rows, and no other holds them.
//! Each step, an all-reduce adds the ranks' gradients: two numbers, however many rows there are.
//! What is in a row depends on its number alone, so any number of ranks can share the same data.
//!
//! Predict:  ten times the rows: how many times the bytes to send?
//! Try:      cargo run -p mpi-sharded-regression -- --rows-per-rank 1000000
//! Try:      cargo run -p mpi-sharded-regression -- --ranks 4 --rows-per-rank 50000
//! Try:      cargo run -p mpi-sharded-regression -- --steps 10
//! See also: mpi-reduction, which tells what a message costs.

use std::io::ErrorKind::NotFound;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::{array, env};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use mpi::collective::SystemOperation;
use mpi::traits::*;

/// Variables that Open MPI 4 and 5 heed, and other MPIs ignore: root may start ranks, and more than
/// there are cores; they yield the core while they wait; copies between them need no right that a
/// container may lack; of what fails, only the demo speaks.
const SETTINGS: &str = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe \
    OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none \
    OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none \
    OMPI_MCA_smsc=^cma OMPI_MCA_orte_execute_quiet=1";
const TRUTH: [f64; 2] = [3.0, -2.0];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes to start; under mpirun, its -n decides
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..=16))]
    ranks: u8,
    /// Rows that each rank keeps
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(100..=2_000_000))]
    rows_per_rank: u64,
    /// Steps of gradient descent
    #[arg(long, default_value_t = 40, value_parser = value_parser!(u64).range(1..=200))]
    steps: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // Open MPI, MPICH and launchers that speak PMIx each tell a rank its number in one of these.
    let numbers = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];
    if numbers.iter().all(|name| env::var_os(name).is_none()) {
        return become_mpirun(args.ranks);
    }
    #[cfg(target_os = "linux")] // no rank outlives mpirun
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let universe = mpi::initialize().context("MPI does not start")?;
    let world = universe.world();
    let told = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"]
        .iter()
        .find_map(|name| env::var(name).ok());
    let same = told.is_none_or(|told| told == world.size().to_string());
    ensure!(
        same,
        "each rank is alone: mpirun is of another MPI than the library"
    );
    let (rank, ranks, own) = (world.rank(), world.size(), args.rows_per_rank);
    let (first, rows) = (own * rank as u64, (own * ranks as u64) as f64);

    let shard: Vec<[f64; 2]> = (first..first + own).map(row).collect();
    let (mut line, mut sent) = ([0.0; 2], 0);
    for _ in 0..args.steps {
        let (part, mut gradient) = (gradient(&shard, line), [0.0; 2]);
        world.all_reduce_into(&part, &mut gradient, SystemOperation::sum()); // the rows stay
        sent += size_of_val(&part);
        line = array::from_fn(|j| line[j] - 1.5 / rows * gradient[j]);
    }
    // The check: the normal equations are sums over rows as well, and have an exact solution.
    let mut sums = [0.0; 4];
    world.all_reduce_into(&products(&shard), &mut sums, SystemOperation::sum());
    let [x, y, xx, xy] = sums.map(|sum| sum / rows);
    let slope = (xy - x * y) / (xx - x * x);
    let exact = [y - slope * x, slope];

    let (host, pid) = (mpi::environment::processor_name()?, process::id());
    let held = shard.capacity() * size_of::<[f64; 2]>();
    let who = format!(
        "{rank:>4}  {host:<20.20}{pid:>8}{first:>10}{own:>9}{held:>12}{sent:>15}"
    );
    let mut table = vec![0; who.len() * ranks as usize];
    world.all_gather_into(who.as_bytes(), &mut table);
    if rank > 0 {
        return Ok(());
    }
    println!(
        "rank  host                     PID  from row     rows  bytes held  to all-reduce"
    );
    table
        .chunks(who.len())
        .for_each(|row| println!("{}", String::from_utf8_lossy(row)));
    println!("\n    truth  gradient descent       closed form");
    for j in [0, 1] {
        println!("b{j}{:>7}{:>18.12}{:>18.12}", TRUTH[j], line[j], exact[j]);
    }
    let off = (line[0] - exact[0]).abs().max((line[1] - exact[1]).abs());
    ensure!(
        off < 1e-6,
        "after {} steps off the closed form by {off:.0e}",
        args.steps
    );
    print!(
        "\n{ranks} x {own} rows: each rank held {held} bytes, all-reduced {sent}; "
    );
    println!("off by {off:.0e}");
    Ok(())
}

/// An x, and its y: on the line, but for noise.
fn row(number: u64) -> [f64; 2] {
    let x = random(2 * number);
    [x, TRUTH[0] + TRUTH[1] * x + random(2 * number + 1)]
}

/// Evenly from -1 to 1: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn random(number: u64) -> f64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as f64 / (1_u64 << 63) as f64 - 1.0
}

/// Of half the squared errors: where they grow fastest.
fn gradient(shard: &[[f64; 2]], [b0, b1]: [f64; 2]) -> [f64; 2] {
    let errors = shard.iter().map(|[x, y]| (x, b0 + b1 * x - y));
    errors.fold([0.0; 2], |[sum, sum_x], (x, error)| {
        [sum + error, sum_x + error * x]
    })
}

/// What the normal equations need: the sums of x, y, x² and xy.
fn products(shard: &[[f64; 2]]) -> [f64; 4] {
    let products = shard.iter().map(|[x, y]| [*x, *y, x * x, x * y]);
    products.fold([0.0; 4], |sums, row| array::from_fn(|j| sums[j] + row[j]))
}

/// Replaces this program by mpirun, in the same process.
fn become_mpirun(ranks: u8) -> Result<()> {
    let mut mpirun = Command::new("mpirun");
    mpirun.envs(
        SETTINGS
            .split(' ')
            .filter_map(|setting| setting.split_once('=')),
    );
    mpirun.args(["-n", &ranks.to_string()]).stdin(Stdio::null());
    let error = mpirun
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .exec();
    if error.kind() == NotFound {
        eprintln!(
            "cannot run here: no mpirun (apt install openmpi-bin, brew install open-mpi)"
        );
        process::exit(77);
    }
    Err(error).context("mpirun does not start") // exec returns only if it fails
}
