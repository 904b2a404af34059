//! Computer architecture: a picture of this machine, from what its kernel says.
//!
//! A package is a chip in its socket, and has cores. A core has hardware
//! threads, which Linux calls CPUs. A cache is a small, fast memory; it serves
//! one core, or several that share it. In the picture, the frame of a package,
//! a cache or a core stands around all threads that belong to it. A bus
//! connects them to memory and devices. What the kernel does not report, as in
//! some containers, is not guessed.
//!
//! Predict:  How many threads has a core here? Which caches do cores share?
//! Try:      taskset -c 0 cargo run -p computer-architecture # may use 1 thread
//! See also: memory-hierarchy, what this picture means in time.

mod draw;
mod evidence;

use std::collections::BTreeSet;
use std::process::exit;
use std::thread::available_parallelism;

use anyhow::Result;
use clap::Parser;
use evidence::{cpu_list, read};
use sysinfo::{CpuRefreshKind, System};

/// Here the kernel describes its CPUs. Each has a folder, such as cpu0.
const CPUS: &str = "/sys/devices/system/cpu";

#[derive(Parser)]
#[command(about)]
struct Args {}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Package,
    Cache,
    Core,
}

/// A part of the machine, and the numbers of the CPUs that belong to it.
#[derive(PartialEq)]
struct Part {
    kind: Kind,
    name: String,
    cpus: BTreeSet<u32>,
}

fn main() -> Result<()> {
    sigpipe::reset();
    Args::parse();
    let Some(online) = cpu_list(CPUS, "online") else {
        eprintln!("cannot run here: there is no {CPUS}/online (Linux has it)");
        exit(77);
    };

    // What each CPU belongs to. CPUs that share a part all name it: keep one.
    let mut parts: Vec<Part> = Vec::new();
    for cpu in &online {
        for mut part in parts_of(*cpu) {
            // In a container, a part may name CPUs that are not online there.
            part.cpus.retain(|member| online.contains(member));
            if !parts.contains(&part) {
                parts.push(part); // one frame, even if many CPUs share it
            }
        }
    }

    // The rest is in /proc.
    let mut system = System::new()?;
    system.refresh_cpu_list(CpuRefreshKind::nothing()); // only their names
    system.refresh_memory();
    if system.cpus().is_empty() || system.total_memory() == 0 {
        eprintln!("cannot run here: /proc/stat or /proc/meminfo is missing");
        exit(77);
    }

    draw::processor(evidence::name_of_processor(&system), &online, &parts);

    // Each entry of these folders is a disk, or a network interface.
    let mut devices = evidence::devices("/sys/block", "disk");
    devices.extend(evidence::devices("/sys/class/net", "network"));
    draw::buses(system.total_memory(), &devices);
    draw::swap(&evidence::swap_areas()); // of /proc/swaps

    draw::sharing(&parts);
    // What taskset allows, or the limit of a container.
    let usable = available_parallelism()?;
    println!("threads that this process may use at once: {usable}");

    // The kernel counts threads and cores in /proc, too. The picture must have
    // as many of both, or this demo has failed. It counts no caches there, so
    // the caches are shown, and not judged.
    evidence::judge(&online, &parts, &system)
}

/// The package of a CPU, its caches, its core: those that the kernel reports.
fn parts_of(cpu: u32) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    parts.extend(package_of(cpu)); // adds one part, or none
    // Each cache has a folder. The first ones are closest to the core, so the
    // picture begins with the last one. No processor has more than 8.
    for index in (0..8).rev() {
        parts.extend(cache_of(cpu, index));
    }
    parts.extend(core_of(cpu));
    parts
}

fn package_of(cpu: u32) -> Option<Part> {
    let folder = format!("{CPUS}/cpu{cpu}/topology");
    let number = read(&folder, "physical_package_id")?;
    if number == "-1" {
        return None; // so the kernel says that it does not know
    }
    Some(Part {
        kind: Kind::Package,
        name: format!("package {number}"),
        cpus: cpu_list(&folder, "package_cpus_list")?,
    })
}

fn cache_of(cpu: u32, index: u32) -> Option<Part> {
    let folder = format!("{CPUS}/cpu{cpu}/cache/index{index}");
    Some(Part {
        kind: Kind::Cache,
        name: evidence::name_of_cache(&folder)?, // its level, type and size
        cpus: cpu_list(&folder, "shared_cpu_list")?,
    })
}

fn core_of(cpu: u32) -> Option<Part> {
    let folder = format!("{CPUS}/cpu{cpu}/topology");
    let number = read(&folder, "core_id")?;
    Some(Part {
        kind: Kind::Core,
        name: format!("core {number}"),
        cpus: cpu_list(&folder, "core_cpus_list")?,
    })
}
