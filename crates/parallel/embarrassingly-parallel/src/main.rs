//! Embarrassingly parallel: the work splits into jobs, and no job needs
//! anything of another one.
//!
//! The data are 100 measurements of the speed of light. A bootstrap finds out
//! how sure their median is. It draws one of the 100 values at random, and does
//! so 100 times: that is a resample. It makes thousands of resamples, and takes
//! the median of each. The result is an interval, from low to high: it holds
//! the middle 95 % of these medians.
//! A job makes 100 resamples. A thread pool has a queue of jobs, and a number
//! of threads. A thread that is free takes the next job.
//!
//! Predict:  With twice the threads: half the time? And the same interval?
//! Try:      cargo run --release -p embarrassingly-parallel
//! Try:      cargo run -p embarrassingly-parallel -- --resamples 1000
//! See also: pipeline-stages, where the work does not split into equal jobs.

mod evidence;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, value_parser};
use evidence::{Measurement, Row};
use threadpool::ThreadPool;

/// Many, so that a job takes much longer than handing it out takes. But not so
/// many that some threads have no job left while others work for long.
const RESAMPLES_PER_JOB: u32 = 100;

/// The bootstrap is repeated until the CPU time of all threads, divided by
/// their number, is this long. The fastest bootstrap counts: something else may
/// have run on the cores during a slower one.
const MEASURE_FOR: Duration = Duration::from_millis(400);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Resamples, in full hundreds
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u32).range(1000..=1_000_000))]
    resamples: u32,
}

/// From low to high, in km/s above 299,000.
#[derive(Clone, Copy, PartialEq)]
struct Interval {
    low: u16,
    high: u16,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let jobs = args.resamples / RESAMPLES_PER_JOB;
    let cores = evidence::cores_of_this_process()?;
    // A limit may forbid so many threads, and then the pool would panic.
    evidence::check_that_threads_start(cores)?;

    let mut pool = ThreadPool::new(1);
    let mut threads = 1;
    let mut rows: Vec<Row> = Vec::new();
    loop {
        pool.set_num_threads(threads); // starts those that are missing
        let mut measurement = Measurement::begin()?;
        while !measurement.is_long_enough(threads)? {
            let begin = Instant::now();
            let interval = bootstrap(&pool, jobs);
            measurement.add(interval, begin.elapsed());
        }
        rows.push(measurement.end(threads)?);
        evidence::print_last(&rows);

        if threads == cores {
            break;
        }
        threads = cores.min(2 * threads);
    }

    // A thread wants a core while it computes on it, and while it has to wait
    // for it. So other programs make no difference, as they do to the time.
    // The verdict demands: every bootstrap gave the same interval, and several
    // threads wanted more than 1.2 times as many cores as one thread. It is not
    // 2 times: a thread that waits for its next job wants no core.
    evidence::judge(&rows)
}

/// Hands out the jobs, and puts together what they give.
fn bootstrap(pool: &ThreadPool, jobs: u32) -> Interval {
    let (sender, receiver) = channel();
    for number in 0..jobs {
        let sender = sender.clone();
        // Puts the job into the queue, for any thread of the pool.
        pool.execute(move || {
            let medians = job(number);
            sender.send(medians).expect("it is received below");
        });
    }
    // The loop below ends when all senders are dropped. Each job drops its own
    // when it ends. This is the one that is left.
    drop(sender);

    let mut medians: Vec<u16> = Vec::new();
    for of_a_job in receiver {
        medians.extend(of_a_job); // in the order in which the jobs end
    }
    medians.sort_unstable(); // now it makes no difference which was first

    // Leaves out 2.5 %, which is 1 in 40, at each end.
    let left_out = medians.len() / 40;
    Interval {
        low: medians[left_out],
        high: medians[medians.len() - 1 - left_out],
    }
}

/// What a thread does for a job: it makes resamples, and gives their medians.
/// They depend on nothing but the job's number. So it makes no difference
/// which thread does which job, or when.
fn job(number: u32) -> Vec<u16> {
    // Random numbers are made from this state. The large factor makes it
    // different enough from the states of other jobs.
    let mut state = u64::from(number).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let mut medians = Vec::new();
    for _ in 0..RESAMPLES_PER_JOB {
        let mut resample = [0; 100];
        for value in &mut resample {
            let place = random(&mut state) % 100;
            *value = SPEED_OF_LIGHT[place as usize];
        }
        resample.sort_unstable();
        medians.push((resample[49] + resample[50]) / 2);
    }
    medians
}

/// SplitMix64, of Steele, Lea and Flood, OOPSLA 2014.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
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
