//! Memory segments: the parts of a process's memory, and where it may write.
//!
//! The program's file holds text (machine code) with its rodata (constants),
//! and data (variables that start with a value). For bss (variables that start
//! at zero) the file holds only the size. Heap and stack exist only in the
//! process: malloc gets the heap from the kernel, exec sets up the stack.
//! A mapping is a range of addresses with permissions: may the process read,
//! write, execute there? If it writes where it may not, SIGSEGV ends it.
//!
//! Predict:  Six children each write to one of these six. Which children die?
//! Try:      cargo run -p memory-segments && size target/debug/memory-segments
//! See also: shared-text, why it is useful that nobody writes to text.

use std::cmp::Reverse;
use std::process::exit;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

const BSS_SIZE: usize = 64 * 1024 * 1024;

static RODATA: u8 = 1; // can never change
static mut DATA: u8 = 1; // can change, and starts at 1
static mut BSS: [u8; BSS_SIZE] = [0; BSS_SIZE]; // can change, starts at 0

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    Args::parse();
    need_proc(); // or exits with 77

    let mut heap = vec![1_u8; 100]; // from malloc
    let mut stack: u8 = 1; // local variables are on the stack

    // The middle of BSS: its first byte may lie in the same mapping as DATA.
    let bss: *mut u8 = (&raw mut BSS).cast();
    let amid_bss = bss.wrapping_add(BSS_SIZE / 2);

    // The address of one byte in each segment. `&raw` only takes the address.
    // Unlike `&`, it does not promise that nobody changes the byte.
    let mut bytes: [(&str, *mut u8); 6] = [
        ("text", main as *mut u8), // the first instruction of main
        ("rodata", (&raw const RODATA).cast_mut()),
        ("data", &raw mut DATA),
        ("bss", amid_bss),
        ("heap", heap.as_mut_ptr()),
        ("stack", &raw mut stack),
    ];
    bytes.sort_by_key(|(_, address)| Reverse(*address)); // the highest first

    println!(
        "segment  one byte at     \
         its line of /proc/self/maps                    writer"
    );
    let mut dead = Vec::new();
    for (segment, address) in bytes {
        let mapping = mapping_of(address)?;

        // fork returns twice: in the parent, and in the new child. The child
        // has a copy of all this memory, at the same addresses.
        // SAFETY: this process has one thread. fork copies only the thread that
        // calls it: a lock held by another would stay locked in the child.
        let result = unsafe { fork() }.context("fork refused")?;
        let child = match result {
            ForkResult::Child => write_and_exit(address), // never returns
            ForkResult::Parent { child } => child,
        };

        let end = match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => "lives",
            WaitStatus::Signaled(_, Signal::SIGSEGV, _) => "SIGSEGV",
            status => bail!("unexpected: {status:?}"),
        };
        println!("{segment:<7}{address:16?}  {mapping:<46} {end}");

        // Text and rodata may not be written to (no w), and their writers die.
        let read_only = segment == "text" || segment == "rodata";
        let expected = if read_only { "SIGSEGV" } else { "lives" };
        let writable = mapping.contains(" rw");
        ensure!(writable != read_only, "{segment}: {mapping}");
        ensure!(end == expected, "the writer to {segment}: {end}");
        if end == "SIGSEGV" {
            dead.push(segment);
        }
    }
    let in_file = fs::metadata(env::current_exe()?)?.len() as usize;
    ensure!(in_file < BSS_SIZE, "the file has {in_file} bytes");

    println!(
        "\nof these 6 only {} are read-only: SIGSEGV ended {} of 6 writers",
        dead.join(" and "),
        dead.len()
    );
    println!("the bss has {BSS_SIZE} bytes, the whole file {in_file}");
    Ok(())
}

/// What each child does.
fn write_and_exit(address: *mut u8) -> ! {
    // A process that is not dumpable leaves no core file when a signal ends it.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false).expect("always allowed");

    // SAFETY: the byte is mapped, and this process uses it no more. In text
    // and rodata the kernel ends the process before the byte changes.
    unsafe { address.write_volatile(0) };
    exit(0)
}

/// The line of /proc/self/maps that holds this byte: a range of addresses,
/// what is permitted (r read, w write, x execute), a file if it comes from one.
fn mapping_of(byte: *const u8) -> Result<String> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').context("no space")?;
        let (low, high) = range.split_once('-').context("no range")?;
        let first = usize::from_str_radix(low, 16)?;
        let behind = usize::from_str_radix(high, 16)?;
        if (first..behind).contains(&byte.addr()) {
            let permissions = &rest[..4];
            let file = line.rsplit(['/', ' ']).next().unwrap_or_default();
            return Ok(format!("{range} {permissions} {file}"));
        }
    }
    bail!("no line of /proc/self/maps holds {byte:?}")
}

fn need_proc() {
    if !fs::exists("/proc/self/maps").unwrap_or(false) {
        eprintln!("cannot run here: it needs /proc/self/maps, as on Linux");
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {}
