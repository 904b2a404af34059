//! Computer architecture: a picture of this machine, drawn from what its kernel reports.
//!
//! A package is a chip in its socket. It has cores, and these have hardware threads, which Linux
//! calls CPUs. A cache stands on the frame around all that share it. What the kernel does not
//! report, as in some containers and on other systems than Linux, is said, and never guessed.
//! Sources: in sysfs, devices/system/cpu, class/block and class/net; sysinfo for all the rest.
//!
//! Predict:  how many hardware threads share a core here? Which caches do the cores share?
//! Try:      taskset -c 0 cargo run -p computer-architecture
//! See also: memory-hierarchy, what this picture means in time.

use std::collections::BTreeSet;
use std::{fmt, fs, thread};

use anyhow::{Result, ensure};
use clap::Parser;
use nix::libc;
use sysinfo::{CpuRefreshKind, Disks, Networks, System};

#[derive(Parser)]
#[command(about)]
struct Args {}

/// A package, cache, core or hardware thread, and the list of the CPUs that belong to it.
struct Unit {
    name: String,
    cpus: Option<String>,
}

fn main() -> Result<()> {
    Args::parse();
    let mut system = System::new()?;
    system.refresh_memory();
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    ensure!(
        !system.cpus().is_empty(),
        "the kernel reports no CPU at all"
    );
    let mut threads =
        Vec::from_iter(system.cpus().iter().map(|cpu| units(cpu.name())));
    let first_cpu = |unit: &Unit| {
        unit.cpus.as_ref()?.split([',', '-']).next()?.parse().ok()
    };
    threads.sort_by_key(|units| {
        Vec::<Option<u32>>::from_iter(units.iter().map(first_cpu))
    });

    let pictures = [8, 4, 2, 1].map(|keep| draw(&threads, 0, 80, keep));
    let picture = pictures
        .iter()
        .find(|lines| lines.len() <= 13)
        .unwrap_or(&pictures[3]);
    println!("{}\n{}", system.cpus()[0].brand(), picture.join("\n"));
    let gib = |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let (memory, swap) = (gib(system.total_memory()), gib(system.total_swap()));
    println!("  ╟─ memory bus: memory {memory}; swap {swap}");

    let mut devices = BTreeSet::new();
    for disk in &Disks::new_with_refreshed_list()? {
        let path = fs::canonicalize(disk.name()).unwrap_or(disk.name().into());
        let name = path.file_name().unwrap_or_default().display();
        let size = gib(disk.total_space());
        devices.insert(format!(
            "{}: disk {name}, file system of {size}",
            bus("block", &name)
        ));
    }
    for name in Networks::new_with_refreshed_list()?
        .keys()
        .map(|name| name.display())
    {
        devices.insert(format!("{}: network {name}", bus("net", &name)));
    }
    devices
        .iter()
        .take(6)
        .for_each(|device| println!("  ╟─ {device:.75}"));
    println!("  ╙─ devices in all: {}", devices.len());

    let cores = threads
        .iter()
        .flat_map(|units| &units[units.len() - 2].cpus);
    let (threads, cores) = (threads.len(), BTreeSet::from_iter(cores).len());
    // SAFETY: sysconf(3) takes and returns a number.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } as usize;
    let physical = System::physical_core_count()?;
    let seen = format!(
        "{threads} threads, {cores} cores; the kernel counts {online} and {physical}"
    );
    // 0: not reported; as many as threads: what sysinfo counts where /proc/cpuinfo has no cores
    let same_cores = cores == physical || cores == 0 || physical == threads;
    ensure!(threads == online && same_cores, "drawn: {seen}");
    println!(
        "\ndrawn: {seen}; this process may use {}",
        thread::available_parallelism()?
    );
    Ok(())
}

