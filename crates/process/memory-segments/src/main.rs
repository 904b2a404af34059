//! Memory segments: where a process has its text, data, bss, heap and stack, and what it may write.
//!
//! The program's file holds the text (machine code) and the data (variables that start with a
//! value). Of the bss (variables that start at zero) it holds only the size. Heap and stack are
//! made when the process runs: malloc gets the one from the kernel, exec sets up the other.
//! Sources: proc_pid_maps(5); elf(5) on .text, .data, .bss; malloc(3) on MMAP_THRESHOLD.
//!
//! Predict:  five children each write one byte, each to another segment. Who dies of it?
//! Try:      cargo run -p memory-segments -- --heap 1000000
//! See also: shared-text, what it is good for that nobody can write to text.

use std::io::{IsTerminal, stdin};
use std::{env, fs, process};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::Signal::SIGSEGV;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};

const BSS_SIZE: usize = 64 << 20;
static mut BSS: [u8; BSS_SIZE] = [0; BSS_SIZE];
static mut DATA: u8 = 1;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Bytes that malloc is asked for: many of them get a mapping of their own
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000_000))]
    heap: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: it reads the map of its memory from Linux's /proc"
        );
        process::exit(77);
    }
    let (mut heap, mut stack) = (vec![1_u8; args.heap as usize], 1_u8);
    let mut bytes: [(&str, *mut u8); 5] = [
        ("text", main as *mut u8), // the first instruction of this function
        ("data", &raw mut DATA),
        (
            "bss",
            (&raw mut BSS).cast::<u8>().wrapping_add(BSS_SIZE / 2),
        ),
        ("heap", heap.as_mut_ptr()),
        ("stack", &raw mut stack),
    ];
    bytes.sort_by_key(|&(_, address)| address);

    println!(
        "         one byte at   in this line of /proc/self/maps        who writes there"
    );
    let mut above = None;
    for (segment, address) in bytes.into_iter().rev() {
        let (start, end, line) = line_of_maps(address as usize)?;
        match above
            .replace(start)
            .map(|above: usize| above.saturating_sub(end))
        {
            None => println!("       ┌──────────────┐"),
            Some(0) => println!("       ├──────────────┤"),
            Some(gap) => {
                println!("       ├{:┄^14}┤", format!(" {} ", human(gap)));
            }
        }
        let writer = write_in_child(address)?;
        println!(
            "{segment:<7}│ {:012x} │ {line:<46} {writer}",
            address as usize
        );
        ensure!(
            line.contains(" rw") == (segment != "text"),
            "{segment} is in {line}"
        );
        ensure!(
            line.contains(" rw") == (writer == "lives"),
            "who writes to {line}: {writer}"
        );
    }
    println!("       └──────────────┘");
    if stdin().is_terminal() {
        println!(
            "Look from another terminal: pmap {}; then press Enter.",
            process::id()
        );
        stdin().read_line(&mut String::new())?;
    }
    let file = fs::metadata(env::current_exe()?)?.len() as usize;
    ensure!(
        file < BSS_SIZE,
        "the file is not smaller than the bss: {file} bytes"
    );
    let (bss, file) = (human(BSS_SIZE), human(file));
    println!(
        "only text is read-only; the bss has {bss}, the whole file {file}"
    );
    Ok(())
}

/// Forks a child that writes to `address` in its copy of this memory, and says how that ended.
fn write_in_child(address: *mut u8) -> Result<&'static str> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    match unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))? {
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok("lives"),
            WaitStatus::Signaled(_, SIGSEGV, _) => Ok("SIGSEGV"),
            status => bail!("unexpected: {status:?}"),
        },
        ForkResult::Child => {
            alarm::set(10); // whatever happens to the parent, nothing is left after 10 s
            #[cfg(target_os = "linux")]
            nix::sys::prctl::set_dumpable(false)?; // leaves no core file
            // SAFETY: the byte is mapped, this child's own, and not used again before the exit.
            // In text no such write takes place: the kernel ends the child at this instruction.
            unsafe { address.write_volatile(0) };
            process::exit(0)
        }
    }
}

/// The line of /proc/self/maps that holds `address`: start, end, and what it says for readers.
fn line_of_maps(address: usize) -> Result<(usize, usize, String)> {
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (start, end) =
            words[0].split_once('-').context("a line without a range")?;
        let (start, end) = (
            usize::from_str_radix(start, 16)?,
            usize::from_str_radix(end, 16)?,
        );
        if (start..end).contains(&address) {
            let file = words
                .get(5..)
                .and_then(|path| path.last()?.rsplit('/').next());
            let line = format!(
                "{} {} {}",
                words[0],
                words[1],
                file.unwrap_or_default()
            );
            return Ok((start, end, line));
        }
    }
    bail!("no line of /proc/self/maps holds {address:x}")
}

fn human(bytes: usize) -> String {
    let unit = bytes.max(1).ilog2() / 10;
    let name = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit as usize];
    format!("{:.1} {name}", bytes as f64 / 1024_f64.powi(unit as i32))
}
