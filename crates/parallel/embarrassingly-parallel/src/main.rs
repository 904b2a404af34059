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

mod data;
mod evidence;

use std::sync::mpsc::channel;

use anyhow::Result;
use clap::{Parser, value_parser};
use data::SPEED_OF_LIGHT;
use evidence::{judge, measure, print_heading, print_last};
use fastrand::Rng;
use threadpool::ThreadPool;

/// With too few jobs, some threads have none at the end. With too short jobs,
/// to hand them out costs more than to do them.
const JOBS: u64 = 100;
const RESAMPLES_PER_JOB: u64 = 50;

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
    print_heading()?;

    let expected = evidence::bootstrap_without_threads();
    let mut rows = Vec::new();
    for threads in 1..=args.threads {
        // A pool has a number of threads, and a queue of jobs. A thread that is
        // free takes the next job.
        let pool = ThreadPool::new(threads.into());
        // Does the bootstrap a few times: the fastest one counts, and each of
        // them must give the expected medians.
        let row = measure(threads, &expected, || bootstrap(&pool))?;
        rows.push(row);
        print_last(&rows);
    }
    // The verdict: several jobs were under way at once. And the medians were
    // the same with each number of threads, and without. How much faster it was
    // is printed, but does not decide.
    judge(&rows, &expected)
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads of the largest pool
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u8).range(4..=16))]
    threads: u8,
}
