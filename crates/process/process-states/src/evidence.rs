//! What the kernel says of the children, and whether it is what is expected.
//!
//! Sources: ps(1), "PROCESS STATE CODES"; proc_pid_wchan(5); the kernel's
//! Documentation/scheduler/sched-stats.rst for /proc/PID/schedstat; sched(7)
//! for SCHED_OTHER.

use std::fs;
use std::process;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// The state of a process as Linux has it, with the letter that ps shows.
/// There is one for ready and executing, and one for blocked and delayed.
#[derive(Clone, Copy, PartialEq)]
pub enum State {
    Runnable,
    Sleeping,
    Stopped,
    Zombie,
    Gone,
    Other,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Runnable => "R runnable",
            State::Sleeping => "S sleeping",
            State::Stopped => "T stopped",
            State::Zombie => "Z zombie",
            State::Gone => "gone",
            State::Other => "another",
        }
    }
}

fn state_of(child: Pid) -> Result<State> {
    let pid = sysinfo::Pid::from_u32(child.as_raw().cast_unsigned());
    let mut system = System::new()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing(),
    );
    let Some(process) = system.process(pid) else {
        return Ok(State::Gone);
    };
    Ok(match process.status() {
        ProcessStatus::Run => State::Runnable,
        ProcessStatus::Sleep => State::Sleeping,
        ProcessStatus::Stop => State::Stopped,
        ProcessStatus::Zombie => State::Zombie,
        _ => State::Other,
    })
}

/// The function of the kernel in which a process waits, or "-" if it does not
/// wait, or if the kernel does not tell.
fn waits_in(process: Pid) -> String {
    // A process that goes to sleep is in its state a moment before it waits.
    for _ in 0..20 {
        let name = fs::read_to_string(format!("/proc/{process}/wchan"));
        let name = name.unwrap_or_default();
        if !name.is_empty() && name != "0" {
            return name;
        }
        yield_now(); // to the process, which shares this core
    }
    "-".to_string()
}

/// What was seen of a child.
pub struct Look {
    child: Pid,
    expected: State,
    state: State,
}

pub fn print_heading(first_column: &str) {
    if first_column == "event" {
        println!();
    }
    println!("{first_column:<20}     PID  state       waits in");
}

/// Waits for the state that is expected, for 4 s at most. Prints and returns
/// the state that the child has then.
pub fn look(label: &str, child: Pid, expected: State) -> Result<Look> {
    let deadline = Instant::now() + Duration::from_secs(4);
    let mut state = state_of(child)?;
    while state != expected && Instant::now() < deadline {
        yield_now(); // to the children, which share this core
        state = state_of(child)?;
    }
    let mut place = "-".to_string();
    if state == State::Sleeping || state == State::Stopped {
        place = waits_in(child);
    }
    println!("{label:<20}{child:>8}  {:<12}{place}", state.text());
    Ok(Look {
        child,
        expected,
        state,
    })
}

/// How long a child has been executing, and ready, in seconds.
struct Times {
    child: Pid,
    executing: f64,
    ready: f64,
}

/// How two children shared a core.
pub struct Turns {
    first: Times,
    second: Times,
    /// From before their start until after their last turn, in seconds
    wall: f64,
}

/// The first two numbers of schedstat, in nanoseconds: time on a core, and
/// time in a queue for one. Whole milliseconds of them, as they are shown: so
/// a sum is that of the numbers shown.
fn times_of(child: Pid) -> Result<Times> {
    let text = fs::read_to_string(format!("/proc/{child}/schedstat"))?;
    let mut seconds = Vec::new();
    for number in text.split_whitespace() {
        let nanoseconds: f64 = number.parse()?;
        seconds.push((nanoseconds / 1e6).floor() / 1e3);
    }
    let [executing, ready, _turns] = seconds[..] else {
        bail!("/proc/{child}/schedstat has another format: {text}");
    };
    Ok(Times {
        child,
        executing,
        ready,
    })
}

