//! The states of a process, and the events that lead from one to another.
//!
//! A process that is executing has a core. A process that is ready waits for
//! a core, and for nothing else. A blocked process waits for data, a delayed
//! one for a time to be over, a suspended one for the signal SIGCONT.
//! A zombie has exited. It waits for its parent to reap it, that is, to ask
//! how it ended. Here six children and their parent share one core, and each
//! child gets one event. The kernel has fewer words for the states: it calls
//! blocked and delayed both "sleeping".
//!
//! Predict:  two processes compute for ever on one core. Which state has each?
//! Try:      cargo run -p process-states -- --delay 2
//! Try:      cargo run -p process-states -- --delay 5 & sleep 2; ps l --ppid $!
//!           # while it runs, ps shows the states of the children
//! See also: zombie-creation, more about zombies; fair-scheduling, how
//!           processes share a core.

mod evidence;

use std::hint::black_box;
use std::io::{PipeReader, Read, Write, pipe};
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{State, look};
use nix::sys::signal::{SigHandler, Signal, kill, raise, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Seconds for which the delayed child sleeps
    #[arg(long, default_value_t = 1)]
    #[arg(value_parser = value_parser!(u64).range(1..=5))]
    delay: u64,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let delay = Duration::from_secs(args.delay);

    // SIGCHLD tells a parent that a child has ended. A process may inherit that
    // it is ignored, and then the kernel reaps at once: set the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let core = evidence::share_one_core()?; // the children will, too
    let (reader, mut writer) = pipe()?; // empty: a read from it waits

    let begin = Instant::now();
    let first = start(compute)?;
    let second = start(compute)?;
    let blocked = start(|| read_then_compute(reader))?;
    let delayed = start(|| sleep_then_compute(delay))?;
    let suspended = start(stop_then_compute)?;
    let zombie = start(exit_at_once)?;

    // Each look waits until the child is in this state, and prints it. After
    // some seconds it gives up: then it prints the state that the child has
    // instead, and the verdict uses that one.
    evidence::print_heading("child");
    let before = [
        look("ready or executing", first, State::Runnable)?,
        look("ready or executing", second, State::Runnable)?,
        look("blocked in a read", blocked, State::Sleeping)?,
        look("delayed in a sleep", delayed, State::Sleeping)?,
        look("suspended", suspended, State::Stopped)?,
        look("zombie", zombie, State::Zombie)?,
    ];

    sleep(delay); // meanwhile the first two children want the same core

    evidence::print_heading("event");
    let mut after = Vec::new();

    kill(first, Signal::SIGSTOP)?;
    after.push(look("SIGSTOP", first, State::Stopped)?);

    kill(second, Signal::SIGKILL)?;
    after.push(look("SIGKILL", second, State::Zombie)?);

    // How long each of the two had the core: /proc/PID/schedstat.
    let turns = evidence::turns_of(first, second, begin)?;

    writer.write_all(b"x")?; // one byte
    after.push(look("a byte in the pipe", blocked, State::Runnable)?);

    // The event of this child was in the meantime: its time is over.
    after.push(look("end of the sleep", delayed, State::Runnable)?);

    kill(suspended, Signal::SIGCONT)?;
    after.push(look("SIGCONT", suspended, State::Runnable)?);

    waitpid(zombie, None)?; // reaps it
    after.push(look("waitpid", zombie, State::Gone)?);

    // Leave none of the others: end it, and reap it.
    for child in [first, second, blocked, delayed, suspended] {
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
    }

    evidence::draw(core, &turns);

    // Each event must have led to a new state. The first two must have had the
    // core in turns: together no longer than the time that passed. With a core
    // each, it would be twice as long.
    evidence::judge(&before, &after, &turns)
}

/// Starts a child that does this work.
fn start(work: impl FnOnce()) -> Result<Pid> {
    let parent = getpid();
    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let result = unsafe { fork() }.context("fork refused")?;
    match result {
        ForkResult::Child => {
            end_with(parent);
            work();
            exit(0)
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

fn compute() {
    loop {
        black_box(()); // so that the compiler does not drop the loop
    }
}

fn read_then_compute(mut reader: PipeReader) {
    reader.read_exact(&mut [0]).expect("a byte");
    compute();
}

fn sleep_then_compute(delay: Duration) {
    sleep(delay);
    compute();
}

fn stop_then_compute() {
    raise(Signal::SIGSTOP).expect("a signal to this process");
    compute();
}

fn exit_at_once() {
    exit(0)
}

/// Only for a lecture: the child ends when its parent does, whatever happens.
/// In a real program, remove it.
fn end_with(parent: Pid) {
    // The kernel sends SIGKILL to this child when its parent ends. An alarm
    // would not do: a stopped process does not hear SIGALRM.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("a valid signal");
    if getppid() != parent {
        exit(1); // the parent had ended before
    }
}
