//! Batch job: a cluster runs one program many times; all that differs is the index of the task.
//!
//! The index is the seed: each task throws its own points, counts those in the circle, and leaves
//! one line of JSON. Tasks share nothing, so each can run anywhere, at any time, and again if its
//! result is missing or torn. The jobs for Slurm, PBS and Condor are in scripts/cluster.
//!
//! Predict:  one of 4 results is torn. How much has to be computed again?
//! Run:      cargo run -p batch-job -- --local 4 --out target/batch-job
//! Try:      cargo run -p batch-job -- --index 5 --out target/batch-job
//! Try:      cargo run -p batch-job -- --merge target/batch-job/result-{1..6}.json
//! See also: embarrassingly-parallel, where threads of one process share out such jobs.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io::Write};

use anyhow::{Context, Result, bail, ensure};
use clap::{CommandFactory, Parser, error::ErrorKind, value_parser};
use serde::{Deserialize, Serialize};

/// Where OpenPBS, TORQUE and Slurm put the index. Condor's job passes --index instead.
const VARIABLES: [&str; 3] =
    ["PBS_ARRAY_INDEX", "PBS_ARRAYID", "SLURM_ARRAY_TASK_ID"];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Be this task [default: the one that the scheduler says]
    #[arg(long)]
    index: Option<u16>,
    /// Points that each task throws (--merge: has thrown)
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1000..=10_000_000))]
    points: u64,
    /// Folder of the results: result-<INDEX>.json
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Merge these: name all that there should be, as in result-{1..4}.json
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["index", "local"])]
    merge: Vec<PathBuf>,
    /// Be the scheduler: run tasks 1 to N here, tear a result, run just that task again
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(2..=8), conflicts_with = "index")]
    local: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct Estimate {
    index: u16,
    points: u64,
    hits: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(tasks) = args.local {
        return schedule(tasks, &args);
    }
    if !args.merge.is_empty() {
        let (results, again) = merge(&args.merge, args.points)?;
        return report(&results, &again);
    }
    let said = VARIABLES
        .into_iter()
        .find_map(|name| Some((name, env::var(name).ok()?.parse().ok()?)));
    let Some((source, index)) =
        args.index.map(|index| ("--index", index)).or(said)
    else {
        let text = format!(
            "no index: no --index, and no number from 0 to 65535 in any of {VARIABLES:?}"
        );
        Args::command()
            .error(ErrorKind::MissingRequiredArgument, text)
            .exit()
    };
    let estimate = Estimate {
        index,
        points: args.points,
        hits: throw(index, args.points),
    };
    let file = result(&args.out, index);
    write_whole(&file, &estimate)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "task {index} ({source}): {} of {} points hit",
        estimate.hits, estimate.points
    );
    Ok(())
}

fn result(folder: &Path, index: u16) -> PathBuf {
    folder.join(format!("result-{index}.json"))
}

/// Points of a square, of which some are in a quarter of a circle.
fn throw(index: u16, points: u64) -> u64 {
    // The one difference between tasks. Drawn from twice, as neighbouring seeds give similar numbers.
    let seed = fastrand::Rng::with_seed(index.into()).u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let hit = |_: &u64| random.f64().powi(2) + random.f64().powi(2) < 1.0;
    (0..points).filter(hit).count() as u64
}

fn write_whole(file: &Path, estimate: &Estimate) -> Result<()> {
    // A scheduler may start a task again beside its first attempt, on another machine, even with the
    // same PID: a random name, so that no two write the same file.
    let part = file
        .with_extension(format!("part-{:x}", RandomState::new().hash_one(())));
    let write = || {
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        let mut content = fs::File::create(&part)?;
        writeln!(content, "{}", serde_json::to_string(estimate)?)?;
        content.sync_all()?; // on the disk before it gets its name, and
        Ok(fs::rename(&part, file)?) // in one step: others see the old result or the new one
    };
    write().inspect_err(|_| _ = fs::remove_file(&part))
}

