//! Memory hierarchy: small fast caches, and behind them the large memory.
//!
//! A cache keeps copies of the memory that was used most recently. There are
//! several: L1 is the nearest, then L2, then L3, each larger than the former.
//! The working set is the memory that a program uses again and again.
//! This demo measures how long an access takes, in larger and larger sets. It
//! goes through them in random order: the core cannot guess what is next.
//!
//! Predict:  How many times longer is an access in 256 MiB than in 4 KiB?
//! Run:      cargo run --release -p memory-hierarchy
//! Try:      cargo run --release -p memory-hierarchy -- --in-order
//! See also: computer-architecture, which cores share which of these caches.

mod evidence;

use std::hint::black_box;

use anyhow::Result;
use clap::Parser;

use evidence::Row;

const SMALLEST: usize = 4; // KiB
const LARGEST: usize = 256 * 1024;

/// align(64) makes it 64 bytes large: a cache line on most processors, which a
/// core loads as a whole.
#[derive(Clone)]
#[repr(align(64))]
struct Cell {
    next: *const Cell, // the address of another cell
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let mut memory = evidence::allocate(LARGEST)?; // or exits with 77

    let mut rows = Vec::new();
    let mut kib = SMALLEST;
    while kib <= LARGEST {
        let working_set = &mut memory[..kib * 1024 / size_of::<Cell>()];
        let mut order: Vec<usize> = (0..working_set.len()).collect();
        if !args.in_order {
            fastrand::shuffle(&mut order);
        }
        let first = chain(working_set, &order);
        let nanoseconds = chase(first)?;
        rows.push(Row { kib, nanoseconds });
        kib *= 4;
    }
    evidence::draw(&rows);
    // The verdict: an access in the largest set takes at least 3 times as long
    // as in the smallest. With --in-order, there is none: it is only printed.
    evidence::judge(&rows, args.in_order)
}

/// Makes each cell lead to the next in this order, and the last to the first.
/// Returns the address of the first.
fn chain(cells: &mut [Cell], order: &[usize]) -> *const Cell {
    let mut previous = order[order.len() - 1]; // so that the chain is a ring
    for &cell in order {
        cells[previous].next = &raw const cells[cell]; // its address
        previous = cell;
    }
    cells[previous].next
}

/// Follows the chain. Returns nanoseconds per access: the median of 5 times
/// 200,000 accesses. In the largest sets that is less than once around: the
/// ring of 256 MiB has 4 million cells.
fn chase(first: *const Cell) -> Result<f64> {
    let accesses = 200_000;
    let mut times = Vec::new();
    let mut cell = first;
    for _ in 0..5 {
        // CPU time: this clock stands still while other processes run.
        let begin = evidence::cpu_time()?;
        for _ in 0..accesses {
            // Each access needs the address that the previous one has read.
            // SAFETY: each cell leads to a cell of the chain.
            cell = unsafe { (*cell).next };
        }
        let spent = evidence::cpu_time()? - begin;
        times.push(spent.as_secs_f64() * 1e9 / f64::from(accesses));
    }
    black_box(cell); // a use of it: else the compiler may leave out the loops
    times.sort_by(f64::total_cmp);
    Ok(times[2])
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Chain the cells by address: the core can load the next one in advance
    #[arg(long)]
    in_order: bool,
}
