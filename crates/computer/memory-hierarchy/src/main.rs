//! Memory hierarchy: small fast caches, and behind them the large memory.
//!
//! A cache keeps copies of the memory that its core used last. There are
//! several: L1 is the nearest, then L2, then L3, each larger than the last.
//! The working set is the memory that a program uses again and again.
//! This demo measures how long an access takes, in larger and larger sets. It
//! goes through them in random order, so that no core can guess what is next.
//!
//! Predict:  How many times longer is an access in 256 MiB than in 4 KiB?
//! Try:      cargo run -p memory-hierarchy -- --in-order
//! Try:      cargo run -p memory-hierarchy -- --max-mib 1024
//! See also: computer-architecture, which cores share which of these caches.

mod evidence;

use std::arch::asm;
use std::ptr::null;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, value_parser};

use evidence::Row;

/// 64 bytes, a cache line: a core loads all of them or none.
/// The cells of a working set form a chain. The last one leads to the first.
#[derive(Clone)]
#[repr(align(64))]
struct Cell {
    next: *const Cell, // the address of the next cell
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Largest working set in MiB, reduced to a quarter of the free memory
    #[arg(long, default_value_t = 256)]
    #[arg(value_parser = value_parser!(u64).range(16..=4096))]
    max_mib: u64,
    /// Chain the cells by address: the core loads the next one in advance
    #[arg(long)]
    in_order: bool,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let largest = evidence::affordable(args.max_mib * 1024 * 1024)?; // bytes
    let mut memory = vec![Cell { next: null() }; largest / size_of::<Cell>()];
    // A page is 4 KiB of memory or more. For each page, the core must look up
    // where in memory it lies. For two accesses in a row to one page it could
    // skip that. So the random chain changes the page at every step.
    let pages = evidence::shuffled_pages(&memory);

    let mut rows = Vec::new();
    let mut working_set = 4 * 1024; // bytes
    while working_set <= largest {
        let cells = working_set / size_of::<Cell>();
        let first = if args.in_order {
            evidence::chain_in_order(&mut memory, cells)
        } else {
            evidence::chain_at_random(&mut memory, cells, &pages)
        };
        let nanoseconds = chase(first)?;
        rows.push(Row {
            working_set,
            nanoseconds,
        });
        working_set *= 4;
    }
    evidence::draw(&rows);

    // In random order, an access must take at least 3 times as long in the
    // largest set as in the smallest. In order, no limit is demanded.
    evidence::judge(&rows, args.in_order)
}

/// Follows the chain for 10 rounds of 10 ms. Returns nanoseconds per access.
fn chase(first: *const Cell) -> Result<f64> {
    let mut cell = first;
    let mut times = Vec::new();
    for _ in 0..10 {
        let mut accesses = 0;
        let mut spent = Duration::ZERO;
        let begin = evidence::cpu_time()?; // while others run, it stands still
        while spent < Duration::from_millis(10) {
            for _ in 0..100 {
                cell = follow_100(cell);
            }
            accesses += 100 * 100;
            spent = evidence::cpu_time()? - begin;
        }
        times.push(spent.as_secs_f64() * 1e9 / f64::from(accesses));
    }
    // The first 5 rounds fill the caches with what fits. The other 5 count.
    Ok(evidence::median(&times[5..]))
}

/// Makes 100 accesses. Each of them is `cell = cell.next`. It cannot begin
/// before the one before it has ended: the core needs the address from it.
///
/// In assembly it is one instruction, which loads what is stored at an address
/// (`[{0}]`). In a debug build, Rust would make several, and measure them.
fn follow_100(mut cell: *const Cell) -> *const Cell {
    // SAFETY: this only reads, and each cell leads to a cell of its chain.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(".rept 100", "mov {0}, [{0}]", ".endr", inout(reg) cell);
        #[cfg(target_arch = "aarch64")]
        asm!(".rept 100", "ldr {0}, [{0}]", ".endr", inout(reg) cell);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        for _ in 0..100 {
            cell = (*cell).next;
        }
    }
    cell
}
