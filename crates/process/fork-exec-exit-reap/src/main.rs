//! The life of a process: fork, exec, exit, reap.
//!
//! fork makes a child: a copy of its parent, with a number of its own, its PID.
//! exec replaces the program that a process runs by another program.
//! exit ends the process, and leaves an exit code from 0 to 255.
//! The parent reaps the child: it asks the kernel for that code. Until then
//! the child is a zombie. The kernel keeps its PID, its name and the code.
//!
//! Predict:  the child calls exec. Does its PID change? Does its name?
//! Try:      cargo run -p fork-exec-exit-reap -- --exit-code 42
//! Try:      cargo run -p fork-exec-exit-reap -- --program no-such  # exits 1
//! See also: zombie-creation, where the parent waits before it reaps;
//!           exit-status, what else the parent learns.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::process::exit;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, execvp, fork, getpid, getppid};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Exit code of the child, 0 to 255
    #[arg(long, default_value_t = 7)]
    exit_code: u8,
    /// Program that the child executes, as PROGRAM -c 'exit CODE'
    #[arg(long, default_value = "sh")]
    program: CString,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    if !Path::new("/proc/self/status").exists() {
        eprintln!("cannot run here: it reads names from /proc, as on Linux");
        exit(77);
    }

    // SIGCHLD tells a parent that a child has ended. A process may inherit that
    // it is ignored, and then the kernel reaps at once: set the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let parent = getpid();
    let old_name = read_status(parent, "Name")?; // cut to 15 bytes
    println!("        parent         child   (a name has 15 bytes at most)");
    println!("start   {parent:<23}runs {old_name:?}");

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        ForkResult::Child => become_another_program(&args), // never returns
        ForkResult::Parent { child } => child,
    };

    wait_without_reaping(child)?; // waitid, with WNOWAIT
    // The process with the PID that fork gave: which program did it run?
    let new_name = read_status(child, "Name")?;
    let state = read_status(child, "State")?;
    println!("exit                   {child:<8}ran {new_name:?}, is {state}");

    let status = waitpid(child, None)?; // reaps it
    println!("reap    {parent:<7}◀────── {child:<8}waitpid: {status:?}");

    // With None for the signal, kill only asks whether the PID exists.
    let Err(error) = kill(child, None) else {
        bail!("PID {child} was reaped, and still exists");
    };
    println!("check   {parent:<7}──────▶ {child:<8}kill: {error}");

    // The child must have another name, be a zombie until it is reaped, and
    // have ended with the right code. Then no process must have its PID.
    ensure!(new_name != old_name, "exec failed: still {old_name}");
    ensure!(state == "Z (zombie)", "{child} was no zombie: {state}");
    let code = i32::from(args.exit_code);
    ensure!(
        status == WaitStatus::Exited(child, code),
        "exit code {code} was expected, and waitpid said {status:?}"
    );
    // ESRCH: there is no such process.
    ensure!(error == Errno::ESRCH, "reaped, but PID {child} exists");
    println!("\nPID {child} ran {old_name:?}, and after exec {new_name:?}");
    println!("its parent got exit code {code}, then PID {child} was gone");
    Ok(())
}

/// What the child does. Only where exec fails does it come to its last lines.
fn become_another_program(args: &Args) -> ! {
    // Only for a lecture: whatever happens, this process is gone in 10 s, also
    // after exec. In a real program, remove it.
    alarm::set(10);

    let parent = getppid();
    let child = getpid();
    let name = read_status(child, "Name").unwrap_or_default();
    println!("fork    {parent:<7}──────▶ {child:<8}runs {name:?}");
    println!("exec                   {child:<8}execvp {:?}", args.program);

    // By custom, the first argument is the program's own name.
    let script = format!("exit {}", args.exit_code);
    let script = CString::new(script).expect("no NUL byte in it");
    // exec returns only if it fails: its result is never Ok.
    let Err(error) = execvp(&args.program, &[&args.program, c"-c", &script]);
    eprintln!("child {child}: execvp {:?}: {error}", args.program);
    exit(127) // as a shell does if there is no such command
}

/// Returns when the child has exited. WNOWAIT leaves it to be reaped later.
#[cfg(not(target_os = "macos"))]
fn wait_without_reaping(child: Pid) -> Result<()> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    Ok(())
}

#[cfg(target_os = "macos")]
fn wait_without_reaping(_: Pid) -> Result<()> {
    unreachable!("there is no /proc on macOS")
}

/// A field of /proc/PID/status. Sources: proc_pid_status(5), and proc(5).
fn read_status(process: Pid, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let start = format!("{field}:\t");
    for line in status.lines() {
        if let Some(value) = line.strip_prefix(&start) {
            return Ok(value.to_string());
        }
    }
    bail!("no {field} in /proc/{process}/status")
}
