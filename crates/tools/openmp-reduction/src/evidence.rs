//! What the threads did, how it is drawn, and whether several did more at once.
//!
//! Source: sched-stats.rst of the kernel's documentation, for schedstat.

use std::f64::consts::PI;
use std::fs;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};

/// Stands for all threads together, where nothing tells them apart.
const ALL: u32 = 0;

/// Columns of a bar for the time of one thread alone.
const WIDTH: f64 = 36.0;

/// What a thread did, in seconds.
struct Thread {
    /// Its number in the kernel (TID)
    id: u32,
    /// It was on a core
    computed: f64,
    /// It was ready to compute, and others were on its core
    waited: f64,
}

/// A run of the loop.
pub struct Run {
    /// That OpenMP was told to use
    threads: i32,
    seconds: f64,
    sum: f64,
    /// Those that the kernel knows
    did: Vec<Thread>,
}

impl Run {
    /// Seconds that all threads computed or waited for a core.
    fn wanted_seconds(&self) -> f64 {
        let mut seconds = 0.0;
        for thread in &self.did {
            seconds += thread.computed + thread.waited;
        }
        seconds
    }

    fn cores_wanted(&self) -> f64 {
        self.wanted_seconds() / self.seconds
    }
}

/// Runs the loop, and looks at the threads before and after it.
pub fn measure(threads: i32, pi: impl Fn() -> f64) -> Result<Run> {
    let before = threads_of_this_process()?;
    let begin = Instant::now();
    let sum = pi();
    let seconds = begin.elapsed().as_secs_f64();
    let mut did = threads_of_this_process()?;
    for thread in &mut did {
        for earlier in &before {
            if earlier.id == thread.id {
                thread.computed -= earlier.computed;
                thread.waited -= earlier.waited;
            }
        }
    }
    Ok(Run {
        threads,
        seconds,
        sum,
        did,
    })
}

/// What each thread has done since it was started. Where there is no schedstat,
/// as on macOS, only the time that all of them have computed is known.
fn threads_of_this_process() -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    if !fs::exists("/proc/self/schedstat")? {
        let clock = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        threads.push(Thread {
            id: ALL,
            computed: Duration::from(clock).as_secs_f64(),
            waited: 0.0,
        });
        return Ok(threads);
    }
    thread::yield_now(); // the kernel brings the time of this thread up to date
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let id = task.file_name().to_string_lossy().parse()?;
        // On a core, and waiting for one, both in ns; and a third number.
        let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
        let mut numbers = schedstat.split_whitespace();
        let computed = numbers.next().context("no time in schedstat")?;
        let waited = numbers.next().context("one time in schedstat")?;
        threads.push(Thread {
            id,
            computed: computed.parse::<f64>()? / 1e9,
            waited: waited.parse::<f64>()? / 1e9,
        });
    }
    Ok(threads)
}

/// Exits with 77 where a thread's waiting for a core is not told, as without
/// /proc: a busy machine would look like threads that want no core.
pub fn check_that_waiting_is_told() {
    let schedstat = "/proc/self/schedstat";
    if cfg!(target_os = "linux") && fs::read(schedstat).is_err() {
        eprintln!("cannot run here: it needs {schedstat}; mount /proc");
        exit(77);
    }
}

pub fn check_that_c_has_openmp() {
    if !cfg!(openmp) {
        eprintln!(
            "cannot run here: the C compiler has no OpenMP for this target; \
             to install one that has: apt install gcc, dnf install gcc, \
             brew install libomp, pkg install gcc (and CC=gcc)"
        );
        exit(77);
    }
}

pub fn cores_of_this_process() -> Result<i32> {
    let cores = thread::available_parallelism()?.get();
    Ok(i32::try_from(cores)?)
}

fn threads(count: i32) -> String {
    if count == 1 {
        "1 thread".to_string()
    } else {
        format!("{count} threads")
    }
}

