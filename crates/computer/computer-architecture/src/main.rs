//! Computer architecture: a picture of this machine, from what its kernel says.
//!
//! A package is one or more chips in one housing, and has cores. A core has
//! hardware threads, which Linux calls CPUs. A cache is a small, fast memory.
//! In the picture each thread has a column. Each part of the machine is a box,
//! as wide as the columns of the threads that share it. Below are the devices,
//! each on its bus. Sizes are in KiB, MiB and GiB: 32K, 1M, 23.5G. What the
//! kernel does not report is not guessed.
//!
//! Predict:  How many threads has a core here? Which caches do cores share?
//! Try:      taskset -c 0 cargo run -p computer-architecture # may use 1 thread
//! See also: memory-hierarchy, what this picture means in time.

mod evidence;

use std::collections::BTreeMap;
use std::process::exit;

use anyhow::Result;
use clap::Parser;
use evidence::{draw, judge, name_of_cache, name_of_processor};
use evidence::{print_devices, read, read_list, size_of_cache};
use sysinfo::{CpuRefreshKind, System};

/// Here the kernel describes its CPUs. Each has a folder, such as cpu0.
const CPUS: &str = "/sys/devices/system/cpu";

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    Args::parse();
    let online = read_list(CPUS, "online").unwrap_or_default();
    let mut system = System::new()?;
    system.refresh_cpu_list(CpuRefreshKind::nothing()); // only their names
    system.refresh_memory();
    let counted = system.cpus().len(); // in /proc/stat, to compare
    let bytes = system.total_memory();
    if online.is_empty() || counted == 0 || bytes == 0 {
        eprintln!("cannot run here: it reads {CPUS} and /proc, as on Linux");
        exit(77);
    }

    let memory = format!("{:.1}G", bytes as f64 / f64::from(1 << 30));
    let mut columns: Vec<Column> = Vec::new();
    for cpu in &online {
        let mut column = parts_of(*cpu);
        // All threads share the memory.
        add(&mut column, "memory", memory.clone(), Some(online.clone()));
        columns.push(column);
    }

    println!("processor: {}\n", name_of_processor(&system));
    let drawn = draw(columns); // so many columns had room on the screen
    print_devices();
    judge(online.len(), counted, drawn)
}

/// A part of the machine, and the numbers of the threads that share it.
#[derive(PartialEq)]
struct Part {
    label: String, // a number, or a size
    cpus: Vec<u32>,
}

/// A column of the picture: for each row, by its name, such as "core", the
/// part that this column's thread (in Linux: CPU) belongs to.
type Column = BTreeMap<String, Part>;

/// The parts that a thread belongs to, as far as the kernel reports them.
fn parts_of(cpu: u32) -> Column {
    let mut column = Column::new();
    add(&mut column, "thread", cpu.to_string(), Some(vec![cpu]));

    let topology = format!("{CPUS}/cpu{cpu}/topology");
    let core_cpus = read_list(&topology, "core_cpus_list");
    add(&mut column, "core", read(&topology, "core_id"), core_cpus);
    let package = read(&topology, "physical_package_id");
    // With -1 the kernel says that it does not know the package.
    if package != "-1" {
        let package_cpus = read_list(&topology, "package_cpus_list");
        add(&mut column, "package", package, package_cpus);
    }

    // Each cache has a folder: 8 are looked for. For one that does not exist,
    // no threads are known, and nothing is added.
    for index in 0..8 {
        let cache = format!("{CPUS}/cpu{cpu}/cache/index{index}");
        let cache_cpus = read_list(&cache, "shared_cpu_list");
        let row = name_of_cache(&cache);
        add(&mut column, &row, size_of_cache(&cache), cache_cpus);
    }
    column
}

/// Adds a part, if the threads that share it are known.
fn add(column: &mut Column, row: &str, label: String, cpus: Option<Vec<u32>>) {
    if let Some(cpus) = cpus {
        column.insert(row.to_string(), Part { label, cpus });
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {}
