//! Blocking operations: threads that wait for answers wait at the same time.
//!
//! A read from the network may block: the thread sleeps until data arrive.
//! Here a server, some more threads of this program, answers each request after
//! 100 ms. It can answer many requests at the same time. First one thread sends
//! eight requests, one after another: it waits for each answer before it sends
//! the next. Then several threads share eight requests.
//!
//! Predict:  8 threads share 8 requests: after how many ms is all done?
//! Try:      cargo run -p blocking-operations -- --threads 2
//! Try:      taskset -c 0 cargo run -p blocking-operations   # one core
//! See also: embarrassingly-parallel, where threads compute and need cores.

mod evidence;
mod server;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, value_parser};
use evidence::{Wait, cpu_time, draw, judge};
use server::start_server;

/// How many requests are sent, by one thread or by several.
const REQUESTS: u8 = 8;

/// How long the server takes for an answer.
const ANSWER_AFTER: Duration = Duration::from_millis(100);

/// Sends a request, and returns when its answer is there.
fn request(server: SocketAddr) -> io::Result<Wait> {
    let sent = Instant::now();
    let mut connection = TcpStream::connect(server)?;
    connection.write_all(b"?")?;
    let mut answer = [0]; // one byte
    connection.read_exact(&mut answer)?; // blocks until it has come
    let answered = Instant::now();
    Ok(Wait { sent, answered })
}

fn main() -> Result<()> {
    sigpipe::reset(); // `| head -1` ends this program quietly
    let args = Args::parse();
    let server = start_server()?;

    let before = cpu_time()?;
    let alone = send_all(server, 1)?;
    let together = send_all(server, args.threads)?;
    let on_a_core = cpu_time()? - before;

    draw(&alone, &together);
    // The verdict: several threads waited at the same time. And most of the
    // time, no thread of this process was on a core.
    judge(&alone, &together, args.threads, on_a_core)
}

/// Starts `threads` threads, which share the requests.
fn send_all(server: SocketAddr, threads: u8) -> Result<Vec<Wait>> {
    let mut handles = Vec::new();
    for first in 0..threads {
        let handle = thread::spawn(move || send_share(server, first, threads));
        handles.push(handle);
    }
    let mut waits: Vec<Wait> = Vec::new();
    for handle in handles {
        let of_thread = handle.join().expect("no panic");
        waits.extend(of_thread.context("no answer")?);
    }
    // In the order in which the requests were sent.
    waits.sort_by_key(|wait| wait.sent);
    Ok(waits)
}

/// What each thread does. With 2 threads, one sends the requests 0, 2, 4 and 6,
/// the other one 1, 3, 5 and 7.
fn send_share(
    server: SocketAddr,
    first: u8,
    threads: u8,
) -> io::Result<Vec<Wait>> {
    let mut waits = Vec::new();
    let mut number = first;
    while number < REQUESTS {
        waits.push(request(server)?);
        number += threads;
    }
    Ok(waits)
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the 8 requests
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = value_parser!(u8).range(2..=8))]
    threads: u8,
}
