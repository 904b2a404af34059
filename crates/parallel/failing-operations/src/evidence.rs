//! Which workers failed, and whether each failure was noticed.

use anyhow::{Result, ensure};

use crate::{Attempt, Failure, JOBS};

pub fn print_failures(attempts: &[Attempt]) {
    println!("job  worker    it wrote    how it ended         failure");
    for attempt in attempts {
        if let Err(failure) = &attempt.result {
            let Attempt { job, worker, .. } = attempt;
            let text = String::from_utf8_lossy(&attempt.output.stdout);
            let text = format!("{text:?}");
            let status = attempt.output.status.to_string();
            println!(
                "{job:>3}  {worker:<8}  {text:<10}  {status:<19}  {failure:?}"
            );
        }
    }
}

pub fn judge(attempts: &[Attempt]) -> Result<()> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut pairs = String::new();
    let mut results = 0;
    let mut right = 0;
    for attempt in attempts {
        match &attempt.result {
            Err(failure) => failures.push(*failure),
            Ok(square) => {
                pairs += &format!(" {}:{square}", attempt.job);
                results += 1;
                if *square == u16::from(attempt.job).pow(2) {
                    right += 1;
                }
            }
        }
    }
    println!("\njob:result {pairs}\n");

    for kind in [
        Failure::Crash,
        Failure::Hang,
        Failure::Nonsense,
        Failure::HalfAnswer,
    ] {
        ensure!(failures.contains(&kind), "not noticed: {kind:?}");
    }
    ensure!(
        right == JOBS,
        "{right} of {JOBS} jobs have the right result"
    );
    ensure!(results == JOBS, "{JOBS} jobs, but {results} results");
    let started = attempts.len();
    let failed = failures.len();
    println!(
        "{started} workers started: {JOBS} at first, \
         {failed} for those that failed"
    );
    println!("{JOBS} jobs, {results} results, {right} of them right");
    Ok(())
}
