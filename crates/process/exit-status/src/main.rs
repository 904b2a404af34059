//! Exit status: what waitpid tells of the end of a child is one number.
//!
//! A child ends because it exits with a code, or because a signal kills it.
//! The kernel packs that into one number for its parent, the status word.
//! A shell is the parent of the programs that it starts. Its variable $? says
//! how the last one ended: the shell makes it of the status word.
//! Here each child is a shell, sh, that runs a short script. In a script, $$
//! is the PID of its shell: `kill -TERM $$` sends the signal SIGTERM to itself.
//!
//! Predict:  one child exits with 137, another dies of SIGKILL: does $? differ?
//! Try:      cargo run -p exit-status -- --script 'exit 256'
//! Try:      cargo run -p exit-status -- --script 'no-such-command'
//! See also: signal-handler, which signals a process survives.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

const SCRIPTS: [&str; 5] = [
    "exit 0",
    "exit 7",
    "exit 137",
    "kill -TERM $$",
    "kill -KILL $$",
];

const HEADING: &str = "\
script for sh   status  exit code  signal   which means          $?   in a
                word    bits 15-8  6 to 0                             real sh";

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let mut scripts = SCRIPTS.to_vec();
    if let Some(script) = &args.script {
        scripts.push(script);
    }

    println!("{HEADING}");
    let mut words_of_137 = Vec::new();
    for script in scripts {
        // This forks, executes sh in the child, and waits for the child's end.
        let status = Command::new("sh")
            .args(["-c", script])
            .status()
            .context("cannot run sh")?;

        let word = status.into_raw(); // the status word, as waitpid gave it
        let code = (word >> 8) & 0b1111_1111; // bits 15 to 8
        let signal = word & 0b111_1111; // bits 6 to 0, all 0 if it exited
        // Bit 7 is 1 if the kernel wrote the child's memory to a core file.

        // A shell makes $? like this. To add 128 is a custom of shells.
        let dollar = if signal == 0 { code } else { 128 + signal };
        let in_sh = ask_sh(script)?; // the value of $? in a real shell

        let meaning = status.to_string(); // the standard library decodes, too
        println!(
            "{script:<16}{word:#06x}  {code:08b}   {signal:07b}  \
             {meaning:<21}{dollar:<5}{in_sh}"
        );
        ensure!(
            in_sh == dollar,
            "{script}: $? is {dollar} by the status word, but {in_sh} in sh"
        );
        if in_sh == 137 {
            words_of_137.push(word);
        }
    }

    // Two scripts give 137: first `exit 137`, then `kill -KILL $$`.
    let count = words_of_137.len();
    ensure!(count >= 2, "$? was 137 for {count} children, not for two");
    let exited = words_of_137[0];
    let killed = words_of_137[1];
    ensure!(exited != killed, "one status word, {exited:#06x}, for both");
    println!("\n$? is 137 for two status words: {exited:#06x}, {killed:#06x}");
    Ok(())
}

/// Runs the script in a child of a shell, and asks that shell for $?.
fn ask_sh(script: &str) -> Result<i32> {
    // The outer shell runs the script, its argument $0, in an inner shell. Then
    // it exits with its $?, so that this can be read as an exit code.
    let status = Command::new("sh")
        .args(["-c", "sh -c \"$0\"; exit $?", script])
        .stderr(Stdio::null()) // some shells say there that it was killed
        .status()
        .context("cannot run sh")?;
    status.code().context("a signal killed sh")
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// One more script for a child, which will run twice
    #[arg(long)]
    script: Option<String>,
}
