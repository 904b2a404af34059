//! What the child says, and whether its parents were the right ones.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;

use anyhow::{Result, bail, ensure};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid};

/// Each line from the child is a PID.
pub fn read_pid(socket: &mut BufReader<UnixStream>) -> Result<Pid> {
    let mut line = String::new();
    socket.read_line(&mut line)?;
    let Ok(number) = line.trim().parse() else {
        bail!("the child did not say its PID, or its parent's");
    };
    Ok(Pid::from_raw(number))
}

/// Prints who the child's parents were: `before`, and then `after`. An error if
/// these are not the right ones. The grandparent calls this.
pub fn judge(
    parent: Pid,
    child: Pid,
    before: Pid,
    after: Pid,
    reaped: nix::Result<WaitStatus>,
    adopt: bool,
) -> Result<()> {
    let grandparent = getpid();
    let name = name_of(after);
    println!("\nthe parent of {child} was {before}, which was killed");
    println!("now it is {after} ({name}); the grandparent is {grandparent}");
    println!("the grandparent's waitpid({child}) said {reaped:?}");

    let adopted = after == grandparent;
    let init = Pid::from_raw(1); // in a container, this program may be init
    let should_adopt = adopt || grandparent == init;
    ensure!(before == parent, "the parent was {before} at first");
    ensure!(after != parent, "the parent is still {parent}, killed");
    ensure!(adopted == should_adopt, "a wrong new parent: {after}");
    ensure!(reaped.is_ok() == adopted, "waitpid said {reaped:?}");
    Ok(())
}

/// The name that ps shows, or "?" where /proc does not say it.
fn name_of(process: Pid) -> String {
    let file = format!("/proc/{process}/comm");
    let name = fs::read_to_string(file).unwrap_or("?".to_string());
    name.trim().to_string()
}

/// In place of nix's function, which Linux has, and other systems have not.
#[cfg(not(target_os = "linux"))]
pub fn set_child_subreaper(adopt: bool) -> Result<()> {
    if adopt {
        eprintln!("cannot run here: --adopt needs prctl, as on Linux");
        std::process::exit(77);
    }
    Ok(())
}
