//! Task against process: tasks and a forked process do the same. What does the main task see of it?
//!
//! Tasks of a process share its PID (the kernel's TGID), its memory and its descriptors. TID, stack
//! and even nice value are each task's own. A forked process has a copy, and shares none of these.
//! Sources: clone(2), fork(2), gettid(2), pthreads(7) for nice values, proc_pid_task(5).
//!
//! Predict:  a task writes to a variable, opens a file, calls nice. What changes for the others?
//! Try:      cargo run -p task-vs-process -- --threads 8
//! See also: process-components, all that a process has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::{path::PathBuf, process, sync::Mutex, thread};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::unistd::{ForkResult, alarm, fork};
use nix::{libc, sys::wait::waitpid};
use sysinfo::{Pid, Process, ProcessesToUpdate, System};

/// The variable: the name of each writer's own file, and an address on the writer's stack.
static WRITTEN: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Tasks beside the main one
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=8))]
    threads: u8,
}

fn main() -> Result<()> {
    let Args { threads } = Args::parse();
    if !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: TIDs in /proc, and a nice value per task, are Linux's"
        );
        process::exit(77);
    }
    // Two events: a read from either pipe returns when the last of its writers is dropped.
    let ((mut all_done, done), (end, gate)) = (pipe()?, pipe()?);
    // SAFETY: this process has one thread, so the child may do all that a program may.
    let fork =
        unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))?;
    let ForkResult::Parent { child } = fork else {
        alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
        drop(gate);
        return act(threads + 1, done, &end);
    };
    let shown = thread::scope(|scope| {
        let _gate = gate; // dropped on every way out of here
        for number in 1..=threads {
            let (done, end) = (done.try_clone()?, &end);
            let task = thread::Builder::new()
                .spawn_scoped(scope, move || act(number, done, end));
            task.map_err(|error| anyhow!("cannot start a thread: {error}"))?;
        }
        drop(done);
        _ = all_done.read(&mut [0])?;
        compare(threads, child.as_raw() as u32)
    });
    waitpid(child, None)?;
    shown
}

/// What everyone does, task or process.
fn act(nicer: u8, done: PipeWriter, mut end: &PipeReader) -> Result<()> {
    let own_file = fs::canonicalize("/proc/thread-self/stat")?; // /proc/PID/task/TID/stat
    let _open = File::open(&own_file)?; // adds to the descriptor table of this process
    WRITTEN
        .lock()
        .unwrap()
        .insert(own_file, (&raw const nicer).addr()); // changes its memory
    // SAFETY: nice(2) takes and returns a number.
    unsafe { libc::nice(nicer.into()) }; // of this task alone
    drop(done);
    _ = end.read(&mut [0]);
    Ok(())
}

/// Shows everyone, and what the main task sees of what they did.
fn compare(threads: u8, child: u32) -> Result<()> {
    let (main, mut system) = (process::id(), System::new()?);
    system.refresh_processes(
        ProcessesToUpdate::Some(&[Pid::from_u32(main)]),
        true,
    );
    let tasks = system
        .process(Pid::from_u32(main))
        .and_then(Process::tasks)
        .context("no tasks")?;
    let tasks = BTreeSet::from_iter(tasks)
        .into_iter()
        .map(|tid| ("task", main, tid.as_u32()));
    let open = fs::read_dir("/proc/self/fd")?
        .flatten()
        .flat_map(|fd| fs::read_link(fd.path()));
    let (open, written) = (open.collect::<Vec<_>>(), WRITTEN.lock().unwrap());
    // SAFETY: getpriority(2) takes and returns numbers.
    let nice_of =
        |tid: u32| unsafe { libc::getpriority(libc::PRIO_PROCESS, tid as _) };
    println!(
        "                     PID     TID  nice  write seen: its stack  file seen"
    );
    println!("main task       {main:>8}{main:>8}{:>6}", nice_of(main));
    for (label, pid, tid) in tasks.chain([("forked process", child, child)]) {
        let (own_file, nice) =
            (format!("/proc/{pid}/task/{tid}/stat").into(), nice_of(tid));
        let stack = written
            .get(&own_file)
            .map_or("no".into(), |stack| format!("{stack:x}"));
        let file = if open.contains(&own_file) {
            "yes"
        } else {
            "no"
        };
        println!("{label:<16}{pid:>8}{tid:>8}{nice:>6}  {stack:<23}{file}");
        let seen = [stack != "no", file != "no"];
        ensure!(
            seen == [pid == main; 2],
            "{label} {tid}: write seen, file seen: {seen:?}"
        );
        ensure!(
            nice != nice_of(main) || nice == 19,
            "{label} {tid} has the main task's nice value, {nice}"
        );
    }
    let stacks = BTreeSet::from_iter(written.values()).len();
    ensure!(
        stacks == threads.into(),
        "seen: {stacks} stacks of {threads} tasks"
    );
    println!(
        "\n{threads} tasks, 1 PID, {stacks} stacks: writes, files seen; forked process: none"
    );
    Ok(())
}
