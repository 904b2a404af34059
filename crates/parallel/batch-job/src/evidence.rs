//! What a cluster's scheduler says, a scheduler for one machine, and the table.

use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Result, ensure};
use clap::CommandFactory;
use clap::error::ErrorKind;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

use crate::{Args, Estimate, Merged, merge, result_file};

/// Where OpenPBS, TORQUE and Slurm put the index. Condor's job uses --index.
const VARIABLES: [&str; 3] =
    ["PBS_ARRAY_INDEX", "PBS_ARRAYID", "SLURM_ARRAY_TASK_ID"];

/// Tasks of the array that this program schedules itself
const TASKS: u16 = 4;

/// The index in the scheduler's variable; None where there is no scheduler.
pub fn index_from_scheduler() -> Option<u16> {
    let mut found: Option<(&str, u16)> = None;
    for name in VARIABLES {
        let Ok(value) = env::var(name) else {
            continue;
        };
        let Ok(index) = value.parse::<u16>() else {
            refuse(&format!("{name} is {value:?}, no number from 0 to 65535"));
        };
        match found {
            Some((other, other_index)) if other_index != index => {
                refuse(&format!("{other} is {other_index}, {name} is {index}"));
            }
            _ => found = Some((name, index)),
        }
    }
    found.map(|(_, index)| index)
}

/// Ends with exit code 2, as for a bad argument.
fn refuse(why: &str) -> ! {
    let text = format!("which task is this? {why}. --index decides");
    Args::command().error(ErrorKind::InvalidValue, text).exit()
}

/// The temporary folder, if there is one.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

fn remove_folder() {
    if let Some(folder) = FOLDER.get()
        && let Err(why) = fs::remove_dir_all(folder)
    {
        eprintln!("cannot remove {}: {why}", folder.display());
    }
}

/// Exits with 77.
fn cannot_run(why: &io::Error) -> ! {
    eprintln!("cannot run here: {why}");
    process::exit(77)
}

/// Runs the tasks, tears a result, merges, runs again what the merge names.
pub fn play_scheduler(points: u64) -> Result<()> {
    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    // Ctrl-C waits these few tenths of a second, until the folder is removed.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let verdict = in_a_temporary_folder(points);
    remove_folder();
    signals.thread_unblock()?;
    verdict
}

fn in_a_temporary_folder(points: u64) -> Result<()> {
    let name = format!("batch-job-{}", process::id());
    let new_folder = env::temp_dir().join(name);
    if let Err(why) = fs::create_dir(&new_folder) {
        let parent = env::temp_dir();
        eprintln!(
            "cannot run here: {why}: {}; set TMPDIR to a folder for its files",
            parent.display()
        );
        process::exit(77);
    }
    let folder = FOLDER.get_or_init(|| new_folder);

    let all: Vec<u16> = (1..=TASKS).collect();
    run_tasks(&all, points, folder)?;
    let files: Vec<PathBuf> = all
        .iter()
        .map(|index| result_file(folder, *index))
        .collect();

    OpenOptions::new()
        .write(true)
        .open(&files[1])?
        .set_len(20)?;
    println!("\nthe result of task 2 is torn: cut to its first 20 bytes");
    println!("merge:");
    let torn = merge(&files, points)?;
    let again = &torn.again;
    ensure!(*again == [2], "task 2 should run again, not {again:?}");

    println!("\nrun again: {again:?}");
    run_tasks(again, points, folder)?;
    println!();
    report(&merge(&files, points)?)?;
    println!("computed again: {} of {TASKS} tasks", again.len());
    Ok(())
}

/// Each task is a process, all at once. Returns when all have ended.
fn run_tasks(indexes: &[u16], points: u64, folder: &Path) -> Result<()> {
    let program = env::current_exe().unwrap_or_else(|why| cannot_run(&why));
    let mut tasks = Vec::new();
    for index in indexes {
        let mut command = Command::new(&program);
        command.arg("--index").arg(index.to_string());
        command.arg("--points").arg(points.to_string());
        command.arg("--out").arg(folder);
        command.stdout(Stdio::piped());
        tasks.push(command.spawn());
    }
    let mut failed = Vec::new();
    let mut said = String::new(); // printed when all have ended
    for (index, task) in indexes.iter().zip(tasks) {
        let ended = task.and_then(Child::wait_with_output);
        if let Ok(output) = ended
            && output.status.success()
        {
            said += &String::from_utf8_lossy(&output.stdout);
        } else {
            failed.push(index);
        }
    }
    print!("{said}");
    ensure!(failed.is_empty(), "tasks that failed: {failed:?}");
    Ok(())
}

/// Prints each estimate of pi, and that of all; an error if one is missing.
pub fn report(merged: &Merged) -> Result<()> {
    let again = &merged.again;
    ensure!(
        again.is_empty(),
        "no result of {again:?}: run only that again"
    );
    println!("task      hits  pi, with its 95 % interval");
    for Estimate {
        index,
        points,
        hits,
    } in merged.results.iter().take(12)
    {
        println!("{index:>4}{hits:>10}  {}", pi(*hits, *points));
    }
    let hits = merged.results.iter().map(|estimate| estimate.hits).sum();
    let points = merged.results.iter().map(|estimate| estimate.points).sum();
    let count = merged.results.len();
    println!("\n{count} results merged: pi is {}", pi(hits, points));
    Ok(())
}

/// Pi and half its 95 % interval: hits are binomially distributed.
fn pi(hits: u64, points: u64) -> String {
    let share = hits as f64 / points as f64;
    let deviation = (share * (1.0 - share) / points as f64).sqrt();
    format!("{:.5} ± {:.5}", 4.0 * share, 4.0 * 1.96 * deviation)
}
