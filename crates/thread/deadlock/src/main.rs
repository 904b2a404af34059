//! Deadlock: two threads hold one lock each, and each waits for the lock of the other one.
//!
//! No error, no CPU time, no end: nothing tells of it, one can only look whether anything moves.
//! It takes a cycle of waiting, and where all take their locks in one order, none can close.
//! Opposite orders often go well, so tests miss them; here a barrier makes sure that they do not.
//! Sources: proc(5), futex(2); Coffman, Elphick, Shoshani, "System Deadlocks", 1971.
//!
//! Predict:  two threads wait for each other. What does the kernel see, and what does it do?
//! Try:      cargo run -p deadlock -- --no-barrier
//! See also: mutex-fix, what a lock is good for.

use std::collections::BTreeMap;
use std::io::{PipeWriter, Read, pipe};
use std::sync::{Barrier, Mutex};
use std::time::Duration;
use std::{fs, mem, process, thread};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, fork, write};

static LOCKS: [Mutex<()>; 2] = [const { Mutex::new(()) }; 2]; // A and B
static EACH_HOLDS_ONE: Barrier = Barrier::new(2);
const ROUNDS: usize = 300; // per thread; what is told of them fits into any pipe

#[derive(Parser)]
#[command(about)]
struct Knobs {
    /// Leave out the barrier: whether, and when, the threads deadlock is luck
    #[arg(long)]
    no_barrier: bool,
}

/// By name of the thread: TID, state, kernel function that it sleeps in, CPU time in ns.
type Threads = BTreeMap<String, [String; 4]>;

fn main() -> Result<()> {
    let knobs = Knobs::parse();
    if !cfg!(target_os = "linux") {
        eprintln!("cannot run here: it reads the threads' states from Linux's /proc");
        process::exit(77);
    }
    let rounds = |told: &[[u8; 3]]| told.iter().filter(|row| row[2] == b'-').count();
    println!("opposite order: thread 1 takes lock A, then B; thread 2 takes B, then A");
    let (status, threads, told) = run([*b"AB", *b"BA"], !knobs.no_barrier)?;
    let (stuck_after, all) = (rounds(&told), 2 * ROUNDS);
    let killed = matches!(status, WaitStatus::Signaled(_, SIGKILL, _));
    ensure!(killed, "no deadlock in {stuck_after} of {all} rounds: {status:?}");
    let last_of = |thread| told.iter().rfind(|row| row[0] == thread).context("it took no lock");
    let (one, two) = (last_of(b'1')?, last_of(b'2')?);
    println!("   thread    TID  holds  waits for  state  sleeps in               CPU time");
    for (row, [left, right]) in [(one, ["┌▶", "─┐"]), (two, ["└─", "◀┘"])] {
        let [name, holds, wants] = row.map(char::from);
        let [tid, state, sleeps_in, time] = &threads[&name.to_string()];
        print!("{left} {name:<6}{tid:>7}  {holds:<5}  {wants:<9}  {state:<5}  ");
        println!("{sleeps_in:<19}{time:>10} ns {right}");
    }
    ensure!(one[1] == two[2] && two[1] == one[2], "they do not wait for each other");
    println!("no change in 50 ms, so the child was ended: {status:?}\n");

    println!("one order: both threads take lock A, then B");
    let (status, _, told) = run([*b"AB", *b"AB"], false)?;
    let done = rounds(&told);
    ensure!(done == all, "one order: {done} of {all} rounds, {status:?}");
    println!("the child ended by itself: {status:?}\n");
    println!("opposite order: stuck after {stuck_after} of {all} rounds; one order: {done} done");
    Ok(())
}

/// Forks a child that does the work, and waits until nothing moves in it: finished, or stuck.
/// Returns how it ended, its threads as they stood, and what those told of every lock they took.
fn run(orders: [[u8; 2]; 2], barrier: bool) -> Result<(WaitStatus, Threads, Vec<[u8; 3]>)> {
    let (mut told, report) = pipe()?;
    // SAFETY: this process has one thread, so the child may do all that a program may.
    let child = match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Child => work(orders, barrier, &report),
        ForkResult::Parent { child } => child,
    };
    drop(report);
    let (mut before, mut threads) = (Threads::new(), look(child));
    let rests = |[_, state, ..]: &[String; 4]| state == "S" || state == "Z"; // sleeps, or is dead
    while before != threads || !threads.values().all(rests) {
        thread::sleep(Duration::from_millis(50)); // standing still is no event: look again later
        before = mem::replace(&mut threads, look(child));
    } // it rests at the latest when its alarm has killed it
    _ = kill(child, SIGKILL); // does nothing to a zombie
    let status = waitpid(child, None)?;
    let mut bytes = Vec::new();
    told.read_to_end(&mut bytes)?;
    Ok((status, threads, bytes.chunks_exact(3).map(|row| [row[0], row[1], row[2]]).collect()))
}

/// The child. Its threads tell of each lock they take: thread, lock, and the lock they want next.
fn work(orders: [[u8; 2]; 2], barrier: bool, report: &PipeWriter) -> ! {
    alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
    let take = |lock: u8| LOCKS[usize::from(lock - b'A')].lock().unwrap();
    let tell = |row: [u8; 3]| write(report, &row).expect("the parent reads");
    let take_both = |thread: u8, [first, second]: [u8; 2]| {
        let _held = take(first);
        if barrier {
            EACH_HOLDS_ONE.wait();
        }
        tell([thread, first, second]);
        let _both = take(second); // in opposite order: each waits here for the other one
        tell([thread, second, b'-']);
    };
    thread::scope(|scope| {
        for (name, order) in [b'1', b'2'].into_iter().zip(orders) {
            let work = move || (0..ROUNDS).for_each(|_| take_both(name, order));
            let builder = thread::Builder::new().name(char::from(name).into());
            if let Err(error) = builder.spawn_scoped(scope, work) {
                eprintln!("cannot start a thread: {error}");
                process::exit(1);
            }
        }
    });
    process::exit(0)
}

/// What the kernel knows of all threads of a process.
fn look(process: Pid) -> Threads {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let state = read("stat").rsplit(") ").next().unwrap_or_default().chars().take(1).collect();
        let time = read("schedstat").split(' ').next().unwrap_or_default().into();
        let tid = task.file_name().to_string_lossy().into();
        (read("comm").trim().into(), [tid, state, read("wchan"), time])
    };
    tasks.map(thread).collect()
}
