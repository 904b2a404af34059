//! What parent and workers use, measured while all of them live, and whether
//! that is once or twice the data.
//!
//! Sources: fork(2), "Notes", for page tables and copies; proc_pid_smaps(5) for
//! Pss, of which smaps_rollup has the sum.

use std::fs;
use std::io::{PipeReader, PipeWriter, pipe, read_to_string};
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::wait::waitpid;
use nix::time::ClockId;
use nix::unistd::{Pid, getpid};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

/// What one of the two ways took.
pub struct Row {
    /// CPU time of the parent in all its forks
    pub forks: Duration,
    /// MiB that parent and workers use together
    pub mib: f64,
}

/// Measures a row. Until that is done, each worker has to keep its memory. For
/// this there are two pipes. fork copies all four ends. Nothing is written into
/// a pipe here. So a process that reads waits for the end of the file, which
/// comes when all copies of the write end are closed.
pub struct Meter {
    cpu_before: Duration,
    from_workers: PipeReader,
    work_is_done: PipeWriter,
    from_parent: PipeReader,
    memory_is_measured: PipeWriter,
}

impl Meter {
    pub fn start() -> Result<Meter> {
        let (from_workers, work_is_done) = pipe()?;
        let (from_parent, memory_is_measured) = pipe()?;
        Ok(Meter {
            cpu_before: cpu_time()?,
            from_workers,
            work_is_done,
            from_parent,
            memory_is_measured,
        })
    }

    /// For a worker that has done its work.
    pub fn wait_and_exit(self) -> ! {
        drop(self.work_is_done);
        drop(self.memory_is_measured); // only the parent shall have this end
        // Waits until the parent has closed that end, or has died.
        let read = read_to_string(self.from_parent);
        exit(i32::from(read.is_err()))
    }

    /// For the parent, after its forks.
    pub fn measure(self, workers: &[Pid]) -> Result<Row> {
        let forks = cpu_time()? - self.cpu_before;
        drop(self.work_is_done); // only the workers shall have this end
        // Waits until each worker has closed that end, or has died.
        read_to_string(self.from_workers)?;

        let mut mib = mib_of(getpid())?;
        for worker in workers {
            mib += mib_of(*worker).context("a worker died: no memory?")?;
        }

        drop(self.memory_is_measured); // now the workers exit
        for worker in workers {
            waitpid(*worker, None)?;
        }
        Ok(Row { forks, mib })
    }
}

/// CPU time of this process: while it does not run, this clock stands still.
fn cpu_time() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// Pss of a process. A page that n processes share counts as 1/n of a page in
/// each of them. So the sum over all of them is the memory in use.
fn mib_of(process: Pid) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    for line in rollup.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "Pss:" {
            let kib: f64 = words[1].parse()?;
            return Ok(kib / 1024.0);
        }
    }
    bail!("no Pss in /proc/{process}/smaps_rollup")
}

pub fn print_and_judge(
    data: u16,
    fork_first: &Row,
    load_first: &Row,
) -> Result<()> {
    println!("{:<61}CPU time of forks", "memory of parent and workers");
    let once = print_row("fork, then load", fork_first, data);
    let twice = print_row("load, then fork", load_first, data);
    println!(
        "\nmemory in use, in times the data: loaded by the workers {once:.2}, \
         loaded first {twice:.2}"
    );
    // The program itself needs a few MiB, so this is rounded.
    ensure!(once.round() == 1.0, "loaded by the workers: expected once");
    ensure!(twice.round() == 2.0, "loaded first: expected twice");
    Ok(())
}

/// Returns how many times the data is in memory. `data` is in MiB.
fn print_row(name: &str, row: &Row, data: u16) -> f64 {
    let times = row.mib / f64::from(data);
    let bar = "█".repeat((12.0 * times) as usize);
    let mib = row.mib;
    let forks = row.forks.as_secs_f64() * 1000.0;
    println!("{name}: {mib:.0} MiB in use {bar:<29}{forks:>13.1} ms");
    times
}

/// Exits with 77 if so many MiB are not free.
pub fn need_memory(mib: u64) -> Result<()> {
    if !fs::exists("/proc/self/smaps_rollup").unwrap_or(false) {
        eprintln!("cannot run here: it reads smaps_rollup of Linux's /proc");
        exit(77);
    }
    let free = free_memory()? / 1024 / 1024;
    if free < mib {
        eprintln!(
            "cannot run here: it needs {mib} MiB of free memory, and there \
             are {free}: choose a smaller --mib"
        );
        exit(77);
    }
    Ok(())
}

/// Bytes that are free in the computer, and in the container (cgroup), which
/// may have a limit of its own.
fn free_memory() -> Result<u64> {
    let mut system = System::new()?;
    system.refresh_memory();
    let of_computer = system.available_memory();

    let pid = get_current_pid()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing(),
    );
    let process = system.process(pid).context("no such process")?;
    let Some(limits) = process.cgroup_limits() else {
        return Ok(of_computer);
    };
    let of_container = limits.total_memory.saturating_sub(limits.rss);
    Ok(of_computer.min(of_container))
}
