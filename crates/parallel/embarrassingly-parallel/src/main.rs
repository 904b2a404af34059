//! Embarrassingly parallel: the work splits into jobs, and no job needs
//! anything of another one.
//!
//! The data are 100 measurements of the speed of light. How sure is their
//! median? A resample is 100 of these values, drawn at random: some come twice,
//! some not at all. A bootstrap makes 5000 resamples, and takes the median of
//! each. The middle 95 % of these medians lie in an interval: that is how sure
//! the median is. A job makes 50 of the resamples.
//!
//! Predict:  With twice the threads: half the time? And the same interval?
//! Try:      cargo run --release -p embarrassingly-parallel
//! Try:      cargo run -p embarrassingly-parallel -- --threads 8
//! See also: pipeline-stages, where each thread does one step of every job.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};
use fastrand::Rng;
use threadpool::ThreadPool;

/// With too few jobs, some threads have none at the end. With too short jobs,
/// to hand them out costs more than to do them.
const JOBS: u64 = 100;
const RESAMPLES_PER_JOB: u64 = 50;

/// How often each number of threads does the bootstrap. The fastest one counts:
/// something else may have run on the computer during a slower one.
const ROUNDS: u8 = 3;

/// Hands out the jobs, and collects the medians that they give. Returns, too,
/// how many jobs were under way at once, at most.
fn bootstrap(pool: &ThreadPool) -> (Vec<u16>, usize) {
    let (sender, receiver) = channel();
    for number in 0..JOBS {
        let sender = sender.clone();
        // Puts the job into the queue, for any thread of the pool.
        pool.execute(move || {
            let medians = job(number);
            sender.send(medians).unwrap();
        });
    }
    // The loop below ends when all senders are dropped. Each job drops its own
    // sender at its end. This is the first one, of which theirs are copies.
    drop(sender);

    let mut medians = Vec::new();
    let mut at_once = 0;
    for medians_of_job in receiver {
        medians.extend(medians_of_job); // in the order in which the jobs end
        let under_way = pool.active_count(); // jobs begun and not yet ended
        at_once = at_once.max(under_way);
    }
    medians.sort_unstable(); // now it makes no difference which was first
    (medians, at_once)
}

/// What a thread does for a job: it makes resamples, and gives their medians.
/// They depend on nothing but the job's number. So it makes no difference
/// which thread does which job, or when.
fn job(number: u64) -> Vec<u16> {
    // The seed decides which random numbers come. Those of the seeds 1, 2, 3
    // would be somewhat alike (correlated). So fork draws one number, and makes
    // another generator with that as its seed.
    let mut random = Rng::with_seed(number).fork();
    let mut medians = Vec::new();
    for _ in 0..RESAMPLES_PER_JOB {
        let mut resample = [0; 100];
        for value in &mut resample {
            *value = SPEED_OF_LIGHT[random.usize(..100)];
        }
        resample.sort_unstable();
        medians.push((resample[49] + resample[50]) / 2);
    }
    medians
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let here = thread::available_parallelism()?;
    println!("{JOBS} jobs; threads that can run at once here: {here}\n");
    println!("threads  seconds  speed-up  interval, km/s");

    let expected = bootstrap_without_threads();
    let mut times = Vec::new();
    let mut most_at_once = 0;
    for threads in 1..=args.threads {
        // A pool has a number of threads, and a queue of jobs. A thread that is
        // free takes the next job.
        let pool = ThreadPool::new(threads.into());
        let mut fastest = f64::INFINITY;
        let mut interval = String::new();
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            let (medians, at_once) = bootstrap(&pool);
            fastest = fastest.min(begin.elapsed().as_secs_f64());
            most_at_once = most_at_once.max(at_once);
            interval = interval_of(&medians);
            ensure!(medians == expected, "{threads} threads: other medians");
        }
        times.push(fastest);
        let speed_up = times[0] / fastest;
        println!("{threads:>7}{fastest:>9.3}{speed_up:>10.2}  {interval}");
    }
    ensure!(most_at_once > 1, "only one job was under way at any time");

    println!("\nseconds: of the fastest of {ROUNDS} bootstraps");
    println!("speed-up: how many times as fast as 1 thread\n");
    println!("jobs under way at once, at most: {most_at_once}");
    let most = args.threads;
    let count = expected.len();
    println!("with 1 to {most} threads the same {count} medians as without");
    Ok(())
}

/// One job after the other, done by the thread that calls this.
fn bootstrap_without_threads() -> Vec<u16> {
    let mut medians = Vec::new();
    for number in 0..JOBS {
        medians.extend(job(number));
    }
    medians.sort_unstable();
    medians
}

/// The middle 95 %: leaves out 2.5 %, which is 1 in 40, at each end.
fn interval_of(medians: &[u16]) -> String {
    let left_out = medians.len() / 40;
    let middle = &medians[left_out..medians.len() - left_out];
    let low = 299_000 + u32::from(middle[0]);
    let high = 299_000 + u32::from(middle[middle.len() - 1]);
    format!("{low} to {high}")
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads of the largest pool
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u8).range(4..=16))]
    threads: u8,
}

/// In km/s above 299,000, measured by A. A. Michelson in 1879. From S. M.
/// Stigler, Annals of Statistics 5, 1977, table 6; in R it is `morley`.
const SPEED_OF_LIGHT: [u16; 100] = [
    850, 740, 900, 1070, 930, 850, 950, 980, 980, 880, 1000, 980, 930, 650,
    760, 810, 1000, 1000, 960, 960, 960, 940, 960, 940, 880, 800, 850, 880,
    900, 840, 830, 790, 810, 880, 880, 830, 800, 790, 760, 800, 880, 880, 880,
    860, 720, 720, 620, 860, 970, 950, 880, 910, 850, 870, 840, 840, 850, 840,
    840, 840, 890, 810, 810, 820, 800, 770, 760, 740, 750, 760, 910, 920, 890,
    860, 880, 720, 840, 850, 850, 780, 890, 840, 780, 810, 760, 810, 790, 810,
    820, 850, 870, 870, 810, 740, 810, 940, 950, 800, 810, 870,
];
