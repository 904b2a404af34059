//! Isolation: a process writes to memory of its own, unless it shares some, and it crashes alone.
//!
//! After fork the child has the parent's variables, at the same addresses, even in the same memory:
//! the kernel copies a page (copy on write, a minor page fault) when one of the two writes to it.
//! Sources: fork(2), "Notes"; ru_minflt in getrusage(2); abort(3); do_wp_page in mm/memory.c.
//!
//! Predict:  the child writes to a variable. What does the parent read at the very same address?
//! Try:      cargo run -p process-isolation -- --pages 100
//! See also: race-condition, where threads share a variable.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{process, ptr, thread};

use anyhow::{Result, anyhow, bail, ensure};
use clap::{Parser, value_parser};
use nix::sys::resource::{
    Resource::RLIMIT_CORE, UsageWho::RUSAGE_SELF, getrusage, setrlimit,
};
use nix::sys::signal::Signal::{SIGABRT, SIGSEGV};
use nix::sys::wait::{
    WaitStatus, WaitStatus::Exited, WaitStatus::Signaled, waitpid,
};
use nix::unistd::{ForkResult, alarm, fork, getpid};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Pages of memory that the child writes to
    #[arg(long, default_value_t = 1, value_parser = value_parser!(i64).range(1..=100))]
    pages: i64,
}

/// A variable that is alone on its page, whether a page has 4, 16 or 64 KiB.
#[repr(align(65536))]
struct Page(AtomicU64);

fn main() -> Result<()> {
    let Args { pages: count } = Args::parse();
    setrlimit(RLIMIT_CORE, 0, 0)?; // the crashes below leave no core file,
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?; // nor wake a crash reporter, which heeds no limit: core(5)
    let pages: Vec<_> = (0..count).map(|_| Page(AtomicU64::new(1))).collect();
    let show = |who: &str, faults: &str| {
        println!(
            "{who:<14}{:>7}  {:14p}{:>7?}{faults:>12}",
            getpid(),
            &pages[0],
            pages[0].0
        );
    };
    println!("page 1 of {count:<7} PID  address         value  page faults");
    show("parent", "");
    let wrote = in_child(|| {
        show("child", "");
        write(&[Page(AtomicU64::new(0))], 0); // here stack and code take their own page faults
        let first = write(&pages, 2);
        show("child writes", &first.to_string());
        let second = write(&pages, 3);
        show("child writes", &second.to_string());
        process::exit(i32::from([first, second] != [count, 0]))
    })?;
    show("parent", "");
    ensure!(
        matches!(wrote, Exited(_, 0)),
        "not {count} page faults, then 0: {wrote:?}"
    );
    ensure!(
        pages.iter().all(|page| page.0.load(Relaxed) == 1),
        "the child changed the parent"
    );

    // SAFETY: none, on purpose. No memory is there, so the kernel ends the child at this write.
    let crashed = in_child(|| unsafe {
        ptr::without_provenance_mut::<u8>(1).write_volatile(0);
    })?;
    let Signaled(child, SIGSEGV, _) = crashed else {
        bail!("no crash: {crashed:?}")
    };
    println!("\nchild {child} writes to address 1: killed by SIGSEGV");

    let Signaled(child, SIGABRT, _) = in_child(work_and_abort)? else {
        bail!("no SIGABRT")
    };
    println!("child {child}, with both threads: killed by SIGABRT\n");
    println!(
        "parent {} still reads {:?}; it outlived two crashed children",
        getpid(),
        pages[0].0
    );
    Ok(())
}

/// Forks a child that does this, and waits until it has ended.
fn in_child(run: impl FnOnce()) -> Result<WaitStatus> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Parent { child } => Ok(waitpid(child, None)?),
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            run();
            process::exit(0)
        }
    }
}

/// Writes to every page, and returns how many minor page faults that took.
#[inline(never)] // the same code each time
fn write(pages: &[Page], value: u64) -> i64 {
    let before = getrusage(RUSAGE_SELF).unwrap().minor_page_faults();
    for page in pages {
        page.0.store(value, Relaxed); // if it is shared: a page fault
    }
    getrusage(RUSAGE_SELF).unwrap().minor_page_faults() - before
}

/// One thread works for as long as the other one lives, and that one aborts.
fn work_and_abort() {
    static STEP: AtomicU64 = AtomicU64::new(0);
    let other = thread::spawn(|| {
        while STEP.load(Relaxed) < 1000 {
            thread::yield_now();
        }
        println!(
            "child {}: one thread is at step {STEP:?}, the other aborts",
            getpid()
        );
        process::abort()
    });
    while !other.is_finished() {
        STEP.fetch_add(1, Relaxed);
    }
}
