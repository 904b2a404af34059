//! Starts the ranks, shows what each one has, times messages, and judges.
//!
//! Sources: mpirun(1); MPI 4.0, chapters 3 "Point-to-Point Communication" and
//! 6 "Collective Communication"; environ(7).

use std::collections::BTreeSet;
use std::env;
use std::f64::consts::PI;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio, exit, id};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};
#[cfg(target_os = "linux")]
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::{Pid, alarm};

/// A message goes to and fro so often, or for so long, whichever ends first.
const TRIPS: usize = 1000;
const MEASURE_FOR: Duration = Duration::from_millis(200);
/// The first byte of a message tells the last rank whether another follows.
const GO_ON: u8 = 1;
const STOP: u8 = 0;
/// Bytes of a message
const SHORT: usize = 8;
const LONG: usize = 1 << 20;
/// So little is a sum off pi that has all its parts.
const CLOSE: f64 = 1e-6;

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

/// What one rank has.
pub struct Row {
    /// Host and PID
    process: String,
    first: u64,
    part: f64,
    sum: f64,
}

/// Every rank gets the rows of all ranks; rank 0 prints them.
pub fn table(
    world: &SimpleCommunicator,
    first: u64,
    part: f64,
    sum: f64,
) -> Result<Vec<Row>> {
    let ranks = world.size() as usize;
    let host = mpi::environment::processor_name()?;
    let process = format!("{host:<12.12}{:>8}", id());
    let mut processes = vec![0; process.len() * ranks];
    let mut firsts = vec![0; ranks];
    let mut parts = vec![0.0; ranks];
    let mut sums = vec![0.0; ranks];
    world.all_gather_into(process.as_bytes(), &mut processes);
    world.all_gather_into(&first, &mut firsts);
    world.all_gather_into(&part, &mut parts);
    world.all_gather_into(&sum, &mut sums);

    let mut rows = Vec::new();
    for (rank, bytes) in processes.chunks(process.len()).enumerate() {
        rows.push(Row {
            process: String::from_utf8_lossy(bytes).into_owned(),
            first: firsts[rank],
            part: parts[rank],
            sum: sums[rank],
        });
    }
    if world.rank() == 0 {
        print!("rank  host             PID  first step");
        println!("     area of its part  sum, after a reduce");
        for (rank, row) in rows.iter().enumerate() {
            print!("{rank:>4}  {}{:>12}", row.process, row.first);
            println!("{:>21.12}{:>21.12}", row.part, row.sum);
        }
        println!();
    }
    Ok(rows)
}

/// What a message costs.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Microseconds of one way, for 8 bytes
    short: f64,
    /// The same for 1 MiB
    long: f64,
}

/// Messages between rank 0, which gets their cost, and the last rank.
pub fn ping_pong(world: &SimpleCommunicator) -> Option<Cost> {
    let last = world.size() - 1;
    if last == 0 {
        return None; // one rank has nobody to send to
    }
    if world.rank() == last {
        echo(world, SHORT);
        echo(world, LONG);
    }
    if world.rank() > 0 {
        return None;
    }
    Some(Cost {
        short: one_way(world, SHORT),
        long: one_way(world, LONG),
    })
}

/// The last rank sends each message back.
fn echo(world: &SimpleCommunicator, bytes: usize) {
    let partner = world.process_at_rank(0);
    let mut message = vec![GO_ON; bytes];
    while message[0] == GO_ON {
        partner.receive_into(&mut message);
        partner.send(&message);
    }
}

/// Rank 0 takes the time: the median microseconds of one way.
fn one_way(world: &SimpleCommunicator, bytes: usize) -> f64 {
    let last = world.size() - 1;
    let partner = world.process_at_rank(last);
    let begin = Instant::now();
    let mut message = vec![GO_ON; bytes];
    let mut times: Vec<f64> = Vec::new();
    while message[0] == GO_ON {
        if times.len() + 1 == TRIPS || begin.elapsed() > MEASURE_FOR {
            message[0] = STOP;
        }
        let sent = Instant::now();
        partner.send(&message);
        partner.receive_into(&mut message); // blocks until it is back
        times.push(sent.elapsed().as_secs_f64() * 1e6 / 2.0);
    }
    times.sort_unstable_by(f64::total_cmp);
    let trips = times.len();
    let median = times[trips / 2];
    print!("0 -> {last} -> 0: {bytes:>7} bytes, {trips:>4} times: ");
    println!("median {median:>7.1} µs one way");
    median
}

pub fn judge(rows: &[Row], cost: Option<Cost>) -> Result<()> {
    let ranks = rows.len();
    let mut processes = BTreeSet::new();
    let mut knowing = 0;
    for row in rows {
        processes.insert(&row.process);
        if (row.sum - PI).abs() < CLOSE {
            knowing += 1;
        }
    }
    let processes = processes.len();
    let sum = rows[0].sum;
    let off = (sum - PI).abs();
    ensure!(processes == ranks, "{ranks} ranks in {processes} processes");
    ensure!(off < CLOSE, "the parts make {sum}: off pi by {off:.0e}");
    ensure!(knowing == 1, "pi is known to {knowing} ranks, not to one");
    match cost {
        None => println!("one rank alone has nobody to send a message to"),
        Some(Cost { short, long }) => {
            let speed = LONG as f64 / 1000.0 / long; // a byte per ns is a GB/s
            println!("one way {short:.1} µs, {speed:.2} GB/s");
        }
    }
    print!("parts added: {ranks}, off pi by {off:.0e}; ");
    println!("processes: {processes}, of which know pi: {knowing}");
    Ok(())
}
