//! What the kernel's files say, and the picture that is drawn of it.
//!
//! Sources: Documentation/ABI/stable of the kernel, sysfs-devices-system-cpu
//! and sysfs-block.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::thread::available_parallelism;

use anyhow::{Result, ensure};
use sysinfo::System;

use crate::Column;

/// The rows of the picture. Caches that few machines have are not drawn.
const ROWS: [&str; 8] = [
    "package", "core", "thread", "L1d", "L1i", "L2", "L3", "memory",
];

/// The text of a file without its end of line; "?" if it cannot be read.
pub fn read(folder: &str, file: &str) -> String {
    match fs::read_to_string(format!("{folder}/{file}")) {
        Ok(text) => text.trim().to_string(),
        Err(_) => "?".to_string(),
    }
}

/// The numbers in a file that lists them as in 0-3,8.
pub fn read_list(folder: &str, file: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in read(folder, file).split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u32 = first.parse().ok()?;
        let last: u32 = last.parse().ok()?;
        numbers.extend(first..=last);
    }
    Some(numbers)
}

pub fn name_of_processor(system: &System) -> &str {
    match system.cpus()[0].brand() {
        "" => "not reported",
        name => name,
    }
}

/// Such as L1d: d for data, i for instructions, neither for both.
pub fn name_of_cache(folder: &str) -> String {
    let level = read(folder, "level");
    match read(folder, "type").as_str() {
        "Data" => format!("L{level}d"),
        "Instruction" => format!("L{level}i"),
        _ => format!("L{level}"),
    }
}

/// The kernel writes 512K for 512 KiB. From 1024K on, this writes 1M.
pub fn size_of_cache(folder: &str) -> String {
    let size = read(folder, "size");
    match size.trim_end_matches('K').parse::<f64>() {
        Ok(kib) if kib >= 1024.0 => format!("{}M", kib / 1024.0),
        _ => size,
    }
}

/// Draws the rows of the picture, and returns how many columns it has.
pub fn draw(mut columns: Vec<Column>) -> usize {
    // Threads 0 and 8, say, may belong to the same core. Sort the columns so
    // that such threads stand side by side.
    columns.sort_by_cached_key(largest_part_first);
    let mut end = "│";
    if columns.len() > 24 {
        columns.truncate(12); // else the boxes are too narrow for labels
        end = "…"; // there is more on the right
    }

    for row in ROWS {
        println!("{row:>7}{}{end}", boxes(row, &columns));
    }
    columns.len()
}

/// The key to sort by: the numbers of the threads that share the largest part
/// with this one, then those of the next smaller part, and so on. Lists are
/// compared item by item. So the threads of a package come together, within it
/// those of an L3, and within that those of a core.
fn largest_part_first(column: &Column) -> Vec<Vec<u32>> {
    let mut lists: Vec<Vec<u32>> = Vec::new();
    for part in column.values() {
        lists.push(part.cpus.clone());
    }
    lists.sort_by_key(|cpus| Reverse(cpus.len()));
    lists
}

/// The boxes of a row. Neighbours that belong to the same part are in one box.
fn boxes(row: &str, columns: &[Column]) -> String {
    let width = 72 / columns.len(); // the screen has 80: 8 are for the frame
    let mut line = String::new();
    // chunk_by starts a new box where two neighbours have different parts.
    for same in columns.chunk_by(|left, right| left.get(row) == right.get(row))
    {
        let inside = same.len() * width - 1;
        let mut label = "not reported";
        if let Some(part) = same[0].get(row) {
            label = &part.label;
        }
        if label.len() > inside {
            label = "…";
        }
        // The label in the middle (^) of the inside of the box
        line += &format!("│{label:^inside$}");
    }
    line
}

pub fn print_devices() {
    for (bus, devices) in devices_by_bus() {
        println!("    bus {bus}: {}", devices.join(", "));
    }
}

/// The disks and network interfaces for which the kernel names a bus.
fn devices_by_bus() -> BTreeMap<String, Vec<String>> {
    let mut buses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let kinds = [("disk", "/sys/block"), ("network", "/sys/class/net")];
    for (kind, folder) in kinds {
        let Ok(entries) = fs::read_dir(folder) else {
            continue; // not reported
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let device = format!("{kind} {}", name.display());
            // A link such as ../devices/pci0000:00/0000:00:02.0/block/vda
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.display().to_string();
            if let Some((_, path)) = target.split_once("devices/")
                && let Some((bus, _)) = path.split_once('/')
                && bus != "virtual"
            {
                buses.entry(bus.to_string()).or_default().push(device);
            }
        }
    }
    buses
}

/// Prints how many threads there are, by all counts. An error if /sys and /proc
/// do not agree.
pub fn judge(threads: usize, counted: usize, drawn: usize) -> Result<()> {
    // What taskset allows, or the limit of a container.
    let usable = available_parallelism()?;
    println!("\nhardware threads that this process may use: {usable}");
    println!("threads in /sys: {threads}, in /proc: {counted}, drawn: {drawn}");
    ensure!(threads == counted, "/sys and /proc do not agree");
    Ok(())
}
