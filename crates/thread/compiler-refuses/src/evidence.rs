//! What rustc said, and what can be in the way of it.

use std::env;
use std::io::{self};
use std::process::{Command, Output, exit};

use anyhow::Result;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Prints the error and its place, or all that rustc says. Returns the error.
pub fn show_error(rustc: &Output, full: bool) -> String {
    let text = String::from_utf8_lossy(&rustc.stderr);
    let mut lines = text.lines();
    let error = lines.find(|line| line.starts_with("error"));
    let error = error.unwrap_or("no error");
    if full {
        println!("{}\n", text.trim());
    } else {
        // The line after it has the place: file, line, column.
        let place = lines.next().unwrap_or_default();
        println!("    {error}\n    {place}");
    }
    error.to_string()
}

/// SIGCHLD tells a parent that a child has ended. A process may inherit that it
/// is ignored, and then it cannot wait for its children, such as rustc.
pub fn make_children_waitable() -> Result<()> {
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Does this command run at all?
pub fn exit_unless_rustc_works(mut rustc: Command) {
    let version = rustc.arg("--version").output();
    let why = match version {
        Ok(output) if output.status.success() => return,
        Ok(output) => output.status.to_string(),
        Err(error) => error.to_string(),
    };
    eprint!("cannot run here: no rustc works ({why}); ");
    eprintln!("to install it: https://rustup.rs");
    exit(77);
}

/// rustc ends with 101 if it panics, as where it may start too few threads.
pub fn exit_if_rustc_crashed(rustc: &Output) {
    if rustc.status.code() == Some(101) {
        eprintln!(
            "cannot run here: rustc itself fails; \
             are too few processes or threads allowed?"
        );
        exit(77);
    }
}

/// What the twin printed; exits where no program may run: the folder for
/// temporary files can be mounted noexec.
pub fn output_or_exit(twin: io::Result<Output>) -> Output {
    let error = match twin {
        Ok(output) => return output,
        Err(error) => error,
    };
    let folder = env::temp_dir();
    eprint!("cannot run here: no program in {} ", folder.display());
    eprintln!("can run ({error}); set TMPDIR to another folder");
    exit(77);
}
