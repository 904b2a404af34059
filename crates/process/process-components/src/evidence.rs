//! What the kernel says of this process, the box of it, and the verdict.
//!
//! Sources: proc_pid_status(5), proc_pid_fd(5), proc_pid_maps(5), signal(7),
//! credentials(7) for the IDs, errno(3).

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::{fs, process, ptr};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::Signal;

/// Linux alone has this file.
const STATUS: &str = "/proc/thread-self/status";

/// Columns for the text of a row of the box, beside its label.
const TEXT_WIDTH: usize = 63;

/// What the kernel keeps of this process and its only thread.
pub struct ControlBlock {
    pid: String,
    parent: String,
    tid: String,
    threads: String,
    directory: String,
    handled: Vec<Signal>,
    ignored: Vec<Signal>,
    blocked: Vec<Signal>,
    /// Where each descriptor leads
    descriptors: BTreeMap<RawFd, String>,
}

/// The descriptors of what was opened.
pub struct Opened {
    pub file: RawFd,
    pub pipe_read: RawFd,
    pub pipe_write: RawFd,
    pub socket: RawFd,
}

/// A range of addresses that has memory, and an address in it.
pub struct Mapping {
    range: String,
    address: usize,
}

/// What the kernel keeps right now.
pub fn look() -> Result<ControlBlock> {
    if !Path::new(STATUS).exists() {
        eprintln!("cannot run here: it reads about itself in Linux's /proc");
        process::exit(77);
    }
    Ok(ControlBlock {
        pid: status("Tgid")?,
        parent: status("PPid")?,
        tid: status("Pid")?,
        threads: status("Threads")?,
        directory: link("cwd")?,
        handled: signals("SigCgt")?,
        ignored: signals("SigIgn")?,
        blocked: signals("SigBlk")?,
        descriptors: descriptors()?,
    })
}

/// The value of one field of the status.
fn status(field: &str) -> Result<String> {
    let status = fs::read_to_string(STATUS)?;
    for line in status.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name == field {
            return Ok(value.trim().to_string());
        }
    }
    bail!("{STATUS} has no {field}")
}

/// One set of signals of the status: the lowest bit stands for signal 1.
fn signals(field: &str) -> Result<Vec<Signal>> {
    let mask = u64::from_str_radix(&status(field)?, 16)?;
    let mut set = Vec::new();
    for signal in Signal::iterator() {
        let bit = 1 << (signal as u32 - 1);
        if mask & bit != 0 {
            set.push(signal);
        }
    }
    Ok(set)
}

/// Where a link in /proc/self leads.
fn link(name: &str) -> Result<String> {
    let target = fs::read_link(format!("/proc/self/{name}"))?;
    Ok(target.to_string_lossy().to_string())
}

/// Where each descriptor leads.
fn descriptors() -> Result<BTreeMap<RawFd, String>> {
    let mut numbers: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.push(entry?.file_name().to_string_lossy().parse()?);
    }
    let mut targets = BTreeMap::new();
    for number in numbers {
        // One number was that of the folder itself, which is closed by now.
        if let Ok(target) = link(&format!("fd/{number}")) {
            targets.insert(number, target);
        }
    }
    Ok(targets)
}

/// The mapping that holds this value.
pub fn mapping_of(value: &i32) -> Result<Mapping> {
    let address = ptr::from_ref(value).addr();
    let maps = fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines() {
        let range = line.split(' ').next().unwrap_or_default();
        let (begin, end) = range.split_once('-').context("maps: no range")?;
        let begin = usize::from_str_radix(begin, 16)?;
        let end = usize::from_str_radix(end, 16)?;
        if begin <= address && address < end {
            let range = range.to_string();
            return Ok(Mapping { range, address });
        }
    }
    bail!("no mapping holds the address {address:x}")
}

/// Draws what all threads of the process have in common.
pub fn draw_process(
    before: &ControlBlock,
    after: &ControlBlock,
    heap: &Mapping,
) {
    let Mapping { range, address } = heap;
    draw_border('┌', " process ", '┐');
    draw_row("ids", &format!("PID {}, PPID {}", after.pid, after.parent));
    draw_row("directory", &after.directory);
    draw_row("heap", &format!("{range} holds a Box at {address:x}"));
    draw_row("handled", &change(&before.handled, &after.handled));
    draw_row("ignored", &change(&before.ignored, &after.ignored));
}