pub fn turns_of(first: Pid, second: Pid, begin: Instant) -> Result<Turns> {
    Ok(Turns {
        first: times_of(first)?,
        second: times_of(second)?,
        wall: begin.elapsed().as_secs_f64(),
    })
}

/// A bar for each child: 20 cells are the whole time.
pub fn draw(core: usize, turns: &Turns) {
    println!(
        "\ncore {core}, {:.3} s     █ executing   ░ ready",
        turns.wall
    );
    for times in [&turns.first, &turns.second] {
        let executing = "█".repeat(cells(times.executing, turns.wall));
        let ready = "░".repeat(cells(times.ready, turns.wall));
        let bar = executing + &ready;
        println!(
            "child {:>8}     {bar:<20}  {:.3} s executing, {:.3} s ready",
            times.child, times.executing, times.ready
        );
    }
}

fn cells(time: f64, wall: f64) -> usize {
    (20.0 * time / wall).round() as usize
}

pub fn judge(before: &[Look], after: &[Look], turns: &Turns) -> Result<()> {
    let mut runnable = 0;
    for look in before {
        let child = look.child;
        let state = look.state.text();
        ensure!(look.state == look.expected, "child {child} was {state}");
        if look.state == State::Runnable {
            runnable += 1;
        }
    }
    let events = after.len();
    let mut new_states = 0;
    for (earlier, later) in before.iter().zip(after) {
        let new = later.state != earlier.state;
        if new && later.state == later.expected {
            new_states += 1;
        }
    }
    ensure!(
        new_states == events,
        "{events} events, but {new_states} new states as expected"
    );

    let first = &turns.first;
    let second = &turns.second;
    let sum = first.executing + second.executing;
    let numbers = format!(
        "{:.3} + {:.3} = {sum:.3} s executing, in {:.3} s",
        first.executing, second.executing, turns.wall
    );
    for times in [first, second] {
        let both = times.executing > 0.0 && times.ready > 0.0;
        ensure!(both, "child {} had no turns: {numbers}", times.child);
    }
    ensure!(sum <= turns.wall, "not one at a time: {numbers}");
    println!("\n{runnable} children in state R: {numbers},");
    println!(
        "no more than one core can give: each was executing and ready in turns"
    );
    println!("{events} events, {new_states} new states");
    Ok(())
}

/// Lets this process, and so its children, run on no other core than where it
/// is now, and in turns: real-time processes would not give the core away.
#[cfg(target_os = "linux")]
pub fn share_one_core() -> Result<usize> {
    use nix::errno::Errno;
    use nix::libc::{
        SCHED_OTHER, SYS_sched_setscheduler, sched_param, syscall,
    };
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};

    if fs::read("/proc/self/schedstat").is_err() {
        eprintln!("cannot run here: no /proc/self/schedstat; mount /proc");
        std::process::exit(77)
    }
    // SAFETY: all zeros is a priority, and the one that SCHED_OTHER wants.
    let zero: sched_param = unsafe { std::mem::zeroed() };
    let priority = &raw const zero;
    let call = SYS_sched_setscheduler; // musl's own function does nothing
    // SAFETY: the kernel reads this priority, no more.
    let set = unsafe { syscall(call, 0, SCHED_OTHER, priority) };
    if set == -1 && Errno::last() == Errno::EPERM {
        eprintln!(
            "cannot run here: it may not leave its scheduling class; \
             start it without chrt"
        );
        process::exit(77)
    }

    let core = sched_getcpu()?;
    let mut only_this = CpuSet::new();
    only_this.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &only_this)
        .context("cannot pin to a core")?;
    Ok(core)
}

#[cfg(not(target_os = "linux"))]
pub fn share_one_core() -> Result<usize> {
    eprintln!("cannot run here: it pins processes to a core, as on Linux only");
    std::process::exit(77)
}
