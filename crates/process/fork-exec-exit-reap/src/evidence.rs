//! What the kernel says of a process, and whether the child did as it should.

use std::fs;
use std::process::exit;

use anyhow::{Result, bail, ensure};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

/// A field of /proc/PID/status. Source: proc_pid_status(5).
pub fn read_status(process: Pid, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let start = format!("{field}:\t");
    for line in status.lines() {
        if let Some(value) = line.strip_prefix(&start) {
            return Ok(value.to_string());
        }
    }
    bail!("no {field} in /proc/{process}/status")
}

/// Prints what exec and exit have done; an error if it is not as it should be.
pub fn judge(
    status: WaitStatus,
    expected: u8,
    old_name: &str,
    new_name: &str,
) -> Result<()> {
    let WaitStatus::Exited(child, code) = status else {
        bail!("the child did not exit: waitpid said {status:?}");
    };
    ensure!(new_name != old_name, "exec failed: still {old_name}");
    ensure!(
        code == i32::from(expected),
        "exit code {expected} was expected, and waitpid said {status:?}"
    );
    println!("\nPID {child} ran {old_name:?}, and after exec {new_name:?}");
    println!("its parent got exit code {code}, then PID {child} was gone");
    Ok(())
}

pub fn need_proc() {
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        eprintln!("cannot run here: it reads names from /proc, as on Linux");
        exit(77);
    }
}
