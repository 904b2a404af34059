//! Python's GIL: the lock that a thread must hold to run Python code.
//!
//! src/gil.py tells the story: 2 threads compute, then 2 processes compute,
//! then 10 threads wait. This program runs gil.py, and judges what gil.py has
//! measured.
//!
//! Predict:  2 threads compute on 2 cores: how many are busy? And 2 processes?
//! Try:      taskset -c 0 cargo run -p python-gil   # all of it on one core
//! Try:      cargo run -p python-gil -- --python python3.14t   # if installed
//! Try:      python3 crates/tools/python-gil/src/gil.py   # the story, alone
//! See also: embarrassingly-parallel, threads that compute in Rust;
//!           blocking-operations, threads that wait in Rust.

use std::process::{Command, Stdio, exit};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

/// In gil.py, the GIL blocks threads that compute 200 times or more. Without
/// it, workers are blocked about 10 times: when they start and end.
const OFTEN: u32 = 30;

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    need_python(&args.python); // or exits with 77

    let mut python = Command::new(&args.python);
    // -I: Python's own files, and no threading.py from the current folder.
    // -c: the next argument is the program itself, not the name of a file.
    python.args(["-I", "-c", include_str!("gil.py")]);
    python.stderr(Stdio::inherit()); // Python's errors are shown as they are
    let output = python.output()?; // starts it, and waits until it has ended
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let status = output.status;
    ensure!(status.success(), "{} ended with {status}", args.python);
    judge(&text)
}

fn judge(text: &str) -> Result<()> {
    let gil = text.contains(" with the GIL\n");
    let threads = find_row(text, "2 threads compute:")?;
    let processes = find_row(text, "2 processes compute:")?;
    let waiting = find_row(text, "10 threads wait 0.1 s:")?;

    // On a single core, `busy` cannot tell with the GIL from without it. But
    // threads that compute have to wait for the GIL, and so are blocked often.
    // (macOS may not count that.)
    let often = threads.blocked > OFTEN || cfg!(target_os = "macos");
    let one_at_a_time = threads.busy < 1.2 && often;
    if gil {
        ensure!(one_at_a_time, "with the GIL, threads do not run like this");
    } else {
        ensure!(!one_at_a_time, "the threads ran as if with the GIL");
    }
    ensure!(processes.blocked < OFTEN, "processes block each other");
    ensure!(waiting.seconds >= 0.1, "these threads did not wait");
    ensure!(waiting.seconds < 0.8, "threads wait one after another");
    Ok(())
}

/// A line that gil.py prints at its end
struct Row {
    seconds: f64,
    /// So many cores were busy, on average
    busy: f64,
    /// How often a worker had to wait for something else than a core
    blocked: u32,
}

fn find_row(text: &str, title: &str) -> Result<Row> {
    let row = text.lines().find_map(|line| line.strip_prefix(title));
    let row = row.with_context(|| format!("Python printed no {title:?}"))?;
    let words: Vec<&str> = row.split_whitespace().collect();
    let [seconds, _, busy, _, _, _, blocked, _] = words[..] else {
        bail!("not understood: {row}");
    };
    Ok(Row {
        seconds: seconds.parse()?,
        busy: busy.parse()?,
        blocked: blocked.parse()?,
    })
}

/// Exits with 77 if this Python does not start.
fn need_python(python: &str) {
    let why = match Command::new(python).arg("--version").output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => output.status.to_string(),
        Err(error) => error.to_string(),
    };
    eprint!("cannot run here: {python} does not work ({why}); ");
    eprintln!("if there is none: apt-get (dnf, brew, pkg) install python3");
    exit(77)
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// The Python to run
    #[arg(long, default_value = "python3")]
    python: String,
}
