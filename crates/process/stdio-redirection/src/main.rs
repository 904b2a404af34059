//! Redirection: a parent decides which files its child reads and writes.
//!
//! A process knows its open files by numbers, the descriptors. Most programs
//! read 0, standard input, and write 1, standard output; errors go to 2.
//! A pipe is a buffer in the kernel with two ends: bytes written to its write
//! end come out at its read end. This demo runs  sort < words.txt | uniq -c  as
//! a shell does. It forks two children. In each, dup2 makes 0 and 1 further
//! names for other open files. Then exec makes it another program, and leaves
//! its descriptors open.
//!
//! Predict:  which files are 0, 1 and 2 of sort, and which are those of uniq?
//! Try:      cargo run -p stdio-redirection -- --leak-pipe
//! Try:      cargo run -p stdio-redirection 2> /dev/null
//! See also: fork-exec-exit-reap, the life of one child.

mod evidence;

use std::ffi::CStr;
use std::fs::File;
use std::io::read_to_string;
use std::os::fd::OwnedFd;
use std::process::exit;

use anyhow::{Context, Result};
use clap::Parser;
use evidence::Report;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, alarm, dup2_stdin, dup2_stdout};
use nix::unistd::{execvp, fork, pipe};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Let the parent see uniq hang, before it closes the pipe
    #[arg(long)]
    leak_pipe: bool,
}

/// What the parent opens. Each is one descriptor; drop closes it.
struct Files {
    words: File,
    /// The pipe from sort to uniq
    sorted_reader: OwnedFd,
    sorted_writer: OwnedFd,
    /// The pipe from uniq back to the parent, as for $(...) in a shell
    counts_reader: OwnedFd,
    counts_writer: OwnedFd,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    evidence::go_to_folder_of_words()?; // exits 77 where it cannot run

    // SIGPIPE ends a program whose output nobody reads. Rust ignores it.
    // SIGCHLD tells a parent that a child has ended. It may start out ignored.
    // Children inherit both, and sort and uniq expect the default.
    for inherited in [Signal::SIGPIPE, Signal::SIGCHLD] {
        // SAFETY: the default is set, not a function of this program.
        unsafe { signal(inherited, SigHandler::SigDfl) }?;
    }

    let words = File::open("words.txt")?;
    let (sorted_reader, sorted_writer) = pipe()?;
    let (counts_reader, counts_writer) = pipe()?;
    let files = Files {
        words,
        sorted_reader,
        sorted_writer,
        counts_reader,
        counts_writer,
    };
    // A third pipe, through which each process lists its descriptors. exec
    // closes it, since Rust has marked it so.
    let report = Report::new()?;
    report.add("parent");

    // fork returns twice: in the parent, and in the new child.
    // SAFETY: there is no other thread. fork would not copy it, and a lock that
    // it held would stay locked in the child.
    let fork_sort = unsafe { fork() }.context("fork refused")?;
    let sort = match fork_sort {
        ForkResult::Child => become_sort(files, &report), // never returns
        ForkResult::Parent { child } => child,
    };
    // SAFETY: as above.
    let fork_uniq = unsafe { fork() }.context("fork refused")?;
    let uniq = match fork_uniq {
        ForkResult::Child => become_uniq(files, &report), // never returns
        ForkResult::Parent { child } => child,
    };
    let descriptors = report.read()?; // returns once both have called exec
    evidence::print_table(&descriptors, sort, uniq);

    if args.leak_pipe {
        evidence::see_uniq_hang(sort, uniq, &files)?;
    }
    // uniq reads until end of file. That comes when no process has the write
    // end any more. sort has ended, or will; the parent must close its own.
    // Without this line uniq would hang.
    drop(files.sorted_writer);
    drop(files.sorted_reader);
    // The same for the other pipe, which the parent itself reads.
    drop(files.counts_writer);
    let counts = read_to_string(File::from(files.counts_reader))?;
    println!("{counts}");
    let sort_status = waitpid(sort, None)?;
    let uniq_status = waitpid(uniq, None)?;

    let by_sh = evidence::run_sh("sort < words.txt | uniq -c")?;
    // Both must have exited with 0. One pipe must have led from sort to uniq.
    // sh must give the same output.
    evidence::judge(&descriptors, sort_status, uniq_status, &counts, &by_sh)
}

/// What the first child does.
fn become_sort(files: Files, report: &Report) -> ! {
    dup2_stdin(&files.words).expect("dup2 failed"); // 0 is words.txt, too
    dup2_stdout(&files.sorted_writer).expect("dup2 failed"); // 1 is the pipe
    drop(files); // closes the five, but not 0 and 1
    report.add("sort");
    exec(&[c"sort"])
}

/// What the second child does.
fn become_uniq(files: Files, report: &Report) -> ! {
    dup2_stdin(&files.sorted_reader).expect("dup2 failed");
    dup2_stdout(&files.counts_writer).expect("dup2 failed");
    drop(files); // with a write end of its own, uniq would wait for itself
    report.add("uniq");
    exec(&[c"uniq", c"-c"])
}

/// Replaces this program by another, in the same process.
fn exec(argv: &[&CStr]) -> ! {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);
    let Err(errno) = execvp(argv[0], argv); // it never returns Ok
    let message = format!("{}: {errno}\n", argv[0].to_string_lossy());
    eprint!("{message}"); // in one piece: both children may fail
    exit(127) // as in a shell, where there is no such program
}
