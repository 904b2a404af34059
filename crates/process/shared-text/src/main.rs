//! Shared text: processes that run the same program share one copy of its text in memory.
//!
//! Nobody can write to text. So one copy in physical memory serves every process that maps it into
//! its virtual memory: text of the program, of its libraries, and of the vdso, which the kernel
//! lends to all. Data is written to: each process has its own. Rss counts the pages of a process in
//! full; Pss divides each by the number of processes that map it. A sum of Pss is what is in use;
//! where that is less than one copy, unrelated programs have their share of it, too.
//! Sources: proc_pid_smaps(5), vdso(7); proc_pid_pagemap(5), which shows physical pages to root.
//!
//! Predict:  five processes run one program. How often is its text in memory? Its data? libc?
//! Try:      cargo run -p shared-text -- --copies 10
//! See also: memory-segments, where text and data are in one process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio, exit, id};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::unistd::{SysconfVar, alarm, sysconf};

static DATA: AtomicU32 = AtomicU32::new(1);
const WRITABLE: &str = "(data, heap, stack)";

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Further processes that run this program
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=100))]
    copies: u32,
    /// Be one of them: say where text and data are, then wait for the end of standard input
    #[arg(long, hide = true)]
    be_copy: bool,
}

/// Reaped when dropped, so on every path out.
struct Copy(Child);

impl Drop for Copy {
    fn drop(&mut self) {
        _ = self.0.wait(); // closes its standard input first, which ends it
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    DATA.store(id(), Relaxed); // each process writes its own PID
    let addresses = format!("{:p} {:p}", main as *const (), &DATA);
    if args.be_copy {
        alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
        _ = writeln!(stdout(), "{addresses}"); // if nobody reads it, there is no parent any more
        _ = stdin().read(&mut [0]);
        return Ok(());
    }
    if !fs::exists("/proc/self/smaps")? {
        eprintln!(
            "cannot run here: it reads /proc/PID/smaps, which only Linux has"
        );
        exit(77);
    }
    let (mut processes, mut copies) = (vec![(id(), addresses)], Vec::new());
    for _ in 0..args.copies {
        let mut program = Command::new(std::env::current_exe()?);
        program
            .arg("--be-copy")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut copy = Copy(program.spawn().context("cannot start a copy")?);
        let mut addresses = String::new();
        let output = copy.0.stdout.take().context("no pipe")?;
        BufReader::new(output).read_line(&mut addresses)?; // when it has said so, it runs
        processes.push((copy.0.id(), addresses));
        copies.push(copy);
    }

    println!(
        "    PID    text: virtual ──▶ physical page   data: virtual ──▶ physical page"
    );
    let mut smaps = String::new();
    for (pid, addresses) in &processes {
        let (text, data) = addresses
            .trim()
            .split_once(' ')
            .context("a copy did not start")?;
        let page =
            |address| physical_page(*pid, address).unwrap_or("hidden".into());
        println!(
            "{pid:>7}   {text} ──▶ {:<13}   {data} ──▶ {}",
            page(text),
            page(data)
        );
        smaps += &fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    }

    println!(
        "\nKiB in memory of       mean Rss  sum of Rss  sum of Pss  copies"
    );
    let (count, memory) = (processes.len() as f64, sum_up(&smaps)?);
    let copies_of = |[rss, pss]: [f64; 2]| pss / (rss / count); // what all use / what one has
    for (name, &[rss, pss]) in memory.iter().rev() {
        let (mean, copies) = (rss / count, copies_of([rss, pss]));
        let bar = "█".repeat((15.0 * copies / count).round() as usize);
        println!("{name:<22}{mean:>9.0}{rss:>12}{pss:>12}{copies:>8.2} {bar}");
    }
    let text = copies_of(
        *memory
            .get(env!("CARGO_BIN_NAME"))
            .context("this program has no text")?,
    );
    let data = copies_of(memory[WRITABLE]);
    println!(
        "\n{count} processes: {text:.2} copies of the text in memory, {data:.2} of the data"
    );
    ensure!(
        text <= 1.3 && data >= 0.7 * count,
        "expected 1 copy of the text, {count} of the data"
    );
    Ok(())
}

/// The number of the page of physical memory that holds a virtual address, if root asks.
fn physical_page(pid: u32, address: &str) -> Option<String> {
    let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
    let page_size = sysconf(SysconfVar::PAGE_SIZE).ok()?? as u64;
    let mut entry = [0; 8]; // pagemap is an array: so many bytes for each virtual page
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).ok()?;
    pagemap
        .read_exact_at(&mut entry, address / page_size * 8)
        .ok()?;
    let number = u64::from_ne_bytes(entry) & ((1 << 55) - 1);
    (number > 0).then(|| format!("{number:x}"))
}

/// Rss and Pss in KiB, each summed up: of text, by file, and of all that may be written to.
fn sum_up(smaps: &str) -> Result<BTreeMap<&str, [f64; 2]>> {
    let (mut name, mut memory) = ("", BTreeMap::<_, [f64; 2]>::new());
    for line in smaps.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, "r-xp", .., file] => {
                name = file.rsplit('/').next().unwrap_or(file);
            }
            [_, "rw-p", ..] => name = WRITABLE,
            [range, ..] if range.contains('-') => name = "", // any other mapping
            ["Rss:", kib, _] => {
                memory.entry(name).or_default()[0] += kib.parse::<f64>()?;
            }
            ["Pss:", kib, _] => {
                memory.entry(name).or_default()[1] += kib.parse::<f64>()?;
            }
            _ => {}
        }
    }
    memory.remove("");
    Ok(memory)
}
