//! The life of a process: fork makes it, exec gives it a program, exit ends it, its parent reaps it.
//!
//! The child keeps its PID through exec: same process, other program. After exit it is a zombie: an
//! entry in the process table that holds its name and exit status until the parent asks for it.
//! Sources: fork(2), execve(2), _exit(2), waitid(2); proc(5) for names and states.
//!
//! Predict:  the child calls exec. Does its PID change? Does its name?
//! Try:      cargo run -p fork-exec-exit-reap -- --exit-code 42
//! Try:      cargo run -p fork-exec-exit-reap -- --program no-such
//! See also: zombie-creation, where nobody reaps.

use std::ffi::CString;
use std::{fs, process};

use anyhow::{anyhow, ensure};
use clap::Parser;
use nix::errno::Errno;
use nix::sys::signal::kill;
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

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: it reads the child's name and state from Linux's /proc"
        );
        process::exit(77);
    }
    let (parent, old_name) = (getpid(), read_proc(getpid(), "Name"));
    println!("        parent         child");
    println!("        {parent:<23}runs {old_name:?}");

    // SAFETY: this process has one thread, so the child may do all that a program may.
    let child = match unsafe { fork() }
        .map_err(|errno| anyhow!("fork refused: {errno}"))?
    {
        ForkResult::Child => become_program(&args),
        ForkResult::Parent { child } => child,
    };
    #[cfg(target_os = "linux")]
    {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?; // do not reap yet
    }
    let (new_name, state) =
        (read_proc(child, "Name"), read_proc(child, "State"));
    println!(
        "exit                   {child:<8}ran {new_name:?}, state {state}"
    );

    let status = waitpid(child, None)?;
    println!("reap    {parent:<7}◀────── {child:<8}waitpid: {status:?}");
    let gone = kill(child, None); // signal 0 asks whether the PID exists
    println!("        {parent:<7}──────▶ {child:<8}kill, signal 0: {gone:?}");

    ensure!(
        new_name != old_name,
        "exec failed: {child} still ran {old_name:?}, {status:?}"
    );
    ensure!(
        status == WaitStatus::Exited(child, args.exit_code.into()),
        "unexpected: {status:?}"
    );
    ensure!(
        gone == Err(Errno::ESRCH),
        "PID {child} exists after it was reaped"
    );
    println!(
        "\nPID {child} was {old_name:?}, then {new_name:?}, exited with {}, is gone",
        args.exit_code
    );
    Ok(())
}

/// The child says who it is and becomes another program. Only where exec fails does this go on.
fn become_program(args: &Args) -> ! {
    alarm::set(10); // exec keeps it: whatever happens, nothing is left after 10 s
    let (parent, child) = (getppid(), getpid());
    println!(
        "fork    {parent:<7}──────▶ {child:<8}runs {:?}",
        read_proc(child, "Name")
    );
    println!("exec                   {child:<8}execvp {:?}", args.program);

    let script =
        CString::new(format!("exit {}", args.exit_code)).expect("no NUL in it");
    let Err(errno) = execvp(&args.program, &[&args.program, c"-c", &script]);
    eprintln!("child {child}: execvp {:?}: {errno}", args.program);
    process::exit(127) // what a shell exits with when there is no such command
}

/// One field of /proc/PID/status. The name is the program's, cut to 15 bytes.
fn read_proc(pid: Pid, field: &str) -> String {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    line.unwrap_or("unknown").to_string()
}
