//! Redirection: a child gets other files as its standard input and output.
//!
//! A process knows its open files by numbers, the descriptors. Most programs
//! read 0, standard input, and write 1, standard output; errors go to 2.
//! A pipe is a buffer in the kernel with two ends: bytes written to its write
//! end come out at its read end. This demo runs  sort < words.txt | uniq -c
//! and reads the result, as a shell does for $(sort < words.txt | uniq -c).
//!
//! Predict:  which files are 0, 1 and 2 of sort, and which are those of uniq?
//! Try:      cargo run -p stdio-redirection 2>&1 | cat # 2 is a pipe, too
//! See also: fork-exec-exit-reap, the life of one child.

use std::env;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{pipe, read_to_string};
use std::os::fd::AsFd;
use std::process::{Command, exit};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout};
use nix::unistd::{execvp, fork, getpid};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    Args::parse();
    need_proc(); // or exits with 77
    go_to_words(); // or exits with 77

    println!("$ echo \"$(sort < words.txt | uniq -c)\"");
    let words = File::open("words.txt")?; // a shell opens it in the child
    // One pipe leads from sort to uniq, the other from uniq to this parent.
    let (sorted_reader, sorted_writer) = pipe()?;
    let (counts_reader, counts_writer) = pipe()?;
    let sort = start(&[c"sort"], &words, &sorted_writer)?;
    let uniq = start(&[c"uniq", c"-c"], &sorted_reader, &counts_writer)?;

    // uniq reads until end of file. That comes when no process has the write
    // end any more: sort's copy is closed when sort ends, and uniq's by exec.
    // The parent has to drop its own: without this line uniq would hang.
    drop(sorted_writer);
    drop(sorted_reader); // the parent does not use this end
    // The same for the other pipe, which the parent itself reads.
    drop(counts_writer);
    let counts = read_to_string(counts_reader)?;
    println!("\n{counts}");

    let sort_status = waitpid(sort, None)?;
    let uniq_status = waitpid(uniq, None)?;
    ensure!(
        sort_status == WaitStatus::Exited(sort, 0),
        "sort: {sort_status:?}"
    );
    ensure!(
        uniq_status == WaitStatus::Exited(uniq, 0),
        "uniq: {uniq_status:?}"
    );
    println!("sort and uniq exited with code 0");

    let command = "sort < words.txt | uniq -c";
    let by_sh = Command::new("sh").args(["-c", command]).output()?;
    let by_sh = String::from_utf8(by_sh.stdout)?;
    ensure!(counts == by_sh, "sh has another result: {by_sh:?}");
    let lines = counts.lines().count();
    println!("sh -c '{command}' gives the same {lines} lines");
    Ok(())
}

/// Forks a child that runs another program, with these files as 0 and 1.
fn start(argv: &[&CStr], input: &impl AsFd, output: &impl AsFd) -> Result<Pid> {
    // fork returns twice: in the parent, and in the new child.
    // SAFETY: this process has one thread. fork copies only the thread that
    // calls it: a lock held by another would stay locked in the child.
    let result = unsafe { fork() }?;
    if let ForkResult::Parent { child } = result {
        return Ok(child);
    }
    // From here on, this is the child. `?` returns an error to main, which ends
    // the child.
    dup2_stdin(input)?; // now 0 is the same file as `input`
    dup2_stdout(output)?; // and 1 the same as `output`
    let program = argv[0].to_string_lossy();
    list_descriptors(&program)?;
    // exec replaces the program of this process. 0, 1 and 2 stay open. exec
    // closes the others, as Rust marks what it opens as close-on-exec.
    let Err(error) = execvp(argv[0], argv); // exec returns only if it fails
    bail!("exec {program}: {error}")
}

/// Prints to standard error which files 0, 1 and 2 are. The same number means
/// the same pipe. Source: proc_pid_fd(5).
fn list_descriptors(program: &str) -> Result<()> {
    let folder = env::current_dir()?;
    let mut line = format!("{program} {}:", getpid());
    for number in 0..=2 {
        let file = fs::read_link(format!("/proc/self/fd/{number}"))?;
        let name = file.strip_prefix(&folder).unwrap_or(&file);
        line += &format!("  {number} {:<16}", name.display());
    }
    line += "\n";
    eprint!("{line}"); // in one piece: the other child may print, too
    Ok(())
}

fn need_proc() {
    if !fs::exists("/proc/self/fd").unwrap_or(false) {
        eprintln!("cannot run here: it looks at descriptors in Linux's /proc");
        exit(77);
    }
}

fn go_to_words() {
    if let Err(error) = env::set_current_dir(FOLDER) {
        eprintln!("cannot run here: {FOLDER}, where words.txt is: {error}");
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {}
