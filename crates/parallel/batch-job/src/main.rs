//! Batch job: a cluster runs one program many times; only the index differs.
//!
//! Each run is a task of a job array, and knows nothing of the other tasks.
//! The cluster's scheduler gives each task an index. Here the seed of the
//! task's random numbers comes from it. A task throws points into a square,
//! counts those in a quarter of a circle, and writes the count to its file.
//! A merge reads the files, and estimates pi by the counts.
//! Without an index, this program plays the scheduler, for an array of 4 tasks.
//!
//! Predict:  one of 4 results is torn. How much has to be computed again?
//! Try:      cargo run -p batch-job -- --index 1 --out target
//! Try:      cargo run -p batch-job -- --merge 2 --out target   # exits 1
//! See also: embarrassingly-parallel, where threads share out such jobs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use serde::{Deserialize, Serialize};

/// The environment variable in which a scheduler gives the index, and what it
/// holds in a job that is no array ("": nothing, it is not set). Condor has no
/// such variable: its job file passes --index.
const VARIABLES: [(&str, &str); 5] = [
    ("SLURM_ARRAY_TASK_ID", ""),
    ("PBS_ARRAY_INDEX", ""),      // OpenPBS, PBS Pro
    ("PBS_ARRAYID", ""),          // TORQUE
    ("SGE_TASK_ID", "undefined"), // Grid Engine
    ("LSB_JOBINDEX", "0"),        // LSF
];

/// What a task finds out. Its file holds this as JSON.
#[derive(Serialize, Deserialize)]
struct Estimate {
    points: u64,
    hits: u64,
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();

    if let Some(last) = args.merge {
        let again = merge(last, &args.out);
        ensure!(
            again.is_empty(),
            "no result of {again:?}: run only that again"
        );
        return Ok(());
    }
    let index = match args.index {
        Some(index) => Some(index),
        None => index_from_scheduler()?,
    };
    match index {
        Some(index) => run_task(index, &args.out),
        None => play_scheduler(),
    }
}

/// Runs an array, tears a result, merges, and runs again what is missing.
fn play_scheduler() -> Result<()> {
    // In target, where Cargo puts what it builds, too. The folder's name is the
    // PID of this process, so that runs at the same time have their own.
    let folder = format!("target/batch-job/{}", process::id());
    let folder = Path::new(&folder);
    if let Err(error) = fs::create_dir_all(folder) {
        eprintln!("cannot run here: no folder {}: {error}", folder.display());
        process::exit(77);
    }
    run_tasks(&[1, 2, 3, 4], folder)?;

    // Half of the file is lost, as if the power had failed. (A task that is
    // killed does not leave half a result: see the rename below.)
    let file = result_file(2, folder);
    let whole = fs::read_to_string(&file)?;
    let half = &whole[..whole.len() / 2];
    fs::write(&file, half)?;
    println!("\nthe result of task 2 is torn, this is left: {half}");

    println!();
    let again = merge(4, folder);
    ensure!(again == [2], "task 2 should run again, not {again:?}");

    println!();
    run_tasks(&again, folder)?;
    println!();
    let missing = merge(4, folder);
    ensure!(missing.is_empty(), "still no result of {missing:?}");
    let repeated = fs::read_to_string(&file)?;
    ensure!(repeated == whole, "task 2 had {whole}, and now {repeated}");

    fs::remove_dir_all(folder)?;
    println!("\ncomputed again: {} of 4 tasks", again.len());
    Ok(())
}

/// Starts all these tasks, each as a process, then waits until they have ended.
fn run_tasks(indexes: &[u32], folder: &Path) -> Result<()> {
    println!("run {indexes:?}");
    // Each task runs this same program. By custom, the first argument is the
    // program's own name.
    let program = env::args_os().next().context("this program has no name")?;
    let mut tasks = Vec::new();
    for index in indexes {
        let mut command = Command::new(&program);
        command.arg("--index").arg(index.to_string());
        command.arg("--out").arg(folder);
        command.stdout(Stdio::piped()); // printed below, task by task
        let task = command
            .spawn()
            .with_context(|| format!("cannot start task {index}"))?;
        tasks.push((index, task));
    }
    for (index, task) in tasks {
        let output = task.wait_with_output()?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        let status = output.status;
        ensure!(status.success(), "task {index} failed: {status}");
    }
    Ok(())
}

/// What each task of the array does, here and on a cluster.
fn run_task(index: u32, folder: &Path) -> Result<()> {
    let estimate = throw_points(index);

    // The result is written under another name first. rename is one step: a
    // task that is killed leaves no half of a result under the right name.
    let file = result_file(index, folder);
    let part = file.with_extension("part");
    let json = serde_json::to_string(&estimate)?;
    fs::create_dir_all(folder)?;
    fs::write(&part, format!("{json}\n"))
        .with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, &file)?;
    println!("task {index} wrote {json}");
    Ok(())
}

/// Throws points into a square of side 1. How many are in the quarter of a
/// circle in it, whose area is pi / 4? So pi is about 4 * hits / points.
fn throw_points(index: u32) -> Estimate {
    // Only the index differs between tasks. The random numbers of seeds 1, 2, 3
    // would be somewhat alike (correlated). So draw one number with that seed,
    // and let this number be the seed.
    let seed = fastrand::Rng::with_seed(index.into()).u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let points = 1_000_000;
    let mut hits = 0;
    for _ in 0..points {
        let x = random.f64();
        let y = random.f64();
        if x * x + y * y < 1.0 {
            hits += 1;
        }
    }
    Estimate { points, hits }
}

/// Merges results 1 to `last`. Returns the tasks that have no whole result.
fn merge(last: u32, folder: &Path) -> Vec<u32> {
    println!("merge 1 to {last}");
    let mut points = 0;
    let mut hits = 0;
    let mut again = Vec::new();
    for index in 1..=last {
        match read_result(index, folder) {
            Ok(estimate) => {
                points += estimate.points;
                hits += estimate.hits;
            }
            Err(error) => {
                println!("task {index}: {error}");
                again.push(index);
            }
        }
    }
    if again.is_empty() {
        let pi = 4.0 * hits as f64 / points as f64;
        println!(
            "{last} results merged: {hits} of {points} hit, pi is {pi:.5}"
        );
    }
    again
}

/// Refuses half of a result: where the last brace is missing, it is no JSON.
fn read_result(index: u32, folder: &Path) -> Result<Estimate> {
    let json = fs::read_to_string(result_file(index, folder))?;
    let estimate = serde_json::from_str(&json)?;
    Ok(estimate)
}

fn result_file(index: u32, folder: &Path) -> PathBuf {
    folder.join(format!("result-{index}.json"))
}

/// None in a job that is no array, and where there is no scheduler.
fn index_from_scheduler() -> Result<Option<u32>> {
    for (name, no_array) in VARIABLES {
        let value = env::var(name).unwrap_or_default(); // "" if it is not set
        if value.is_empty() || value == no_array {
            continue;
        }
        let index = value
            .parse()
            .with_context(|| format!("{name} is {value:?}"))?;
        return Ok(Some(index));
    }
    Ok(None)
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Be this task [default: the one that the scheduler says]
    #[arg(long)]
    index: Option<u32>,
    /// Merge the results of tasks 1 to N
    #[arg(long, value_name = "N", conflicts_with = "index")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    merge: Option<u32>,
    /// Folder of the results: result-<INDEX>.json
    #[arg(long, default_value = ".")]
    out: PathBuf,
}
