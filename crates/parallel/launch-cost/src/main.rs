//! Launch cost: what it takes to start some work and see it finished, from a call to a program.
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
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::{Parser, value_parser};
use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, execvp, fork};
use threadpool::ThreadPool;

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Launches of each kind (of Python: a twentieth)
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u16).range(20..=5000))]
    launches: u16,
}

/// Seconds: a tenth of the launches were faster than the first, half than the second, nine tenths
/// than the third.
type Seconds = [f64; 3];

fn main() -> Result<()> {
    let launches = usize::from(Knobs::parse().launches);
    let fork = || fork_and_wait(None);
    let exec = || fork_and_wait(Some(&[c"true"]));
    let python = || fork_and_wait(Some(&[c"python3", c"-c", c"pass"]));
    let thread = || {
        let thread = thread::Builder::new().spawn(|| ())?;
        thread.join().map_err(|_| anyhow!("a thread panicked"))
    };
    let calls = || {
        (0..1000).for_each(|_| black_box(work as fn())());
        Ok(())
    };
    let [fork, exec, thread, calls] = measure(launches, [&fork, &exec, &thread, &calls])?;
    let python = measure(launches / 20, [&python]);
    let (pool, (done, wait)) = (ThreadPool::new(1), mpsc::channel());
    let job = || {
        let done = done.clone();
        pool.execute(move || done.send(()).expect("main waits"));
        Ok(wait.recv()?)
    };
    let ([job], call) = (measure(launches, [&job])?, calls.map(|seconds| seconds / 1000.0));

    println!("launched              median  10 % to 90 %       1 % of a job of");
    let rows =
        [("function call", call), ("job, warm pool", job), ("thread", thread), ("fork", fork)];
    for (name, seconds) in rows.into_iter().chain([("fork + exec true", exec)]) {
        print_row(name, seconds);
    }
    match python {
        Ok([seconds]) => print_row("fork + exec python3", seconds),
        Err(error) => println!("python3: {error}"),
    }
    ensure!(
        call[1] < thread[1] && thread[1] < exec[1] && fork[1] < exec[1],
        "not in the order expected"
    );
    let [of_thread, of_exec] = [thread, exec].map(|seconds| seconds[1] / call[1]);
    println!("\na thread takes as long as {of_thread:.0} calls, a program as {of_exec:.0}");
    Ok(())
}

#[inline(never)]
fn work() {}

/// Launches again and again, and returns how long it took from the start until it was finished.
/// The kinds take ten turns, so that a busy moment of the machine meets them alike.
fn measure<const N: usize>(
    launches: usize,
    kinds: [&dyn Fn() -> Result<()>; N],
) -> Result<[Seconds; N]> {
    let mut times = [const { Vec::new() }; N];
    for turn in 0..10 {
        for (launch, times) in kinds.iter().zip(&mut times) {
            for _ in turn * launches / 10..(turn + 1) * launches / 10 {
                let begin = Instant::now();
                launch()?;
                times.push(begin.elapsed().as_secs_f64());
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        [0.1, 0.5, 0.9].map(|share| times[(share * launches as f64) as usize])
    }))
}

/// A child that exits at once or executes a program, and the wait for its end.
fn fork_and_wait(program: Option<&[&CStr]>) -> Result<()> {
    // SAFETY: no other thread runs (each was joined), so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            let failed = program.is_some_and(|args| execvp(args[0], args).is_err());
            // SAFETY: _exit(2) ends the child here and now, and leaves the parent's buffers alone.
            unsafe { libc::_exit(if failed { 127 } else { 0 }) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None)?;
            ensure!(
                matches!(status, WaitStatus::Exited(_, 0)),
                "not found, or it failed: {status:?}"
            );
            Ok(())
        }
    }
}

/// With a bar on a logarithmic scale: two cells for each factor of ten above 1 ns.
fn print_row(name: &str, [low, median, high]: Seconds) {
    let show = |seconds: f64| match seconds {
        0.0..1e-6 => format!("{:.1} ns", seconds * 1e9),
        1e-6..1e-3 => format!("{:.1} µs", seconds * 1e6),
        1e-3..1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    };
    let spread = format!("{} to {}", show(low), show(high));
    let bar = "█".repeat((2.0 * (median * 1e9).log10()).max(1.0) as usize);
    println!("{name:<20}{:>8}  {spread:<20}{:>9}  {bar}", show(median), show(100.0 * median));
}
