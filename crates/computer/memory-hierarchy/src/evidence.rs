//! Free memory, the clock, and the table.
//!
//! Sources: lmbench, whose lat_mem_rd follows such a chain; Linux,
//! Documentation/ABI/testing/sysfs-devices-system-cpu, for the caches.

use std::fs;
use std::process::exit;
use std::ptr::null;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::time::ClockId;
use sysinfo::{ProcessesToUpdate, System, get_current_pid};

use crate::Cell;

pub struct Row {
    /// Of the working set
    pub kib: usize,
    /// Per access
    pub nanoseconds: f64,
}

/// CPU time of this process
pub fn cpu_time() -> Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// Cells for the largest set. Exits with 77 where there is too little memory.
pub fn allocate(kib: usize) -> Result<Vec<Cell>> {
    let mut system = System::new()?;
    system.refresh_memory();
    let mut free = system.available_memory();
    // A container is a control group, which may have a limit of its own.
    let this = get_current_pid()?;
    system.refresh_processes(ProcessesToUpdate::Some(&[this]), true);
    if let Some(process) = system.process(this)
        && let Some(limits) = process.cgroup_limits()
    {
        free = free.min(limits.total_memory.saturating_sub(limits.rss));
    }
    let count = kib * 1024 / size_of::<Cell>();
    let mut cells = Vec::new();
    let refused = cells.try_reserve_exact(count).is_err(); // as by ulimit -v
    if refused || free < 320 * 1024 * 1024 {
        eprintln!("cannot run here: the kernel reports less than 320 MiB free");
        exit(77);
    }
    cells.resize(count, Cell { next: null() });
    Ok(cells)
}

/// Prints the table, with a bar as long as the access takes.
pub fn draw(rows: &[Row]) {
    let mut longest: f64 = 0.0;
    for row in rows {
        longest = longest.max(row.nanoseconds);
    }
    println!("working set  fits into cache  ns per access");
    for row in rows {
        let size = human(row.kib);
        let cache = fitting_cache(row.kib);
        let time = row.nanoseconds;
        let bar = "█".repeat((40.0 * time / longest).round() as usize);
        println!("{size:>11}  {cache:<15}{time:>8.2} │{bar}");
    }
    if cfg!(debug_assertions) {
        println!("This is a debug build: it adds instructions to each access.");
    }
}

/// The smallest cache that holds so many KiB, of those that the kernel reports
/// for the first core. In a virtual machine, these are its hypervisor's words.
fn fitting_cache(kib: usize) -> String {
    for index in 0..8 {
        let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let read = |file: &str| {
            fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default()
        };
        let size = read("size"); // such as 32K
        let size_in_kib = size.trim().trim_end_matches('K').parse();
        let size_in_kib = size_in_kib.unwrap_or(0);
        if kib <= size_in_kib && read("type").trim() != "Instruction" {
            return format!("L{} {}", read("level").trim(), human(size_in_kib));
        }
    }
    "none reported".to_string()
}

fn human(kib: usize) -> String {
    if kib.is_multiple_of(1024) {
        format!("{} MiB", kib / 1024)
    } else {
        format!("{kib} KiB")
    }
}

/// Prints how much longer an access takes, if that is as it should be.
pub fn judge(rows: &[Row], in_order: bool) -> Result<()> {
    let shortest = rows[0].nanoseconds;
    let longest = rows[rows.len() - 1].nanoseconds;
    let times = longest / shortest;
    let seen = format!(
        "an access takes {shortest:.2} ns in 4 KiB, {longest:.2} ns in \
         256 MiB: {times:.1} times as long"
    );
    // In order, the core can load the next cells in advance: no verdict then.
    ensure!(in_order || times >= 3.0, "{seen}");
    println!("\n{seen}");
    Ok(())
}
