//! Blocking operations: threads that wait for answers wait at the same time.
//!
//! A read from the network may block: the thread sleeps until data arrive.
//! Here a server, some more threads of this program, answers each request after
//! 100 ms. It can answer many requests at the same time. First one thread sends
//! eight requests, one after another: it waits for each answer before it sends
//! the next. Then several threads share eight requests.
//!
//! Predict:  8 threads share 8 requests: how many times 100 ms in all?
//! Try:      cargo run -p blocking-operations -- --threads 2
//! Try:      taskset -c 0 cargo run -p blocking-operations   # one core
//! See also: embarrassingly-parallel, where threads compute and need cores.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::time::{ClockId, clock_gettime};

/// How many requests are sent, by one thread or by several.
const REQUESTS: u8 = 8;

/// How long the server takes for an answer.
const ANSWER_AFTER: Duration = Duration::from_millis(100);

/// From when to when a thread has waited for an answer.
struct Wait {
    sent: Instant,
    answered: Instant,
}

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

/// The server: a thread of this process for each connection.
fn start_server() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no server")?;
    let address = listener.local_addr()?;
    need_loopback(address); // or exits with 77
    thread::spawn(move || {
        // If accept fails, this thread ends, and the listener is closed: then
        // clients get an error, and do not wait for ever.
        while let Ok((connection, _)) = listener.accept() {
            thread::spawn(move || answer(connection));
        }
    });
    Ok(address)
}

/// The server's side of a request.
fn answer(mut connection: TcpStream) -> io::Result<()> {
    let mut request = [0]; // one byte
    connection.read_exact(&mut request)?;
    thread::sleep(ANSWER_AFTER); // stands for a disk, or another continent
    connection.write_all(b"!")
}

fn need_loopback(address: SocketAddr) {
    if let Err(error) = TcpStream::connect(address) {
        eprintln!(
            "cannot run here: no way to {address}: {error}; \
             as root, start the loopback interface: ip link set lo up"
        );
        exit(77);
    }
}

/// The time that the threads of this process have spent on a core, added up.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(Duration::from(time))
}

/// A row for each request: blank until it is sent, then filled while a thread
/// waits for its answer.
fn draw(alone: &[Wait], together: &[Wait]) {
    println!("Each answer takes {ANSWER_AFTER:?}. ▒ a thread waits for one.");
    // The longer run fills 72 columns.
    let column = duration(alone).max(duration(together)) / 72;
    for waits in [alone, together] {
        println!();
        for wait in waits {
            let before = wait.sent - waits[0].sent;
            let blank = before.div_duration_f64(column) as usize;
            let waited = wait.answered - wait.sent;
            let filled = waited.div_duration_f64(column) as usize;
            println!("{}{}", " ".repeat(blank), "▒".repeat(filled));
        }
    }
}

/// From the first request to the last answer.
fn duration(waits: &[Wait]) -> Duration {
    let last = waits.iter().map(|wait| wait.answered).max();
    last.expect("a request") - waits[0].sent
}

/// How many threads waited at the same time, at most. That number grows when a
/// request is sent, so it is enough to count at these moments.
fn most_at_once(waits: &[Wait]) -> usize {
    let mut most = 0;
    for wait in waits {
        // Those that waited when this request was sent, itself among them.
        let mut count = 0;
        for other in waits {
            if other.sent <= wait.sent && wait.sent < other.answered {
                count += 1;
            }
        }
        most = most.max(count);
    }
    most
}

/// Several threads waited at the same time, and were faster than one thread.
/// And most of the time, no thread of this process was on a core.
fn judge(
    alone: &[Wait],
    together: &[Wait],
    threads: u8,
    on_a_core: Duration,
) -> Result<()> {
    let one = most_at_once(alone);
    let many = most_at_once(together);
    ensure!(one == 1, "one thread waited for {one} answers at once");
    ensure!(many > 1, "no two of the threads waited at the same time");
    let long = duration(alone);
    let short = duration(together);
    let ratio = long.div_duration_f64(short);
    ensure!(ratio > 1.3, "many threads: only {ratio:.1} times as fast");
    let both = long + short;
    ensure!(
        on_a_core < both / 2,
        "{on_a_core:.3?} of {both:.3?} on a core"
    );

    println!();
    print_run("1 thread", long, one);
    print_run(&format!("{threads} threads"), short, many);
    let on_a_core = on_a_core.as_secs_f64();
    let both = both.as_secs_f64();
    println!(
        "{ratio:.1} times as fast; on a core {on_a_core:.3} s of {both:.3} s"
    );
    Ok(())
}

fn print_run(threads: &str, time: Duration, most: usize) {
    let seconds = time.as_secs_f64();
    let times = time.div_duration_f64(ANSWER_AFTER);
    println!(
        "{threads}: {seconds:.3} s = {times:.1} times {ANSWER_AFTER:?}, \
         waiting at the same time: {most}"
    );
}

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Threads that share the 8 requests
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = value_parser!(u8).range(2..=8))]
    threads: u8,
}
