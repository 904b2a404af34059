//! When the children had the core, their CPU time, and whether they are what
//! the weights predict.
//!
//! Sources: sched(7), nice(2); sched_prio_to_weight in the kernel's
//! kernel/sched/core.c; its Documentation/scheduler/sched-stats.rst for
//! /proc/PID/schedstat.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::unistd::Pid;

use crate::{Child, WEIGHTS};

/// Notes for each child. A turn ends with a gap, so 10 s have no more turns.
const NOTES: usize = 100_000;

/// What is drawn: this many cells, of this many milliseconds each.
const CELLS: usize = 60;
const CELL_MS: f64 = 5.0;

/// CPU time of both together, in seconds, from which on shares are compared
const ENOUGH: f64 = 0.9;

/// Had it, lost it, had it again: so many turns each child must have.
const TURNS: usize = 2;

/// How far a measured share may be from the predicted, in percentage points
const NEAR: f64 = 3.0;

/// The percentage of its turns from which on a child counts as having had the
/// core at the same time as another one. Two that hand it to and fro faster
/// than `GAP`, as on a busy machine, do not notice that, and so both seem to
/// have it meanwhile. On a core of its own a child had it so for most of them.
const AT_ONCE: f64 = 5.0;

/// A turn as the child notes it. Atomic, since the parent may read meanwhile.
pub struct Note {
    /// Nanoseconds on the shared clock, as the end, too; 0: not noted yet
    start: AtomicU64,
    end: AtomicU64,
}

impl Note {
    /// The turn starts, and so far it ends at the same time.
    pub fn set_start(&self, time: Duration) {
        self.start.store(time.as_nanos() as u64, Ordering::SeqCst);
        self.set_end(time);
    }

    pub fn set_end(&self, time: Duration) {
        self.end.store(time.as_nanos() as u64, Ordering::SeqCst);
    }
}

/// A turn as the parent reads it, in milliseconds on the shared clock
struct Turn {
    start: f64,
    end: f64,
}

/// What is known of a child
pub struct Row {
    pid: Pid,
    /// From the kernel
    nice: i32,
    /// What the table has for this nice value
    weight: f64,
    /// CPU time in seconds, from the kernel
    cpu: f64,
    /// Shares of the core in percent: by weight, and of the CPU time
    predicted: f64,
    measured: f64,
    /// From the child's own notes
    turns: Vec<Turn>,
}

/// Notes that this process will share with a child forked later.
pub fn shared_notes() -> Result<&'static [Note]> {
    let bytes = NOTES * size_of::<Note>();
    let length = NonZeroUsize::new(bytes).context("no notes")?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: this is new memory: nothing else is at its address.
    let memory =
        unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) };
    let first = memory.context("no shared memory")?.cast::<Note>();
    // SAFETY: so many notes fit in; it is all zeros, and is never unmapped.
    let notes = unsafe { std::slice::from_raw_parts(first.as_ptr(), NOTES) };
    Ok(notes)
}

/// This process shall be scheduled as usual, no matter who started it.
pub fn prepare(nicer: i32) -> Result<()> {
    if !fs::exists("/proc/self/schedstat")? {
        eprintln!(
            "cannot run here: no /proc/PID/schedstat; mount Linux's /proc"
        );
        std::process::exit(77);
    }
    use_ordinary_scheduling();
    if nice_of(Pid::this()) == 19 && nicer > 0 {
        eprintln!(
            "cannot run here: nothing is nicer than its own nice value of 19; \
             start it without nice"
        );
        std::process::exit(77);
    }
    Ok(())
}

/// Leaves a scheduling class that whoever started this has chosen, such as
/// SCHED_IDLE or SCHED_FIFO: sched_setscheduler(2).
#[cfg(target_os = "linux")]
fn use_ordinary_scheduling() {
    use nix::errno::Errno;
    use nix::libc::{
        SCHED_OTHER, SYS_sched_setscheduler, sched_param, syscall,
    };
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
        std::process::exit(77);
    }
}

#[cfg(not(target_os = "linux"))]
fn use_ordinary_scheduling() {}

fn nice_of(process: Pid) -> i32 {
    let pid = process.as_raw() as _; // its type differs by system
    // SAFETY: getpriority(2) takes and returns numbers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, pid) }
}

/// What the kernel and the children say of the time up to now.
/// This process shares their core: while it looks, neither of them runs.
pub fn look(children: &[Child]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for child in children {
        let pid = child.pid;
        let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))
            .context("no /proc/PID/schedstat")?;
        let nanoseconds = schedstat.split(' ').next().context("empty")?;
        let nice = nice_of(pid);
        rows.push(Row {
            pid,
            nice,
            weight: f64::from(WEIGHTS[(nice + 20) as usize]),
            cpu: nanoseconds.parse::<f64>()? / 1e9,
            predicted: 0.0, // see below
            measured: 0.0,
            turns: read_notes(child.notes),
        });
    }
    let weights: f64 = rows.iter().map(|row| row.weight).sum();
    let cpu = cpu_time(&rows);
    for row in &mut rows {
        row.predicted = 100.0 * row.weight / weights;
        row.measured = 100.0 * row.cpu / cpu;
    }
    Ok(rows)
}

