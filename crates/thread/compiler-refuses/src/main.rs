//! What Rust adds: rustc looks for bugs that would let threads race.
//!
//! Threads race if the result depends on which one is first.
//! In a data race a thread writes to a value, while another thread uses it.
//! Each of three snippets of code has a bug that would allow a data race. Each
//! has a twin in which the bug is fixed. They are files in src/snippets. This
//! program hands all six to rustc, and runs the fixed twins.
//!
//! Predict:  open src/snippets/*_refused.rs: which line does rustc refuse?
//! Try:      cargo run -p compiler-refuses -- --full 3   # all that rustc says
//! See also: race-condition, whose threads race by atomic operations: that is
//!           no data race, and rustc accepts it.

mod evidence;

use std::io;
use std::path::Path;
use std::process::{Command, Output, id};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};

struct Bug {
    /// What is wrong
    what: &'static str,
    /// The snippets are called NAME_refused.rs and NAME_fixed.rs
    name: &'static str,
    /// The text of a file: include_str! reads it when this is compiled
    refused: &'static str,
    fixed: &'static str,
    /// rustc's code for the error. Explained by: rustc --explain E0499
    code: &'static str,
    /// What the fixed twin must print
    prints: &'static str,
}

const BUGS: [Bug; 3] = [
    Bug {
        what: "two threads write to one counter",
        name: "counter",
        refused: include_str!("snippets/counter_refused.rs"),
        fixed: include_str!("snippets/counter_fixed.rs"),
        code: "E0499",
        prints: "2",
    },
    Bug {
        what: "a reference count that is not atomic, sent to a thread",
        name: "rc",
        refused: include_str!("snippets/rc_refused.rs"),
        fixed: include_str!("snippets/rc_fixed.rs"),
        code: "E0277",
        prints: "6",
    },
    Bug {
        what: "data behind a lock, used after unlocking",
        name: "guard",
        refused: include_str!("snippets/guard_refused.rs"),
        fixed: include_str!("snippets/guard_fixed.rs"),
        code: "E0505",
        prints: "2",
    },
];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Show one bug only, and all that rustc says of it
    #[arg(long, value_name = "BUG")]
    #[arg(value_parser = value_parser!(u8).range(1..=3))]
    full: Option<u8>,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    evidence::make_children_waitable()?; // to get the exit status of rustc
    evidence::exit_unless_rustc_works(rustc());

    let mut bugs: Vec<&Bug> = BUGS.iter().collect();
    if let Some(number) = args.full {
        let index = usize::from(number) - 1;
        bugs = vec![&BUGS[index]];
    }
    let mut bugs_refused = 0;
    let mut twins_run = 0;
    for bug in bugs {
        // If rustc refuses a file, that is still Ok: its exit status says so.
        let seen = try_out(bug)?;
        evidence::exit_if_rustc_crashed(&seen.rustc_on_bug);
        evidence::exit_if_rustc_crashed(&seen.rustc_on_twin);

        // rustc must refuse the bug, and for the reason that we expect.
        println!("{}:", bug.what);
        let full = args.full.is_some();
        let error = evidence::show_error(&seen.rustc_on_bug, full);
        let bug_accepted = seen.rustc_on_bug.status.success();
        ensure!(!bug_accepted, "rustc accepted the bug");
        ensure!(error.contains(bug.code), "the error is not {}", bug.code);
        bugs_refused += 1;

        // rustc must accept the fixed twin. It must run, and print the result.
        let twin_accepted = seen.rustc_on_twin.status.success();
        let says = String::from_utf8_lossy(&seen.rustc_on_twin.stderr);
        ensure!(twin_accepted, "rustc refused the fixed twin: {says}");
        let twin = evidence::output_or_exit(seen.twin);
        ensure!(twin.status.success(), "the twin failed: {}", twin.status);
        let prints = String::from_utf8_lossy(&twin.stdout);
        println!("    fixed: compiles, runs, prints {prints}");
        let right = prints.trim() == bug.prints;
        ensure!(right, "the twin did not print {}", bug.prints);
        twins_run += 1;
    }
    println!("bugs refused: {bugs_refused}, fixed twins run: {twins_run}");
    Ok(())
}

/// What was seen of one bug. An Output is an exit status, and what was printed.
struct Seen {
    rustc_on_bug: Output,
    rustc_on_twin: Output,
    /// Of the fixed twin; an error if it could not start
    twin: io::Result<Output>,
}

fn try_out(bug: &Bug) -> Result<Seen> {
    let folder = env::temp_dir().join(format!("compiler-refuses-{}", id()));
    let cannot = format!("cannot create {}", folder.display());
    fs::create_dir(&folder).context(cannot)?;

    // No `?` until the folder is removed: an early return would leave it there.
    let bug_file = format!("{}_refused.rs", bug.name);
    let rustc_on_bug = compile(&bug_file, bug.refused, "bug", &folder);
    let twin_file = format!("{}_fixed.rs", bug.name);
    let rustc_on_twin = compile(&twin_file, bug.fixed, "twin", &folder);
    // If rustc has made no twin, this is an Err. main looks at rustc first.
    let twin = Command::new(folder.join("twin")).output();

    fs::remove_dir_all(&folder)?;
    Ok(Seen {
        rustc_on_bug: rustc_on_bug?,
        rustc_on_twin: rustc_on_twin?,
        twin,
    })
}

/// Hands a file to rustc. If there is no error, rustc makes a program of it.
fn compile(
    file: &str,
    source: &str,
    program: &str,
    folder: &Path,
) -> Result<Output> {
    fs::write(folder.join(file), source)?;
    let mut command = rustc();
    command.args(["--edition", "2024", "-o", program, file]);
    command.current_dir(folder);
    command.output().context("cannot start rustc")
}

/// rustc, or the compiler that the environment variable RUSTC names.
fn rustc() -> Command {
    match env::var_os("RUSTC") {
        Some(path) => Command::new(path),
        None => Command::new("rustc"),
    }
}
