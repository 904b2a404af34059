//! Shared text: several processes run the same program at the same time.
//!
//! Text is the machine code of a program, data is its variables. Text is
//! read-only, so processes can share it. Each process writes to its own data.
//! Rss is how much of a process is in memory. In Pss, a page of memory that n
//! processes share counts as 1/n of a page for each. An example: 5 processes
//! share 100 KiB. Each has an Rss of 100 and a Pss of 20. The sum of Pss is
//! 100, as much as one Rss: there is one copy.
//!
//! Predict:  5 processes run one program. How many copies of text, of data?
//! Try:      cargo run -p shared-text -- --processes 10
//! See also: memory-segments, where text and data are in one process.

use std::env::current_exe;
use std::fs;
use std::io::{self, BufRead, BufReader, stdin};
use std::process::{Command, Stdio, exit, id};
use std::sync::Mutex;

use anyhow::{Result, ensure};
use clap::{Parser, value_parser};

/// The data: 1 MB. Rust asks for a lock, as threads could share a static.
static DATA: Mutex<[u8; 1_000_000]> = Mutex::new([1; 1_000_000]);

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_smaps(); // or exits with 77

    // Processes may share pages of data, too, until one of them writes there.
    // So each process writes to all its data: this one, and the children.
    DATA.lock().expect("there is one thread").fill(2);
    if args.child {
        return be_child();
    }

    let mut pids = vec![id()]; // this process is the first one
    let mut children = Vec::new();
    for _ in 1..args.processes {
        let mut child = Command::new(current_exe()?) // this program again
            .arg("--child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // The child prints a line when it has written to its data. Wait for it.
        let pipe = child.stdout.take().expect("stdout is a pipe");
        let mut line = String::new();
        BufReader::new(pipe).read_line(&mut line)?;
        ensure!(line == "ready\n", "a child ended before it was ready");
        pids.push(child.id());
        children.push(child);
    }

    // All are alive now. What do they have in memory, together?
    println!("this program runs in processes {pids:?}\n");
    println!("in memory, KiB   mean Rss  sum of Pss  copies");
    // r: read, w: write, x: execute. p: a process that writes to a page gets a
    // copy of its own.
    let text = count_copies("text", "r-xp", &pids)?;
    let data = count_copies("data", "rw-p", &pids)?;

    for mut child in children {
        // `wait` first closes this end of the pipe to the child's standard
        // input. So the child reads an end of file, and ends.
        child.wait()?;
    }

    let processes = args.processes;
    println!(
        "\n{processes} processes, {text:.2} copies of text, {data:.2} of data"
    );
    // A process need not have used every page, so these numbers are rounded.
    // There is less than 1 copy of the text for these processes if others run
    // this program at the same time.
    ensure!(text.round() <= 1.0, "1 copy of the text was expected");
    let one_each = f64::from(processes);
    ensure!(
        data.round() == one_each,
        "{one_each} copies of data were expected"
    );
    Ok(())
}

/// What each child does.
fn be_child() -> Result<()> {
    println!("ready");
    io::read_to_string(stdin())?; // waits until the parent closes the pipe
    Ok(())
}

/// How often text or data is in memory, for these processes.
fn count_copies(part: &str, permissions: &str, pids: &[u32]) -> Result<f64> {
    let mut rss = 0.0;
    let mut pss = 0.0;
    for pid in pids {
        rss += kib_of(*pid, permissions, "Rss:")?;
        pss += kib_of(*pid, permissions, "Pss:")?;
    }
    let mean_rss = rss / pids.len() as f64;
    let copies = pss / mean_rss;
    let bar = "█".repeat(copies.round() as usize);
    println!("{part}{mean_rss:>21.0}{pss:>12.0}{copies:>8.2} {bar}");
    Ok(copies)
}

/// Adds up Rss or Pss, in KiB, where the memory of a process comes from this
/// program's file and has these permissions. Source: proc_pid_smaps(5).
fn kib_of(pid: u32, permissions: &str, field: &str) -> Result<f64> {
    let program = current_exe()?.display().to_string();
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut sum = 0.0;
    let mut wanted = false;
    // For each range of addresses in use, a line says which permissions it has,
    // and which file is there. Below it stand lines as `Rss:   12 kB`.
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0].contains('-') {
            wanted = words[1] == permissions && line.ends_with(&program);
        } else if wanted && words[0] == field {
            sum += words[1].parse::<f64>()?;
        }
    }
    Ok(sum)
}

fn need_smaps() {
    if !fs::exists("/proc/self/smaps").unwrap_or(false) {
        eprintln!("cannot run here: it reads /proc/PID/smaps, as on Linux");
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Processes that run this program
    #[arg(long, default_value_t = 5)]
    #[arg(value_parser = value_parser!(u32).range(2..=30))]
    processes: u32,
    /// Be a child of another process that runs this program
    #[arg(long, hide = true)]
    child: bool,
}
