//! Zombie: a process that has exited, and that its parent has not reaped.
//!
//! To reap a child is to ask the kernel how it ended: the kernel tells that
//! once, and forgets the child. Until then it keeps an entry for the child in
//! its list of processes, with the exit code. The child's memory is given back
//! already when the child exits.
//! This demo makes zombies, sends them SIGKILL, which is kill -9, and reaps.
//!
//! Predict:  kill -9 is sent to a zombie. What happens to it?
//! Try:      cargo run -p zombie-creation -- --count 2
//! See also: fork-exec-exit-reap, the whole life cycle; orphan-process,
//!           where the parent is the one that ends.

use std::fs;
use std::io::{IsTerminal, PipeReader, PipeWriter, Read, pipe, stdin};
use std::process::{Command, exit};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

const EXIT_CODE: i32 = 7; // a number that the parent will recognise

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_proc(); // or exits with 77

    // SIGCHLD tells a parent that a child has ended. If a process has told the
    // kernel to ignore that signal, Linux reaps its children itself, and there
    // are no zombies. A program that this process starts inherits it, and so
    // may this one have. So tell the kernel to do what it does by default.
    // SAFETY: no function is installed, which could run at a bad moment.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // The children wait until the parent closes the write end of this pipe.
    let (reader, writer) = pipe()?;
    let mut children: Vec<Pid> = Vec::new();
    for _ in 0..args.count {
        // fork returns twice: in the parent, and in the new child, which has
        // a copy of all variables, and of both ends of the pipe.
        // SAFETY: this process has one thread. A lock that another one held
        // would stay locked in the child, as fork does not copy that thread.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            // This function never returns, so the loop ends here for a child,
            // and both ends can move into the function.
            ForkResult::Child => wait_and_exit(reader, writer),
            ForkResult::Parent { child } => children.push(child),
        }
    }
    println!("                  PID  state         memory");
    let before_exit = look("alive", &children);

    drop(writer); // no write end is open any more: now the children exit
    wait_without_reaping(&children)?;
    let after_exit = look("exited", &children);

    for child in &children {
        kill(*child, Signal::SIGKILL)?; // no error: the zombie has an entry
    }
    let after_kill = look("SIGKILL sent", &children);
    pause_at_a_terminal(&children)?;

    let mut codes_kept = 0;
    for child in &children {
        let status = waitpid(*child, None)?; // reaps it
        if status == WaitStatus::Exited(*child, EXIT_CODE) {
            codes_kept += 1;
        }
    }
    let after_reaping = look("reaped", &children);

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
    // Waits for a byte. No process writes one, so it waits until no process
    // has the write end open any more.
    let read = reader.read(&mut [0]);
    if read.is_err() {
        exit(1);
    }
    exit(EXIT_CODE)
}

/// Returns when each child has exited (WEXITED), and reaps none (WNOWAIT).
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

/// Shows what ps says. At a terminal, waits until somebody presses Enter.
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

fn need_proc() {
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        eprintln!(
            "cannot run here: it looks at processes in /proc, as on Linux"
        );
        exit(77);
    }
}

/// How many children were alive, zombies, or gone, when they were looked at.
#[derive(Default)]
struct Seen {
    alive: usize,
    zombies: usize,
    gone: usize,
}

/// Prints what the kernel says of each child, and counts. Source: wait(2),
/// "Notes", for what stays of a zombie.
fn look(when: &str, children: &[Pid]) -> Seen {
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

/// A field of /proc/PID/status. Source: proc_pid_status(5).
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

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Children that become zombies
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u8).range(1..=100))]
    count: u8,
}
