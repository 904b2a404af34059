//! Process states: ready, executing, blocked, delayed, suspended; each event changes one of them.
//!
//! Linux has one letter for ready and executing, R: the runnable ones get the core in turns. It has
//! one for blocked and delayed, S: "waits in", a function of the kernel, tells what they sleep for.
//! Sources: ps(1), "PROCESS STATE CODES"; proc_pid_wchan(5); the kernel's
//! Documentation/scheduler/sched-stats.rst for /proc/PID/schedstat.
//!
//! Predict:  two processes compute without end, on one core. In which state is each of them?
//! Try:      cargo run -p process-states -- --delay 5
//! Try:      cargo run -p process-states -- --delay 5 & sleep 2; ps -o pid,stat,wchan:20 --ppid $!
//! See also: zombie-creation; fair-scheduling for the turns.

use std::io::{Read, Write, pipe};
use std::process::exit;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};
use std::{fs, hint};

use anyhow::{Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};
use nix::sys::signal::{kill, raise};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};
use sysinfo::{ProcessStatus, ProcessesToUpdate, System};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Seconds for which the delayed child sleeps
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=5))]
    delay: u64,
}

/// Killed and reaped when dropped, so on every path out.
struct Child(Pid);

impl Drop for Child {
    fn drop(&mut self) {
        _ = kill(self.0, SIGKILL).and(waitpid(self.0, None).map(drop));
    }
}

fn main() -> Result<()> {
    let delay = Duration::from_secs(Args::parse().delay);
    let core = pin_to_this_core()?; // the children inherit it
    let (mut empty, mut writer) = pipe()?;
    let begin = Instant::now();
    let (one, two) = (start(|| {})?, start(|| {})?); // nothing first: they compute at once
    let blocked = start(|| _ = empty.read(&mut [0]))?;
    let suspended = start(|| _ = raise(SIGSTOP))?;
    let zombie = start(|| exit(0))?;

    sleep(Duration::from_millis(250)); // the first two compete, so that there is a bar to see
    println!(
        "child                 PID  state       █ executing ░ ready   waits in"
    );
    show("ready or executing", one.0, 'R', begin)?;
    show("ready or executing", two.0, 'R', begin)?;
    show("blocked in read", blocked.0, 'S', begin)?;
    let delayed = start(|| sleep(delay))?; // only now, as its time is running
    show("delayed in sleep", delayed.0, 'S', begin)?;
    show("suspended", suspended.0, 'T', begin)?;
    show("zombie", zombie.0, 'Z', begin)?;

    sleep(delay);
    println!(
        "\nevent                 PID  state       █ executing ░ ready   waits in"
    );
    kill(one.0, SIGSTOP)?;
    let [ran, ready] = show("SIGSTOP", one.0, 'T', begin)?;
    kill(two.0, SIGKILL)?;
    let [ran_too, ready_too] = show("SIGKILL", two.0, 'Z', begin)?;
    let wall = begin.elapsed().as_secs_f64();
    writer.write_all(b"x")?;
    show("write to the pipe", blocked.0, 'R', begin)?;
    show("the time is over", delayed.0, 'R', begin)?;
    kill(suspended.0, SIGCONT)?;
    show("SIGCONT", suspended.0, 'R', begin)?;
    let reaped = zombie.0;
    drop(zombie); // waitpid
    show("waitpid", reaped, '-', begin)?;

    let turns = format!(
        "core {core}: {ran:.3} + {ran_too:.3} s executed in {wall:.3} s"
    );
    let in_turns =
        ran + ran_too <= 1.01 * wall && ready > 0.0 && ready_too > 0.0;
    ensure!(in_turns, "{turns}: not one at a time");
    println!("\n{turns}: in turns; 6 events, 6 new states");
    Ok(())
}

/// Forks a child that does `first`, and computes from then on.
fn start(first: impl FnOnce()) -> Result<Child> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Parent { child } => Ok(Child(child)),
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            #[cfg(target_os = "linux")]
            // nor is a stopped child, which does not hear the alarm
            nix::sys::prctl::set_pdeathsig(SIGKILL)?;
            first();
            loop {
                hint::black_box(()); // computes
            }
        }
    }
}

/// Waits until the child is in the expected state, and prints it, with what it did since `begin`.
/// Returns the seconds that it was executing, and ready.
fn show(
    label: &str,
    child: Pid,
    expected: char,
    begin: Instant,
) -> Result<[f64; 2]> {
    let pid = sysinfo::Pid::from(child.as_raw() as usize);
    let (mut system, deadline) =
        (System::new()?, Instant::now() + Duration::from_secs(6));
    let state = loop {
        system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
        let state = match system.process(pid).map(|process| process.status()) {
            Some(ProcessStatus::Run) => "R runnable",
            Some(ProcessStatus::Sleep) => "S sleeping",
            Some(ProcessStatus::Stop) => "T stopped",
            Some(ProcessStatus::Zombie) => "Z zombie",
            Some(_) => "? another",
            None => "- gone",
        };
        if state.starts_with(expected) {
            break state;
        }
        ensure!(
            Instant::now() < deadline,
            "{label}: the state is {state}, not {expected}"
        );
        yield_now(); // to the children, which share this core
    };
    let read = |file| {
        fs::read_to_string(format!("/proc/{child}/{file}")).unwrap_or_default()
    };
    let (schedstat, wchan) = (read("schedstat"), read("wchan"));
    let number = |field| schedstat.split(' ').nth(field)?.parse::<f64>().ok();
    let times = [0, 1].map(|field| number(field).unwrap_or(0.0) / 1e9);
    let cells = times.map(|time| {
        (20.0 * time / begin.elapsed().as_secs_f64()).round() as usize
    });
    let waits_in = if wchan.len() > 1 { &wchan } else { "-" };
    let bar = "█".repeat(cells[0]) + &"░".repeat(cells[1]);
    println!("{label:<18}{child:>7}  {state:<12}{bar:<22}{waits_in}");
    Ok(times)
}

/// Lets this process run on no other core than the one it is on now.
#[cfg(target_os = "linux")]
fn pin_to_this_core() -> Result<usize> {
    use anyhow::Context;
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let (core, mut only) = (sched_getcpu()?, CpuSet::new());
    only.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &only)
        .context("cannot pin to a core")?;
    Ok(core)
}

#[cfg(not(target_os = "linux"))]
fn pin_to_this_core() -> Result<usize> {
    eprintln!(
        "cannot run here: it pins processes to a core, and reads their times, on Linux only"
    );
    exit(77)
}
