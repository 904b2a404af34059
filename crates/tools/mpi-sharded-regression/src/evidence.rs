//! Starts the ranks, makes the noise, shows what each rank has, and judges.
//!
//! Sources: mpirun(1); MPI 4.0, chapter 6 "Collective Communication";
//! environ(7).

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio, exit, id};

use anyhow::{Context, Result, bail, ensure};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
#[cfg(target_os = "linux")]
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::{Pid, alarm};

use crate::{Line, Row, TRUTH};

/// Variables that Open MPI 4 and 5 heed, and other MPIs ignore.
const SETTINGS: [(&str, &str); 11] = [
    // Root may start ranks, as in a container.
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    // There may be more ranks than cores.
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    // A rank may use any core, and yields it while it waits.
    ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ("PRTE_MCA_hwloc_default_binding_policy", "none"),
    ("OMPI_MCA_mpi_yield_when_idle", "1"),
    // Messages need no right that a container may lack.
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ("OMPI_MCA_smsc", "^cma"),
    // hwloc shall not complain where there is no /sys.
    ("HWLOC_HIDE_ERRORS", "2"),
    // If a rank fails, it has said why.
    ("OMPI_MCA_orte_execute_quiet", "1"),
];
/// Seconds for mpirun to end; Open MPI and MPICH read MPIEXEC_TIMEOUT as well.
const TIMEOUT: &str = "MPIEXEC_TIMEOUT";
const DEFAULT_TIMEOUT: u32 = 180;
/// Seconds that mpirun has to end the ranks, once it was told to.
const GRACE: u32 = 5;

/// Whether mpirun, or another launcher, started this process as a rank.
pub fn is_a_rank() -> bool {
    // So Open MPI, MPICH and launchers that speak PMIx tell a rank its number.
    let numbers = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];
    numbers.iter().any(|name| env::var_os(name).is_some())
}

/// Starts this program as ranks, and returns when they have ended well.
pub fn run_mpirun(ranks: u8) -> Result<()> {
    // SIGCHLD tells a parent that a child has ended. If it is ignored, which a
    // process inherits, nobody can wait for children: set the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let program = env::current_exe().unwrap_or_else(|why| cannot_run(&why));
    let mut errors = temporary_file();

    let timeout = env::var(TIMEOUT).ok().and_then(|text| text.parse().ok());
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT).max(1);
    let mut command = Command::new("mpirun");
    command.envs(SETTINGS).env_remove(TIMEOUT);
    command.args(["-n", &ranks.to_string()]);
    command.arg(program).args(env::args_os().skip(1));
    command.stdin(Stdio::null()).stderr(errors.try_clone()?);
    #[cfg(target_os = "linux")]
    // SAFETY: a program may call prctl between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?));
    }
    let spawned = command.spawn();
    if spawned
        .as_ref()
        .is_err_and(|it| it.kind() == ErrorKind::NotFound)
    {
        eprintln!(
            "cannot run here: no mpirun \
             (apt install openmpi-bin, brew install open-mpi)"
        );
        exit(77);
    }
    let mpirun = spawned.context("mpirun does not start")?;
    let ended = wait_for(mpirun, timeout);
    let said = print_first_lines(&mut errors)?;
    let status = ended?;
    if status.code() == Some(1) || (!status.success() && said) {
        exit(1); // mpirun, or a rank, has said why
    }
    ensure!(status.success(), "mpirun failed: {status}");
    Ok(())
}

/// For what mpirun and the ranks say on standard error. It has no name, so it
/// is gone when it is closed. Exits with 77 where there can be no files, since
/// mpirun needs some as well.
fn temporary_file() -> File {
    let folder = env::temp_dir();
    let path = folder.join(format!("mpirun-{}-errors", id()));
    let mut options = File::options();
    options.read(true).append(true).create_new(true);
    let made = options.open(&path);
    match made.and_then(|file| fs::remove_file(&path).map(|()| file)) {
        Ok(file) => file,
        Err(why) => {
            let folder = folder.display();
            eprintln!("cannot run here: {why}: {folder}; set TMPDIR");
            exit(77);
        }
    }
}

/// mpirun explains at length. The first lines tell what failed. Returns whether
/// there are any.
fn print_first_lines(errors: &mut File) -> Result<bool> {
    let mut text = Vec::new();
    errors.rewind()?;
    errors.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.is_empty());
    for line in lines.take(3) {
        eprintln!("{line}");
    }
    Ok(!text.is_empty())
}

fn cannot_run(why: &io::Error) -> ! {
    eprintln!("cannot run here: {why}");
    exit(77)
}

