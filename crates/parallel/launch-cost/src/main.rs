//! Launch cost: what it takes to start some work and see it finished, from a program to a call.
//!
//! Work that is handed out must be long enough to be worth it. Where the launch may cost 1 %, the
//! job must run a hundred times as long as its launch: that is the last column. The methods are
//! those of lmbench: `lat_proc fork` (fork, exit, wait) and `lat_proc exec` (with exec in between).
//!
//! Predict:  how many function calls could run in the time that it takes to start one Python?
//! Try:      cargo run --release -p launch-cost
//! Try:      taskset -c 0 cargo run -p launch-cost
//! See also: communication-cost, what they cost once they run.

use std::ffi::CStr;
use std::hint::black_box;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, execvp, fork};
use threadpool::ThreadPool;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Launches of each kind (of Python: a twentieth)
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u16).range(20..=5000))]
    launches: u16,
}

fn main() -> Result<()> {
    let launches = usize::from(Args::parse().launches);
    println!(
        "launched              median      10 % to 90 %      1 % of a job of"
    );
    // Processes first: fork is for a process that has one thread.
    let python = || fork_and_wait(&[c"python3", c"-c", c"pass"]);
    let python = measure("fork + exec python3", launches / 20, python);
    if let Err(error) = &python {
        println!("python3: {error}");
    }
    let exec =
        measure("fork + exec true", launches, || fork_and_wait(&[c"true"]))?;
    let fork = measure("fork", launches, || fork_and_wait(&[]))?;
    let thread = measure("thread", launches, || {
        let thread = thread::Builder::new().spawn(|| ())?;
        thread.join().map_err(|_| anyhow!("a thread panicked"))
    })?;
    let (pool, (done, wait)) = (ThreadPool::new(1), mpsc::channel());
    measure("job, warm pool", launches, || {
        let done = done.clone();
        pool.execute(move || done.send(()).expect("main waits"));
        Ok(wait.recv()?)
    })?;
    let calls = measure("1000 function calls", launches, || {
        (0..1000).for_each(|_| black_box(work as fn())());
        Ok(())
    })?;

    // A busy moment of the machine makes launches slow, but not all of them: the fastest tenth.
    let in_order =
        calls[0] < 1000 * thread[0] && thread[0] < exec[0] && fork[0] < exec[0];
    ensure!(in_order, "not in the order expected");
    let in_calls =
        |[_, median]: [Duration; 2]| 1000.0 * median.div_duration_f64(calls[1]);
    let (name, program) =
        python.map_or(("program", exec), |python| ("Python", python));
    print!(
        "\na thread takes as long as {:.0} calls, ",
        in_calls(thread)
    );
    println!("a {name} as {:.1} million", in_calls(program) / 1e6);
    Ok(())
}

#[inline(never)]
fn work() {}

/// Launches again and again, until each has finished, and prints a row with a bar: two cells for
/// each factor of ten above 1 ns. Returns the time that a tenth was faster than, and the median.
fn measure(
    name: &str,
    launches: usize,
    launch: impl Fn() -> Result<()>,
) -> Result<[Duration; 2]> {
    let time = |_| {
        let begin = Instant::now();
        launch().map(|()| begin.elapsed())
    };
    let mut times = (0..launches).map(time).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let [low, median, high] =
        [10, 50, 90].map(|percent| times[percent * launches / 100]);
    let bar = "█".repeat((2.0 * (median.as_nanos() as f64).log10()) as usize);
    let (spread, job) = (format!("{low:.1?} to {high:.1?}"), 100 * median);
    println!("{name:<20}{median:>8.1?}  {spread:<19}{job:>9.1?}  {bar}");
    Ok([low, median])
}

/// A child that executes a program, or exits at once, and the wait for its end.
fn fork_and_wait(program: &[&CStr]) -> Result<()> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            let failed = program
                .first()
                .is_some_and(|name| execvp(name, program).is_err());
            process::exit(if failed { 127 } else { 0 })
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None)?;
            let shown = matches!(status, WaitStatus::Exited(_, 0));
            ensure!(shown, "not found, or it failed: {status:?}");
            Ok(())
        }
    }
}