/// CPU time of all children together, in seconds
fn cpu_time(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.cpu).sum()
}

fn read_notes(notes: &[Note]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for note in notes {
        let end = note.end.load(Ordering::SeqCst);
        if end == 0 {
            break; // no more turns
        }
        let start = note.start.load(Ordering::SeqCst); // noted before the end
        turns.push(Turn {
            start: start as f64 / 1e6,
            end: end as f64 / 1e6,
        });
    }
    turns
}

/// The fewest turns that a child had
fn fewest_turns(rows: &[Row]) -> usize {
    let turns = rows.iter().map(|row| row.turns.len());
    turns.min().unwrap_or(0)
}

/// During which part of its turns, in percent, a child seemed to have the core
/// at the same time as another one: the largest part, of any two children
fn overlap(rows: &[Row]) -> f64 {
    let mut largest = 0.0_f64;
    for (i, row) in rows.iter().enumerate() {
        for (j, other) in rows.iter().enumerate() {
            if i != j {
                let total = length_of(&row.turns);
                let both = common(&row.turns, &other.turns);
                largest = largest.max(100.0 * both / total);
            }
        }
    }
    largest
}

fn length_of(turns: &[Turn]) -> f64 {
    turns.iter().map(|turn| turn.end - turn.start).sum()
}

/// The time in which both had a turn. Each list is in order.
fn common(some: &[Turn], others: &[Turn]) -> f64 {
    let mut both = 0.0;
    let mut i = 0;
    let mut j = 0;
    while i < some.len() && j < others.len() {
        let start = some[i].start.max(others[j].start);
        let end = some[i].end.min(others[j].end);
        both += (end - start).max(0.0);
        if some[i].end < others[j].end {
            i += 1;
        } else {
            j += 1;
        }
    }
    both
}

/// How far measured and predicted share are apart where they are farthest
/// apart, in percentage points
fn deviation(rows: &[Row]) -> f64 {
    let mut farthest = 0.0_f64;
    for row in rows {
        farthest = farthest.max((row.measured - row.predicted).abs());
    }
    farthest
}

/// Whether the children have competed for long enough
pub fn had_enough_time(rows: &[Row]) -> bool {
    cpu_time(rows) >= ENOUGH && fewest_turns(rows) >= TURNS
}

/// The share of the time from `start` to `end` in which a child had the core
fn share_of_cell(turns: &[Turn], start: f64, end: f64) -> f64 {
    let mut had = 0.0;
    for turn in turns {
        let inside = turn.end.min(end) - turn.start.max(start);
        had += inside.max(0.0);
    }
    had / (end - start)
}

fn symbol(share: f64) -> char {
    if share > 0.5 {
        '█'
    } else if share > 0.1 {
        '░'
    } else {
        ' '
    }
}

/// Draws who had the core, from `start` on. What is left is for the others:
/// other processes, the kernel, a hypervisor.
pub fn draw(core: usize, start: Duration, rows: &[Row]) {
    println!("two children compute on core {core}");
    println!();
    println!("    PID  nice  weight  CPU time  predicted  measured  turns");
    for row in rows {
        println!(
            "{:>7}{:>6}{:>8}{:>8.3} s{:>9.1} %{:>8.1} %{:>7}",
            row.pid,
            row.nice,
            row.weight,
            row.cpu,
            row.predicted,
            row.measured,
            row.turns.len()
        );
    }
    println!();
    let title = format!(" the first {} ms ", CELLS as f64 * CELL_MS);
    println!("█: had the core for most of {CELL_MS} ms, ░: for less");
    println!("    PID  nice  ├{title:─^58}┤");
    let mut others = [1.0; CELLS];
    for row in rows {
        let mut picture = String::new();
        for (cell, left) in others.iter_mut().enumerate() {
            let from = start.as_secs_f64() * 1e3 + cell as f64 * CELL_MS;
            let share = share_of_cell(&row.turns, from, from + CELL_MS);
            picture.push(symbol(share));
            *left -= share;
        }
        println!("{:>7}{:>6}  {}", row.pid, row.nice, picture.trim_end());
    }
    let picture: String = others.iter().map(|share| symbol(*share)).collect();
    println!(" others{:>8}{}", "", picture.trim_end());
}

