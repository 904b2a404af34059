//! What the kernel's files say, and whether two of its counts agree.
//!
//! Sources: Documentation/ABI/stable of the kernel, sysfs-devices-system-cpu
//! and sysfs-block; proc_cpuinfo(5), proc_stat(5), proc_swaps(5).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use sysinfo::System;

use crate::draw::gib;
use crate::{Kind, Part};

/// A disk or a network interface.
pub struct Device {
    pub name: String,
    /// A folder of /sys/devices: a bus, or "virtual" for what is no hardware
    pub bus: String,
}

/// The text of a file without its end of line; None if it cannot be read.
pub fn read(folder: &str, file: &str) -> Option<String> {
    let text = fs::read_to_string(format!("{folder}/{file}")).ok()?;
    Some(text.trim().to_string())
}

/// The numbers in a file that lists them as in 0-3,8.
pub fn cpu_list(folder: &str, file: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for range in read(folder, file)?.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u32 = first.parse().ok()?;
        let last: u32 = last.parse().ok()?;
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// The name of the cache with this folder, such as L1d 32 KiB: d for data,
/// i for instructions, neither for both. The kernel writes the size as 32K.
pub fn name_of_cache(folder: &str) -> Option<String> {
    let level = read(folder, "level")?;
    let letter = match read(folder, "type")?.as_str() {
        "Data" => "d",
        "Instruction" => "i",
        _ => "",
    };
    let size = read(folder, "size").unwrap_or_default();
    let number = size.strip_suffix('K').unwrap_or_default();
    let name = match number.parse::<f64>() {
        Ok(kib) if kib < 1024.0 => format!("L{level}{letter} {kib} KiB"),
        Ok(kib) => format!("L{level}{letter} {} MiB", kib / 1024.0),
        Err(_) => format!("L{level}{letter} ? KiB"),
    };
    Some(name)
}

pub fn name_of_processor(system: &System) -> &str {
    let name = system.cpus()[0].brand();
    if name.is_empty() {
        return "not reported";
    }
    name
}

pub fn of_kind(kind: Kind, parts: &[Part]) -> Vec<&Part> {
    parts.iter().filter(|part| part.kind == kind).collect()
}

/// Whether each CPU that is online belongs to a part of this kind.
pub fn reported(kind: Kind, online: &BTreeSet<u32>, parts: &[Part]) -> bool {
    let mut cpus = BTreeSet::new();
    for part in of_kind(kind, parts) {
        cpus.extend(&part.cpus);
    }
    cpus == *online
}

/// The names in a folder, sorted; none if there is no such folder.
fn names_in(folder: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            names.insert(entry.file_name().display().to_string());
        }
    }
    names
}

/// The devices in a folder whose entries are links to below /sys/devices.
pub fn devices(folder: &str, kind: &str) -> Vec<Device> {
    let mut devices = Vec::new();
    for entry in names_in(folder) {
        let Ok(path) = fs::canonicalize(format!("{folder}/{entry}")) else {
            continue;
        };
        if !path.is_dir() {
            continue; // bonding_masters, a setting
        }
        let mut name = format!("{kind} {entry}");
        if let Some(sectors) = read(folder, &format!("{entry}/size")) {
            let sectors: u64 = sectors.parse().unwrap_or(0);
            if sectors == 0 {
                continue; // a loop device without a file, say
            }
            name = format!("{name} {}", gib(512 * sectors));
        }
        let mut bus = "not reported".to_string();
        if let Ok(below) = path.strip_prefix("/sys/devices")
            && let Some(first) = below.iter().next()
        {
            bus = first.display().to_string();
        }
        devices.push(Device { name, bus });
    }
    devices
}

/// Of each area for swapped pages the size, the name, and where it is.
pub fn swap_areas() -> Vec<String> {
    let Some(table) = read("/proc", "swaps") else {
        return vec!["not reported".to_string()];
    };
    let mut areas = Vec::new();
    for row in table.lines().skip(1) {
        // Filename, Type, Size in KiB, Used, Priority
        let fields: Vec<&str> = row.split_whitespace().collect();
        let [file, kind, kib, ..] = fields[..] else {
            continue;
        };
        let size = gib(1024 * kib.parse().unwrap_or(0));
        let device = if kind == "partition" {
            file.strip_prefix("/dev/").map(str::to_string)
        } else {
            device_of_file(file)
        };
        let mut disks = BTreeSet::new();
        if let Some(device) = device {
            find_disks(&device, &mut disks);
        }
        let disks: Vec<String> = disks.into_iter().collect();
        let list = disks.join(", ");
        let place = if list.is_empty() {
            "disk not reported".to_string()
        } else if list.starts_with("zram") {
            "in memory, compressed".to_string()
        } else {
            format!("on disk {list}")
        };
        areas.push(format!("{size} in {file}, {place}"));
    }
    if areas.is_empty() {
        areas.push("none".to_string());
    }
    areas
}

/// The block device with the file system that has this file.
fn device_of_file(file: &str) -> Option<String> {
    let wanted = fs::metadata(file).ok()?.dev();
    for name in names_in("/sys/class/block") {
        if let Ok(device) = fs::metadata(format!("/dev/{name}"))
            && device.rdev() == wanted
        {
            return Some(name);
        }
    }
    None
}

/// Adds the disks that a block device is on. An encrypted or logical volume
/// has others below it, its slaves. A partition's folder is in its disk's.
fn find_disks(device: &str, disks: &mut BTreeSet<String>) {
    let folder = format!("/sys/class/block/{device}");
    let slaves = names_in(&format!("{folder}/slaves"));
    for slave in &slaves {
        find_disks(slave, disks);
    }
    let Ok(mut disk) = fs::canonicalize(&folder) else {
        return;
    };
    if disk.join("partition").exists() {
        disk.pop();
    }
    if slaves.is_empty()
        && let Some(name) = disk.file_name()
    {
        disks.insert(name.display().to_string());
    }
}

/// Prints both counts if they agree.
pub fn judge(
    online: &BTreeSet<u32>,
    parts: &[Part],
    system: &System,
) -> Result<()> {
    let threads = online.len();
    let cores = of_kind(Kind::Core, parts).len();
    let drawn = format!("threads {threads}, cores {cores}");

    let threads_in_proc = system.cpus().len();
    let mut counted = format!("threads {threads_in_proc}, cores not compared");
    let mut same_cores = true;
    // A core's number is one in its package. Some processors' cpuinfo has none.
    let cpuinfo = read("/proc", "cpuinfo").unwrap_or_default();
    if cpuinfo.contains("core id")
        && reported(Kind::Package, online, parts)
        && reported(Kind::Core, online, parts)
    {
        let cores_in_proc = System::physical_core_count()?;
        counted = format!("threads {threads_in_proc}, cores {cores_in_proc}");
        same_cores = cores_in_proc == cores;
    }
    ensure!(
        threads_in_proc == threads && same_cores,
        "drawn, from /sys: {drawn}; counted, in /proc: {counted}"
    );
    println!("drawn, from /sys:  {drawn}");
    println!("counted, in /proc: {counted}");
    Ok(())
}
