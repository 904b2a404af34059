//! What the kernel's files say.
//!
//! Sources: Documentation/ABI/stable of the kernel, sysfs-devices-system-cpu
//! and sysfs-block.

use std::collections::BTreeMap;
use std::fs;

use sysinfo::System;

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

/// The disks and network interfaces for which the kernel names a bus.
pub fn devices_by_bus() -> BTreeMap<String, Vec<String>> {
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