/// Draws where the descriptors lead.
pub fn draw_descriptors(after: &ControlBlock, opened: &Opened) {
    let named = [
        (0, "stdin"),
        (1, "stdout"),
        (2, "stderr"),
        (opened.file, "file"),
        (opened.pipe_read, "pipe, read"),
        (opened.pipe_write, "pipe, write"),
        (opened.socket, "socket"),
    ];
    draw_border('├', " file descriptors ", '┤');
    for (number, name) in named {
        draw_row(&format!("{number} {name}"), after.target(number));
    }
}

/// Draws what each thread has of its own.
pub fn draw_thread(
    before: &ControlBlock,
    after: &ControlBlock,
    stack: &Mapping,
    errno: Errno,
) {
    let Mapping { range, address } = stack;
    let ids = format!("TID {}, threads: {}", after.tid, after.threads);
    draw_border('├', " thread ", '┤');
    draw_row("ids", &ids);
    draw_row("stack", &format!("{range} holds a local at {address:x}"));
    draw_row("blocked", &change(&before.blocked, &after.blocked));
    draw_row("errno", &format!("{} {errno}", errno as i32));
    draw_border('└', "", '┘');
}

impl ControlBlock {
    /// Where a descriptor leads.
    fn target(&self, number: RawFd) -> &str {
        match self.descriptors.get(&number) {
            Some(target) => target,
            None => "closed",
        }
    }
}

fn draw_border(left: char, title: &str, right: char) {
    println!("{left}─{title:─<77}{right}");
}

/// What is too long is cut at its beginning: the end of a path says most.
fn draw_row(label: &str, text: &str) {
    let cut = text.chars().count().saturating_sub(TEXT_WIDTH);
    let dots = if cut > 0 { '…' } else { ' ' };
    let end: String = text.chars().skip(cut).collect();
    println!("│ {label:<13}{dots}{end:<TEXT_WIDTH$}│");
}

/// A set of signals before and after.
fn change(before: &[Signal], after: &[Signal]) -> String {
    format!("{}  ──▶  {}", names(before), names(after))
}

/// The names of these signals, without their SIG.
fn names(signals: &[Signal]) -> String {
    let mut names = Vec::new();
    for signal in signals {
        names.push(signal.as_str().trim_start_matches("SIG"));
    }
    format!("{{{}}}", names.join(" "))
}

/// The lowest numbers that are no descriptor.
fn lowest_free(block: &ControlBlock, count: usize) -> Vec<RawFd> {
    let mut free = Vec::new();
    let mut number = 0;
    while free.len() < count {
        if !block.descriptors.contains_key(&number) {
            free.push(number);
        }
        number += 1;
    }
    free
}

pub fn judge(
    before: &ControlBlock,
    after: &ControlBlock,
    closed: &ControlBlock,
    opened: &Opened,
    errno: Errno,
) -> Result<()> {
    let numbers = vec![
        opened.file,
        opened.pipe_read,
        opened.pipe_write,
        opened.socket,
    ];
    let free = lowest_free(before, numbers.len());
    ensure!(numbers == free, "opened {numbers:?}, free were {free:?}");

    let file = after.target(opened.file);
    let pipe = after.target(opened.pipe_read);
    let socket = after.target(opened.socket);
    ensure!(file == link("exe")?, "the file is {file}");
    ensure!(pipe.starts_with("pipe:"), "the pipe is {pipe}");
    ensure!(pipe == after.target(opened.pipe_write), "two pipes");
    ensure!(socket.starts_with("socket:"), "the socket is {socket}");

    let mut expected = after.descriptors.clone();
    expected.remove(&opened.socket);
    ensure!(closed.descriptors == expected, "close did not remove it");

    let usr1 = Signal::SIGUSR1;
    ensure!(!before.handled.contains(&usr1), "USR1 was handled before");
    ensure!(after.handled.contains(&usr1), "USR1 is not handled");
    ensure!(after.blocked.contains(&Signal::SIGUSR2), "USR2 not blocked");
    ensure!(errno == Errno::ENOENT, "errno is {errno}");

    println!("\nlowest free: {free:?}, opened: {numbers:?}");
    println!(
        "removed by close: {}; USR1 is handled, USR2 blocked, errno {errno:?}",
        opened.socket
    );
    Ok(())
}
