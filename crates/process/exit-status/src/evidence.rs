//! The table of status words, and whether they and $? are what they should be.
//!
//! Sources: wait(2); core(5); POSIX, Shell Command Language, 2.8.2, "Exit
//! Status for Commands"; <bits/waitstatus.h> of the GNU C library for the bits.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, setrlimit};

/// How one child ended.
pub struct Row {
    pub way: &'static str,
    /// The status word, and its three parts
    pub word: i32,
    pub code: i32,
    pub core: i32,
    pub signal: i32,
    /// What $? must be by the status word
    pub dollar: i32,
    /// What the standard library says of the status word
    pub decoded: String,
    /// The $? of a real sh
    pub by_sh: i32,
}

/// A core file would stay behind, and a crash reporter would wake up.
pub fn leave_no_core_file() -> Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?; // a reporter ignores the limit
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// Runs the demo in the same way as a child of sh. Gives the $? of that.
pub fn ask_sh(demo: &Path, way: &str) -> Result<i32> {
    let output = Command::new("sh")
        .args(["-c", "\"$0\" --end $1; echo $?"])
        .arg(demo)
        .arg(way)
        .stderr(Stdio::null())
        .output()
        .context("cannot run sh")?;
    let printed = String::from_utf8(output.stdout)?;
    printed.trim().parse().context("no $? from sh")
}

const HEADING: &str = "\
child        status  exit code  core  signal                              $? of
             word    bits 15-8  7     6 to 0   decoded              $?      sh
";

pub fn print_heading() {
    print!("{HEADING}");
}

pub fn print(row: &Row) {
    let word = format!("{:#06x}", row.word);
    let code = format!("{:08b}", row.code);
    let signal = format!("{:07b}", row.signal);
    println!(
        "{:<13}{word}  {code}   {}     {signal}  {:<20}{:>3}{:>8}",
        row.way, row.core, row.decoded, row.dollar, row.by_sh
    );
}

/// What a parent must learn of a child that ended in this way.
fn expected(way: &str) -> &'static str {
    match way {
        "exit-0" => "exit status: 0",
        "exit-7" => "exit status: 7",
        "exit-137" => "exit status: 137",
        "panic" | "rust-divides" => "exit status: 101",
        "cpu-divides" if cfg!(target_arch = "aarch64") => "exit status: 0",
        "cpu-divides" => "signal: 8 (SIGFPE)",
        "abort" => "signal: 6 (SIGABRT)",
        "sigkill" => "signal: 9 (SIGKILL)",
        _ => "nothing",
    }
}

pub fn judge(rows: &[Row]) -> Result<()> {
    let mut as_137: Vec<&Row> = Vec::new();
    for row in rows {
        let way = row.way;
        let wanted = expected(way);
        ensure!(
            row.decoded == wanted,
            "{way}: {wanted} was expected, not {}",
            row.decoded
        );
        ensure!(
            row.by_sh == row.dollar,
            "{way}: $? is {} by the status word, but {} in sh",
            row.dollar,
            row.by_sh
        );
        if row.by_sh == 137 {
            as_137.push(row);
        }
    }
    ensure!(as_137.len() == 2, "$? is 137 {} times", as_137.len());
    let first = as_137[0];
    let second = as_137[1];
    ensure!(first.word != second.word, "their status words are equal");
    let count = rows.len();
    println!("\n{count} of {count} ended as expected, with the same $? in sh");
    println!(
        "$? is 137 for {} (word {:#06x}) and for {} (word {:#06x})",
        first.way, first.word, second.way, second.word
    );
    Ok(())
}

/// Exits with 77 where the kernel does not tell.
pub fn file_of_this_program() -> PathBuf {
    env::current_exe().unwrap_or_else(|why| {
        eprintln!("cannot run here: {why}");
        process::exit(77)
    })
}
