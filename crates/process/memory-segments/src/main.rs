//! Memory segments: the parts of a process's memory, and where it may write.
//!
//! The program's file holds text (machine code) with its rodata (constants),
//! and data (variables that start with a value). For bss (variables that start
//! at zero) the file holds only the size. Heap and stack exist only in the
//! process: malloc gets the heap from the kernel, exec sets up the stack.
//! A mapping is a range of addresses at which a process has memory, and what
//! it may do there. For a forbidden access it is killed, by SIGSEGV.
//!
//! Predict:  Six children each write to one of these six. Which children die?
//! Try:      cargo run -p memory-segments -- --heap 1000000   # a heap far away
//! See also: shared-text, why it is useful that nobody can write to text.

mod evidence;

use std::process::exit;

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, alarm, fork};

use evidence::Row;

const BSS_SIZE: usize = 64 * 1024 * 1024;

// A `static` that can never change is in rodata. One that can change is in data
// if its first value is not zero, else in bss.
static RODATA: u8 = 1;
static mut DATA: u8 = 1;
static mut BSS: [u8; BSS_SIZE] = [0; BSS_SIZE];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Bytes that malloc is asked for. A large block gets its own mapping
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = value_parser!(u32).range(1..=100_000_000))]
    heap: u32,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let mut heap = vec![1_u8; args.heap as usize]; // from malloc
    let mut stack: u8 = 1; // local variables are on the stack

    // A byte amid the bss. Its first bytes may be in the mapping of data.
    let bss: *mut u8 = (&raw mut BSS).cast();
    let amid_bss = bss.wrapping_add(BSS_SIZE / 2);

    // The address of one byte in each segment. `&raw` takes an address, and
    // promises nothing about the use of it.
    let bytes: [(&str, *mut u8); 6] = [
        ("text", main as *mut u8), // the first instruction of main
        ("rodata", (&raw const RODATA).cast_mut()),
        ("data", &raw mut DATA),
        ("bss", amid_bss),
        ("heap", heap.as_mut_ptr()),
        ("stack", &raw mut stack),
    ];

    let mut rows = Vec::new();
    for (segment, address) in bytes {
        let mapping = evidence::mapping_of(address)?; // /proc/self/maps

        // fork returns twice: in the parent, and in the new child. The child
        // has a copy of all this memory, at the same addresses.
        // SAFETY: there is no other thread. fork would not copy it, and a lock
        // that it held would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        match result {
            ForkResult::Child => write_and_exit(address), // never returns
            ForkResult::Parent { child } => {
                let status = waitpid(child, None)?;
                rows.push(Row {
                    segment,
                    address: address.addr(),
                    mapping,
                    status,
                });
            }
        }
    }
    rows.sort_by_key(|row| row.address); // the lowest address first
    evidence::draw(&rows);
    evidence::pause_at_a_terminal()?;

    // Text and rodata are read-only, and their writers die of SIGSEGV. The
    // four others are writable, and their writers live. The bss is larger
    // than the program's whole file.
    evidence::judge(&rows)
}

/// What each child does.
fn write_and_exit(address: *mut u8) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);

    evidence::leave_no_core_file();

    // SAFETY: the byte is mapped, and this process uses it no more. In text
    // and rodata the kernel ends the process before the byte changes.
    unsafe { address.write_volatile(0) };
    exit(0)
}
