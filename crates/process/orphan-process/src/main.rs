//! Orphan: a process whose parent has died. It lives on, and somebody else has to reap it.
//!
//! The kernel gives it a new parent: the nearest ancestor that has declared itself a subreaper (as
//! systemd --user does), or else init. The grandparent gets nothing unless it is one of the two.
//! Sources: wait(2), "Notes"; PR_SET_CHILD_SUBREAPER(2const); find_new_reaper in kernel/exit.c.
//!
//! Predict:  a parent dies. Who is its child's parent then: the grandparent?
//! Try:      cargo run -p orphan-process -- --adopt
//! See also: zombie-creation, where the parent lives on, and does not reap.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::iter::successors;
use std::process::exit;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork, getpid, getppid};
use sysinfo::{ProcessRefreshKind, RefreshKind, System, get_current_pid};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Become a subreaper, which adopts the orphan and reaps it
    #[arg(long)]
    adopt: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.adopt && !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: --adopt needs Linux's PR_SET_CHILD_SUBREAPER"
        );
        exit(77);
    }
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(args.adopt)?;

    let (mut answers, answer) = pipe()?;
    let (wait_here, gate) = pipe()?;
    let ForkResult::Parent { child: parent } = fork_one()? else {
        drop((answers, gate));
        return be_parent(wait_here, answer);
    };
    drop((wait_here, answer));
    let mut hear = || {
        let mut pid = [0; 4];
        answers
            .read_exact(&mut pid)
            .context("no answer from the child: was fork refused?")?;
        anyhow::Ok(Pid::from_raw(i32::from_ne_bytes(pid)))
    };
    let (child, before) = (hear(), hear());
    kill(parent, SIGKILL)?;
    waitpid(parent, None)?; // the parent is gone: by now its child has another one
    let (this, child, before) = (getpid(), child?, before?);
    drop(gate); // the child looks again
    let after = hear();
    let reaped = waitpid(child, None); // for the child's parent only
    _ = answers.read(&mut [0]); // end of file: the child has ended, whoever reaps it
    let after = after?;

    let refresh =
        RefreshKind::nothing().with_processes(ProcessRefreshKind::nothing());
    let system = System::new_with_specifics(refresh)?;
    let first = system.process(get_current_pid()?);
    let line: Vec<_> =
        successors(first, |process| system.process(process.parent()?))
            .collect();
    println!("    PID  name                parent of the child");
    let adopter = sysinfo::Pid::from_u32(after.as_raw() as u32);
    if line.iter().all(|process| process.pid() != adopter) {
        println!("{after:>7}  (another line)      ◀── after"); // under `docker exec`, or hidepid
    }
    for process in line.iter().rev() {
        let (pid, name) =
            (process.pid().as_u32(), process.name().to_string_lossy());
        let mark = if pid == after.as_raw() as u32 {
            "◀── after"
        } else {
            ""
        };
        println!("{pid:>7}  {name:<20}{mark}");
    }
    println!(
        "{parent:>7}  parent, killed      ◀── before\n{child:>7}  child\n"
    );

    ensure!(
        before == parent && after != parent,
        "child's parent: {before}, then {after}"
    );
    ensure!(
        after == this || !args.adopt,
        "{after} adopted the child, not {this}"
    );
    ensure!(
        reaped.is_ok() == (after == this),
        "{after} adopted it, but waitpid says {reaped:?}"
    );
    println!("waitpid({child}) by {this}: {reaped:?}");
    let kind = if after.as_raw() == 1 {
        "init"
    } else {
        "a subreaper"
    };
    println!(
        "child {child} lost parent {parent} and was adopted by {after}, {kind}"
    );
    Ok(())
}

/// Forks the child and waits for it, as a parent should, but is killed meanwhile.
fn be_parent(mut wait_here: PipeReader, mut answer: PipeWriter) -> Result<()> {
    alarm::set(10); // whatever happens to the others, nothing is left after 10 s
    if let ForkResult::Parent { child } = fork_one()? {
        return Ok(waitpid(child, None).map(drop)?);
    }
    alarm::set(10); // the child inherits none
    let mut tell = |pid: Pid| _ = answer.write_all(&pid.as_raw().to_ne_bytes());
    tell(getpid());
    tell(getppid());
    _ = wait_here.read(&mut [0]); // until the grandparent drops its end
    tell(getppid()); // the same question, another answer
    Ok(())
}

fn fork_one() -> Result<ForkResult> {
    // SAFETY: this process has one thread, so its child may do all that a program may.
    unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))
}
