//! Where each byte is, how its writer ended, and whether that is as it should
//! be.
//!
//! Sources: proc_pid_maps(5) for mappings and their permissions; elf(5) on
//! .text, .rodata, .data and .bss; size(1), which counts .rodata as text;
//! malloc(3) on MMAP_THRESHOLD.

use std::fs::{metadata, read_to_string};
use std::io::{IsTerminal, stdin};
use std::process::exit;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::BSS_SIZE;

/// A line of /proc/self/maps: addresses with the same permissions.
pub struct Mapping {
    start: usize,
    /// The address behind the last byte
    end: usize,
    /// May it be written to?
    writable: bool,
    /// What the line says: range, permissions, name of the file if any
    text: String,
}

/// One segment: a byte in it, and how the child that wrote there ended.
pub struct Row {
    pub segment: &'static str,
    pub address: usize,
    pub mapping: Mapping,
    pub status: WaitStatus,
}

/// The mapping that holds this byte.
pub fn mapping_of(address: *mut u8) -> Result<Mapping> {
    let Ok(maps) = read_to_string("/proc/self/maps") else {
        eprintln!("cannot run here: it needs Linux's /proc/self/maps");
        exit(77);
    };
    for line in maps.lines() {
        let mapping = parse(line).context("a line that is no mapping")?;
        if (mapping.start..mapping.end).contains(&address.addr()) {
            return Ok(mapping);
        }
    }
    bail!("no line of /proc/self/maps holds {address:?}")
}

/// A line is: range, permissions, offset, device, inode, and maybe a path.
fn parse(line: &str) -> Option<Mapping> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let range = words.first()?;
    let permissions = words.get(1)?;
    let (start, end) = range.split_once('-')?;
    let mut text = format!("{range} {permissions}");
    if words.len() > 5 {
        let name = line.rsplit(['/', ' ']).next()?;
        text += &format!(" {name}");
    }
    Some(Mapping {
        start: usize::from_str_radix(start, 16).ok()?,
        end: usize::from_str_radix(end, 16).ok()?,
        writable: permissions.contains('w'),
        text,
    })
}

/// A process that is not dumpable gets no core file when SIGSEGV ends it.
pub fn leave_no_core_file() {
    #[cfg(target_os = "linux")]
    if nix::sys::prctl::set_dumpable(false).is_err() {
        exit(1);
    }
}

/// Prints the rows, the highest address first, with the gaps between them.
pub fn draw(rows: &[Row]) {
    println!(
        "         one byte at   its line of /proc/self/maps            \
         its writer"
    );
    println!("       ┌──────────────┐");
    for (i, row) in rows.iter().enumerate().rev() {
        let segment = row.segment;
        let address = row.address;
        let mapping = &row.mapping.text;
        let end = match row.status {
            WaitStatus::Exited(_, 0) => "lives",
            WaitStatus::Signaled(_, Signal::SIGSEGV, _) => "SIGSEGV",
            _ => "see below",
        };
        println!("{segment:<7}│ {address:012x} │ {mapping:<46} {end}");
        if i > 0 {
            draw_gap(&rows[i - 1].mapping, &row.mapping);
        }
    }
    println!("       └──────────────┘");
}

/// Prints the line between two segments: a gap, or none.
fn draw_gap(below: &Mapping, above: &Mapping) {
    let gap = above.start.saturating_sub(below.end); // 0 if they are the same
    if gap == 0 {
        println!("       ├──────────────┤");
    } else {
        let size = format!(" {} ", human(gap));
        println!("       ├{size:┄^14}┤");
    }
}

/// At a terminal, waits for Enter, so that the class can look from another
/// one.
pub fn pause_at_a_terminal() -> Result<()> {
    if stdin().is_terminal() {
        let pid = std::process::id();
        println!("Look from another terminal: pmap {pid}; then press Enter.");
        println!("It shows more mappings than these, and some are r--, too.");
        stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

pub fn judge(rows: &[Row]) -> Result<()> {
    let mut dead = Vec::new();
    for row in rows {
        let segment = row.segment;
        let mapping = &row.mapping.text;
        let read_only = segment == "text" || segment == "rodata";
        ensure!(
            row.mapping.writable != read_only,
            "{segment} is in {mapping}"
        );
        match row.status {
            WaitStatus::Exited(_, 0) => {
                ensure!(!read_only, "a write to {mapping} did no harm");
            }
            WaitStatus::Signaled(_, Signal::SIGSEGV, _) => {
                ensure!(read_only, "a write to {mapping} gave SIGSEGV");
                dead.push(segment);
            }
            status => bail!("unexpected: {status:?}"),
        }
    }
    let in_file = metadata(std::env::current_exe()?)?.len() as usize;
    ensure!(
        in_file < BSS_SIZE,
        "the file is not smaller than the bss: {in_file} bytes"
    );
    let all = rows.len();
    let killed = dead.len();
    let read_only = dead.join(" and ");
    println!(
        "\nof these {all} only {read_only} are read-only: \
         SIGSEGV ended {killed} of {all} writers"
    );
    let bss = human(BSS_SIZE);
    let file = human(in_file);
    println!("the bss has {bss}, the whole file {file}");
    Ok(())
}

/// Such as 1.5 MiB.
fn human(bytes: usize) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return format!("{number:.1} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}
