//! Which descriptors each process has, and what sh makes of the same command.
//!
//! Sources: pipe(7) for end of file; dup2(2); proc_pid_fd(5) for the names of
//! open files; POSIX, Shell Command Language, 2.7 and 2.9.2.

use std::env;
use std::fs;
use std::io::{PipeReader, PipeWriter, Write, pipe, read_to_string};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid};

use crate::Files;

/// Changes to the folder of this file, where words.txt is. Exits with 77
/// where that file or Linux's /proc is missing.
pub fn go_to_folder_of_words() -> Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    if !Path::new("/proc/self/fd").exists() {
        eprintln!("cannot run here: it looks at descriptors in Linux's /proc");
        exit(77)
    }
    if !Path::new(folder).join("words.txt").exists() {
        eprintln!("cannot run here: no words.txt in {folder}; build it there");
        exit(77)
    }
    Ok(env::set_current_dir(folder)?)
}

/// One open descriptor of a process.
pub struct Descriptor {
    /// "parent", "sort" or "uniq"
    process: String,
    number: i32,
    /// The path, or a pipe's number and which end of it
    file: String,
}

/// A third pipe: the children write to it, so that the parent can print.
pub struct Report {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Report {
    /// exec closes its descriptors, as all that the standard library opens.
    pub fn new() -> Result<Report> {
        let (reader, writer) = pipe()?;
        Ok(Report { reader, writer })
    }

    /// Lists what this process has open, below the report's own descriptors.
    pub fn add(&self, process: &str) {
        let mut lines = String::new();
        for number in 0..self.reader.as_raw_fd() {
            if let Some(file) = file_of(number) {
                lines += &format!("{process}\t{number}\t{file}\n");
            }
        }
        if let Err(error) = (&self.writer).write_all(lines.as_bytes()) {
            eprintln!("{process} cannot report: {error}");
        }
    }

    /// All that was listed. It waits until no child can list any more.
    pub fn read(self) -> Result<Vec<Descriptor>> {
        drop(self.writer);
        let mut descriptors = Vec::new();
        for line in read_to_string(self.reader)?.lines() {
            let cells: Vec<&str> = line.splitn(3, '\t').collect();
            ensure!(cells.len() == 3, "reported: {line:?}");
            descriptors.push(Descriptor {
                process: cells[0].to_string(),
                number: cells[1].parse()?,
                file: cells[2].to_string(),
            });
        }
        Ok(descriptors)
    }
}

/// What a descriptor of this process stands for; None if it is not open.
fn file_of(number: i32) -> Option<String> {
    let link = format!("/proc/self/fd/{number}");
    let target = fs::read_link(&link).ok()?;
    let folder = env::current_dir().ok()?;
    let path = target.strip_prefix(&folder).unwrap_or(&target);
    let name = path.display().to_string();
    if !name.starts_with("pipe:") {
        return Some(name);
    }
    // The link is writable if the descriptor is.
    let permissions = fs::symlink_metadata(&link).ok()?.permissions();
    let end = match permissions.mode() & 0o200 {
        0 => "read",
        _ => "write",
    };
    Some(format!("{name} {end}"))
}

/// A column for each process, a line for each descriptor.
pub fn print_table(descriptors: &[Descriptor], sort: Pid, uniq: Pid) {
    println!("$ sort < words.txt | uniq -c     # in the folder of main.rs\n");
    println!("open descriptors of the parent, and of each child before exec:");
    let parent_column = column(descriptors, "parent", getpid());
    let sort_column = column(descriptors, "sort", sort);
    let uniq_column = column(descriptors, "uniq", uniq);
    for (row, parent_cell) in parent_column.iter().enumerate() {
        let sort_cell = sort_column.get(row).map_or("", String::as_str);
        let uniq_cell = uniq_column.get(row).map_or("", String::as_str);
        let line = format!("{parent_cell:<26}{sort_cell:<26}{uniq_cell}");
        println!("{}", line.trim_end());
    }
    println!();
}

fn column(descriptors: &[Descriptor], process: &str, pid: Pid) -> Vec<String> {
    let mut cells = vec![format!("{process} {pid}")];
    for descriptor in descriptors {
        if descriptor.process == process {
            let number = descriptor.number;
            let file = last_characters(&descriptor.file, 22);
            cells.push(format!("{number} {file}"));
        }
    }
    cells
}

/// The text, or its end where it is too long.
fn last_characters(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_string();
    }
    let end: String = text.chars().skip(length - limit + 1).collect();
    format!("…{end}")
}

/// Returns when sort has ended, the pipe is empty, and uniq sleeps.
pub fn see_uniq_hang(sort: Pid, uniq: Pid, files: &Files) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let sort_ended = state_of(sort)? == 'Z'; // zombie: it is not yet reaped
        let pipe = PollFd::new(files.sorted_reader.as_fd(), PollFlags::POLLIN);
        let empty = poll(&mut [pipe], PollTimeout::ZERO)? == 0;
        let uniq_sleeps = state_of(uniq)? == 'S';
        if sort_ended && empty && uniq_sleeps {
            break;
        }
        ensure!(Instant::now() < deadline, "uniq does not hang");
        yield_now(); // to the children, if they share this core
    }
    let held = files.sorted_writer.as_raw_fd();
    println!("sort has ended, the pipe is empty, uniq sleeps: no end of file");
    println!(
        "while the parent holds {held}, the write end. It closes it now.\n"
    );
    Ok(())
}

/// A process's state: one letter, in the third field of /proc/PID/stat.
fn state_of(process: Pid) -> Result<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, after_name) = stat.rsplit_once(") ").context("no state")?;
    after_name.chars().next().context("no state")
}

/// What a command writes to its standard output if a real shell runs it.
pub fn run_sh(command: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run sh")?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The file of one descriptor of a process.
fn find<'a>(
    descriptors: &'a [Descriptor],
    process: &str,
    number: i32,
) -> Result<&'a str> {
    for descriptor in descriptors {
        if descriptor.process == process && descriptor.number == number {
            return Ok(&descriptor.file);
        }
    }
    Err(anyhow!("{process} had no descriptor {number}"))
}

pub fn judge(
    descriptors: &[Descriptor],
    sort_status: WaitStatus,
    uniq_status: WaitStatus,
    counts: &str,
    by_sh: &str,
) -> Result<()> {
    for status in [sort_status, uniq_status] {
        let success = matches!(status, WaitStatus::Exited(_, 0));
        ensure!(success, "a child failed: {status:?}");
    }
    let input = find(descriptors, "sort", 0)?;
    ensure!(input == "words.txt", "0 of sort was {input}");
    let sort_output = find(descriptors, "sort", 1)?;
    let uniq_input = find(descriptors, "uniq", 0)?;
    let pipe = sort_output.strip_suffix(" write").unwrap_or("no pipe");
    ensure!(
        uniq_input == format!("{pipe} read"),
        "1 of sort was {sort_output}, 0 of uniq was {uniq_input}"
    );
    ensure!(counts == by_sh, "sh has another result: {by_sh:?}");
    let lines = counts.lines().count();
    println!("{pipe} was 1 of sort and 0 of uniq; both exited with 0");
    println!("sh -c 'sort < words.txt | uniq -c' gives the same {lines} lines");
    Ok(())
}
