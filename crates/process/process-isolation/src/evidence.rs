//! What each process reads, how many page faults its writes took, the verdict.
//!
//! Sources: fork(2), "Notes", for copy on write; getrusage(2) for ru_minflt;
//! core(5); do_wp_page in the kernel's mm/memory.c, which copies the page.

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::wait::WaitStatus;
use nix::unistd::getpid;

use crate::MIDDLE;

/// The crashes shall leave no core file, nor wake a crash reporter: that heeds
/// no limit, but leaves alone what is not dumpable.
pub fn prepare() -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// The page faults of this process so far, without those that had to wait for
/// a disk.
pub fn page_faults() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    usage.expect("getrusage refused").minor_page_faults()
}

pub fn print_header(pages: usize) {
    println!("page 1 of {pages:<8}PID  address         value  page faults");
}

/// What the calling process has in its first page.
pub fn print_row(what: &str, blocks: &[Vec<u8>]) {
    println!("{}", row(what, blocks));
}

/// The same after a write, which took this many page faults for all pages.
pub fn print_write(blocks: &[Vec<u8>], page_faults: i64) {
    println!("{}{page_faults:>13}", row("child writes", blocks));
}

fn row(what: &str, blocks: &[Vec<u8>]) -> String {
    let variable = &blocks[0][MIDDLE];
    format!("{what:<13}{:>8}  {variable:14p}{variable:>7}", getpid())
}

pub fn judge_writes(child: WaitStatus, blocks: &[Vec<u8>]) -> Result<()> {
    let pages = blocks.len();
    let as_expected = matches!(child, WaitStatus::Exited(_, 0));
    ensure!(as_expected, "not {pages} page faults, then 0: {child:?}");
    let mut unchanged = 0;
    for block in blocks {
        if block[MIDDLE] == 1 {
            unchanged += 1;
        }
    }
    ensure!(unchanged == pages, "unchanged: {unchanged} of {pages}");
    println!("pages copied for the child: {pages}");
    println!("pages in which the parent still reads 1: {unchanged}\n");
    Ok(())
}
