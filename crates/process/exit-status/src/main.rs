//! Exit status: what a parent learns about the end of its child is one number.
//!
//! A child ends because it exits with a code, or because a signal kills it.
//! The kernel packs that into one number for its parent, the status word.
//! One bit of it says whether a core file was written: the memory of a process
//! that a signal has killed. The children of this demo leave none.
//! A shell is the parent of the programs that it starts. From the status word
//! of the last one it makes the value of $?.
//!
//! Predict:  one child exits with 137, another dies of SIGKILL: does $? differ?
//! Try:      cargo run -p exit-status -- --end panic; echo $?
//! Try:      cargo run -p exit-status -- --end cpu-divides; echo $?
//! See also: signal-handler, which signals a process survives.

mod evidence;

use std::arch::asm;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio, abort, exit};

use anyhow::Result;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use evidence::Row;
use nix::sys::signal::{SigHandler, Signal, raise, signal};

/// The ways for a child to end
const WAYS: &[&str] = &[
    "exit-0",
    "exit-7",
    "exit-137",
    "panic",
    "rust-divides",
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    "cpu-divides",
    "abort",
    "sigkill",
];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// End the demo itself in this way, for your own shell to see
    #[arg(long, value_name = "WAY")]
    #[arg(value_parser = PossibleValuesParser::new(WAYS))]
    end: Option<String>,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    if let Some(way) = args.end {
        evidence::leave_no_core_file()?;
        end_by(&way)
    }

    // SIGCHLD tells a parent that a child has ended. If whoever starts this
    // program ignores SIGCHLD, so does this program, and then the kernel keeps
    // no status word. So it sets the default.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;

    let demo = evidence::file_of_this_program();
    evidence::print_heading();
    let mut rows: Vec<Row> = Vec::new();
    for way in WAYS {
        // fork; in the child, exec of this program with --end; waitpid.
        let status = Command::new(&demo)
            .args(["--end", way])
            .stderr(Stdio::null()) // hides the message of a panic
            .status()?;

        let word = status.into_raw(); // the status word, as waitpid gave it
        let code = (word >> 8) & 0b1111_1111; // bits 15 to 8
        let core = (word >> 7) & 0b1; // bit 7: was a core file written?
        let signal = word & 0b111_1111; // bits 6 to 0, all 0 if it exited

        // What a shell makes of it, by its convention.
        let dollar = if signal == 0 { code } else { 128 + signal };

        let row = Row {
            way,
            word,
            code,
            core,
            signal,
            dollar,
            decoded: status.to_string(), // the standard library decodes, too
            by_sh: evidence::ask_sh(&demo, way)?, // the $? of a real shell
        };
        evidence::print(&row);
        rows.push(row);
    }
    // The standard library must decode each end as expected, and sh must have
    // the same $?. Two different status words must give the $? 137.
    evidence::judge(&rows)
}

/// What each child does.
fn end_by(way: &str) -> ! {
    match way {
        "exit-0" => exit(0),
        "exit-7" => exit(7),
        "exit-137" => exit(137),
        "panic" => panic!("on purpose"),
        "rust-divides" => {
            let zero = black_box(0); // hidden from the compiler
            exit(1 / zero) // Rust checks, and panics
        }
        "cpu-divides" => exit(cpu_divides()), // and nobody checks
        "abort" => abort(),
        "sigkill" => {
            raise(Signal::SIGKILL).expect("may signal itself");
            exit(1) // not reached
        }
        _ => unreachable!("clap refuses other ways"),
    }
}

/// The processor's own division, 1 / 0. On x86-64 that is an exception, which
/// the kernel turns into the signal SIGFPE. On ARM the result is 0.
fn cpu_divides() -> i32 {
    let mut quotient = 1;
    // div divides a number in edx and eax, and leaves the quotient in eax.
    // SAFETY: this works on registers only.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "div {:e}",
            in(reg) 0,
            inout("eax") quotient,
            inout("edx") 0 => _,
        );
        #[cfg(target_arch = "aarch64")]
        asm!("udiv {0:w}, {0:w}, {1:w}", inout(reg) quotient, in(reg) 0);
    }
    quotient
}
