//! Priority: two processes want the same core, and one of them is nicer.
//!
//! A process has a nice value, from -20 to 19: the higher, the nicer it is to
//! the others. Linux gives a process a weight for its nice value: each step up
//! divides it by about 1.25. Of a core that several processes want, each gets
//! its weight divided by the sum of their weights. Here two children compute
//! on one core, and each of them notes when it had the core.
//!
//! Predict:  nice 0 against nice 10: what share of the core does 10 get?
//! Try:      cargo run -p nice-priority -- --nice 0
//! Try:      cargo run -p nice-priority -- --nice 19
//! See also: fair-scheduling, the same for equals.

mod evidence;

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::Note;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, fork};

/// The weights that Linux gives, for nice values from -20 to 19. The verdict
/// compares the measured shares with those that follow from them.
#[rustfmt::skip]
const WEIGHTS: [u32; 40] = [
    // nice value -20 and up, -10 and up, 0 and up, 10 and up
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
     9548,  7620,  6100,  4904,  3906,  3121,  2501,  1991,  1586,  1277,
     1024,   820,   655,   526,   423,   335,   272,   215,   172,   137,
      110,    87,    70,    56,    45,    36,    29,    23,    18,    15,
];

/// A child reads the clock again and again, far more often than this.
/// If two readings are farther apart, it lost the core in between.
const GAP: Duration = Duration::from_micros(100);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// How much nicer the second child is than the first
    #[arg(long, default_value_t = 10)]
    #[arg(value_parser = value_parser!(i32).range(0..=19))]
    nice: i32,
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
    // Sets the usual way of scheduling, in case whoever started this has chosen
    // another. Exits with 77 if it may not, or if this process has the highest
    // nice value already and so cannot have a nicer child.
    evidence::prepare(args.nice)?;
    let core = pin_to_this_core()?; // the children inherit it

    // Each child gets a copy of this, so both count from the same moment.
    let clock = Instant::now();
    // The children wait until the parent closes the write end of this pipe.
    let (reader, writer) = pipe()?;

    let mut children: Vec<Child> = Vec::new();
    for nicer in [0, args.nice] {
        let notes = evidence::shared_notes()?; // mmap, with MAP_SHARED
        // fork returns twice: in the parent, and in the new child.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => {
                // The system call nice adds to the nice value of its caller.
                // SAFETY: it takes a number and returns one.
                unsafe { libc::nice(nicer) };
                compute(reader, writer, clock, notes); // never returns
            }
            ForkResult::Parent { child: pid } => {
                children.push(Child { pid, notes });
            }
        }
    }
    let start = clock.elapsed();
    drop(writer); // now both children compute

    let mut rows = Vec::new();
    // On a busy machine, others have the core for most of the time. Then a
    // second is not enough, and this goes on. The verdict counts all of it.
    for _ in 0..8 {
        sleep(Duration::from_secs(1)); // the children compete
        rows = evidence::look(&children)?; // CPU times, and the notes
        if evidence::had_enough_time(&rows) {
            break;
        }
    }
    drop(children); // kills and reaps them
    evidence::draw(core, start, &rows);

    // Both must have had turns, and not at the same time, but for 5 % of them:
    // children that hand the core to and fro faster than GAP do not notice. By
    // the kernel's CPU times, their shares must be as their weights predict,
    // within 3 points of 100.
    evidence::judge(&rows, args.nice)
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
    let end_of_file = reader.read(&mut [0]); // when the parent has dropped its
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
    eprintln!("cannot run here: the calls and the weights are Linux's");
    exit(77)
}