pub fn judge(rows: &[Row], nicer: i32) -> Result<()> {
    let first = rows.first().context("no child")?;
    let second = rows.last().context("no child")?;
    ensure!(
        nicer == 0 || second.nice > first.nice,
        "both have nice value {}: nothing is nicer",
        first.nice
    );
    let fewest = fewest_turns(rows);
    let overlap = overlap(rows);
    let apart = deviation(rows);
    ensure!(
        overlap < AT_ONCE,
        "both children had the core at once, for {overlap:.1} % of the time"
    );
    ensure!(fewest >= TURNS, "a child had only {fewest} turns");
    ensure!(
        apart <= NEAR,
        "measured and predicted share are {apart:.1} percentage points apart"
    );
    println!();
    println!(
        "fewest turns of a child: {fewest}, \
         at once with another's: {overlap:.1} % of its time"
    );
    println!(
        "measured and predicted share are {apart:.1} percentage points apart"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(turns: &[(f64, f64)]) -> Row {
        let turns = turns.iter().map(|&(start, end)| Turn { start, end });
        Row {
            pid: Pid::this(),
            nice: 0,
            weight: 0.0,
            cpu: 0.0,
            predicted: 50.0,
            measured: 50.0,
            turns: turns.collect(),
        }
    }

    #[test]
    fn the_child_that_deviates_most_decides() {
        let mut rows = [row(&[]), row(&[]), row(&[])];
        rows[0].measured = 45.0;
        rows[1].measured = 52.0;
        assert_eq!(deviation(&rows), 5.0);
        rows[2].measured = 57.0;
        assert_eq!(deviation(&rows), 7.0);
    }

    #[test]
    fn turns_one_after_another_do_not_overlap() {
        let first = row(&[(0.0, 4.0), (8.0, 12.0)]);
        let second = row(&[(4.0, 7.9), (12.0, 16.0)]);
        assert_eq!(overlap(&[first, second]), 0.0);
    }

    #[test]
    fn a_turn_inside_of_another_overlaps() {
        let first = row(&[(0.0, 10.0), (20.0, 30.0)]);
        let second = row(&[(2.0, 5.0), (29.0, 40.0)]);
        assert_eq!(overlap(&[first, second]), 100.0 * 4.0 / 14.0);
    }

    #[test]
    fn a_turn_overlaps_with_any_that_began_before() {
        let first = row(&[(4.0, 12.0)]);
        let second = row(&[(0.0, 10.0)]);
        let third = row(&[(1.0, 2.0)]);
        assert_eq!(overlap(&[first, second, third]), 100.0);
    }

    /// Two children that took turns of 4 ms. The second is too early by this
    /// many milliseconds.
    fn taking_turns(number: usize, overlap: f64) -> [Row; 2] {
        let mut first = Vec::new();
        let mut second = Vec::new();
        for i in 0..number {
            let start = i as f64 * 10.0;
            first.push((start, start + 4.0));
            second.push((start + 4.0 - overlap, start + 8.0));
        }
        let mut rows = [row(&first), row(&second)];
        rows[0].cpu = 0.45;
        rows[1].cpu = 0.46;
        rows
    }

    #[test]
    fn turns_must_not_overlap_by_more_than_is_noticed() {
        assert!(judge(&taking_turns(2, 0.0), 0).is_ok());
        assert!(judge(&taking_turns(2, 0.19), 0).is_ok());
        assert!(judge(&taking_turns(2, 0.21), 0).is_err());
    }

    #[test]
    fn one_turn_is_too_few() {
        assert!(had_enough_time(&taking_turns(2, 0.0)));
        assert!(!had_enough_time(&taking_turns(1, 0.0)));
        assert!(judge(&taking_turns(1, 0.0), 0).is_err());
    }

    #[test]
    fn a_short_time_is_not_enough() {
        let mut rows = taking_turns(2, 0.0);
        rows[0].cpu = 0.4;
        assert!(!had_enough_time(&rows));
    }

    #[test]
    fn a_share_far_from_the_predicted_is_not_taken_for_it() {
        let mut rows = taking_turns(2, 0.0);
        rows[0].measured = 47.0;
        assert!(judge(&rows, 0).is_ok());
        rows[0].measured = 46.9;
        assert!(judge(&rows, 0).is_err());
    }

    #[test]
    fn a_cell_is_filled_by_what_lies_inside_of_it() {
        let turns = row(&[(0.0, 11.0), (11.5, 12.0), (13.0, 99.0)]).turns;
        assert_eq!(share_of_cell(&turns, 10.0, 14.0), 2.5 / 4.0);
        assert_eq!(share_of_cell(&turns, 20.0, 24.0), 1.0);
        assert_eq!(share_of_cell(&turns, 99.0, 100.0), 0.0);
        let symbols = [0.0, 0.1, 0.11, 0.5, 0.51, 1.0].map(symbol);
        assert_eq!(symbols, [' ', ' ', '░', '░', '█', '█']);
    }
}
