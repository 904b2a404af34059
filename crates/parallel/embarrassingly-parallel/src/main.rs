//! Embarrassingly parallel: a bootstrap is thousands of jobs that need nothing of each other.
//!
//! The data: Michelson's 100 measurements of the speed of light in 1879, km/s above 299,000
//! (S. M. Stigler, Annals of Statistics 5, 1977, table 6; R's `morley`). Each resample draws 100 of
//! them with replacement and takes the median; the middle 95 % of all medians are the interval.
//! Each job seeds its own random numbers, so that it does not matter which thread does it.
//!
//! Predict:  twice the threads: half the time? The same interval?
//! Try:      cargo run --release -p embarrassingly-parallel -- --resamples 200000
//! See also: pipeline-stages, when the work does not split so easily.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{array, fs, process, thread};

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};
use threadpool::ThreadPool;

#[rustfmt::skip]
const SPEED: [u16; 100] = [
    850, 740, 900, 1070, 930, 850, 950, 980, 980, 880, 1000, 980, 930, 650, 760, 810, 1000, 1000, 960, 960,
    960, 940, 960, 940, 880, 800, 850, 880, 900, 840, 830, 790, 810, 880, 880, 830, 800, 790, 760, 800,
    880, 880, 880, 860, 720, 720, 620, 860, 970, 950, 880, 910, 850, 870, 840, 840, 850, 840, 840, 840,
    890, 810, 810, 820, 800, 770, 760, 740, 750, 760, 910, 920, 890, 860, 880, 720, 840, 850, 850, 780,
    890, 840, 780, 810, 760, 810, 790, 810, 820, 850, 870, 870, 810, 740, 810, 940, 950, 800, 810, 870,
];
/// Resamples in one job: enough to outweigh handing it out, few enough to spread evenly.
const JOB: u64 = 100;
const MEASURE_FOR: Duration = Duration::from_millis(250);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Resamples, in full hundreds
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(1000..=10_000_000))]
    resamples: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let cores = thread::available_parallelism()?.get();
    if cores == 1 || !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: it needs two cores, and Linux to tell how they are used"
        );
        process::exit(77);
    }
    let (mut serial, mut alone, mut intervals) = (0.0, 0.0, Vec::new());
    let mut pool = ThreadPool::new(1);
    println!(
        "threads  seconds  speed-up  efficiency  cores busy  or wanted  95 % of medians"
    );
    for threads in (0..)
        .map(|power| 1 << power)
        .take_while(|&n| n < cores)
        .chain([cores])
    {
        pool.set_num_threads(threads);
        let (begin, before, mut rounds) =
            (Instant::now(), time_of_workers()?, 0.0);
        while rounds == 0.0 || begin.elapsed() < MEASURE_FOR {
            intervals.push(bootstrap(&pool, args.resamples / JOB));
            rounds += 1.0;
        }
        let (wall, after) = (begin.elapsed().as_secs_f64(), time_of_workers()?);
        let [busy, waited] = [0, 1].map(|i| (after[i] - before[i]) / wall);

        if threads == 1 {
            (serial, alone) = (wall / rounds, busy + waited);
        }
        let (seconds, [low, high]) =
            (wall / rounds, intervals[intervals.len() - 1]);
        let (speed_up, wanted) = (serial / seconds, busy + waited);
        print!(
            "{threads:>7}{seconds:>9.3}{speed_up:>10.2}{:>10.0} %",
            100.0 * speed_up / threads as f64
        );
        println!("{busy:>12.2}{wanted:>11.2}  {low:.1} to {high:.1}");
        let parallel = threads == 1 || wanted > 1.2 * alone;
        ensure!(
            parallel,
            "{threads} threads wanted {wanted:.2} cores, one thread {alone:.2}"
        );
    }
    ensure!(
        intervals.iter().all(|interval| *interval == intervals[0]),
        "the intervals differ"
    );
    println!(
        "\nthe same interval {} times, from 1 to {cores} threads",
        intervals.len()
    );
    Ok(())
}

/// 95 % confidence interval of the median.
fn bootstrap(pool: &ThreadPool, jobs: u64) -> [f64; 2] {
    let (sender, results) = mpsc::channel();
    for job in 0..jobs {
        let sender = sender.clone();
        pool.execute(move || _ = sender.send(medians(job)));
    }
    drop(sender);
    let mut all = Vec::new();
    for result in results {
        all.extend(result);
        if jobs > 1000 && stderr().is_terminal() {
            eprint!("\r{:3} %\r", all.len() as u64 / jobs);
        }
    }
    all.sort_unstable_by(f64::total_cmp);
    [0.025, 0.975]
        .map(|share| all[(share * (all.len() - 1) as f64).round() as usize])
}

/// The medians of one job's resamples: they depend on its number, and on nothing else.
fn medians(job: u64) -> Vec<f64> {
    let mut seed = job.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let median = |_| {
        let mut sample: [u16; 100] =
            array::from_fn(|_| SPEED[(random(&mut seed) % 100) as usize]);
        sample.sort_unstable();
        f64::from(sample[49] + sample[50]) / 2.0
    };
    (0..JOB).map(median).collect()
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Seconds that the pool's threads have spent on a core, and waiting for one (schedstat, proc(5)).
/// On a busy machine the threads are as parallel as on an idle one, and it shows in the second.
fn time_of_workers() -> Result<[f64; 2]> {
    let mut total = [0.0, 0.0];
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name() == *process::id().to_string() {
            continue; // the main thread, which only collects
        }
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        for (sum, nanoseconds) in total.iter_mut().zip(text.split_whitespace())
        {
            *sum += nanoseconds.parse::<f64>()? / 1e9;
        }
    }
    Ok(total)
}
