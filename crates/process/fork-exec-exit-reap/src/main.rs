//! The life of a process: fork, exec, exit, reap.
//!
//! fork makes a child: a copy of its parent, with a number of its own, its PID.
//! exec replaces the program that a process runs by another program.
//! exit ends the process, and leaves an exit code from 0 to 255.
//! The parent reaps the child: the kernel tells it that code, and forgets the
//! child. From its exit until then, the child is a zombie.
//!
//! Predict:  the child calls exec. Does its PID change? Does its name?
//! Try:      cargo run -p fork-exec-exit-reap -- --exit-code 42
//! See also: zombie-creation, what is left of a child that is not reaped;
//!           exit-status, what else the parent learns.

mod evidence;

use std::ffi::CString;
use std::process::exit;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use evidence::{judge, need_proc, read_status};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, execvp, fork, getpid, getppid};

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_proc(); // or exits with 77

    let parent = getpid();
    let old_name = read_status(parent, "Name")?; // 15 bytes of it at most
    println!("        parent         child");
    println!("start   {parent:<23}runs {old_name:?}");

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: this process has one thread. fork copies only the thread that
    // calls it: a lock held by another would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    let child = match result {
        // This function never returns, so the match gives the child's PID.
        ForkResult::Child => become_another_program(args.exit_code),
        ForkResult::Parent { child } => child,
    };

    wait_without_reaping(child)?;
    // The child is a zombie now. Its PID is the one that fork gave, and the
    // kernel still tells the name of the program that it ran last.
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

    ensure!(state == "Z (zombie)", "{child} was no zombie: {state}");
    // ESRCH: there is no such process.
    ensure!(error == Errno::ESRCH, "reaped, but PID {child} exists");
    judge(status, args.exit_code, &old_name, &new_name)
}

/// What the child does, and prints. The last lines run only if exec fails.
fn become_another_program(code: u8) -> ! {
    let parent = getppid();
    let child = getpid();
    let name = read_status(child, "Name").unwrap_or_default();
    println!("fork    {parent:<7}──────▶ {child:<8}runs {name:?}");
    println!("exec                   {child:<8}execvp \"sh\"");

    // exec takes strings as C has them: c"sh" ends with a byte 0.
    let script = CString::new(format!("exit {code}")).expect("no byte 0");
    // By custom, the first argument is the program's own name.
    // exec returns only if it fails. So its result is never Ok, and this `let`
    // needs no `else`.
    let Err(error) = execvp(c"sh", &[c"sh", c"-c", &script]);
    eprintln!("child {child}: execvp \"sh\": {error}");
    exit(127) // as a shell does if there is no such command
}

/// Returns when the child has exited (WEXITED), and does not reap it (WNOWAIT).
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

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Exit code of the child, 0 to 255
    #[arg(long, default_value_t = 7)]
    exit_code: u8,
}
