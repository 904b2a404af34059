//! What the kernel says of the children, and what ties them to one CPU and to
//! their parent.
//!
//! Sources: proc_pid_status(5) for the states; the kernel's
//! Documentation/scheduler/sched-stats.rst for /proc/PID/schedstat.

use std::fs;
use std::process::exit;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::unistd::{Pid, getppid};

/// The state of a process, such as "S (sleeping)", or "gone".
fn state_of(process: Pid) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    for line in status.unwrap_or_default().lines() {
        if let Some(state) = line.strip_prefix("State:\t") {
            return state.to_string();
        }
    }
    "gone".to_string()
}

/// Waits until a child is in this state, for 5 s at most. Prints the state.
pub fn look(label: &str, child: Pid, expected: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut state = state_of(child);
    while state != expected && Instant::now() < deadline {
        yield_now(); // to the children, which share this CPU
        state = state_of(child);
    }
    println!("{label:<20}{child:>8}  {state}");
    ensure!(state == expected, "{child} is {state}, not {expected}");
    Ok(())
}

/// Prints for how long these children were executing and ready. Each must have
/// been both. Together they must have had the CPU no longer than `wall_time`.
pub fn judge(children: [Pid; 2], wall_time: Duration) -> Result<()> {
    println!();
    let mut sum = 0;
    for child in children {
        let (executing, ready) = times_of(child)?;
        println!("{child}: {executing} ms executing, {ready} ms ready");
        ensure!(executing > 0, "{child} was never executing");
        ensure!(ready > 0, "{child} was never ready");
        sum += executing;
    }
    let wall = wall_time.as_millis();
    println!("together {sum} ms executing, in {wall} ms on one CPU");
    ensure!(sum <= wall, "{sum} ms executing in {wall} ms, on one CPU");
    Ok(())
}

/// Milliseconds on a CPU, and in a queue for one.
fn times_of(child: Pid) -> Result<(u128, u128)> {
    let text = fs::read_to_string(format!("/proc/{child}/schedstat"))?;
    let numbers: Vec<&str> = text.split_whitespace().collect();
    let executing: u128 = numbers[0].parse()?; // in nanoseconds
    let ready: u128 = numbers[1].parse()?;
    Ok((executing / 1_000_000, ready / 1_000_000))
}

pub fn need_schedstat() {
    if !fs::exists("/proc/self/schedstat").unwrap_or(false) {
        eprintln!("cannot run here: no /proc/PID/schedstat, as on Linux");
        exit(77);
    }
}

/// From now on, this process runs on no other CPU than this one.
#[cfg(target_os = "linux")]
pub fn pin_to_this_cpu() -> Result<()> {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let this_process = Pid::from_raw(0);
    let mut cpus = CpuSet::new(); // empty
    cpus.set(sched_getcpu()?)?;
    sched_setaffinity(this_process, &cpus)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn pin_to_this_cpu() -> Result<()> {
    unreachable!("no schedstat")
}

/// From now on, this child ends when its parent does.
pub fn end_with(parent: Pid) {
    // The kernel sends SIGKILL to this child when its parent ends. An alarm
    // would not do: a stopped process does not hear SIGALRM.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .expect("a valid signal");
    if getppid() != parent {
        exit(1); // the parent had ended before
    }
}
