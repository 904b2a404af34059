//! Zombie: a process that has exited, and that its parent has not reaped.
//!
//! To reap a child is to ask the kernel how it ended. Until then the kernel
//! keeps an entry for it in its list of processes, with the exit status. The
//! memory of the process is freed already when it exits.
//! This demo makes zombies, sends them SIGKILL, which is kill -9, and reaps.
//!
//! Predict:  kill -9 is sent to a zombie. What happens to it?
//! Try:      cargo run -p zombie-creation -- --count 2
//! See also: fork-exec-exit-reap, the whole life cycle; orphan-process,
//!           where the parent is the one that ends.

use std::fs;
use std::io::{IsTerminal, PipeReader, PipeWriter, Read, pipe, stdin};
use std::process::{Command, exit};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

const EXIT_CODE: i32 = 7; // a number that the parent will recognise

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_proc(); // or exits with 77

    // SIGCHLD tells a parent that a child has ended. If a process ignores it,
    // the kernel reaps its children, and there are no zombies. A process may
    // inherit that, so set the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // The children wait until the parent closes the write end of this pipe.
    let (reader, writer) = pipe()?;
    let mut children: Vec<Pid> = Vec::new();
    for _ in 0..args.count {
        // fork returns twice: in the parent, and in the new child, which has
        // a copy of all variables, and of both ends of the pipe.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => wait_and_exit(reader, writer), // never returns
            ForkResult::Parent { child } => children.push(child),
        }
    }
    println!("                  PID  state         memory");
    let before_exit = look("alive", &children)?;

    drop(writer); // no write end is open any more: now the children exit
    wait_without_reaping(&children)?;
    let after_exit = look("exited", &children)?;

    for child in &children {
        kill(*child, Signal::SIGKILL)?; // no error: the zombie has an entry
    }
    let after_kill = look("SIGKILL sent", &children)?;
    pause_at_a_terminal(&children)?;

    let mut codes_kept = 0;
    for child in &children {
        let status = waitpid(*child, None)?; // reaps it
        if status == WaitStatus::Exited(*child, EXIT_CODE) {
            codes_kept += 1;
        }
    }
    let after_reaping = look("reaped", &children)?;

    let count = children.len();
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

/// What each child does.
fn wait_and_exit(mut reader: PipeReader, writer: PipeWriter) -> ! {
    drop(writer); // this copy; the parent still has its own
    let read = reader.read(&mut [0]); // waits until no write end is open
    if read.is_err() {
        exit(1);
    }
    exit(EXIT_CODE)
}

/// Returns when each child has exited. WNOWAIT leaves it to be reaped later.
#[cfg(not(target_os = "macos"))]
fn wait_without_reaping(children: &[Pid]) -> Result<()> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    for child in children {
        waitid(Id::Pid(*child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    }
    Ok(())
}

#[cfg(target_os = "macos")]
fn wait_without_reaping(_: &[Pid]) -> Result<()> {
    unreachable!("there is no /proc on macOS")
}

/// Lets the class look: by ps, and at a terminal until somebody presses Enter.
fn pause_at_a_terminal(children: &[Pid]) -> Result<()> {
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
        _ => println!("(here is no ps that can do this)"),
    }
    if stdin().is_terminal() {
        println!("\nStill zombies: look from another terminal.");
        println!("To reap them, press Enter.");
        stdin().read_line(&mut String::new())?;
    }
    println!();
    Ok(())
}

fn need_proc() {
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        eprintln!(
            "cannot run here: it looks at processes in /proc, as on Linux"
        );
        exit(77);
    }
}

/// How many of the children were what, at one look.
#[derive(Default)]
struct Seen {
    alive: usize,
    zombies: usize,
    gone: usize,
}

/// Prints what the kernel says of each child, and counts. Sources:
/// proc_pid_status(5); wait(2), "Notes", for what stays of a zombie.
fn look(when: &str, children: &[Pid]) -> Result<Seen> {
    let mut seen = Seen::default();
    for child in children {
        let Ok(status) = fs::read_to_string(format!("/proc/{child}/status"))
        else {
            println!("{when:<13}{child:>8}  no such process");
            seen.gone += 1;
            continue;
        };
        let state = field(&status, "State").context("no state")?;
        let memory = field(&status, "VmRSS"); // resident set size
        if state == "Z (zombie)" && memory.is_none() {
            seen.zombies += 1;
        } else if memory.is_some() {
            seen.alive += 1;
        }
        let memory = memory.unwrap_or("none");
        println!("{when:<13}{child:>8}  {state:<14}{memory}");
    }
    Ok(seen)
}

/// A field of the text in /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}:");
    for line in status.lines() {
        if let Some(value) = line.strip_prefix(&start) {
            return Some(value.trim());
        }
    }
    None
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Children that become zombies
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=100))]
    count: u8,
}
