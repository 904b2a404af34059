//! Blocking operations: a thread sends a request, and waits for the answer.
//!
//! To read from the network blocks: the thread stands still until data arrive.
//! Here a server on this machine answers each request after 100 ms. First one
//! thread sends all requests, each when it has the answer to the last one.
//! Then several threads share as many requests, and each waits for its answer.
//!
//! Predict:  8 threads share 8 requests: how many times 100 ms in all?
//! Try:      cargo run -p blocking-operations -- --threads 2
//! Try:      taskset -c 0 cargo run -p blocking-operations   # one core
//! See also: embarrassingly-parallel, where threads compute and need cores.

mod evidence;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::exit;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::Wait;

/// How long the server takes for an answer.
const ANSWER_AFTER: Duration = Duration::from_millis(100);

/// How many requests the many threads have taken so far.
static TAKEN: AtomicU8 = AtomicU8::new(0);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Requests to send
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = value_parser!(u8).range(2..=16))]
    requests: u8,
    /// Threads that share them; the server has as many
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = value_parser!(u8).range(2..=16))]
    threads: u8,
}

fn main() -> Result<()> {
    sigpipe::reset();
    let args = Args::parse();
    let server = start_server(args.threads)?;

    let before = evidence::seconds_on_a_core()?; // of all threads together
    let alone = one_thread(server, args.requests)?;
    let together = many_threads(server, args.requests, args.threads)?;
    let on_a_core = evidence::seconds_on_a_core()? - before;
    evidence::draw(&alone, &together);

    // The verdict demands: one thread waited for one answer at a time, the many
    // threads waited for several. They were at least 1.3 times as fast. (The
    // least to expect is 1.5 times: 3 requests and 2 threads.) And the whole
    // process was on a core for less than half of the time.
    evidence::judge(&alone, &together, on_a_core)
}

/// One thread sends all requests: it is the first thread of this process.
fn one_thread(server: SocketAddr, requests: u8) -> Result<Vec<Wait>> {
    let mut waits: Vec<Wait> = Vec::new();
    for _ in 0..requests {
        waits.push(request(server)?);
    }
    Ok(waits)
}

/// Many threads share the requests.
fn many_threads(
    server: SocketAddr,
    requests: u8,
    threads: u8,
) -> Result<Vec<Wait>> {
    let mut handles = Vec::new();
    for _ in 0..threads {
        let handle = thread::Builder::new()
            .name("client".to_string())
            .spawn(move || take_requests(server, requests))
            .context("cannot start a thread")?;
        handles.push(handle);
    }
    let mut waits: Vec<Wait> = Vec::new();
    for handle in handles {
        let of_thread = handle.join().expect("no panic")?;
        waits.extend(of_thread);
    }
    Ok(waits)
}

/// What each of the many threads does: it takes the next request, sends it and
/// waits, until no request is left.
fn take_requests(server: SocketAddr, requests: u8) -> Result<Vec<Wait>> {
    let mut waits: Vec<Wait> = Vec::new();
    // fetch_add adds 1, and returns the number of those taken before.
    while TAKEN.fetch_add(1, Ordering::Relaxed) < requests {
        waits.push(request(server)?);
    }
    Ok(waits)
}

/// Sends a request, and returns when its answer is there.
fn request(server: SocketAddr) -> Result<Wait> {
    let sent = Instant::now();
    let mut connection = TcpStream::connect(server).context("no connection")?;
    connection.write_all(b"?")?;
    connection.read_exact(&mut [0])?; // one byte: blocks until it has come
    Ok(Wait {
        thread: thread::current().id(),
        sent,
        answered: Instant::now(),
    })
}

/// Starts the server: threads of this process, one for each client at a time.
fn start_server(threads: u8) -> Result<SocketAddr> {
    let listener =
        TcpListener::bind("127.0.0.1:0").context("cannot serve on loopback")?;
    let address = listener.local_addr()?;
    for _ in 0..threads {
        // The same socket once more, for another thread.
        let listener = listener.try_clone().context("cannot serve")?;
        thread::Builder::new()
            .name("server".to_string())
            .spawn(move || serve(&listener))
            .context("cannot start a thread")?;
    }
    Ok(address)
}

/// What each thread of the server does, until the process ends.
fn serve(listener: &TcpListener) {
    loop {
        if let Err(error) = answer(listener) {
            eprintln!("Error: the server failed: {error}");
            exit(1); // otherwise its client would wait for ever
        }
    }
}

/// The server's side of a request.
fn answer(listener: &TcpListener) -> io::Result<()> {
    let (mut connection, _) = listener.accept()?;
    connection.read_exact(&mut [0])?;
    thread::sleep(ANSWER_AFTER); // stands for a disk, or another continent
    connection.write_all(b"!")
}
