//! What the kernel says of the children, and whether it is what a zombie is.
//!
//! Sources: waitid(2) for WNOWAIT; wait(2), "Notes", for what stays of a
//! zombie; ps(1), "PROCESS STATE CODES".

use std::io::{IsTerminal, stdin};
use std::process::{self, Command};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// What the process table says of a process.
#[derive(PartialEq)]
pub struct Entry {
    state: ProcessStatus,
    /// Bytes of it in physical memory (resident set size)
    rss: u64,
}

/// The entry of a process; None if there is no such process.
fn entry_of(pid: Pid) -> Result<Option<Entry>> {
    let pid = sysinfo::Pid::from_u32(pid.as_raw().cast_unsigned());
    let mut system = System::new()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing().with_memory(),
    );
    let Some(found) = system.process(pid) else {
        return Ok(None);
    };
    Ok(Some(Entry {
        state: found.status(),
        rss: found.memory(),
    }))
}

/// Exits with 77 where the kernel does not tell.
pub fn need_process_table() -> Result<()> {
    if entry_of(Pid::this())?.is_none() {
        eprintln!("cannot run here: no process is seen; is /proc mounted?");
        process::exit(77);
    }
    Ok(())
}

/// Returns when each child sleeps: it waits in its read.
pub fn wait_until_asleep(children: &[Pid]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for child in children {
        loop {
            let entry = entry_of(*child)?.context("a child is gone")?;
            if entry.state == ProcessStatus::Sleep {
                break;
            }
            ensure!(Instant::now() < deadline, "child {child} does not wait");
            yield_now(); // to the child, if it shares this core
        }
    }
    Ok(())
}

/// Returns when each child has exited. WNOWAIT leaves it to be reaped later.
#[cfg(not(target_os = "macos"))]
pub fn wait_without_reaping(children: &[Pid]) -> Result<()> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    for child in children {
        waitid(Id::Pid(*child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    }
    Ok(())
}

#[cfg(target_os = "macos")]
pub fn wait_without_reaping(_: &[Pid]) -> Result<()> {
    eprintln!("cannot run here: nix has no waitid for macOS");
    std::process::exit(77)
}

/// Prints and returns the entry of each child.
pub fn look(when: &str, children: &[Pid]) -> Result<Vec<Option<Entry>>> {
    if when == "alive" {
        println!("                  PID  state           RSS");
    }
    let mut entries = Vec::new();
    for child in children {
        let entry = entry_of(*child)?;
        match &entry {
            Some(Entry { state, rss }) => {
                let state = state.to_string();
                let kib = rss / 1024;
                println!("{when:<13}{child:>8}  {state:<9}{kib:>8} KiB");
            }
            None => println!("{when:<13}{child:>8}  no such process"),
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Shows what ps says of the zombies. At a terminal, waits for Enter, so that
/// the class can look at them from another one.
pub fn pause_at_a_terminal(children: &[Pid]) -> Result<()> {
    let pids: Vec<String> = children.iter().map(Pid::to_string).collect();
    let list = pids.join(",");
    let ps = ["-o", "pid,ppid,stat,comm", "-p", &list];
    println!("\n$ ps {}", ps.join(" "));
    if let Err(error) = Command::new("ps").args(ps).status() {
        println!("no ps here: {error}");
    }
    if stdin().is_terminal() {
        println!("\nStill zombies: look from another terminal.");
        println!("To reap them, press Enter.");
        stdin().read_line(&mut String::new())?;
    }
    println!();
    Ok(())
}

/// How many of these are zombies: state Z, and no memory.
fn zombies(entries: &[Option<Entry>]) -> usize {
    let zombie = Some(Entry {
        state: ProcessStatus::Zombie,
        rss: 0,
    });
    entries.iter().filter(|entry| **entry == zombie).count()
}

pub fn judge(
    alive: &[Option<Entry>],
    exited: &[Option<Entry>],
    killed: &[Option<Entry>],
    statuses: &[WaitStatus],
    reaped: &[Option<Entry>],
) -> Result<()> {
    for entry in alive.iter().flatten() {
        ensure!(entry.rss > 0, "a living child had no memory");
    }
    let children = alive.len();
    let after_exit = zombies(exited);
    let after_kill = zombies(killed);
    let seven = statuses
        .iter()
        .filter(|status| matches!(status, WaitStatus::Exited(_, 7)))
        .count();
    let left = reaped.iter().flatten().count();
    ensure!(
        after_exit == children,
        "zombies: {after_exit} of {children}"
    );
    ensure!(after_kill == children, "SIGKILL left {after_kill} zombies");
    ensure!(seven == children, "exit code 7 was kept for {seven} only");
    ensure!(left == 0, "reaped, and still there: {left} of {children}");
    println!("\nzombies after exit: {after_exit}, all with 0 KiB of memory");
    println!(
        "zombies after SIGKILL: {after_kill}, exit code 7 kept for {seven}"
    );
    println!("zombies after reaping: {left}");
    Ok(())
}
