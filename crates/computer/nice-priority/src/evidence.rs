//! What the kernel counted, and whether that is what the weights predict.
//!
//! Sources: sched(7), nice(2), clock_getcpuclockid(3); sched_prio_to_weight in
//! the kernel's kernel/sched/core.c.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::unistd::Pid;

use crate::weight;

/// What is known of a child
pub struct Row {
    pub child: Pid,
    /// In seconds, from the kernel
    pub cpu_time: f64,
    /// From the kernel
    pub nice: i32,
}

pub fn print_and_judge(
    cpu: usize,
    rows: &[Row],
    passed: Duration,
) -> Result<()> {
    let passed = passed.as_secs_f64();
    let weights: f64 = rows.iter().map(|row| weight(row.nice)).sum();
    let sum: f64 = rows.iter().map(|row| row.cpu_time).sum();
    // Shares in percent
    let predicted = |row: &Row| 100.0 * weight(row.nice) / weights;
    let measured = |row: &Row| 100.0 * row.cpu_time / sum;

    println!("two children compute on CPU {cpu}");
    println!();
    println!("    PID  nice  weight  CPU time  predicted  measured");
    for row in rows {
        println!(
            "{:>7}{:>6}{:>8.0}{:>8.3} s{:>9.1} %{:>8.1} %  {}",
            row.child,
            row.nice,
            weight(row.nice),
            row.cpu_time,
            predicted(row),
            measured(row),
            "█".repeat((measured(row) / 4.0).ceil() as usize)
        );
    }

    let nicer = rows.last().context("no child")?;
    let expected = predicted(nicer);
    let got = measured(nicer);
    let apart = (got - expected).abs();
    ensure!(
        sum <= passed,
        "{sum:.2} s of CPU time in {passed:.2} s: more than one CPU has"
    );
    ensure!(
        got >= 0.1 && apart <= 3.0,
        "nice {} got {got:.1} %, and {expected:.1} % was predicted",
        nicer.nice
    );
    println!();
    println!("one CPU for both: {sum:.2} s of CPU time in {passed:.2} s");
    println!(
        "nice {} got {got:.1} %, predicted {expected:.1} %: \
         {apart:.1} points apart",
        nicer.nice
    );
    Ok(())
}

pub fn nice_of(process: Pid) -> i32 {
    let pid = process.as_raw() as _; // its type differs by system
    // SAFETY: getpriority takes and returns numbers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, pid) }
}

/// The CPU time of a process in seconds, up to now: the kernel has a clock for
/// each process.
#[cfg(target_os = "linux")]
pub fn cpu_time(process: Pid) -> Result<f64> {
    let clock = nix::time::ClockId::pid_cpu_clock_id(process)?;
    Ok(Duration::from(clock.now()?).as_secs_f64())
}

/// From now on, this process runs on no other CPU than this one.
#[cfg(target_os = "linux")]
pub fn pin_to_this_cpu() -> Result<usize> {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let this_process = Pid::from_raw(0);
    let cpu = sched_getcpu()?;
    let mut cpus = CpuSet::new(); // empty
    cpus.set(cpu)?;
    sched_setaffinity(this_process, &cpus).context("cannot pin to a CPU")?;
    Ok(cpu)
}

#[cfg(not(target_os = "linux"))]
pub fn pin_to_this_cpu() -> Result<usize> {
    eprintln!("cannot run here: it is about the scheduler of Linux");
    std::process::exit(77)
}

#[cfg(not(target_os = "linux"))]
pub fn cpu_time(_: Pid) -> Result<f64> {
    unreachable!("pin_to_this_cpu has ended the demo")
}
