//! What Rust adds: code that could race in its data is not compiled at all.
//!
//! Ownership is checked at compile time: one &mut or many &, never both; only what is Send moves
//! to another thread; nothing borrowed from a lock's guard outlives it. The snippets stand in
//! src/snippets: handed to rustc as this runs, the refused ones and their accepted twins.
//! Not refused, as race-condition shows: races in what a program means, with no race in its data.
//!
//! Predict:  a counter, a reference count, a lock: which of the bugs does rustc refuse, and why?
//! Try:      cargo run -p compiler-refuses -- --full 3
//! See also: race-condition, what the compiler cannot know.

use std::path::Path;
use std::process::{Command, Output, exit, id};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};

/// Bug, error code expected, snippet, corrected twin and what that prints.
const SNIPPETS: [(&str, &str, &str, &str, &str); 3] = [
    (
        "two threads write to one counter",
        "E0499",
        include_str!("snippets/counter_refused.rs"),
        include_str!("snippets/counter_accepted.rs"),
        "2",
    ),
    (
        "a reference count that is not atomic, sent to a thread",
        "E0277",
        include_str!("snippets/rc_refused.rs"),
        include_str!("snippets/rc_accepted.rs"),
        "6",
    ),
    (
        "data behind a lock, used after unlocking",
        "E0505",
        include_str!("snippets/guard_refused.rs"),
        include_str!("snippets/guard_accepted.rs"),
        "1",
    ),
];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Show one bug only, and all that the compiler says of it
    #[arg(long, value_name = "BUG", value_parser = value_parser!(u64).range(1..=3))]
    full: Option<u64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !rustc()
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!(
            "cannot run here: no rustc works; install it from https://rustup.rs"
        );
        exit(77);
    }
    let folder = env::temp_dir().join(format!("compiler-refuses-{}", id()));
    fs::create_dir(&folder).context("cannot write to the temp folder")?;
    let verdict = ask(&args, &folder);
    fs::remove_dir_all(&folder)?;
    verdict
}

fn ask(args: &Args, folder: &Path) -> Result<()> {
    let bugs = args
        .full
        .map_or(0..SNIPPETS.len(), |bug| bug as usize - 1..bug as usize);
    let count = bugs.len();
    for (bug, code, refused, accepted, expected) in &SNIPPETS[bugs] {
        let verdict = compile(refused, folder)?;
        let says = String::from_utf8_lossy(&verdict.stderr);
        let error = says
            .lines()
            .find(|line| line.starts_with("error"))
            .unwrap_or("nothing");
        println!(
            "{bug}:\n    {}",
            if args.full.is_some() {
                says.trim()
            } else {
                error
            }
        );
        ensure!(!verdict.status.success(), "rustc accepted it");
        ensure!(
            error.contains(code),
            "refused for another reason than {code}"
        );

        let verdict = compile(accepted, folder)?;
        ensure!(
            verdict.status.success(),
            "{}",
            String::from_utf8_lossy(&verdict.stderr)
        );
        let output = Command::new(folder.join("program")).output();
        let output = output.context("cannot run what rustc made")?;
        let prints = String::from_utf8_lossy(&output.stdout);
        println!("    corrected: compiles, runs, prints {prints}");
        ensure!(prints.trim() == *expected, "and not {expected}");
    }
    println!("bugs refused: {count}, corrected programs run: {count}");
    Ok(())
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
}

fn compile(source: &str, folder: &Path) -> Result<Output> {
    fs::write(folder.join("program.rs"), source)?;
    let mut rustc = rustc();
    rustc
        .args(["--edition", "2024", "program.rs"])
        .current_dir(folder);
    rustc.output().context("cannot start rustc")
}
