//! Redirection: a program reads 0, writes 1 and 2; its parent decides which files these are.
//!
//! A shell makes the pipe and forks twice. Each child maps 0 and 1 by dup2, closes the rest, and
//! becomes its program, which knows nothing of all this. The reader gets its end of file once no
//! process holds the write end of the pipe any more: who forgets to close it lets the reader hang.
//! Sources: pipe(2), pipe(7), dup2(2), proc(5); POSIX, Shell Command Language, 2.7 and 2.9.2.
//!
//! Predict:  which files are 0, 1 and 2 of sort, and which are those of uniq?
//! Try:      cargo run -p stdio-redirection -- --leak-pipe
//! Try:      cargo run -p stdio-redirection 2> /dev/null
//! See also: fork-exec-exit-reap, the life of one child.

use std::ffi::CStr;
use std::io::{PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, exit};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler::SigDfl, Signal::SIGPIPE, signal};
use nix::sys::wait::{WaitStatus::Exited, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, pipe};
use nix::unistd::{alarm, close, dup2_stdin, dup2_stdout, execvp};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Let the parent forget to close the pipe, until it has seen uniq hang
    #[arg(long)]
    leak_pipe: bool,
}

/// Reaped when dropped, so on every path out. Made first and so dropped last: the pipe is closed.
struct Children(Vec<Pid>);

impl Drop for Children {
    fn drop(&mut self) {
        self.0.iter().for_each(|&child| _ = waitpid(child, None)); // unless it was reaped before
    }
}

fn main() -> Result<()> {
    let leak_pipe = Args::parse().leak_pipe;
    let mut children = Children(Vec::new());
    let (words, counts) = (memory_file(c"words")?, memory_file(c"counts")?);
    let path =
        |file: &OwnedFd| format!("/proc/{}/fd/{}", getpid(), file.as_raw_fd());
    fs::write(path(&words), "to\nbe\nor\nnot\nto\nbe\n")?;
    let (reader, writer) = pipe()?;
    let (reports, report) = io::pipe()?; // closed by exec, as std's pipes are
    let parent = descriptors("parent", &report);

    children.0.push(start(
        &[c"sort"],
        [&words, &writer, &reader, &counts],
        &report,
    )?);
    children.0.push(start(
        &[c"uniq", c"-c"],
        [&reader, &counts, &words, &writer],
        &report,
    )?);
    drop(report);
    let tables = parent + &io::read_to_string(reports)?; // complete once both have called exec
    let mut tables: Vec<Vec<_>> = tables
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    tables.sort(); // by name
    println!(
        "$ sort < words | uniq -c > counts    # open descriptors, before exec\n"
    );
    for row in 0..tables[0].len() {
        let cell = |process: usize| tables[process].get(row).unwrap_or(&"");
        println!("{:<25.25} {:<25.25} {:.28}", cell(0), cell(1), cell(2));
    }
    println!();

    if leak_pipe {
        see_it_hang(children.0[0], children.0[1], &reader)?;
        let held = writer.as_raw_fd();
        println!(
            "sort has ended, the pipe is empty, uniq sleeps: it gets no end of file, as"
        );
        println!(
            "the parent still holds {held}, the write end. The parent closes it now.\n"
        );
    }
    drop((reader, writer)); // now nobody can write: without this line uniq would wait for ever
    for &child in &children.0 {
        let status = waitpid(child, None)?;
        println!("waitpid: {status:?}");
        ensure!(status == Exited(child, 0), "a child failed");
    }

    let by_sh = memory_file(c"by-sh")?;
    let command =
        format!("sort < {} | uniq -c > {}", path(&words), path(&by_sh));
    Command::new("sh")
        .args(["-c", &command])
        .status()
        .context("cannot run sh")?;
    let counted = fs::read_to_string(path(&counts))?;
    println!("\n{counted}\n$ sh -c '{command}'");
    ensure!(
        counted == fs::read_to_string(path(&by_sh))?,
        "sh has another result"
    );
    println!("the same {} lines", counted.lines().count());
    Ok(())
}

/// Forks a child with the first file as 0 and the second as 1, which becomes the program.
fn start(
    argv: &[&CStr],
    files: [&OwnedFd; 4],
    mut report: &PipeWriter,
) -> Result<Pid> {
    // SAFETY: this process has one thread, so the child may do all that a program may.
    let fork =
        unsafe { fork() }.map_err(|errno| anyhow!("fork refused: {errno}"))?;
    if let ForkResult::Parent { child } = fork {
        return Ok(child);
    }
    alarm::set(10); // exec keeps it: whatever happens, nothing is left after 10 s
    // SAFETY: the default action is no handler.
    _ = unsafe { signal(SIGPIPE, SigDfl) }; // Rust ignores it, and exec would keep that
    let mapped = dup2_stdin(files[0]).and_then(|()| dup2_stdout(files[1]));
    for file in files {
        _ = close(file.as_raw_fd()); // all that it needs is 0 and 1 now
    }
    let name = argv[0].to_string_lossy();
    _ = report.write_all(descriptors(&name, report).as_bytes());
    let Err(errno) = mapped.and_then(|()| execvp(argv[0], argv));
    _ = io::stderr().write_all(format!("{name}: {errno}\n").as_bytes()); // in one piece
    exit(127)
}

/// Name, PID, and what each open descriptor of this process is, but for those of the report.
fn descriptors(name: &str, report: &PipeWriter) -> String {
    let file = |fd| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let own = file(report.as_raw_fd()); // both ends of a pipe have one name
    let open =
        |fd| Some((fd, file(fd).filter(|file| Some(file) != own.as_ref())?));
    let row = |(fd, file): (i32, std::path::PathBuf)| {
        format!("\t{fd} {}", file.display())
    };
    let table: String =
        (0..report.as_raw_fd()).filter_map(open).map(row).collect();
    format!("{name} {}{table}\n", getpid())
        .replace("/memfd:", "")
        .replace(" (deleted)", "")
}

/// Returns once the writer has ended, the pipe is empty, and the reader sleeps nevertheless.
fn see_it_hang(sort: Pid, uniq: Pid, reader: &OwnedFd) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let stat = |child: Pid| fs::read_to_string(format!("/proc/{child}/stat"));
    let ready = || {
        poll(
            &mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)],
            PollTimeout::ZERO,
        )
    };
    while !(stat(sort)?.contains(") Z ")
        && ready()? == 0
        && stat(uniq)?.contains(") S "))
    {
        ensure!(Instant::now() < deadline, "uniq does not hang");
    }
    Ok(())
}

/// A temporary file that never has a name in a folder, so that none stays behind.
#[cfg(target_os = "linux")]
fn memory_file(name: &CStr) -> Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(memfd_create(name, MFdFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn memory_file(_: &CStr) -> Result<OwnedFd> {
    eprintln!("cannot run here: it looks at descriptors in Linux's /proc");
    exit(77)
}
