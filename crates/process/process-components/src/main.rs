//! Process control block: what the kernel keeps about a process. This one draws its own.
//!
//! Opening adds to the descriptor table, a handler sets a bit in a mask, a failed call leaves its
//! reason in errno. Before main, Rust's runtime ignored SIGPIPE, and handled SIGBUS and SIGSEGV.
//! Sources: proc_pid_status(5), proc_pid_fd(5), proc_pid_maps(5), signal(7), errno(3).
//!
//! Predict:  it opens a file, a pipe and a socket. Which descriptors does it get?
//! Try:      cargo run -p process-components < /dev/null | cat
//! Try:      (trap '' INT; cargo run -p process-components)
//! See also: task-vs-process, what tasks share of this.

use std::os::{fd::AsRawFd, unix::net::UnixDatagram};
use std::{fs, io, process};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::{errno::Errno, libc::c_int};

#[derive(Parser)]
#[command(about)]
struct Args {}

extern "C" fn handler(_signal: c_int) {}

fn main() -> Result<()> {
    Args::parse();
    if !cfg!(target_os = "linux") {
        eprintln!(
            "cannot run here: it reads its process control block from Linux's /proc"
        );
        process::exit(77);
    }
    let (handled, blocked) = (signals("SigCgt")?, signals("SigBlk")?);
    // SAFETY: the handler does nothing.
    unsafe { signal(Signal::SIGUSR1, SigHandler::Handler(handler)) }?;
    SigSet::from(Signal::SIGUSR2).thread_block()?;

    let file = fs::File::open("/proc/self/exe")?; // each gets the lowest number that is free
    let (reader, writer) = io::pipe()?;
    let socket = UnixDatagram::unbound()?;
    let opened = [
        file.as_raw_fd(),
        reader.as_raw_fd(),
        writer.as_raw_fd(),
        socket.as_raw_fd(),
    ];
    let failed = fs::File::open("/dev/no-such");
    let errno = Errno::last();
    ensure!(failed.is_err(), "/dev/no-such exists");

    let maps = fs::read_to_string("/proc/self/maps")?;
    let range = |part| {
        maps.lines()
            .find_map(|line| line.strip_suffix(part)?.split(' ').next())
    };
    println!(
        "┌─ process ────────────────────────────────────────────────────────────────────┐"
    );
    row(
        "ids",
        &format!("PID {}, PPID {}", status("Tgid")?, status("PPid")?),
    );
    row("directory", &link("cwd")?);
    row("heap", range("[heap]").unwrap_or("none"));
    row(
        "handled",
        &format!("{handled}  ──▶  {}", signals("SigCgt")?),
    );
    row("ignored", &signals("SigIgn")?);
    println!(
        "├─ file descriptors ───────────────────────────────────────────────────────────┤"
    );
    let names = [
        "stdin",
        "stdout",
        "stderr",
        "file",
        "pipe, read",
        "pipe, write",
        "socket",
    ];
    let expected = ["", "", "", &link("exe")?, "pipe:[", "pipe:[", "socket:["];
    for (i, descriptor) in [0, 1, 2].into_iter().chain(opened).enumerate() {
        let target = link(&format!("fd/{descriptor}"))?;
        row(&format!("{descriptor} {}", names[i]), &target);
        ensure!(
            target.starts_with(expected[i]),
            "descriptor {descriptor} is no {}",
            names[i]
        );
    }
    row(
        "in use",
        &(fs::read_dir("/proc/self/fd")?.count() - 1).to_string(),
    ); // reading takes one
    println!(
        "├─ thread ─────────────────────────────────────────────────────────────────────┤"
    );
    row(
        "ids",
        &format!("TID {}, threads: {}", status("Pid")?, status("Threads")?),
    );
    row("stack", range("[stack]").unwrap_or("none"));
    row(
        "blocked",
        &format!("{blocked}  ──▶  {}", signals("SigBlk")?),
    );
    row("errno", &format!("{} {errno}", errno as i32));
    println!(
        "└──────────────────────────────────────────────────────────────────────────────┘"
    );

    drop(socket); // close
    ensure!(
        link(&format!("fd/{}", opened[3])).is_err(),
        "a descriptor is there after close"
    );
    ensure!(
        !handled.contains("USR1") && signals("SigCgt")?.contains("USR1"),
        "no handler"
    );
    ensure!(errno == Errno::ENOENT, "errno is {errno}");
    println!(
        "\nopened {opened:?}, close removed {}; handler for USR1; errno {errno:?}",
        opened[3]
    );
    Ok(())
}

/// One row of the box. What is too long is cut at the left: the end of a path says most.
fn row(label: &str, text: &str) {
    let cut = text.chars().count().saturating_sub(63);
    let dots = if cut > 0 { '…' } else { ' ' };
    println!(
        "│ {label:<13}{dots}{:<63}│",
        text.chars().skip(cut).collect::<String>()
    );
}

/// Where a link in /proc/self leads.
fn link(name: &str) -> Result<String> {
    Ok(fs::read_link(format!("/proc/self/{name}"))?
        .to_string_lossy()
        .into())
}

/// One field of the calling thread's status.
fn status(field: &str) -> Result<String> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    Ok(value
        .context("a field is missing in /proc/thread-self/status")?
        .into())
}

/// The set of signals in one of its masks: bit 0 stands for signal 1.
fn signals(mask: &str) -> Result<String> {
    let mask = u64::from_str_radix(&status(mask)?, 16)?;
    let set = Signal::iterator()
        .filter(|&signal| (mask >> (signal as u32 - 1)) & 1 == 1);
    Ok(format!(
        "{{{}}}",
        set.map(|signal| &signal.as_str()[3..])
            .collect::<Vec<_>>()
            .join(" ")
    ))
}
