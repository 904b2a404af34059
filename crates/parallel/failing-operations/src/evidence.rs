//! How workers failed, and whether there is one result for each job.
//!
//! Sources: pipe(7), "I/O on pipes", for a pipe whose write end is closed;
//! wait(2) for how a process ended.

use anyhow::{Result, ensure};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::{JOBS, PATIENCE};

/// What a worker wrote when it had a job.
pub struct Answer {
    pub text: String,
    pub ending: Ending,
}

/// Why the supervisor read no further.
#[derive(PartialEq)]
pub enum Ending {
    WholeLine,
    PipeClosed,
    TimeOver,
}

/// An answer that was none.
pub struct Failure {
    pub job: u8,
    pub worker: Pid,
    pub answer: Answer,
    /// How the worker ended
    pub status: WaitStatus,
}

/// Prints a row for each failure.
pub fn print(failures: &[Failure]) -> Result<()> {
    println!("job  worker    it wrote         and then            ended by");
    for failure in failures {
        let job = failure.job;
        let pid = failure.worker.as_raw();
        let text = format!("{:?}", failure.answer.text);
        let then = match failure.answer.ending {
            Ending::WholeLine => "nonsense".to_string(),
            Ending::PipeClosed => "end of pipe: crash".to_string(),
            Ending::TimeOver => format!("{PATIENCE:?} over: hangs"),
        };
        let end = match failure.status {
            WaitStatus::Exited(_, code) => format!("exit code {code}"),
            WaitStatus::Signaled(_, signal, _) => signal.to_string(),
            other => format!("{other:?}"),
        };
        println!("{job:>3}  {pid:<8}  {text:<15}  {then:<18}  {end}");
    }
    Ok(())
}

/// On a busy machine a worker may be late that was to answer: so it demands at
/// least as many failures as are in store.
pub fn judge(
    workers: u8,
    started: usize,
    failures: &[Failure],
    results: &[(u8, u16)],
) -> Result<()> {
    let mut crashes = 0;
    let mut hangs = 0;
    let mut nonsense = 0;
    let mut half = 0;
    for failure in failures {
        match failure.answer.ending {
            Ending::PipeClosed => crashes += 1,
            Ending::TimeOver => hangs += 1,
            Ending::WholeLine => nonsense += 1,
        }
        let text = &failure.answer.text;
        if !text.is_empty() && !text.ends_with('\n') {
            half += 1;
        }
    }
    let mut pairs: Vec<String> = Vec::new();
    let mut right = 0;
    for job in 1..=JOBS {
        for result in results {
            if result.0 == job {
                pairs.push(format!("{job}:{}", result.1));
            }
        }
        let square = u16::from(job).pow(2);
        if results.contains(&(job, square)) {
            right += 1;
        }
    }
    println!("\njob:result  {}\n", pairs.join(" "));

    ensure!(crashes >= 2, "crashes noticed: {crashes} of 2");
    ensure!(hangs >= 2, "hanging workers noticed: {hangs} of 2");
    ensure!(nonsense >= 1, "no nonsense was noticed");
    ensure!(half >= 2, "half answers noticed: {half} of 2");
    let failed = failures.len();
    let expected = usize::from(workers) + failed;
    ensure!(started == expected, "{started} workers, not {expected}");
    ensure!(
        right == JOBS,
        "{right} of {JOBS} jobs have the right result"
    );
    let all = results.len();
    ensure!(all == usize::from(JOBS), "{JOBS} jobs, but {all} results");
    println!(
        "{failed} failures: {crashes} crashes, {hangs} that hang, \
         {nonsense} nonsense; {half} after half an answer"
    );
    println!(
        "{started} workers started: {workers} at first, \
         {failed} for those that failed"
    );
    println!("{JOBS} jobs, {all} results, {right} of them right");
    Ok(())
}
