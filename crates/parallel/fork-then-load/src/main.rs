//! Fork, then load data, and not the other way round.
//!
//! fork copies no memory, but it copies the page tables, so the more a process holds the longer it
//! takes. Then parent and workers share the pages until one of them writes: the kernel copies that
//! page for the writer, and the parent keeps the original that nobody needs any more. Python does
//! so even where it only reads: it writes to the reference counts. Sources: fork(2), proc(5).
//!
//! Predict:  256 MiB of data, 4 workers write to a quarter each: how much memory do they all use?
//! Try:      cargo run -p fork-then-load -- --mib 64
//! See also: process-isolation, the copy of one page; launch-cost, what an empty fork takes.

use std::io::{Read, Write, pipe};
use std::time::Instant;
use std::{fs, hint, process};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork, getpid, pause};

const WORKERS: usize = 4;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// MiB of data; up to a quarter of the free memory
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u16).range(16..=4096))]
    mib: u16,
}

/// Killed and reaped when dropped, so on every path out.
struct Worker(Pid);

impl Drop for Worker {
    fn drop(&mut self) {
        _ = kill(self.0, SIGKILL).and(waitpid(self.0, None).map(drop));
    }
}

fn main() -> Result<()> {
    let bytes = usize::from(Args::parse().mib) << 20;
    let free = kib("/proc/meminfo", "MemAvailable:").unwrap_or(0) << 10;
    if free / 4 < bytes as u64 {
        eprintln!(
            "cannot run here: it needs Linux, and four times {} MiB of free memory",
            bytes >> 20
        );
        process::exit(77);
    }
    println!("{} MiB of data, {WORKERS} workers\n", bytes >> 20);
    println!("                 {WORKERS} forks  page faults      memory");
    let good = run("fork, then load", bytes, false)?;
    let bad = run("load, then fork", bytes, true)?;
    let ratio = bad as f64 / good as f64;
    ensure!(
        ratio > 1.5,
        "loading before the fork took only {ratio:.1} times the memory"
    );
    println!("\nloading before the fork took {ratio:.1} times the memory");
    Ok(())
}

/// Prints a row; returns how many KiB of memory parent and workers use together.
fn run(label: &str, bytes: usize, load_first: bool) -> Result<u64> {
    let (share, faults_before) = (bytes / WORKERS, page_faults(getpid())?);
    let mut data = vec![1_u8; if load_first { bytes } else { 0 }]; // the parent's data, if it loads
    let ((mut start, gate), (mut done, tell)) = (pipe()?, pipe()?);
    let (begin, mut workers) = (Instant::now(), Vec::new());
    for number in 0..WORKERS {
        // SAFETY: this process has one thread, so the child may do all that a program may.
        match unsafe { fork() }
            .map_err(|errno| anyhow!("fork refused: {errno}"))?
        {
            ForkResult::Parent { child } => workers.push(Worker(child)),
            ForkResult::Child => {
                alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
                drop(gate);
                _ = start.read(&mut [0]); // until the parent, done with its forks, drops its end
                if load_first {
                    data[number * share..][..share].fill(2); // each page: a fault, and a copy
                } else {
                    data = vec![2; share];
                }
                hint::black_box(&data);
                _ = (&tell).write_all(b".");
                loop {
                    pause(); // keeps its memory until it is killed
                }
            }
        }
    }
    let forks = begin.elapsed();
    drop((gate, tell));
    done.read_exact(&mut [0; WORKERS])
        .context("a worker died")?;

    let mut faults = page_faults(getpid())? - faults_before;
    let mut kib = pss(getpid())?;
    for worker in &workers {
        faults += page_faults(worker.0)?;
        kib += pss(worker.0)?;
    }
    let (milliseconds, mib) = (forks.as_secs_f64() * 1e3, kib / 1024);
    let bar = "█".repeat(12 * kib as usize * 1024 / bytes);
    println!("{label}{milliseconds:>6.1} ms{faults:>13}{mib:>8} MiB  {bar}");
    Ok(kib)
}

/// Minor faults, field 10 of /proc/PID/stat: the kernel mapped a page, and had none to read in.
fn page_faults(pid: Pid) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(") ").next().context("stat")?;
    Ok(fields.split(' ').nth(7).context("stat")?.parse()?)
}

/// Proportional set size in KiB: each page counts by its share, 1/n where n processes map it.
fn pss(pid: Pid) -> Result<u64> {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn kib(file: &str, field: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
