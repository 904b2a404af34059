//! Who is the child's parent, among the grandparent's own ancestors?
//!
//! Sources: wait(2), "Notes"; PR_SET_CHILD_SUBREAPER(2const);
//! find_new_reaper in the kernel's kernel/exit.c.

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid};
use sysinfo::{ProcessRefreshKind, RefreshKind, System, get_current_pid};

/// What the grandparent has learned.
pub struct Family {
    /// The parent that the grandparent forked and killed
    pub parent: Pid,
    pub child: Pid,
    /// What getppid told the child while the parent lived
    pub before: Pid,
    /// What getppid told the child when the parent was gone
    pub after: Pid,
    /// What waitpid for the child told the grandparent
    pub reaped: nix::Result<WaitStatus>,
}

#[cfg(not(target_os = "linux"))]
pub fn no_subreapers_here(adopt: bool) {
    if adopt {
        eprintln!("cannot run here: --adopt needs Linux's subreapers");
        std::process::exit(77);
    }
}

/// A process in the table.
struct Row {
    pid: Pid,
    name: String,
}

/// This process and its ancestors, the oldest first.
fn this_and_its_ancestors() -> Result<Vec<Row>> {
    let system = System::new_with_specifics(
        RefreshKind::nothing().with_processes(ProcessRefreshKind::nothing()),
    )?;
    let mut rows = Vec::new();
    let mut next = Some(get_current_pid()?);
    while let Some(pid) = next {
        let Some(process) = system.process(pid) else {
            break; // not visible, as in a container or with hidepid
        };
        rows.push(Row {
            pid: Pid::from_raw(pid.as_u32().cast_signed()),
            name: process.name().to_string_lossy().to_string(),
        });
        next = process.parent();
    }
    rows.reverse();
    Ok(rows)
}

/// Prints the ancestors of the child, and marks its parents.
pub fn show_ancestors(family: &Family) -> Result<()> {
    let Family {
        parent,
        child,
        after,
        ..
    } = family;
    let rows = this_and_its_ancestors()?;
    let adopter_is_a_row = rows.iter().any(|row| row.pid == *after);
    println!("    PID  process          role         parent of the child");
    if !adopter_is_a_row {
        println!("{after:>7}  (elsewhere)                   ◀── after");
    }
    for Row { pid, name } in rows {
        let role = if pid == getpid() { "grandparent" } else { "" };
        let mark = if pid == *after { "◀── after" } else { "" };
        let line = format!("{pid:>7}  {name:<15}  {role:<11}  {mark}");
        println!("{}", line.trim_end());
    }
    println!("{parent:>7}  (killed)         parent       ◀── before");
    println!("{child:>7}  (ended)          child\n");
    Ok(())
}

pub fn judge(family: &Family, adopt: bool) -> Result<()> {
    let Family {
        parent,
        child,
        before,
        after,
        reaped,
    } = family;
    let grandparent = getpid();
    let init = Pid::from_raw(1);
    ensure!(before == parent, "the child's parent was {before} at first");
    ensure!(after != parent, "the child's parent is still {parent}");
    if adopt || grandparent == init {
        ensure!(*after == grandparent, "{after} adopted the child");
    } else {
        ensure!(*after != grandparent, "the grandparent adopted the child");
    }
    let expected = if *after == grandparent {
        Ok(WaitStatus::Exited(*child, 0))
    } else {
        Err(Errno::ECHILD)
    };
    ensure!(*reaped == expected, "waitpid({child}) gave {reaped:?}");

    let kind = if *after == init {
        "init"
    } else {
        "a subreaper"
    };
    let not = if *after == grandparent { "" } else { "not " };
    println!("parent of {child} before: {before}, killed");
    println!("parent of {child} after:  {after}, {kind}, {not}the grandparent");
    println!("waitpid({child}) by the grandparent, {grandparent}: {reaped:?}");
    Ok(())
}
