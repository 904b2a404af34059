//! Batch job: a cluster runs one program many times; only the index differs.
//!
//! The tasks of such a job array know nothing of each other. The scheduler
//! gives each one an index, and here that is the seed of its random numbers:
//! a task throws points into a square, counts those in a quarter of a circle,
//! and writes its result to a file of its own. The merge makes pi of them.
//! Without an index this program plays the scheduler. It also tears one result,
//! which means that the file is cut short, as on a full disk.
//! The jobs for Slurm, PBS and Condor are in scripts/cluster.
//!
//! Predict:  one of 4 results is torn. How much has to be computed again?
//! Try:      cargo run -p batch-job -- --index 5 --out target/batch-job
//! Try:      cargo run -p batch-job -- --merge target/batch-job/result-5.json
//! See also: embarrassingly-parallel, where threads share out such jobs.

mod evidence;

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use serde::{Deserialize, Serialize};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Be this task [default: the one that the scheduler says]
    #[arg(long)]
    index: Option<u16>,
    /// Points that each task throws; with --merge, that each task has thrown
    #[arg(long, default_value_t = 1_000_000)]
    #[arg(value_parser = value_parser!(u64).range(1000..=10_000_000))]
    points: u64,
    /// Folder of the results: result-<INDEX>.json
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Merge these: name all that there should be, as in result-{1..4}.json
    #[arg(long, value_name = "FILE", num_args = 1..)]
    #[arg(conflicts_with = "index")]
    merge: Vec<PathBuf>,
}

/// What a task finds out, as its file holds it.
#[derive(Serialize, Deserialize)]
struct Estimate {
    index: u16,
    points: u64,
    hits: u64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    if !args.merge.is_empty() {
        let merged = merge(&args.merge, args.points)?;
        return evidence::report(&merged);
    }
    let index = match args.index {
        Some(index) => Some(index),
        // A scheduler says it in an environment variable.
        None => evidence::index_from_scheduler(),
    };
    match index {
        Some(index) => run_task(index, args.points, &args.out),
        // Runs tasks 1 to 4, each as a process, and tears the result of task 2.
        // The verdict demands: a merge names task 2 alone. It runs again, and
        // then a merge finds all results.
        None => evidence::play_scheduler(args.points),
    }
}

/// One task: compute, then write.
fn run_task(index: u16, points: u64, folder: &Path) -> Result<()> {
    let hits = throw(index, points);
    let file = result_file(folder, index);
    write_whole(
        &file,
        &Estimate {
            index,
            points,
            hits,
        },
    )
    .with_context(|| format!("cannot write {}", file.display()))?;
    println!("task {index}: {hits} of {points} points hit");
    Ok(())
}

/// Throws points into a square of side 1. How many are in the quarter of a
/// circle in it, whose area is pi / 4? So pi is about 4 * hits / points.
fn throw(index: u16, points: u64) -> u64 {
    // The index is all that differs between tasks. With the seeds 1, 2, 3 the
    // random numbers would begin much alike. So a first generator makes of the
    // index the seed of the one that is used.
    let seed = fastrand::Rng::with_seed(index.into()).u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hits = 0;
    for _ in 0..points {
        let x = random.f64();
        let y = random.f64();
        if x * x + y * y < 1.0 {
            hits += 1;
        }
    }
    hits
}

fn result_file(folder: &Path, index: u16) -> PathBuf {
    folder.join(format!("result-{index}.json"))
}

/// Writes the result so that its name never belongs to half of a result.
fn write_whole(file: &Path, estimate: &Estimate) -> Result<()> {
    // A scheduler may start a task twice, even at the same time on another
    // machine. A random name keeps both from writing to one file. RandomState
    // is what the standard library has for random numbers.
    let random = RandomState::new().hash_one(());
    let part = file.with_extension(format!("part-{random:x}"));
    let written = write_and_rename(&part, file, estimate);
    if written.is_err() && part.exists() {
        fs::remove_file(&part)?;
    }
    written
}

fn write_and_rename(
    part: &Path,
    file: &Path,
    estimate: &Estimate,
) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut content = File::create(part)?;
    writeln!(content, "{}", serde_json::to_string(estimate)?)?;
    content.sync_all()?; // it is on the disk before it gets its name
    fs::rename(part, file)?; // one step: others see the old result or this one
    Ok(())
}

struct Merged {
    results: Vec<Estimate>,
    /// Tasks whose result is missing, torn, or of another job
    again: Vec<u16>,
}

/// Reads the results. Each task between the first and the last one that are
/// named should have one.
fn merge(files: &[PathBuf], points: u64) -> Result<Merged> {
    let mut results: Vec<Estimate> = Vec::new();
    let mut named: Vec<u16> = Vec::new();
    for file in files {
        let index = index_in_name(file)
            .with_context(|| format!("{} has no index", file.display()))?;
        ensure!(!named.contains(&index), "task {index} is there twice");
        named.push(index);
        match read_result(file, index, points) {
            Ok(estimate) => results.push(estimate),
            Err(why) => println!("task {index}: {why:#}"),
        }
    }
    results.sort_by_key(|estimate| estimate.index);

    let first = *named.iter().min().context("no file to merge")?;
    let last = *named.iter().max().context("no file to merge")?;
    let mut again: Vec<u16> = Vec::new();
    for index in first..=last {
        if !results.iter().any(|estimate| estimate.index == index) {
            again.push(index);
        }
    }
    Ok(Merged { results, again })
}

/// The 7 of result-7.json.
fn index_in_name(file: &Path) -> Option<u16> {
    let name = file.file_stem()?.to_str()?;
    name.strip_prefix("result-")?.parse().ok()
}

fn read_result(file: &Path, index: u16, points: u64) -> Result<Estimate> {
    let estimate: Estimate = serde_json::from_slice(&fs::read(file)?)?;
    ensure!(
        estimate.index == index && estimate.points == points,
        "its file is of task {}, {} points",
        estimate.index,
        estimate.points
    );
    ensure!(estimate.hits <= points, "more hits than points");
    Ok(estimate)
}
