//! What the kernel and the children counted, and whether that is fair.
//!
//! Sources: sched(7), getrusage(2), clock_getcpuclockid(3); Jain, Chiu, Hawe:
//! A Quantitative Measure of Fairness, DEC-TR-301 (1984).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

/// The picture shows the first 100 ms: 50 cells of 2 ms each.
const CELLS: usize = 50;
const CELL_MS: u64 = 2;

/// What is known of a child
pub struct Row {
    pub child: Pid,
    /// In seconds, from the kernel
    pub cpu_time: f64,
    /// How often it lost the CPU, from the kernel
    pub lost: i64,
    /// When it had the CPU, by its own notes
    pub picture: String,
}

/// A child calls this at `start`. It computes for the 100 ms of the picture,
/// and notes for how long it had the CPU in each cell.
pub fn draw_turns(start: Instant) -> String {
    let mut had_cpu = [Duration::ZERO; CELLS];
    let mut last = Instant::now();
    loop {
        let now = Instant::now(); // this is all that the child computes
        let cell = (now - start).as_millis() as usize / CELL_MS as usize;
        if cell >= CELLS {
            break;
        }
        // It reads the clock far more often than every 0.1 ms. If two readings
        // are farther apart, it had lost the CPU in between.
        if now - last < Duration::from_micros(100) {
            had_cpu[cell] += now - last;
        }
        last = now;
    }
    draw(&had_cpu)
}

fn draw(had_cpu: &[Duration]) -> String {
    let mut picture = String::new();
    for time in had_cpu {
        let share = time.as_secs_f64() * 1000.0 / CELL_MS as f64;
        picture.push(if share > 0.5 {
            '█'
        } else if share > 0.1 {
            '░'
        } else {
            ' '
        });
    }
    picture
}

pub fn print_and_judge(
    cpu: usize,
    rows: &[Row],
    passed: Duration,
) -> Result<()> {
    let passed = passed.as_secs_f64();
    let children = rows.len();
    let sum: f64 = rows.iter().map(|row| row.cpu_time).sum();
    let squares: f64 = rows.iter().map(|row| row.cpu_time.powi(2)).sum();
    println!(
        "{children} children compute on CPU {cpu}. \
         █: had it for most of {CELL_MS} ms, ░: for less"
    );
    let title = format!(" the first {} ms ", CELLS as u64 * CELL_MS);
    println!("    PID      CPU   share lost ├{title:─^48}┤");
    for row in rows {
        println!(
            "{:>7}{:>6.0} ms{:>6.1} %{:>5} {}",
            row.child,
            row.cpu_time * 1000.0,
            100.0 * row.cpu_time / sum,
            row.lost,
            row.picture
        );
    }

    let fewest = rows.iter().map(|row| row.lost).min().context("no child")?;
    // Jain's index: 1 if all are equal, 1/n if one has all.
    let one_has_all = 1.0 / children as f64;
    let index = one_has_all * sum * sum / squares;
    ensure!(
        sum <= passed,
        "{sum:.2} s of CPU time in {passed:.2} s: more than one CPU has"
    );
    ensure!(
        index >= 0.99,
        "Jain's index is {index:.4}: that is not fair"
    );
    ensure!(fewest >= 2, "a child lost the CPU only {fewest} times");
    println!();
    println!("one CPU for all: {sum:.2} s of CPU time in {passed:.2} s");
    println!("each child lost the CPU, at least {fewest} times");
    println!(
        "Jain's index of the CPU times: {index:.4} \
         ({one_has_all:.2}: one has all, 1: equal)"
    );
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_filled_by_more_than_half_of_its_time() {
        let times = [0, 200, 201, 1000, 1001, 2000].map(Duration::from_micros);
        assert_eq!(draw(&times), "  ░░██");
    }
}
