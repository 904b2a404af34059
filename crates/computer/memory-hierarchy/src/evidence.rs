//! The chain of cells, the clock, the table, and the verdict.
//!
//! Sources: lmbench, whose `lat_mem_rd -t` goes the same way; Linux,
//! Documentation/ABI/testing/sysfs-devices-system-cpu, for the caches.

use std::fs::read_to_string;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::time::ClockId;
use sysinfo::System;

use crate::Cell;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const CELLS_PER_PAGE: usize = 4 * KIB / size_of::<Cell>();

/// One working set, and what was measured in it.
pub struct Row {
    /// Bytes
    pub working_set: usize,
    /// Per access
    pub nanoseconds: f64,
}

/// Bytes that this process can have: of the computer's memory, below the limit
/// of its container (its cgroup), and below its own limits (ulimit).
fn free_memory() -> Result<u64> {
    let mut system = System::new()?;
    system.refresh_memory();
    let free = system.available_memory();
    Ok(free.min(limit_of_this_process()?))
}

#[cfg(not(target_os = "linux"))]
fn limit_of_this_process() -> Result<u64> {
    Ok(u64::MAX) // not known
}

/// Of its container (control group), less what that uses, and by ulimit
#[cfg(target_os = "linux")]
fn limit_of_this_process() -> Result<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, get_current_pid};

    let mut free = u64::MAX;
    let mut system = System::new()?;
    let pid = get_current_pid()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing(),
    );
    if let Some(process) = system.process(pid)
        && let Some(limits) = process.cgroup_limits()
    {
        free = free.min(limits.total_memory.saturating_sub(limits.rss));
    }
    for resource in [Resource::RLIMIT_AS, Resource::RLIMIT_DATA] {
        let (limit, _) = getrlimit(resource)?;
        free = free.min(limit);
    }
    Ok(free)
}

/// Bytes for the largest working set: those wanted, or a quarter of the free
/// memory if that is less.
pub fn affordable(wanted: u64) -> Result<usize> {
    let free = free_memory()?;
    let largest = wanted.min(free / 4) as usize;
    if largest < MIB {
        let kib = free / 1024;
        eprintln!(
            "cannot run here: {kib} KiB of memory are free, 4 MiB needed"
        );
        process::exit(77);
    }
    if free / 4 < wanted {
        let mib = free / MIB as u64;
        println!("{mib} MiB of memory are free; this uses a quarter of that");
    }
    Ok(largest)
}

/// The numbers of the pages of this memory, in random order.
pub fn shuffled_pages(memory: &[Cell]) -> Vec<usize> {
    shuffled(memory.len() / CELLS_PER_PAGE)
}

/// The numbers below `count` in random order: in the order of their hashes,
/// which differ from run to run.
fn shuffled(count: usize) -> Vec<usize> {
    let hasher = RandomState::new();
    let mut numbers: Vec<usize> = (0..count).collect();
    numbers.sort_by_cached_key(|number| hasher.hash_one(number));
    numbers
}

/// Chains `count` cells in order of address. Returns the first of them.
pub fn chain_in_order(memory: &mut [Cell], count: usize) -> *const Cell {
    let mut last = count - 1; // it leads to the first
    for cell in 0..count {
        memory[last].next = &memory[cell];
        last = cell;
    }
    &memory[0]
}

/// Chains `count` cells in random order. Returns the first of them.
///
/// A round goes to one cell of each page, and 64 rounds to all cells. Each
/// cell is on another page than the last, so that the core cannot guess it.
/// Large sets outgrow the TLB (the cache for addresses of pages), too: then
/// an access includes a walk through the page table.
pub fn chain_at_random(
    memory: &mut [Cell],
    count: usize,
    pages: &[usize],
) -> *const Cell {
    let pages = &pages[..count / CELLS_PER_PAGE];
    let cells = shuffled(CELLS_PER_PAGE); // of a page
    let first = pages[0] * CELLS_PER_PAGE + cells[0];
    let mut last = first;
    for round in 0..CELLS_PER_PAGE {
        for (i, page) in pages.iter().enumerate() {
            let in_page = cells[(round + i) % CELLS_PER_PAGE];
            let cell = page * CELLS_PER_PAGE + in_page;
            memory[last].next = &memory[cell];
            last = cell;
        }
    }
    memory[last].next = &memory[first];
    &memory[first]
}

/// CPU time of this process: what other processes take does not count.
pub fn cpu_time() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A cache for data.
struct Cache {
    /// Bytes
    size: usize,
    /// Such as L1
    level: String,
}

/// The caches of the first core, L1 first, as far as the kernel reports them.
/// A virtual machine sees its host's caches, and shares them.
fn data_caches() -> Vec<Cache> {
    let mut caches = Vec::new();
    for index in 0..8 {
        if let Some(cache) = data_cache(index) {
            caches.push(cache);
        }
    }
    caches
}

/// None if there is no such cache, or if it is for instructions.
fn data_cache(index: usize) -> Option<Cache> {
    let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
    let size = read_to_string(format!("{folder}/size")).ok()?;
    let level = read_to_string(format!("{folder}/level")).ok()?;
    let kind = read_to_string(format!("{folder}/type")).ok()?;
    if kind.trim() == "Instruction" {
        return None;
    }
    let kib: usize = size.trim().strip_suffix('K')?.parse().ok()?;
    Some(Cache {
        size: kib * KIB,
        level: format!("L{}", level.trim()),
    })
}

/// The smallest cache that holds a working set.
fn fitting_cache(caches: &[Cache], working_set: usize) -> String {
    for cache in caches {
        if working_set <= cache.size {
            return format!("{} {}", cache.level, human(cache.size));
        }
    }
    "none reported".to_string()
}

/// Prints the table, with a bar as long as the access takes.
pub fn draw(rows: &[Row]) {
    let mut longest: f64 = 0.0;
    for row in rows {
        longest = longest.max(row.nanoseconds);
    }
    let caches = data_caches();
    println!("working set  fits into cache  ns per access");
    for row in rows {
        let size = human(row.working_set);
        let cache = fitting_cache(&caches, row.working_set);
        let time = row.nanoseconds;
        let bar = "█".repeat((40.0 * time / longest).round() as usize);
        println!("{size:>11}  {cache:<15}{time:>8.2} │{bar}");
    }
}

/// In random order, an access in the largest working set takes at least
/// 3 times as long as in the smallest.
pub fn judge(rows: &[Row], in_order: bool) -> Result<()> {
    let smallest = &rows[0];
    let largest = &rows[rows.len() - 1];
    let times = largest.nanoseconds / smallest.nanoseconds;
    let short = format!("{:.2} ns", smallest.nanoseconds);
    let long = format!("{:.2} ns", largest.nanoseconds);
    let small = human(smallest.working_set);
    let large = human(largest.working_set);
    let seen = format!(
        "an access takes {short} in {small}, {long} in {large}: \
         {times:.1} times as long"
    );
    ensure!(in_order || times >= 3.0, "{seen}");
    println!("\n{seen}");
    Ok(())
}

fn human(bytes: usize) -> String {
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{} KiB", bytes / KIB)
    }
}
