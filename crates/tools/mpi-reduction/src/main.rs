//! MPI: ranks are processes that share no memory, and may run on different machines.
//!
//! Every rank integrates its part of 4 / (1 + x²) from 0 to 1, and one reduce adds the parts to pi.
//! Then a message goes to and fro between rank 0 and the last rank: what does communication cost?
//! Started plainly, the program becomes mpirun, which starts it again as its ranks.
//!
//! Predict:  4 ranks: how many processes, and how many of them know pi in the end?
//! Try:      cargo run -p mpi-reduction -- --ranks 4
//! Try:      mpirun --oversubscribe -n 2 target/debug/mpi-reduction (root: --allow-run-as-root)
//! Try:      sudo scripts/mpi-hosts.sh (in the whole repository: ranks on two hosts)
//! See also: openmp-reduction, the same integral by threads, which share memory.

use std::io::ErrorKind::NotFound;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, f64::consts::PI};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

/// Variables that Open MPI 4 and 5 heed, and other MPIs ignore: root may start ranks, and more than
/// there are cores; they yield the core while they wait; copies between them need no right that a
/// container may lack; of what fails, only the demo speaks.
const SETTINGS: &str = "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe \
    OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none \
    OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none \
    OMPI_MCA_smsc=^cma OMPI_MCA_orte_execute_quiet=1";
/// A message goes to and fro so many times, or for so long, whichever ends first.
const TRIPS: usize = 1000;
const MEASURE_FOR: Duration = Duration::from_millis(200);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes to start; under mpirun, its -n decides
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..=16))]
    ranks: u8,
    /// Rectangles under the curve
    #[arg(long, default_value_t = 10_000_000, value_parser = value_parser!(u64).range(1000..=1_000_000_000))]
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
    let (rank, ranks, root) =
        (world.rank(), world.size(), world.process_at_rank(0));

    let width = 1.0 / args.steps as f64;
    let [from, to] =
        [rank, rank + 1].map(|r| args.steps * r as u64 / ranks as u64);
    let height = |i: u64| 4.0 / (1.0 + ((i as f64 + 0.5) * width).powi(2));
    let part: f64 = (from..to).map(|i| height(i) * width).sum();

    let mut sum = 0.0;
    if rank == 0 {
        root.reduce_into_root(&part, &mut sum, SystemOperation::sum()); // MPI adds on the way
    } else {
        root.reduce_into(&part, SystemOperation::sum());
    }
    let (host, pid) = (mpi::environment::processor_name()?, process::id());
    let who = format!(
        "{rank:>4}  {host:<12.12}{pid:>8}{from:>12}{part:>19.12}{sum:>21.12}"
    );
    let mut table = vec![0; who.len() * ranks as usize];
    world.all_gather_into(who.as_bytes(), &mut table);
    if rank == 0 {
        println!(
            "rank  host             PID  first step     area of its part  sum, after a reduce"
        );
        table
            .chunks(who.len())
            .for_each(|row| println!("{}", String::from_utf8_lossy(row)));
        println!();
    }
    let costs =
        (ranks > 1).then(|| [8, 1 << 20].map(|bytes| ping_pong(&world, bytes)));
    if rank > 0 {
        return Ok(());
    }
    let off = (sum - PI).abs();
    ensure!(off < 1e-6, "the parts make {sum}: off pi by {off:.0e}");
    print!("parts added: {ranks}, off pi by {off:.0e}; ");
    match costs {
        None => println!("one rank alone has nobody to send a message to"),
        Some([short, long]) => {
            println!("one way {short:.1} µs, {:.2} GB/s", 1048.576 / long);
        }
    }
    Ok(())
}

/// Sends a message from rank 0 to the last rank and back; the median microseconds of one way.
fn ping_pong(world: &SimpleCommunicator, bytes: usize) -> f64 {
    let (rank, last) = (world.rank(), world.size() - 1);
    let (first, partner) =
        (world.process_at_rank(0), world.process_at_rank(last));
    let (begin, mut message, mut one_way) =
        (Instant::now(), vec![1; bytes], Vec::new());
    while rank == 0 && message[0] == 1 {
        message[0] = u8::from(
            one_way.len() + 1 < TRIPS && begin.elapsed() < MEASURE_FOR,
        );
        let sent = Instant::now();
        partner.send(&message);
        partner.receive_into(&mut message); // blocks until it is back
        one_way.push(sent.elapsed().as_secs_f64() * 1e6 / 2.0);
    }
    while rank == last && message[0] == 1 {
        first.receive_into(&mut message);
        first.send(&message);
    }
    if rank > 0 {
        return 0.0;
    }
    one_way.sort_unstable_by(f64::total_cmp);
    let (trips, median) = (one_way.len(), one_way[one_way.len() / 2]);
    println!(
        "0 -> {last} -> 0: {bytes:>7} bytes, {trips:>4} times: median {median:>7.1} µs one way"
    );
    median
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
