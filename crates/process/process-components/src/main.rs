//! Process components: what the kernel keeps about a process.
//!
//! A descriptor is the number by which a process names what it has open: 0 is
//! standard input, 1 standard output, 2 standard error. A signal is a number
//! that the kernel delivers to a process. The kernel keeps which descriptors
//! are open, which signals the process handles (they call a function), and
//! which it blocks (they wait). This program adds to all three, and looks.
//!
//! Predict:  it opens a file, a pipe, a socket. Which descriptors does it get?
//! Try:      cargo run -p process-components < /dev/null | cat   # see 0 and 1
//! Try:      cargo run -p process-components 4< /dev/null # the shell opens 4
//! See also: task-vs-process, what tasks share of this.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::pipe;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::exit;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use nix::libc::c_int;
use nix::sys::signal::Signal::{self, SIGUSR1, SIGUSR2};
use nix::sys::signal::{SigHandler, SigSet, signal};

/// Numbers from here on are not looked at: a usual limit for descriptors.
const DESCRIPTORS: RawFd = 1024;

/// The kernel would call it if SIGUSR1 arrived, as a function of C is called.
extern "C" fn handler(_signal: c_int) {}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    Args::parse();
    need_proc(); // or exits with 77

    let before = descriptors();
    // Caught, that is, handled: Rust itself handles some before main begins.
    let handled_before = signals("SigCgt")?;
    let blocked_before = signals("SigBlk")?;

    // Each of these adds to the table of descriptors, a pipe adds two.
    let file = File::open("/proc/self/exe")?; // the file of this program
    let (reader, writer) = pipe()?;
    let socket = UnixDatagram::unbound()?;
    let opened = [
        file.as_raw_fd(),
        reader.as_raw_fd(),
        writer.as_raw_fd(),
        socket.as_raw_fd(),
    ];

    // SIGUSR1 is now handled.
    // SAFETY: a handler can interrupt the program anywhere, as in a println!.
    // This one does nothing, so it does not matter where.
    unsafe { signal(SIGUSR1, SigHandler::Handler(handler)) }?;

    // SIGUSR2 is now blocked: it would wait until it is unblocked.
    SigSet::from(SIGUSR2).thread_block()?;

    let after = descriptors();
    let handled = signals("SigCgt")?;
    let blocked = signals("SigBlk")?;

    println!("process    {}", read_status("Pid")?);
    println!("parent     {}", read_status("PPid")?);
    println!("threads    {}", read_status("Threads")?);
    println!("memory     {}", read_status("VmRSS")?); // what is in use
    println!("handled    {handled_before:?}  ──▶  {handled:?}");
    println!("blocked    {blocked_before:?}  ──▶  {blocked:?}");
    println!("descriptors, and where they lead");
    for (number, target) in &after {
        let new = if opened.contains(number) { "new" } else { "" };
        println!("{new:>7} {number:>2}  {target}");
    }

    // The numbers that were no descriptor before, the lowest ones first.
    let all_numbers = 0..DESCRIPTORS;
    let free = all_numbers.filter(|number| !before.contains_key(number));
    let lowest_free: Vec<RawFd> = free.take(opened.len()).collect();
    println!("\nlowest free: {lowest_free:?}, opened: {opened:?}");
    ensure!(lowest_free == opened, "these are not the lowest free ones");
    ensure!(handled.contains(&SIGUSR1), "SIGUSR1 is not handled");
    ensure!(blocked.contains(&SIGUSR2), "SIGUSR2 is not blocked");
    println!("SIGUSR1 is handled, SIGUSR2 is blocked");
    Ok(())
}

/// Where each descriptor of this process leads. Source: proc_pid_fd(5).
fn descriptors() -> BTreeMap<RawFd, String> {
    let mut descriptors = BTreeMap::new();
    for number in 0..DESCRIPTORS {
        let link = format!("/proc/self/fd/{number}");
        if let Ok(target) = fs::read_link(link) {
            descriptors.insert(number, target.display().to_string());
        }
    }
    descriptors
}

/// A set of signals of this process. The field is a hexadecimal number, whose
/// lowest bit stands for signal 1, the next one for signal 2.
fn signals(field: &str) -> Result<Vec<Signal>> {
    let bits = u64::from_str_radix(&read_status(field)?, 16)?;
    let mut set = Vec::new();
    for signal in Signal::iterator() {
        let bit = 1 << (signal as u32 - 1);
        if bits & bit != 0 {
            set.push(signal);
        }
    }
    Ok(set)
}

fn need_proc() {
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        eprintln!("cannot run here: it reads about itself in /proc of Linux");
        exit(77);
    }
}

/// A field of /proc/self/status. Source: proc_pid_status(5).
fn read_status(field: &str) -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let start = format!("{field}:\t");
    for line in status.lines() {
        if let Some(value) = line.strip_prefix(&start) {
            return Ok(value.trim().to_string());
        }
    }
    bail!("no {field} in /proc/self/status")
}

#[derive(Parser)]
#[command(about)]
struct Args {}