/// The results, and the tasks that have left none: it is missing, torn or that of another job.
fn merge(files: &[PathBuf], points: u64) -> Result<(Vec<Estimate>, Vec<u16>)> {
    let mut found = BTreeMap::new();
    for file in files {
        let index = || {
            file.file_stem()?
                .to_str()?
                .strip_prefix("result-")?
                .parse()
                .ok()
        };
        let index = index()
            .with_context(|| format!("{} has no index", file.display()))?;
        let estimate = read(file, index, points)
            .inspect_err(|why| println!("task {index}: {why:#}"));
        ensure!(
            found.insert(index, estimate.ok()).is_none(),
            "task {index} is there twice"
        );
    }
    let ends = found.first_key_value().zip(found.last_key_value());
    let all = ends
        .map(|((first, _), (last, _))| *first..=*last)
        .into_iter()
        .flatten();
    let again = all
        .filter(|index| !matches!(found.get(index), Some(Some(_))))
        .collect();
    Ok((found.into_values().flatten().collect(), again))
}

fn read(file: &Path, index: u16, points: u64) -> Result<Estimate> {
    let estimate: Estimate = serde_json::from_slice(&fs::read(file)?)?;
    if (estimate.index, estimate.points) != (index, points)
        || estimate.hits > points
    {
        bail!(
            "{} is of task {}, {} points",
            file.display(),
            estimate.index,
            estimate.points
        );
    }
    Ok(estimate)
}

fn report(results: &[Estimate], again: &[u16]) -> Result<()> {
    ensure!(
        again.is_empty(),
        "no result of {again:?}: run only that again"
    );
    println!("task      hits  pi, with its 95 % interval");
    for estimate in results.iter().take(12) {
        let (pi, half) = pi(estimate.hits, estimate.points);
        println!(
            "{:>4}{:>10}  {pi:.5} ± {half:.5}",
            estimate.index, estimate.hits
        );
    }
    let sum = |of: fn(&Estimate) -> u64| results.iter().map(of).sum();
    let (pi, half) = pi(sum(|e| e.hits), sum(|e| e.points));
    println!(
        "\n{} results merged: pi is {pi:.5} ± {half:.5}",
        results.len()
    );
    Ok(())
}

/// Pi, and half the width of its 95 % interval: the number of hits is binomially distributed.
fn pi(hits: u64, points: u64) -> (f64, f64) {
    let share = hits as f64 / points as f64;
    (
        4.0 * share,
        4.0 * 1.96 * (share * (1.0 - share) / points as f64).sqrt(),
    )
}

/// What a scheduler does, on one machine and without a queue.
fn schedule(tasks: u16, args: &Args) -> Result<()> {
    let files: Vec<_> =
        (1..=tasks).map(|index| result(&args.out, index)).collect();
    run((1..=tasks).collect(), args)?;
    fs::File::options()
        .write(true)
        .open(&files[1])?
        .set_len(20)?;
    println!(
        "\nthe result of task 2 is torn: cut to its first 20 bytes\nmerge:"
    );
    let (_, again) = merge(&files, args.points)?;
    ensure!(again == [2], "task 2 should run again, not {again:?}");
    println!("\nrun again: {again:?}");
    run(again, args)?;
    println!();
    let (results, again) = merge(&files, args.points)?;
    report(&results, &again)
}

/// Each task is a process, all at once; returns when all have ended.
fn run(tasks: Vec<u16>, args: &Args) -> Result<()> {
    let program = env::current_exe()?;
    let start = |index: u16| {
        let numbers = [
            "--index",
            &index.to_string(),
            "--points",
            &args.points.to_string(),
        ];
        Command::new(&program)
            .args(numbers)
            .arg("--out")
            .arg(&args.out)
            .spawn()
    };
    let started: Vec<_> = tasks.into_iter().map(start).collect();
    let ended: Vec<_> = started.into_iter().map(|task| task?.wait()).collect();
    let well = ended
        .iter()
        .all(|status| status.as_ref().is_ok_and(|status| status.success()));
    ensure!(well, "a task failed: {ended:?}");
    Ok(())
}
