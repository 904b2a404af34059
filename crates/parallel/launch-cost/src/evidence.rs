//! How long the launches take, and whether that order is the expected one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// The times of one kind of launch.
pub struct Times {
    fastest: Duration,
    median: Duration,
}

pub fn measure(
    launches: usize,
    launch: impl Fn() -> Result<()>,
) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..launches {
        let begin = Instant::now();
        launch()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(Times {
        fastest: times[0],
        median: times[launches / 2],
    })
}

pub fn print_and_judge(
    calls: &Times,
    jobs: &Times,
    threads: &Times,
    forks: &Times,
    execs: &Times,
    pythons: Result<Times>,
) -> Result<()> {
    println!(
        "launched              fastest   in calls   median  1 % of a job of  \
         ██: × 10"
    );
    print_row("1000 function calls", calls, calls);
    print_row("job, warm pool", jobs, calls);
    print_row("thread", threads, calls);
    print_row("fork", forks, calls);
    print_row("fork + exec true", execs, calls);
    match pythons {
        Ok(pythons) => print_row("fork + exec python3", &pythons, calls),
        Err(error) => println!("fork + exec python3: {error}"),
    }

    // The fastest launches are compared: on a busy machine many are slow, but
    // not all. A job of the pool is not compared: to wake up a thread may take
    // as long as to start one.
    let thread = in_calls(threads, calls);
    let forked = in_calls(forks, calls);
    let executed = in_calls(execs, calls);
    println!(
        "\na thread takes as long as {thread:.0} calls, a fork {forked:.0}, \
         with exec {executed:.0}"
    );
    let order = [1.0, thread, forked, executed];
    ensure!(
        order.is_sorted(),
        "expected: call, thread, fork, fork + exec"
    );
    Ok(())
}

/// How many calls take as long, by the fastest of each kind.
fn in_calls(times: &Times, calls: &Times) -> f64 {
    let one_call = calls.fastest.as_secs_f64() / 1000.0;
    times.fastest.as_secs_f64() / one_call
}

fn print_row(name: &str, times: &Times, calls: &Times) {
    let fastest = times.fastest;
    let in_calls = in_calls(times, calls);
    let median = times.median;
    let job = 100 * median;
    // Two cells for each factor of ten, from 100 ns on.
    let cells = 2.0 * (fastest.as_secs_f64() / 100e-9).log10();
    let bar = "█".repeat(cells as usize);
    print!("{name:<20}{fastest:>9.1?}{in_calls:>11.0}");
    println!("{median:>9.1?}{job:>12.1?}  {bar}");
}
