//! What the main task sees of the others, and whether that is as expected.
//!
//! Sources: clone(2) for what tasks share; fork(2) for what a process does not;
//! proc_pid_task(5); pthreads(7), "Linux implementations", for nice values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process;

use anyhow::{Result, ensure};
use nix::libc::{PRIO_PROCESS, getpriority};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

/// The highest nice value that there is.
const HIGHEST_NICE: i32 = 19;

/// What the main task sees of another one.
struct Other {
    nice: i32,
    /// An address on its stack, if what it wrote is seen
    stack: Option<usize>,
    /// Whether the file that it opened is open here
    file: bool,
}

/// What the main task sees.
pub struct Seen {
    main_nice: i32,
    tasks: Vec<Other>,
    forked: Other,
}

pub fn need_proc() -> Result<()> {
    if !fs::exists("/proc/thread-self/stat")? {
        eprintln!("cannot run here: it needs Linux, and its /proc");
        process::exit(77);
    }
    Ok(())
}

/// Prints and returns what the main task sees of the others.
pub fn look(child: Pid, written: &BTreeMap<PathBuf, usize>) -> Result<Seen> {
    println!(
        "                     PID     TID  nice  \
         main task sees its write   its file"
    );
    let pid = process::id();
    let main_nice = nice_of(pid);
    println!("main task       {pid:>8}{pid:>8}{main_nice:>6}");
    let mut tasks = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let tid: u32 = entry?.file_name().to_string_lossy().parse()?;
        if tid != pid {
            tasks.push(look_at("task", pid, tid, written)?);
        }
    }
    let child = child.as_raw().cast_unsigned();
    let forked = look_at("forked process", child, child, written)?;
    Ok(Seen {
        main_nice,
        tasks,
        forked,
    })
}

/// Prints and returns what the main task sees of one of the others.
fn look_at(
    name: &str,
    pid: u32,
    tid: u32,
    written: &BTreeMap<PathBuf, usize>,
) -> Result<Other> {
    let its_file = PathBuf::from(format!("/proc/{pid}/task/{tid}/stat"));
    let nice = nice_of(tid);
    let stack = written.get(&its_file).copied();
    let file = open_files()?.contains(&its_file);
    let write_seen = match stack {
        Some(address) => format!("yes, stack {address:x}"),
        None => "no".to_string(),
    };
    let file_seen = if file { "yes" } else { "no" };
    println!(
        "{name:<16}{pid:>8}{tid:>8}{nice:>6}  {write_seen:<27}{file_seen}"
    );
    Ok(Other { nice, stack, file })
}

fn nice_of(tid: u32) -> i32 {
    // Its type has no sign on Linux, but one on FreeBSD.
    let tid = tid as _;
    // SAFETY: getpriority takes numbers and returns one.
    unsafe { getpriority(PRIO_PROCESS, tid) }
}

/// The files that this process has open, seen from the main task.
fn open_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for descriptor in fs::read_dir("/proc/self/fd")? {
        // This very list is among them, and may be closed by now.
        if let Ok(file) = fs::read_link(descriptor?.path()) {
            files.push(file);
        }
    }
    Ok(files)
}

/// Whether writes and files are seen of tasks only, and nice values differ.
pub fn judge(threads: u8, seen: &Seen, status: WaitStatus) -> Result<()> {
    let mut writes = 0;
    let mut files = 0;
    let mut stacks = BTreeSet::new();
    for task in &seen.tasks {
        if let Some(address) = task.stack {
            writes += 1;
            stacks.insert(address);
        }
        if task.file {
            files += 1;
        }
    }
    let stacks = stacks.len();
    ensure!(writes == threads, "{writes} of {threads} writes were seen");
    ensure!(files == threads, "{files} of {threads} files were seen");
    ensure!(stacks == threads.into(), "{threads} tasks, {stacks} stacks");

    let forked = &seen.forked;
    ensure!(
        matches!(status, WaitStatus::Exited(_, 0)),
        "the forked process ended with {status:?}"
    );
    ensure!(forked.stack.is_none(), "a write of the process was seen");
    ensure!(!forked.file, "a file of the process was seen");

    let main_nice = seen.main_nice;
    let mut nice_values = String::new();
    for other in seen.tasks.iter().chain([forked]) {
        let nice = other.nice;
        ensure!(
            nice > main_nice || nice == HIGHEST_NICE,
            "nice of the main task: {main_nice}, of another one: {nice}"
        );
        nice_values += &format!(" {nice}");
    }

    println!(
        "\n{threads} tasks: {writes} writes seen, {files} files seen, \
         {stacks} stacks"
    );
    println!("1 forked process: no write and no file of it seen");
    println!(
        "nice of the main task: {main_nice}, \
         of the others:{nice_values} ({HIGHEST_NICE} at most)"
    );
    Ok(())
}
