//! Shared text: several processes run the same program at the same time.
//!
//! Text is the machine code of a program: nobody can write to it. Data is its
//! variables. A process knows virtual addresses only. The kernel maps each
//! page of them, usually 4 KiB, to a page of physical memory.
//! Rss counts the physical pages that a process uses. Pss counts a page that
//! n processes use as 1/n of a page in each. So the sum of Pss over all
//! processes is the memory in use. Divided by the Rss of one process, that
//! is the number of copies in memory.
//!
//! Predict:  5 processes run one program. How many copies of text, of data?
//! Try:      cargo run -p shared-text -- --processes 10
//! See also: memory-segments, where text and data are in one process.

mod evidence;

use std::env::current_exe;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::alarm;

/// The data: a variable that each process writes to.
static DATA: AtomicU32 = AtomicU32::new(1);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes that run this program
    #[arg(long, default_value_t = 5)]
    #[arg(value_parser = value_parser!(u32).range(2..=100))]
    processes: u32,
    /// Be a child of another process that runs this program
    #[arg(long, hide = true)]
    child: bool,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    // Each process writes its own PID. By this write it gets a page of its own.
    DATA.store(id(), Ordering::Relaxed);
    if args.child {
        return be_child();
    }
    evidence::need_smaps()?;

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and cannot wait for its
    // children. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    evidence::print_heading();
    println!("{}", where_text_and_data_are());
    let mut pids = vec![id()];
    let mut children: Vec<Child> = Vec::new();
    for _ in 1..args.processes {
        let mut child = Command::new(current_exe()?) // this program again
            .arg("--child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a child")?;
        // The child says where its text and data are. Wait for that.
        let pipe = child.stdout.take().context("no pipe from the child")?;
        let mut row = String::new();
        BufReader::new(pipe).read_line(&mut row)?;
        ensure!(!row.is_empty(), "a child ended before it said anything");
        print!("{row}");
        pids.push(child.id());
        children.push(child);
    }

    // All are alive now. What do they have in memory, together?
    let copies = evidence::count_copies(&pids)?;

    for mut child in children {
        // This first closes the pipe to the child's standard input. So the
        // child reads the end of the file, and ends.
        child.wait()?;
    }
    // The verdict demands one copy of the text for all processes together, and
    // one copy of the data for each process. Each process has used only some
    // of the pages so far, and not always the same ones. So the numbers are not
    // exact: up to 1.3 copies of the text in all are accepted, and at least 0.7
    // copies of the data per process.
    evidence::judge(&copies)
}

/// What each child does.
fn be_child() -> Result<()> {
    // Only for a lecture: in 10 s a signal ends this process in any case.
    // In a real program, remove it.
    alarm::set(10);
    writeln!(stdout(), "{}", where_text_and_data_are())?;
    let mut line = String::new();
    stdin().read_line(&mut line)?; // waits until the parent closes the pipe
    Ok(())
}

/// Virtual addresses in this process, and their physical pages.
fn where_text_and_data_are() -> String {
    let text = main as *const (); // the first instruction of main
    let data = &raw const DATA;
    evidence::row_of_pages(text.addr(), data.addr())
}
