//! Memory hierarchy: the larger the working set, the farther away its data, the slower each access.
//!
//! Each access loads the address of the next, so it cannot begin before the last one has ended; the
//! order is random, each time on another page, so nothing can guess ahead. Large sets also outgrow
//! the TLB: their accesses pay for page walks, shorter ones with huge pages. A virtual machine sees
//! its host's caches, and shares them. Sources: lmbench, `lat_mem_rd -t`; sysfs, devices/system/cpu.
//!
//! Predict:  how many times longer does an access take in 256 MiB than in 4 KiB?
//! Try:      cargo run -p memory-hierarchy -- --in-order
//! Try:      cargo run -p memory-hierarchy -- --max-mib 1024
//! See also: computer-architecture, which cores share which of these caches.

use std::arch::asm;
use std::hash::{BuildHasher, RandomState};
use std::{fs, ptr};

use anyhow::{Result, bail, ensure};
use clap::{Parser, value_parser};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use sysinfo::{CGroupLimits, System};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Largest working set in MiB; never more than a quarter of the free memory
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u64).range(16..=4096))]
    max_mib: u64,
    /// Access in order of address: the prefetcher guesses right
    #[arg(long)]
    in_order: bool,
}

/// A cache line, and in it the address of the line to access next.
#[derive(Clone)]
#[repr(align(64))]
struct Line(*const Line);

fn main() -> Result<()> {
    let args = Args::parse();
    let mut system = System::new()?;
    system.refresh_memory();
    let in_group =
        |limits: CGroupLimits| limits.total_memory.saturating_sub(limits.rss);
    let free = system
        .cgroup_limits()
        .map_or(u64::MAX, in_group)
        .min(system.available_memory());
    let max = (args.max_mib << 20).min(free / 4) as usize;

    let mut memory = vec![Line(ptr::null()); max / 64];
    let (pages, lines) = (shuffled(max / 4096), shuffled(64));
    let mut rows = Vec::new();
    for size in (12..)
        .step_by(2)
        .map(|bits| 1 << bits)
        .take_while(|&size| size <= max)
    {
        let count = size / 4096; // pages, of each of which a round accesses one line
        let random =
            |i| 64 * pages[i % count] + lines[(i / count + i % count) % 64];
        let order: &dyn Fn(usize) -> usize =
            if args.in_order { &|i| i } else { &random };
        rows.push((size, chase(&mut memory, size / 64, order)?));
    }
    let [(small, fastest), .., (large, slowest)] = rows[..] else {
        bail!("no free memory")
    };

    let longest = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    let caches = data_caches();
    println!("working set  fits into cache  ns per access");
    for (size, time) in rows {
        let cache = caches.iter().find(|cache| size <= cache.0);
        let name = cache.map_or("none reported", |cache| &cache.1);
        let bar = "█".repeat((40.0 * time / longest).round() as usize);
        println!("{:>11}  {name:<15}{time:>7.1} │{bar}", bytes(size));
    }
    let (small, large, times) = (bytes(small), bytes(large), slowest / fastest);
    let seen = format!(
        "an access in {large} takes {times:.1} times as long as in {small}"
    );
    ensure!(times >= 3.0 || args.in_order, "{seen}");
    println!("\n{seen}");
    Ok(())
}

/// Links `count` lines to a cycle in this order and goes round it. Returns nanoseconds per access.
fn chase(
    memory: &mut [Line],
    count: usize,
    order: &dyn Fn(usize) -> usize,
) -> Result<f64> {
    let mut last = order(count - 1);
    for next in (0..count).map(order) {
        memory[last].0 = &memory[next];
        last = next;
    }
    let mut line = memory[last].0;
    let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID; // what other processes take does not count
    let mut times = [0.0; 10];
    for time in &mut times {
        let (begin, mut spent, mut accesses) = (clock.now()?, 0, 0);
        while spent < 10_000_000 {
            (0..100).for_each(|_| line = follow_100(line));
            accesses += 100 * 100;
            spent = (clock.now()? - begin).num_nanoseconds();
        }
        *time = spent as f64 / f64::from(accesses);
    }
    let warm = &mut times[5..]; // by then the caches hold of the set what they can
    warm.sort_by(f64::total_cmp);
    Ok(warm[2]) // the median
}

/// 100 times `line = *line`. In assembly, so that a debug build does nothing else either.
fn follow_100(mut line: *const Line) -> *const Line {
    // SAFETY: it only reads, and each line leads to a line of the same cycle.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(".rept 100", "mov {0}, [{0}]", ".endr", inout(reg) line);
        #[cfg(target_arch = "aarch64")]
        asm!(".rept 100", "ldr {0}, [{0}]", ".endr", inout(reg) line);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        (0..100).for_each(|_| line = (*line).0);
    }
    line
}

/// The numbers below `count` in random order: sorted by a hash that differs from run to run.
fn shuffled(count: usize) -> Vec<usize> {
    let (mut numbers, random) = (Vec::from_iter(0..count), RandomState::new());
    numbers.sort_by_cached_key(|number| random.hash_one(number));
    numbers
}

/// Size and name of the first core's caches for data, as far as the kernel reports them.
fn data_caches() -> Vec<(usize, String)> {
    let cache = |index| {
        let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let read = |file| fs::read_to_string(format!("{folder}/{file}")).ok();
        let size = read("size")?
            .trim()
            .strip_suffix('K')?
            .parse::<usize>()
            .ok()?
            << 10;
        let name = format!("L{} {}", read("level")?.trim(), bytes(size));
        (read("type")? != "Instruction\n").then_some((size, name))
    };
    (0..8).filter_map(cache).collect()
}

fn bytes(size: usize) -> String {
    let mib = size >> 20;
    if size == mib << 20 {
        format!("{mib} MiB")
    } else {
        format!("{} KiB", size >> 10)
    }
}