/// Draws what the threads did, on the scale of the run of one thread.
pub fn draw(run: &Run, one: &Run) {
    println!();
    print!("{}: {:.3} s, ", threads(run.threads), run.seconds);
    println!("sum {:.15}", run.sum);
    println!("  thread  computed  waited for a core");
    let columns_per_second = WIDTH / one.wanted_seconds();
    for thread in &run.did {
        let Thread {
            computed, waited, ..
        } = thread;
        match thread.id {
            ALL => print!("     all"),
            id => print!("{id:>8}"),
        }
        // At most: other programs may slow down several threads.
        let bar = (computed * columns_per_second).min(WIDTH);
        let rest = (waited * columns_per_second).min(WIDTH + 1.0 - bar);
        print!("{computed:>8.3} s{waited:>17.3} s  ");
        print!("{}", "█".repeat(bar.round() as usize));
        println!("{}", "░".repeat(rest as usize));
    }
}

/// In how many digits two numbers agree, of the 16 that are printed.
fn digits_that_agree(left: f64, right: f64) -> usize {
    let left = format!("{left:.15}");
    let right = format!("{right:.15}");
    let mut digits = 0;
    for (one, other) in left.chars().zip(right.chars()) {
        if one != other {
            break;
        }
        if one != '.' {
            digits += 1;
        }
    }
    digits
}

pub fn judge(one: &Run, several: &Run) -> Result<()> {
    for run in [one, several] {
        let told = run.threads;
        let sum = run.sum;
        ensure!((sum - PI).abs() < 1e-9, "{told} threads: {sum} is not pi");
        let used = run.did.len();
        let known = run.did[0].id != ALL;
        ensure!(
            !known || i32::try_from(used)? == told,
            "OpenMP was told to use {told} threads, the kernel counts {used}"
        );
    }
    let by_one = one.cores_wanted();
    let by_several = several.cores_wanted();
    ensure!(
        by_several > 1.2 * by_one,
        "cores wanted by 1 thread: {by_one:.2}, by several: {by_several:.2}"
    );
    let digits = digits_that_agree(one.sum, several.sum);
    let speed_up = one.seconds / several.seconds;
    println!();
    println!(
        "The sums agree in {digits} of 16 digits. Several threads add the"
    );
    println!("same numbers in another order, so other digits are rounded off.");
    println!("A thread wants a core while it computes or waits for one.");
    for run in [one, several] {
        let name = threads(run.threads);
        let wanted = run.wanted_seconds();
        let cores = run.cores_wanted();
        print!("{name:<10} wanted {wanted:.3} s in {:.3} s, ", run.seconds);
        println!("which is {cores:.2} cores");
    }
    println!("speed-up: {speed_up:.2} times as fast as 1 thread");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that lasts 1 s; each thread computes for half of what it wants.
    fn run(threads: i32, wanted: f64, ids: &[u32]) -> Run {
        let each = wanted / ids.len() as f64;
        let mut did = Vec::new();
        for id in ids {
            did.push(Thread {
                id: *id,
                computed: each / 2.0,
                waited: each / 2.0,
            });
        }
        Run {
            threads,
            seconds: 1.0,
            sum: PI,
            did,
        }
    }

    #[test]
    fn several_threads_must_want_more_cores() {
        let one = run(1, 1.0, &[7]);
        assert!(judge(&one, &run(2, 1.19, &[7, 8])).is_err());
        assert!(judge(&one, &run(2, 1.21, &[7, 8])).is_ok());
    }

    #[test]
    fn the_kernel_must_know_the_threads_unless_it_knows_none() {
        let one = run(1, 1.0, &[7]);
        assert!(judge(&one, &run(3, 2.0, &[7, 8])).is_err());
        assert!(judge(&run(1, 1.0, &[7, 8]), &run(2, 2.0, &[7, 8])).is_err());
        assert!(judge(&run(1, 1.0, &[ALL]), &run(2, 2.0, &[ALL])).is_ok());
    }

    #[test]
    fn sums_must_be_pi() {
        let one = run(1, 1.0, &[7]);
        for off in [2e-9, -2e-9] {
            let mut several = run(2, 2.0, &[7, 8]);
            several.sum += off;
            assert!(judge(&one, &several).is_err());
        }
    }

    #[test]
    fn digits_are_counted_without_the_point() {
        assert_eq!(digits_that_agree(3.25, 3.25), 16);
        assert_eq!(digits_that_agree(3.25, 3.26), 2);
        assert_eq!(digits_that_agree(3.25, 4.25), 0);
    }
}
