//! What the kernel and ps say of the children, and whether they were zombies.
//!
//! Sources: proc_pid_status(5); wait(2), "Notes", for what stays of a zombie.

use std::fs;
use std::io::{IsTerminal, stdin};
use std::process::{Command, exit};

use anyhow::{Result, bail, ensure};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::EXIT_CODE;

/// How many children were alive, zombies, or gone, when they were looked at.
#[derive(Default)]
pub struct Seen {
    alive: usize,
    zombies: usize,
    gone: usize,
}

/// Prints what the kernel says of each child, and counts.
pub fn look(when: &str, children: &[Pid]) -> Seen {
    let mut seen = Seen::default();
    for child in children {
        let Ok(state) = read_status(*child, "State") else {
            println!("{when:<13}{child:>8}  no such process");
            seen.gone += 1;
            continue;
        };
        // VmRSS is how much of its memory is in use. A zombie has no such line.
        if let Ok(memory) = read_status(*child, "VmRSS") {
            println!("{when:<13}{child:>8}  {state:<14}{memory}");
            seen.alive += 1;
        } else {
            println!("{when:<13}{child:>8}  {state:<14}none");
            if state == "Z (zombie)" {
                seen.zombies += 1;
            }
        }
    }
    seen
}

/// A field of /proc/PID/status.
fn read_status(process: Pid, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let start = format!("{field}:\t");
    for line in status.lines() {
        if let Some(value) = line.strip_prefix(&start) {
            return Ok(value.trim().to_string());
        }
    }
    bail!("no {field} in /proc/{process}/status")
}

/// Shows what ps says. At a terminal, waits until somebody presses Enter.
pub fn pause_at_a_terminal(children: &[Pid]) -> Result<()> {
    let pids: Vec<String> = children.iter().map(Pid::to_string).collect();
    let list = pids.join(",");
    println!("\n$ ps -o pid,ppid,stat,args -p {list}");
    let ps = Command::new("ps")
        .args(["-o", "pid,ppid,stat,args", "-p", &list])
        .output();
    match ps {
        Ok(ps) if ps.status.success() => {
            print!("{}", String::from_utf8_lossy(&ps.stdout));
        }
        _ => println!("(this machine has no ps that knows these options)"),
    }
    if stdin().is_terminal() {
        println!("\nStill zombies: look from another terminal.");
        println!("To reap them, press Enter.");
        stdin().read_line(&mut String::new())?;
    }
    println!();
    Ok(())
}

/// Prints how many were zombies, if it is as it should be; else an error.
pub fn judge(
    before_exit: &Seen,
    after_exit: &Seen,
    after_kill: &Seen,
    after_reaping: &Seen,
    statuses: &[WaitStatus],
) -> Result<()> {
    let count = statuses.len();
    let mut codes_kept = 0;
    for status in statuses {
        if let WaitStatus::Exited(_, EXIT_CODE) = status {
            codes_kept += 1;
        }
    }
    ensure!(before_exit.alive == count, "a child was not alive at first");
    ensure!(
        after_exit.zombies == count && after_kill.zombies == count,
        "of {count} children, {} were zombies after exit, {} after SIGKILL",
        after_exit.zombies,
        after_kill.zombies
    );
    ensure!(codes_kept == count, "exit code kept for {codes_kept} only");
    ensure!(
        after_reaping.gone == count,
        "a child was reaped, and is there"
    );
    println!(
        "\nzombies after exit: {}, without memory",
        after_exit.zombies
    );
    println!("zombies after SIGKILL: {}", after_kill.zombies);
    println!("exit code {EXIT_CODE} kept for: {codes_kept}");
    println!("zombies after reaping: {}", after_reaping.zombies);
    Ok(())
}

pub fn need_proc() {
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        eprintln!(
            "cannot run here: it looks at processes in /proc, as on Linux"
        );
        exit(77);
    }
}
