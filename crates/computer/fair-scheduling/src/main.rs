//! Fair scheduling: processes that want the same core take turns on it.
//!
//! A core runs one process at a time; the others wait. The kernel's scheduler
//! decides whose turn it is, and can take the core away from a process.
//! Here some children compute on one core, and none gives it up by itself.
//! Each child notes when it had the core. The kernel counts its CPU time.
//!
//! Predict:  4 processes compute on 1 core. How often does each lose it in 1 s?
//! Try:      cargo run -p fair-scheduling -- --processes 2
//! Try:      cargo run -p fair-scheduling -- --processes 16
//! See also: nice-priority, the same for processes of different weight.

mod evidence;

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::Note;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};

/// A child reads the clock again and again, far more often than this.
/// If two readings are farther apart, it lost the core in between.
const GAP: Duration = Duration::from_micros(100);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes that share the core
    #[arg(long, default_value_t = 4)]
    #[arg(value_parser = value_parser!(u8).range(2..=16))]
    processes: u8,
}

struct Child {
    pid: Pid,
    /// One for each turn, in memory that the child shares with its parent. It
    /// consists of atomics: one process writes, the other one reads.
    notes: &'static [Note],
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    // Whoever started this may have chosen another way of scheduling.
    evidence::prepare()?;
    let core = pin_to_this_core()?; // the children inherit it

    // Each child gets a copy of this, so all count from the same moment.
    let clock = Instant::now();
    // The children wait until the parent closes the write end of this pipe.
    let (reader, writer) = pipe()?;

    let mut children: Vec<Child> = Vec::new();
    for _ in 0..args.processes {
        let notes = evidence::shared_notes()?; // mmap, with MAP_SHARED
        // fork returns twice: in the parent, and in the new child.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                compute(reader, writer, clock, notes); // never returns
            }
            ForkResult::Parent { child: pid } => {
                children.push(Child { pid, notes });
            }
        }
    }
    let start = clock.elapsed();
    drop(writer); // now the children compute

    let mut rows = Vec::new();
    // The loop ends after the first second at whose end the shares are fair, or
    // after 5 seconds. What is judged is all the time since the start. On a
    // busy machine, others have the core for most of the time, and one second
    // may be too short. Shares that stay unfair fail.
    for _ in 0..5 {
        sleep(Duration::from_secs(1)); // the children compete
        rows = evidence::look(&children)?; // CPU times, and the notes
        if evidence::is_fair(&rows) {
            break;
        }
    }
    let end = clock.elapsed();
    drop(children); // kills and reaps them
    evidence::draw(core, start, &rows);

    // The verdict demands: each child had 5 turns or more. For less than 5 %
    // of its time it seemed to have the core at the same time as another one.
    // (Children that hand the core to and fro faster than GAP do not notice.)
    // The CPU times that the kernel counted are nearly equal: Jain's index of
    // them, which is 1 if they are, is at least 0.99.
    evidence::judge(&rows, end - start)
}

/// What each child does: it computes, and notes when it had the core.
fn compute(
    mut reader: PipeReader,
    writer: PipeWriter,
    clock: Instant,
    notes: &[Note],
) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);
    drop(writer); // the child's copy: a read waits while any copy is open
    let end_of_file = reader.read(&mut [0]); // once the parent drops its copy
    if end_of_file.is_err() {
        exit(1);
    }

    let mut turn = 0;
    let mut last = clock.elapsed();
    notes[turn].set_start(last);
    while turn + 1 < notes.len() {
        let now = clock.elapsed(); // this is all that the child computes
        if now - last < GAP {
            notes[turn].set_end(now); // the turn goes on
        } else {
            // It had lost the core, and has just got it back: the next turn.
            turn += 1;
            notes[turn].set_start(now);
        }
        last = now;
    }
    exit(1) // not reached: there are more notes than turns in 10 s
}

/// However main ends, its children are dropped. So they end, too.
impl Drop for Child {
    fn drop(&mut self) {
        // If one of these fails, the child is gone already.
        _ = kill(self.pid, Signal::SIGKILL);
        _ = waitpid(self.pid, None);
    }
}

/// From now on, this process runs on no other core than this one.
#[cfg(target_os = "linux")]
fn pin_to_this_core() -> Result<usize> {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let this_process = Pid::from_raw(0);
    let core = sched_getcpu()?;
    let mut cores = CpuSet::new(); // empty
    cores.set(core)?;
    sched_setaffinity(this_process, &cores).context("cannot pin to a core")?;
    Ok(core)
}

#[cfg(not(target_os = "linux"))]
fn pin_to_this_core() -> Result<usize> {
    eprintln!("cannot run here: the calls that pin to a core are Linux's");
    exit(77)
}
