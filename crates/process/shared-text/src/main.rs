//! Shared text: several processes run the same program at the same time.
//!
//! Text is the machine code of a program, data is its variables. Text is
//! read-only, so processes can share it. Each process writes to its own data.
//! Rss is the memory that a process uses. In Pss, a page of memory (usually
//! 4 KiB) that n processes use counts as 1/n of a page for each. So the sum of
//! Pss is what all use together. Divided by the mean Rss, which is what one
//! process uses, it is the number of copies in memory.
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

    // Each process writes to its data: this one, and the children.
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
    // r: read, w: write, x: execute, p: private.
    let text = count_copies("text", "r-xp", &pids)?;
    let data = count_copies("data", "rw-p", &pids)?;

    for mut child in children {
        // This first closes the pipe to the child's standard input. So the
        // child reads the end of the file, and ends.
        child.wait()?;
    }

    let processes = args.processes;
    println!(
        "\n{processes} processes, {text:.2} copies of text, {data:.2} of data"
    );
    // The processes have not used quite the same pages, so this is rounded.
    // Text that is in use by still more processes counts as less than 1.
    ensure!(text.round() <= 1.0, "1 copy of the text was expected");
    let one_each = f64::from(processes);
    ensure!(data.round() == one_each, "{one_each} of data were expected");
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

/// Rss or Pss of a process, in KiB, of that part of this program's file which
/// has these permissions. Source: proc_pid_smaps(5).
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
