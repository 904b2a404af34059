//! Error status: what a parent learns about the end of its child is one number, the status word.
//!
//! Its bits hold the exit code, or the signal that killed the child. A shell squeezes both into
//! `$?`: the exit code, or 128 + the number of the signal. A real sh runs every case as well.
//! Sources: wait(2); core(5); POSIX, Shell Command Language, "Exit Status for Commands".
//!
//! Predict:  one child calls exit(137), another one dies of SIGKILL. Can $? tell them apart?
//! Try:      cargo run -p exit-status -- --end panic; echo $?
//! Try:      cargo run -p exit-status -- --end cpu-divides; echo $?
//! See also: signal-handler, which signals a process survives.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio, abort, exit};
use std::{env, str};

use anyhow::{Context, Result, ensure};
use clap::{Parser, builder::PossibleValuesParser as OneOf};
use nix::sys::resource::{Resource::RLIMIT_CORE, setrlimit};
use nix::sys::signal::{Signal::SIGKILL, raise};

/// A name, how the child ends, and what its parent must learn of that.
type Case = (&'static str, fn() -> !, &'static str);
const CASES: &[Case] = &[
    ("exit-0", || exit(0), "exit status: 0"),
    ("exit-7", || exit(7), "exit status: 7"),
    ("exit-137", || exit(137), "exit status: 137"),
    ("panic", || panic!("on purpose"), "exit status: 101"),
    (
        "rust-divides",
        || exit(black_box(1) / black_box(0)),
        "exit status: 101",
    ), // a panic
    #[cfg(target_arch = "x86_64")]
    ("cpu-divides", cpu_divides, "signal: 8 (SIGFPE)"),
    #[cfg(target_arch = "aarch64")]
    ("cpu-divides", cpu_divides, "exit status: 0"),
    ("abort", || abort(), "signal: 6 (SIGABRT)"),
    (
        "sigkill",
        || exit(raise(SIGKILL).is_err().into()),
        "signal: 9 (SIGKILL)",
    ),
];

#[derive(Parser)]
#[command(about)]
struct Args {
    /// End the demo itself in this way, for your own shell to see
    #[arg(long, value_name = "CASE", value_parser = OneOf::new(CASES.iter().map(|case| case.0)))]
    end: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some((_, end, _)) = CASES
        .iter()
        .find(|case| args.end.as_deref() == Some(case.0))
    {
        without_core_dump()?;
        end()
    }
    let demo = env::current_exe()?;
    println!(
        "             status  exit code  core  signal                              $? of"
    );
    println!(
        "child        word    bits 15-8  7     6 to 0   decoded              $?      sh"
    );
    let mut as_137 = Vec::new();
    for &(name, _, expected) in CASES {
        let mut child = Command::new(&demo);
        let status =
            child.args(["--end", name]).stderr(Stdio::null()).status()?;
        let word = status.into_raw(); // as waitpid(2) gave it
        let (code, core, signal) =
            ((word >> 8) & 0xff, (word >> 7) & 1, word & 0x7f);
        let dollar = if signal == 0 { code } else { 128 + signal }; // a shell's rule

        let mut sh = Command::new("sh"); // the same program, as a child of a shell
        sh.args(["-c", "\"$0\" --end $1; echo $?"])
            .arg(&demo)
            .arg(name)
            .stderr(Stdio::null());
        let printed = sh.output().context("cannot run sh")?.stdout;
        let by_sh: i32 = str::from_utf8(&printed)?
            .trim()
            .parse()
            .context("no $? from sh")?;

        let decoded = status.to_string(); // by <sys/wait.h>: WIFEXITED, WTERMSIG and so on
        print!("{name:<13}{word:#06x}  {code:08b}   {core}     {signal:07b}  ");
        println!("{decoded:<20}{dollar:>3}{by_sh:>8}");
        ensure!(
            decoded == expected && by_sh == dollar,
            "{expected} and the same $? were expected"
        );
        as_137.extend((by_sh == 137).then(|| format!("{name} ({word:#06x})")));
    }
    println!("\n$? is 137 for {}", as_137.join(" and for "));
    Ok(())
}

/// A core file would stay behind, and a crash reporter would wake up; the core bit would be 1.
fn without_core_dump() -> nix::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?; // the reporter does not care about the limit
    setrlimit(RLIMIT_CORE, 0, 0)
}

/// 1 / 0 by the processor's own division: an exception on x86, which becomes SIGFPE; 0 on ARM.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn cpu_divides() -> ! {
    let quotient;
    // SAFETY: asm! works on registers only.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("div {:e}", in(reg) 0, inout("eax") 1 => quotient, inout("edx") 0 => _);
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("udiv {:w}, {:w}, {:w}", out(reg) quotient, in(reg) 1, in(reg) 0);
    }
    exit(quotient)
}
