//! What Rust adds: code that could race in its data is not compiled at all.
//!
//! Ownership is checked at compile time: one &mut or many &, never both; only what is Send moves
//! to another thread; nothing borrowed from a lock's guard outlives it. The snippets stand in
//! src/snippets: handed to rustc as this runs, the refused ones and their accepted twins.
//! Not refused, as race-condition shows: races in what a program means, with no race in its data.
//!
//! Predict:  which of these bugs does a C compiler find?
//! Try:      cargo run -p compiler-refuses -- --full
//! See also: race-condition, what the compiler cannot know.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio, exit, id};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use clap::Parser;

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
struct Knobs {
    /// Show all that the compiler says
    #[arg(long)]
    full: bool,
}

/// A folder of its own for the programs that are compiled; removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn main() -> Result<()> {
    let knobs = Knobs::parse();
    if rustc().arg("--version").output().is_err() {
        eprintln!("cannot run here: there is no rustc; install it from https://rustup.rs");
        exit(77);
    }
    let folder = Folder(env::temp_dir().join(format!("compiler-refuses-{}", id())));
    fs::create_dir(&folder.0).context("cannot write to the temp folder")?;
    let program = folder.0.join("program");

    for (bug, code, refused, accepted, expected) in SNIPPETS {
        let verdict = compile(refused, &program)?;
        let says = String::from_utf8_lossy(&verdict.stderr).into_owned();
        let error = says.lines().find(|line| line.starts_with("error")).unwrap_or("nothing");
        println!("{bug}:\n    {}", if knobs.full { &says } else { error });
        ensure!(!verdict.status.success(), "rustc accepted it");
        ensure!(error.contains(code), "refused for another reason than {code}");

        let verdict = compile(accepted, &program)?;
        ensure!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
        let output = Command::new(&program).output().context("cannot run what rustc made")?;
        let prints = String::from_utf8_lossy(&output.stdout).trim().to_string();
        println!("    corrected: compiles, runs, prints {prints}\n");
        ensure!(prints == expected, "and not {expected}");
    }
    println!("{} bugs refused, {} corrected programs run", SNIPPETS.len(), SNIPPETS.len());
    Ok(())
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
}

/// Hands `source` to rustc, on its standard input.
fn compile(source: &str, program: &Path) -> Result<Output> {
    let mut rustc = rustc();
    rustc.args(["--edition", "2024", "-", "-o"]).arg(program);
    rustc.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut rustc = rustc.spawn().context("cannot start rustc")?;
    rustc.stdin.take().context("piped")?.write_all(source.as_bytes())?;
    Ok(rustc.wait_with_output()?)
}
