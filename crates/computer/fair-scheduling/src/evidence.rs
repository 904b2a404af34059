//! When the children had the core, what the kernel counted, and whether that
//! is fair.
//!
//! Sources: sched(7); proc_pid_status(5), voluntary_ctxt_switches; the
//! kernel's Documentation/scheduler/sched-stats.rst for /proc/PID/schedstat;
//! Jain, Chiu, Hawe: A Quantitative Measure of Fairness, DEC-TR-301 (1984).

use std::fs;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::unistd::Pid;

use crate::Child;

/// Notes for each child. A turn ends with a gap, so 10 s have no more turns.
const NOTES: usize = 100_000;

/// What is drawn: this many cells, of this many milliseconds each.
const CELLS: usize = 50;
const CELL_MS: f64 = 2.0;

/// Jain's index from which on shares count as equal
const FAIR: f64 = 0.99;

/// Turns from which on a child counts as having taken turns
const MANY: usize = 5;

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
    /// CPU time in milliseconds, from the kernel
    cpu: f64,
    /// How often it lost the core: forced switches, from the kernel
    lost: u64,
    /// How often it gave up the core: voluntary switches, from the kernel
    gave_up: u64,
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
pub fn prepare() -> Result<()> {
    if !fs::exists("/proc/self/schedstat")? {
        eprintln!(
            "cannot run here: no /proc/PID/schedstat; mount Linux's /proc"
        );
        std::process::exit(77);
    }
    use_ordinary_scheduling();
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

/// What the kernel and the children say of the time up to now.
/// This process shares their core: while it looks, none of them runs.
pub fn look(children: &[Child]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for child in children {
        let pid = child.pid;
        let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))
            .context("no /proc/PID/schedstat")?;
        let nanoseconds = schedstat.split(' ').next().context("empty")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .context("no /proc/PID/status")?;
        rows.push(Row {
            pid,
            cpu: nanoseconds.parse::<f64>()? / 1e6,
            lost: count(&status, "nonvoluntary_ctxt_switches:")?,
            gave_up: count(&status, "voluntary_ctxt_switches:")?,
            turns: read_notes(child.notes),
        });
    }
    Ok(rows)
}

/// The number after this field's name, in the text of /proc/PID/status
fn count(status: &str, field: &str) -> Result<u64> {
    for line in status.lines() {
        if let Some(number) = line.strip_prefix(field) {
            return Ok(number.trim().parse()?);
        }
    }
    anyhow::bail!("no {field} in /proc/PID/status")
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

/// Jain's index of the CPU times: 1 if all are equal, 1/n if one has all.
fn jains_index(rows: &[Row]) -> f64 {
    let mut sum = 0.0;
    let mut squares = 0.0;
    for row in rows {
        sum += row.cpu;
        squares += row.cpu * row.cpu;
    }
    sum * sum / (rows.len() as f64 * squares)
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

pub fn is_fair(rows: &[Row]) -> bool {
    jains_index(rows) >= FAIR && fewest_turns(rows) >= MANY
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
    let children = rows.len();
    let title = format!(" the first {} ms ", CELLS as f64 * CELL_MS);
    println!(
        "{children} children compute on core {core}. \
         █: had it for most of {CELL_MS} ms, ░: for less"
    );
    println!("    PID     CPU   share  lost ├{title:─^48}┤");
    let total: f64 = rows.iter().map(|row| row.cpu).sum();
    let mut others = [1.0; CELLS];
    for row in rows {
        let mut picture = String::new();
        for (cell, left) in others.iter_mut().enumerate() {
            let from = start.as_secs_f64() * 1e3 + cell as f64 * CELL_MS;
            let share = share_of_cell(&row.turns, from, from + CELL_MS);
            picture.push(symbol(share));
            *left -= share;
        }
        let Row { pid, cpu, lost, .. } = row;
        let share = 100.0 * cpu / total;
        println!(
            "{pid:>7}{cpu:>5.0} ms{share:>6.1} %{lost:>6} {}",
            picture.trim_end()
        );
    }
    let picture: String = others.iter().map(|share| symbol(*share)).collect();
    println!(" others{:>23}{}", "", picture.trim_end());
}

pub fn judge(rows: &[Row], time: Duration) -> Result<()> {
    let seconds = time.as_secs_f64();
    let lost: u64 = rows.iter().map(|row| row.lost).sum();
    let gave_up: u64 = rows.iter().map(|row| row.gave_up).sum();
    let fewest = fewest_turns(rows);
    let overlap = overlap(rows);
    let index = jains_index(rows);
    ensure!(
        overlap < AT_ONCE,
        "two children had the core at once, for {overlap:.1} % of the time"
    );
    ensure!(fewest >= MANY, "a child had only {fewest} turns");
    ensure!(
        index >= FAIR,
        "after {seconds:.1} s Jain's index is {index:.4}, which is not fair"
    );
    let one_has_all = 1.0 / rows.len() as f64;
    println!();
    println!(
        "switches in {seconds:.1} s: {lost} forced (core lost), \
         {gave_up} voluntary (core given up)"
    );
    println!(
        "fewest turns of a child: {fewest}, \
         at once with another's: {overlap:.1} % of its time"
    );
    println!(
        "Jain's index of the CPU times: {index:.4} \
         ({one_has_all:.2}: one has all, 1: equal)"
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
            cpu: 0.0,
            lost: 0,
            gave_up: 0,
            turns: turns.collect(),
        }
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
        rows[0].cpu = 100.0;
        rows[1].cpu = 100.0;
        rows
    }

    #[test]
    fn turns_must_not_overlap_by_more_than_is_noticed() {
        let second = Duration::from_secs(1);
        assert!(judge(&taking_turns(5, 0.0), second).is_ok());
        assert!(judge(&taking_turns(5, 0.19), second).is_ok());
        assert!(judge(&taking_turns(5, 0.21), second).is_err());
    }

    #[test]
    fn few_turns_are_too_few() {
        let second = Duration::from_secs(1);
        assert!(is_fair(&taking_turns(5, 0.0)));
        assert!(!is_fair(&taking_turns(4, 0.0)));
        assert!(judge(&taking_turns(4, 0.0), second).is_err());
    }

    #[test]
    fn one_child_that_has_much_more_is_not_fair() {
        let second = Duration::from_secs(1);
        let mut rows = taking_turns(5, 0.0);
        rows[0].cpu = 130.0;
        assert!(!is_fair(&rows));
        assert!(judge(&rows, second).is_err());
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
