//! What Rust adds: in safe Rust, what would be a data race does not compile.
//!
//! In a data race two threads use a value at the same time, at least one of
//! them writes, and nothing puts them in order: no lock, no atomic operation.
//! Each of three snippets of code has a bug that would allow a data race, and a
//! twin in which the bug is fixed: `diff` of the two files shows the fix. The
//! twins are part of this program. It hands the files with the bugs to rustc.
//!
//! Predict:  open src/snippets/*_refused.rs: which line does rustc refuse?
//! Try:      cargo run -p compiler-refuses -- --full   # all that rustc says
//! See also: race-condition, whose threads race by atomic operations: that is
//!           no data race, and rustc accepts it.

use std::process::{Command, exit};

use anyhow::{Context, Result, ensure};
use clap::Parser;

// The fixed twins, each a file with a function `result`.
#[path = "snippets/counter_fixed.rs"]
mod counter_fixed;
#[path = "snippets/guard_fixed.rs"]
mod guard_fixed;
#[path = "snippets/rc_fixed.rs"]
mod rc_fixed;

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let full = Args::parse().full;
    need_rustc(); // or exits with 77

    println!("two threads write to one counter:");
    must_be_refused("counter_refused.rs", "E0499", full)?;
    let counter = counter_fixed::result();
    println!("    fixed: compiles, runs, gives {counter}\n");

    println!("an Rc, whose count of owners is not atomic, sent to a thread:");
    must_be_refused("rc_refused.rs", "E0277", full)?;
    let lengths = rc_fixed::result();
    println!("    fixed: compiles, runs, gives {lengths}\n");

    println!("data behind a lock, used after unlocking:");
    must_be_refused("guard_refused.rs", "E0505", full)?;
    let value = guard_fixed::result();
    println!("    fixed: compiles, runs, gives {value}\n");

    ensure!(counter == 2, "2 increments, and the counter is {counter}");
    ensure!(lengths == 6, "2 times 3 entries, and the sum is {lengths}");
    ensure!(value == 2, "2 increments, and the value is {value}");
    println!("rustc refused 3 of 3; the fixed twins give 2, 6 and 2");
    Ok(())
}

/// Hands a file to rustc, which has to refuse it with this error. To read what
/// an error means: `rustc --explain E0499`.
fn must_be_refused(file: &str, code: &str, full: bool) -> Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snippets");
    let rustc = Command::new("rustc")
        .current_dir(folder)
        // Only a check: no program is built, and no file stays here (-).
        .args(["--edition", "2024", "--crate-type", "lib"])
        .args(["--emit", "metadata=-", file])
        .output()
        .context("cannot start rustc")?;

    let says = String::from_utf8_lossy(&rustc.stderr);
    // Warnings come first; then the error, and in the next line its place.
    let mut lines = says.lines().skip_while(|line| !line.starts_with("error"));
    let error = lines.next().unwrap_or("no error");
    let place = lines.next().unwrap_or_default();
    if full {
        println!("{}", says.trim());
    } else {
        println!("    {error}\n    {place}");
    }
    ensure!(!rustc.status.success(), "rustc accepted {file}");
    ensure!(error.contains(code), "not {code}, but {error}");
    Ok(())
}

fn need_rustc() {
    let version = Command::new("rustc").arg("--version").output();
    if !version.is_ok_and(|version| version.status.success()) {
        eprintln!("cannot run here: no rustc works; to get one: rustup.rs");
        exit(77);
    }
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Show all that rustc says
    #[arg(long)]
    full: bool,
}
