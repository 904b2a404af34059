//! What the kernel says of parent and workers, and whether loading first cost
//! more.
//!
//! Sources: fork(2), "Notes", for page tables and copies; proc_pid_stat(5) for
//! minflt; proc_pid_smaps(5) for Pss, of which smaps_rollup has the sum.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::wait::waitpid;
use nix::time::ClockId;
use nix::unistd::{Pid, getpid};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

use crate::WORKERS;

const MIB: f64 = 1024.0 * 1024.0;

/// What one of the two ways took.
pub struct Row {
    /// CPU time of the parent in all its forks
    pub forks: Duration,
    /// Of parent and workers together
    pub page_faults: u64,
    /// Of parent and workers together, in bytes
    pub memory: u64,
}

/// Exits with 77 if there are not so many bytes of free memory.
pub fn need_memory(bytes: usize) -> Result<()> {
    if !fs::exists("/proc/self/smaps_rollup")? {
        eprintln!("cannot run here: it reads /proc/PID/smaps_rollup of Linux");
        exit(77);
    }
    let free = free_memory()?;
    if free < bytes as u64 {
        let needed = bytes / 1024;
        let free = free / 1024;
        eprintln!(
            "cannot run here: it needs {needed} KiB of memory, and {free} KiB \
             are free: choose a smaller --mib"
        );
        exit(77);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn free_memory() -> Result<u64> {
    unreachable!("there is no smaps_rollup")
}

/// Bytes that this process can have: of the computer's memory, below the limit
/// of its container (its cgroup), and below its own limits (ulimit).
#[cfg(target_os = "linux")]
fn free_memory() -> Result<u64> {
    let mut system = System::new()?;
    system.refresh_memory();
    let mut free = system.available_memory();

    let pid = get_current_pid()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing(),
    );
    if let Some(process) = system.process(pid)
        && let Some(limits) = process.cgroup_limits()
    {
        free = free.min(limits.total_memory.saturating_sub(limits.rss));
    }
    for resource in [Resource::RLIMIT_AS, Resource::RLIMIT_DATA] {
        let (limit, _) = getrlimit(resource)?;
        free = free.min(limit);
    }
    Ok(free)
}

/// Measures what parent and workers use. Until that is done, each worker has
/// to keep its memory. For this there are two pipes. fork copies all four ends,
/// and a read waits while any copy of the write end is open.
pub struct Meter {
    /// Page faults of the parent before it began
    faults_before: u64,
    /// CPU time of the parent before its forks
    cpu_before: Duration,
    to_parent: PipeWriter,
    from_workers: PipeReader,
    go_on: PipeWriter,
    wait_here: PipeReader,
}

impl Meter {
    pub fn start() -> Result<Meter> {
        let (from_workers, to_parent) = pipe()?;
        let (wait_here, go_on) = pipe()?;
        Ok(Meter {
            faults_before: used_by(getpid())?.page_faults,
            cpu_before: cpu_time()?,
            to_parent,
            from_workers,
            go_on,
            wait_here,
        })
    }

    pub fn begin_forks(&mut self) -> Result<()> {
        self.cpu_before = cpu_time()?;
        Ok(())
    }

    /// For a worker that has done its work.
    pub fn wait_until_measured_and_exit(mut self) -> ! {
        drop(self.go_on); // only the parent keeps it open
        let told = self.to_parent.write_all(&[1]);
        drop(self.to_parent);
        let waited = self.wait_here.read(&mut [0]);
        if told.is_err() || waited.is_err() {
            exit(1);
        }
        exit(0)
    }

    /// For the parent, after its forks.
    pub fn measure_and_reap(mut self, workers: &[Pid]) -> Result<Row> {
        let forks = cpu_time()? - self.cpu_before;

        // This read ends when no worker has its write end open: each of them
        // has done its work, and has written a byte, or it has died.
        drop(self.to_parent);
        let mut done = Vec::new();
        self.from_workers.read_to_end(&mut done)?;
        ensure!(done.len() == WORKERS, "a worker died: too little memory?");

        let mut used = used_by(getpid())?;
        for worker in workers {
            let by_worker = used_by(*worker)?;
            used.page_faults += by_worker.page_faults;
            used.memory += by_worker.memory;
        }

        drop(self.go_on); // the last copy of it: now the workers exit
        for worker in workers {
            waitpid(*worker, None)?;
        }
        Ok(Row {
            forks,
            page_faults: used.page_faults - self.faults_before,
            memory: used.memory,
        })
    }
}

/// CPU time of this process: while other processes run, it stands still.
fn cpu_time() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// What a process has used so far.
struct Used {
    page_faults: u64,
    /// Bytes
    memory: u64,
}

/// minflt counts the page faults for which nothing had to be read from a disk.
/// Pss counts a page that n processes share as 1/n of a page in each of them:
/// the sum over the processes is the memory in use.
#[cfg(target_os = "linux")]
fn used_by(pid: Pid) -> Result<Used> {
    let process = procfs::process::Process::new(pid.as_raw())?;
    let rollup = process.smaps_rollup()?.memory_map_rollup;
    let mut memory = 0;
    for mapping in rollup {
        let bytes = mapping.extension.map;
        memory += bytes.get("Pss").context("no Pss in smaps_rollup")?;
    }
    Ok(Used {
        page_faults: process.stat()?.minflt,
        memory,
    })
}

#[cfg(not(target_os = "linux"))]
fn used_by(_: Pid) -> Result<Used> {
    unreachable!("there is no smaps_rollup")
}

/// Prints both rows, each with a bar: 12 cells for as much memory as the data.
pub fn draw(bytes: usize, fork_first: &Row, load_first: &Row) {
    let data = bytes as f64;
    println!("{:.0} MiB of data, {WORKERS} workers\n", data / MIB);
    println!("                  CPU time of       page  memory of parent");
    println!("                      {WORKERS} forks     faults  and workers");
    for (name, row) in [
        ("fork, then load", fork_first),
        ("load, then fork", load_first),
    ] {
        let forks = milliseconds(row);
        let faults = row.page_faults;
        let memory = row.memory as f64;
        let mib = memory / MIB;
        let bar = "█".repeat((12.0 * memory / data) as usize);
        println!("{name}{forks:>11.1} ms{faults:>11}{mib:>7.0} MiB  {bar}");
    }
}

fn milliseconds(row: &Row) -> f64 {
    row.forks.as_secs_f64() * 1e3
}

pub fn judge(bytes: usize, fork_first: &Row, load_first: &Row) -> Result<()> {
    let data = bytes as f64 / MIB;
    let good = fork_first.memory as f64 / MIB;
    let bad = load_first.memory as f64 / MIB;
    let copies = bad - good;
    ensure!(
        good < 1.5 * data,
        "if the workers load, they use {good:.0} MiB"
    );
    ensure!(copies >= 0.9 * data, "only {copies:.0} MiB were copied");

    let few = fork_first.page_faults;
    let many = load_first.page_faults;
    ensure!(
        many > few,
        "loading first took {many} page faults, not {few}"
    );
    let short = milliseconds(fork_first);
    let long = milliseconds(load_first);
    ensure!(long > short, "forks took {long:.1} ms, not {short:.1} ms");

    println!(
        "\nfork, then load: {good:.0} MiB in use for {data:.0} MiB of data"
    );
    println!(
        "load, then fork: {bad:.0} MiB in use, {copies:.0} MiB more for copies,"
    );
    let more_faults = many - few;
    let longer = long - short;
    println!("    {more_faults} more page faults, forks {longer:.1} ms longer");
    Ok(())
}
