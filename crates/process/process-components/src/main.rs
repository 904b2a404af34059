//! Process components: what the kernel keeps about a process.
//!
//! A descriptor is the number by which a process names what it has open. The
//! kernel keeps a table of them. It also keeps sets of signals: those that a
//! function of the process handles, those that are ignored, and, for each
//! thread, those that are blocked: they wait. This demo changes some of that,
//! and draws what the kernel says before and after.
//!
//! Predict:  it opens a file, a pipe, a socket. Which descriptors does it get?
//! Try:      cargo run -p process-components < /dev/null | cat   # see 0 and 1
//! Try:      sh -c "trap '' INT; cargo run -p process-components" # ignores INT
//! See also: task-vs-process, what tasks share of this.

mod evidence;

use std::fs::File;
use std::io::pipe;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use anyhow::{Result, ensure};
use clap::Parser;
use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

use evidence::Opened;

#[derive(Parser)]
#[command(about)]
struct Args {}

/// Would run if SIGUSR1 arrived. A handler has the calling convention of C.
extern "C" fn handler(_signal: c_int) {}

fn main() -> Result<()> {
    sigpipe::reset();
    Args::parse();
    let before = evidence::look()?; // reads /proc

    // Each of these adds to the table of descriptors, a pipe adds two.
    let file = File::open("/proc/self/exe")?; // the file of this program
    let (reader, writer) = pipe()?;
    let socket = UnixDatagram::unbound()?;
    let opened = Opened {
        file: file.as_raw_fd(),
        pipe_read: reader.as_raw_fd(),
        pipe_write: writer.as_raw_fd(),
        socket: socket.as_raw_fd(),
    };

    // SIGUSR1 is now handled.
    // SAFETY: the handler does nothing, so it may run at any moment.
    unsafe { signal(Signal::SIGUSR1, SigHandler::Handler(handler)) }?;

    // SIGPIPE tells a process that nobody reads its output any more. A Rust
    // program ignores it from its start. Now it is no longer ignored.
    // SAFETY: the default is set, not a function of this program.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;

    // SIGUSR2 is now blocked: it would wait until it is unblocked.
    SigSet::from(Signal::SIGUSR2).thread_block()?;

    // A call that fails leaves its reason in errno. Each thread has its own.
    let failed = File::open("/dev/no-such");
    let errno = Errno::last();
    ensure!(failed.is_err(), "/dev/no-such exists");

    // A mapping is a range of addresses at which the process has memory. All
    // threads of a process share the heap. Each has a stack of its own.
    let on_heap = Box::new(1);
    let on_stack = 2;
    let heap = evidence::mapping_of(on_heap.as_ref())?;
    let stack = evidence::mapping_of(&on_stack)?;

    let after = evidence::look()?;
    evidence::draw_process(&before, &after, &heap);
    evidence::draw_descriptors(&after, &opened);
    evidence::draw_thread(&before, &after, &stack, errno);

    drop(socket); // close, which removes it from the table
    let closed = evidence::look()?;

    // The lowest free numbers, each leading to what was opened, and the socket
    // gone after close; USR1 handled, USR2 blocked, errno "no such file".
    evidence::judge(&before, &after, &closed, &opened, errno)
}
