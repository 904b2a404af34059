//! Where text and data are in physical memory, and how often.
//!
//! Sources: proc_pid_pagemap(5) for physical pages; proc_pid_smaps(5) for Rss
//! and Pss of each mapping, that is, of each part of virtual memory.

use std::collections::BTreeMap;
use std::env::current_exe;
use std::fs;
use std::path::Path;
use std::process::{exit, id};

use anyhow::{Context, Result, ensure};

const DATA: &str = "(data, heap, stack)";

/// What several processes have in memory, all together.
#[derive(Default)]
struct Memory {
    /// Sum of Rss, in bytes
    rss: u64,
    /// Sum of Pss, in bytes
    pss: u64,
}

impl Memory {
    /// What is in memory, divided by what one process uses of it.
    fn copies(&self, processes: usize) -> f64 {
        let mean_rss = self.rss as f64 / processes as f64;
        self.pss as f64 / mean_rss
    }
}

/// How often text and data of this program are in memory.
pub struct Copies {
    processes: usize,
    text: f64,
    data: f64,
}

pub fn need_smaps() -> Result<()> {
    if !fs::exists("/proc/self/smaps")? {
        eprintln!("cannot run here: it reads /proc/PID/smaps of Linux");
        exit(77);
    }
    Ok(())
}

pub fn print_heading() {
    println!(
        "    PID    text: virtual ──▶ physical page   \
         data: virtual ──▶ physical page"
    );
}

/// Two virtual addresses of this process, and their physical pages.
pub fn row_of_pages(text: usize, data: usize) -> String {
    let pid = id();
    let text_page = page_number(text);
    let data_page = page_number(data);
    format!(
        "{pid:>7}   {text:#x} ──▶ {text_page:<13}   {data:#x} ──▶ {data_page}"
    )
}

/// The number of the physical page. The kernel tells it to root only.
fn page_number(address: usize) -> String {
    match physical_page(address) {
        Ok(page) if page > 0 => format!("{page:x}"),
        _ => "no permission".to_string(),
    }
}

#[cfg(target_os = "linux")]
fn physical_page(address: usize) -> Result<u64> {
    use procfs::process::{PageInfo, Process};
    let virtual_page = address / usize::try_from(procfs::page_size())?;
    let mut pagemap = Process::myself()?.pagemap()?;
    match pagemap.get_info(virtual_page)? {
        PageInfo::MemoryPage(page) => Ok(page.get_page_frame_number().0),
        PageInfo::SwapPage(_) => Ok(0),
    }
}

#[cfg(not(target_os = "linux"))]
fn physical_page(_: usize) -> Result<u64> {
    Ok(0)
}

/// Prints what these processes have in memory, and counts the copies.
pub fn count_copies(pids: &[u32]) -> Result<Copies> {
    let processes = pids.len();
    let memories = memory_of(pids)?;
    println!(
        "\nKiB in memory of      mean Rss  sum of Rss  sum of Pss  copies"
    );
    // In reverse order, this program comes first, and its data last.
    for (name, memory) in memories.iter().rev() {
        let rss = memory.rss / 1024;
        let pss = memory.pss / 1024;
        let mean = rss / processes as u64;
        let copies = memory.copies(processes);
        let width = 15.0 * copies / processes as f64;
        let bar = "█".repeat(width.round() as usize);
        println!("{name:<21}{mean:>9}{rss:>12}{pss:>12}{copies:>8.2} {bar}");
    }
    println!(
        "copies: sum of Pss / mean Rss. Below 1: other programs share it, too."
    );

    let program = current_exe()?;
    let text = memories
        .get(&file_name(&program))
        .context("no text found")?;
    let data = memories.get(DATA).context("no data found")?;
    Ok(Copies {
        processes,
        text: text.copies(processes),
        data: data.copies(processes),
    })
}

/// What these processes have in memory, by file name or as `DATA`.
#[cfg(target_os = "linux")]
fn memory_of(pids: &[u32]) -> Result<BTreeMap<String, Memory>> {
    use procfs::process::{MMPermissions, MMapPath, Process};
    let mut memories: BTreeMap<String, Memory> = BTreeMap::new();
    for pid in pids {
        for mapping in Process::new(pid.cast_signed())?.smaps()? {
            let executable = mapping.perms.contains(MMPermissions::EXECUTE);
            let writable = mapping.perms.contains(MMPermissions::WRITE);
            let name = match mapping.pathname {
                MMapPath::Path(file) if executable => file_name(&file),
                _ if writable => DATA.to_string(),
                _ => continue,
            };
            let bytes = mapping.extension.map;
            let memory = memories.entry(name).or_default();
            memory.rss += bytes.get("Rss").context("smaps without Rss")?;
            memory.pss += bytes.get("Pss").context("smaps without Pss")?;
        }
    }
    // Nothing can be said of what has no page in memory.
    memories.retain(|_, memory| memory.pss > 0);
    Ok(memories)
}

#[cfg(not(target_os = "linux"))]
fn memory_of(_: &[u32]) -> Result<BTreeMap<String, Memory>> {
    Ok(BTreeMap::new())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

pub fn judge(copies: &Copies) -> Result<()> {
    let Copies {
        processes,
        text,
        data,
    } = *copies;
    let least_data = 0.7 * processes as f64;
    ensure!(text <= 1.3, "{text:.2} copies of the text, 1 was expected");
    ensure!(
        data >= least_data,
        "{data:.2} copies of the data, {processes} were expected"
    );
    println!("\n{processes} processes run this program. In memory there are");
    println!("{text:.2} copies of its text, and {data:.2} copies of its data.");
    Ok(())
}