/// What the kernel reports of a CPU: package, caches, core, thread; the outermost is the first.
fn units(cpu: &str) -> Vec<Unit> {
    let number = cpu.trim_start_matches(|c: char| !c.is_ascii_digit());
    let read = |file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu{number}/{file}");
        Some(fs::read_to_string(path).ok()?.trim().to_string())
    };
    let unit = |name: &str, what: Option<String>, cpus: Option<String>| {
        let what = what
            .filter(|_| cpus.is_some())
            .unwrap_or("not reported".to_string());
        Unit {
            name: format!("{name} {what}"),
            cpus,
        }
    };
    let (package, core) = (
        read("topology/physical_package_id"),
        read("topology/core_id"),
    );
    let mut units =
        vec![unit("package", package, read("topology/package_cpus_list"))];
    for index in (0..8).rev() {
        let cache = |file| read(&format!("cache/index{index}/{file}"));
        let (Some(level), Some(kind)) = (cache("level"), cache("type")) else {
            continue;
        };
        let kind = kind
            .replace("Data", "d")
            .replace("Instruction", "i")
            .replace("Unified", "");
        let kib = cache("size")
            .and_then(|size| size.strip_suffix('K')?.parse::<f64>().ok());
        let size = kib.map(|kib| match kib {
            1024.0.. => format!("{} MiB", kib / 1024.0),
            _ => format!("{kib} KiB"),
        });
        units.push(unit(
            &format!("L{level}{kind}"),
            size,
            cache("shared_cpu_list"),
        ));
    }
    let cpus = read("topology/core_cpus_list");
    if units.len() == 1 {
        units.push(unit("caches", None, cpus.clone()));
    }
    units.push(unit("core", core, cpus));
    units.push(unit(
        "thread",
        Some(number.to_string()),
        Some(number.to_string()),
    ));
    units
}

/// Frames inside frames. Of neighbours with the same caches `keep` are drawn, the rest is counted.
fn draw(
    threads: &[Vec<Unit>],
    depth: usize,
    width: usize,
    keep: usize,
) -> Vec<String> {
    if depth + 1 == threads[0].len() {
        let boxes = |units: &Vec<Unit>| format!("[{}] ", units[depth].name);
        return threads
            .chunks(5)
            .map(|row| row.iter().map(boxes).collect())
            .collect();
    }
    let caches = |threads: &[Vec<Unit>]| {
        let names = threads.iter().flatten().map(|unit| unit.name.clone());
        (
            threads.len(),
            Vec::from_iter(names.filter(|name| name.starts_with('L'))),
        )
    };
    let frames =
        Vec::from_iter(threads.chunk_by(|a, b| a[depth].cpus == b[depth].cpus));
    let mut lines = Vec::new();
    for alike in frames.chunk_by(|a, b| caches(a) == caches(b)) {
        for frame in alike.iter().take(keep) {
            let units = &frame[0][depth..frame[0].len() - 1];
            let same =
                units.iter().take_while(|unit| unit.cpus == units[0].cpus);
            let names = Vec::from_iter(same.map(|unit| &unit.name[..]));
            let title = names.join(" ── ");
            let line =
                "─".repeat(width.saturating_sub(title.chars().count() + 4));
            lines.push(format!("┌ {title} {line}┐"));
            for line in draw(frame, depth + names.len(), width - 4, keep) {
                lines.push(format!("│ {line:<0$} │", width - 4));
            }
            lines.push(format!("└{}┘", "─".repeat(width - 2)));
        }
        let core = |units: &Vec<Unit>| {
            units[units.len() - 2].name.replace("core ", "")
        };
        let rest = Vec::from_iter(
            alike.iter().skip(keep).copied().flatten().map(core),
        );
        if let (Some(from), Some(to)) = (rest.first(), rest.last()) {
            let kind = alike[0][0][depth]
                .name
                .split(' ')
                .next()
                .unwrap_or_default();
            lines.push(format!(
                "cores {from}-{to}: the same ({} more {kind})",
                alike.len() - keep
            ));
        }
    }
    lines
}

/// The bus that a device is on: the first folder of its path below /sys/devices.
fn bus(class: &str, device: &impl fmt::Display) -> String {
    let path = fs::canonicalize(format!("/sys/class/{class}/{device}"))
        .unwrap_or_default();
    path.iter()
        .nth(3)
        .map_or("bus not reported".into(), |bus| bus.display().to_string())
}