/// Waits for mpirun, but not for ever: ends it after `timeout` seconds, or if
/// somebody ends this program.
fn wait_for(mut mpirun: Child, timeout: u32) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(mpirun.id())?);
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD); // mpirun has ended
    signals.add(Signal::SIGALRM); // the time is over
    signals.add(Signal::SIGINT); // Ctrl-C, which a terminal sends mpirun, too
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGHUP);
    signals.thread_block()?; // they are kept for signals.wait()
    alarm::set(timeout);
    let mut told_because = None;
    loop {
        if let Some(status) = mpirun.try_wait()? {
            match told_because {
                Some(reason) => bail!("{reason}: mpirun was ended"),
                None => return Ok(status),
            }
        }
        let signal = signals.wait()?;
        if signal == Signal::SIGCHLD {
            continue;
        }
        if told_because.is_some() {
            if signal == Signal::SIGALRM {
                mpirun.kill()?; // SIGKILL, which nobody can ignore
            }
            continue;
        }
        if signal == Signal::SIGALRM {
            told_because = Some(format!("no end after {timeout} s"));
        } else {
            told_because = Some(format!("interrupted by {signal}"));
        }
        if signal != Signal::SIGINT {
            kill(pid, Signal::SIGTERM)?; // it ends the ranks, removes its files
        }
        alarm::set(GRACE);
    }
}

/// The kernel shall end this rank if mpirun dies suddenly: prctl(2).
pub fn die_if_mpirun_dies() -> Result<()> {
    #[cfg(target_os = "linux")]
    set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// An error if ranks were started, but this one does not know of them.
pub fn check_that_none_is_missing(
    world: &SimpleCommunicator,
    wanted: u8,
) -> Result<()> {
    let ranks = world.size();
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        let Ok(started) = env::var(name) else {
            continue;
        };
        ensure!(
            started == ranks.to_string(),
            "each rank is alone: mpirun is of another MPI than the library"
        );
        break; // the first variable is the launcher's own
    }
    ensure!(
        ranks > 1 || wanted == 1,
        "one rank alone, not {wanted}: its launcher started no other; \
         start mpirun -n {wanted}, or unset PMI_RANK PMIX_RANK"
    );
    Ok(())
}

/// Evenly from -1 to 1: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub fn random(number: u64) -> f64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    bits as f64 / (1_u64 << 63) as f64 - 1.0
}

/// The line with the least squared errors, by a formula: the sums over all
/// rows of x, y, x² and xy are enough for it.
pub fn closed_form(world: &SimpleCommunicator, shard: &[Row]) -> Line {
    let mut own = [0.0; 5];
    for row in shard {
        own[0] += 1.0;
        own[1] += row.x;
        own[2] += row.y;
        own[3] += row.x * row.x;
        own[4] += row.x * row.y;
    }
    let mut all = [0.0; 5];
    world.all_reduce_into(&own, &mut all, SystemOperation::sum());
    let [rows, x, y, xx, xy] = all;
    let b1 = (xy - x * y / rows) / (xx - x * x / rows);
    let b0 = (y - b1 * x) / rows;
    Line { b0, b1 }
}

/// Every rank tells what it has; rank 0 prints all of it.
pub fn print_table(
    world: &SimpleCommunicator,
    first: u64,
    shard: &Vec<Row>,
    sent: usize,
) -> Result<()> {
    let host = mpi::environment::processor_name()?;
    let pid = id();
    let rows = shard.len();
    let held = bytes_of(shard);
    let rank = world.rank();
    let process = format!("{host:<20.20}{pid:>8}");
    let counts = format!("{first:>10}{rows:>9}{held:>12}{sent:>15}");
    let text = format!("{rank:>4}  {process}{counts}");
    let mut table = vec![0; text.len() * world.size() as usize];
    world.all_gather_into(text.as_bytes(), &mut table);
    if rank == 0 {
        print!("rank  host                     PID  from row     rows");
        println!("  bytes held  to all-reduce");
        for row in table.chunks(text.len()) {
            println!("{}", String::from_utf8_lossy(row));
        }
    }
    Ok(())
}

/// Bytes of memory that the rows occupy.
fn bytes_of(shard: &Vec<Row>) -> usize {
    shard.capacity() * size_of::<Row>()
}

pub fn judge(
    world: &SimpleCommunicator,
    shard: &Vec<Row>,
    sent: usize,
    steps: u64,
    line: &Line,
    exact: &Line,
) -> Result<()> {
    println!("\n    truth  gradient descent       closed form");
    print!("b0{:>7}", TRUTH.b0);
    println!("{:>18.12}{:>18.12}", line.b0, exact.b0);
    print!("b1{:>7}", TRUTH.b1);
    println!("{:>18.12}{:>18.12}", line.b1, exact.b1);

    let off_b0 = (line.b0 - exact.b0).abs();
    let off_b1 = (line.b1 - exact.b1).abs();
    let off = off_b0.max(off_b1);
    ensure!(
        off < 1e-6,
        "after {steps} steps off the closed form by {off:.0e}"
    );
    let ranks = world.size();
    let rows = shard.len();
    let held = bytes_of(shard);
    print!("\n{ranks} x {rows} rows: each rank held {held} bytes, ");
    println!("all-reduced {sent}; off by {off:.0e}");
    Ok(())
}
