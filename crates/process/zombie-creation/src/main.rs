//! Zombie: a process that has exited, and that its parent has not reaped.
//!
//! Its memory is freed at exit. What stays is its entry in the process table, with the exit status
//! that the parent may still ask for. It cannot be killed, as it is dead; only reaping removes it.
//! Sources: waitid(2) for WNOWAIT; wait(2), "Notes"; ps(1), "PROCESS STATE CODES".
//!
//! Predict:  kill -9 is sent to a zombie. What happens to it?
//! Try:      cargo run -p zombie-creation -- --count 2
//! See also: fork-exec-exit-reap, the whole life cycle.

use std::io::{IsTerminal, Read, pipe, stdin};
use std::process::{Command, exit};

use anyhow::{anyhow, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Children that become zombies
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(1..=100))]
    count: u8,
}

/// Reaped when dropped, so on every path out.
struct Children(Vec<Pid>);

impl Drop for Children {
    fn drop(&mut self) {
        self.0.iter().for_each(|&child| _ = waitpid(child, None));
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if cfg!(target_os = "macos") {
        eprintln!("cannot run here: nix has no waitid for macOS");
        exit(77);
    }
    let inherited = std::hint::black_box(vec![1_u8; 4 << 20]); // 4 MiB, so that a child holds memory
    let mut children = Children(Vec::new());
    let (mut wait_here, gate) = pipe()?;
    for _ in 0..args.count {
        // SAFETY: this process has one thread, so the child may do all that a program may.
        match unsafe { fork() }
            .map_err(|errno| anyhow!("fork refused: {errno}"))?
        {
            ForkResult::Child => {
                alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
                drop(gate);
                _ = wait_here.read(&mut [0]); // until the parent drops its end
                exit(0)
            }
            ForkResult::Parent { child } => children.0.push(child),
        }
    }
    drop(inherited);
    let pids = children.0.clone();
    println!("                  PID  state           RSS");
    let alive = look("alive", &pids)?;

    drop(gate);
    #[cfg(not(target_os = "macos"))]
    for &pid in &pids {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?; // dead, and not reaped
    }
    let exited = look("exited", &pids)?;
    pids.iter().try_for_each(|&pid| kill(pid, SIGKILL))?;
    let killed = look("SIGKILL sent", &pids)?;

    let list = pids
        .iter()
        .map(Pid::to_string)
        .collect::<Vec<_>>()
        .join(",");
    println!("\n$ ps -o pid,ppid,stat,comm -p {list}");
    _ = Command::new("ps")
        .args(["-o", "pid,ppid,stat,comm", "-p", &list])
        .status(); // if any
    if stdin().is_terminal() {
        println!(
            "\nStill zombies: look from another terminal, then press Enter to reap."
        );
        stdin().read_line(&mut String::new())?;
    }
    drop(children); // waitpid
    println!();
    let reaped = look("reaped", &pids)?;

    ensure!(
        alive.iter().all(|seen| matches!(seen, Some((_, 1..)))),
        "a child had no memory"
    );
    let zombie = Some((ProcessStatus::Zombie, 0));
    ensure!(
        exited.iter().chain(&killed).all(|seen| *seen == zombie),
        "a child was no zombie"
    );
    ensure!(
        reaped.iter().all(Option::is_none),
        "a child is still there after it was reaped"
    );
    println!(
        "\nzombies: {}. No memory left, not killable, gone once reaped",
        exited.len()
    );
    Ok(())
}

/// State and resident memory (bytes) of each process, read from the kernel; None: no such process.
fn look(
    when: &str,
    pids: &[Pid],
) -> anyhow::Result<Vec<Option<(ProcessStatus, u64)>>> {
    let mut system = System::new()?;
    let pids: Vec<_> = pids
        .iter()
        .map(|pid| sysinfo::Pid::from(pid.as_raw() as usize))
        .collect();
    let kind = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&pids),
        true,
        kind,
    );
    let look_at = |&pid| {
        let process = system
            .process(pid)
            .map(|process| (process.status(), process.memory()));
        let text = process.map(|(state, rss)| {
            format!("{:<9}{:>8} KiB", state.to_string(), rss / 1024)
        });
        println!(
            "{when:<13}{pid:>8}  {}",
            text.as_deref().unwrap_or("no such process")
        );
        process
    };
    Ok(pids.iter().map(look_at).collect())
}
