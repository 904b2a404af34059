//! Blocking operations: whoever waits for the network needs no core, so many can wait at once.
//!
//! A server on this machine answers each request after 50 ms. One thread sends the next request
//! when it has the last answer, so its waits add up. In a pool each thread blocks for itself.
//! No second core is needed: read(2) takes a blocked thread off the core until data arrive.
//!
//! Predict:  8 requests, 8 threads, one core: how many times 50 ms?
//! Try:      cargo run -p blocking-operations -- --workers 2
//! Try:      taskset -c 0 cargo run -p blocking-operations
//! See also: embarrassingly-parallel, where threads compute and need cores.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, value_parser};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use threadpool::ThreadPool;

const ANSWER_AFTER: Duration = Duration::from_millis(50);

/// Requests that the server has taken and not yet answered, and the most there have been.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Requests to send
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u16).range(2..=16))]
    requests: u16,
    /// Threads in the pool
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u16).range(2..=16))]
    workers: u16,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let listener =
        TcpListener::bind("127.0.0.1:0").context("cannot serve on loopback")?;
    let server = listener.local_addr()?;
    thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|c| _ = thread::spawn(|| answer(c)));
    });

    println!(
        "{} requests, each answered after {ANSWER_AFTER:?}; ▒ is a blocked thread",
        args.requests
    );
    let (serial, alone) = send_all(server, args.requests, 1)?;
    let (pooled, together) =
        send_all(server, args.requests, args.workers.into())?;
    let ratio = serial / pooled;
    ensure!(
        alone == 1 && together > 1,
        "under way at once: {alone} from one thread, {together} from the pool"
    );
    ensure!(
        ratio > 1.3,
        "the pool was only {ratio:.1} times as fast as one thread"
    );
    println!(
        "\n1 thread {serial:.3} s, {} threads {pooled:.3} s: {ratio:.1} times as fast",
        args.workers
    );
    Ok(())
}

/// The server's side of one request.
fn answer(mut client: TcpStream) -> io::Result<()> {
    client.read_exact(&mut [0])?;
    MOST.fetch_max(1 + UNDER_WAY.fetch_add(1, Relaxed), Relaxed);
    thread::sleep(ANSWER_AFTER); // stands for a disk, a database, another continent
    UNDER_WAY.fetch_sub(1, Relaxed);
    client.write_all(b"!")
}

/// The client's side: blocks until the answer is there.
fn request(server: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect(server)?;
    connection.write_all(b"?")?;
    connection.read_exact(&mut [0])
}

/// Sends the requests from a pool, draws who waited when, returns seconds and most under way.
fn send_all(
    server: SocketAddr,
    requests: u16,
    workers: usize,
) -> Result<(f64, usize)> {
    let (pool, (sender, answers)) = (ThreadPool::new(workers), mpsc::channel());
    MOST.store(0, Relaxed);
    let (begin, cpu) = (Instant::now(), cpu_seconds()?);
    for _ in 0..requests {
        let sender = sender.clone();
        pool.execute(move || {
            let from = begin.elapsed();
            let answer = request(server);
            _ = sender.send((
                thread::current().id(),
                from,
                begin.elapsed(),
                answer,
            ));
        });
    }
    drop(sender);
    let mut rows: Vec<(ThreadId, String)> = Vec::new();
    let all = ANSWER_AFTER.as_secs_f64() * f64::from(requests);
    let column = |time: Duration| (60.0 * time.as_secs_f64() / all) as usize;
    for (thread, from, until, answer) in answers {
        answer.context("a request failed")?;
        let known = rows.iter().position(|row| row.0 == thread);
        let row = known.unwrap_or_else(|| {
            rows.push((thread, String::new()));
            rows.len() - 1
        });
        let blocked =
            "▒".repeat((column(until) - column(from)).saturating_sub(1));
        rows[row].1 = format!("{:<1$}▌{blocked}", rows[row].1, column(from));
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let most = MOST.load(Relaxed);
    println!(
        "\n{workers} threads: {seconds:.3} s, CPU {cpu:.3} s, under way at once: {most}"
    );
    (1..)
        .zip(rows)
        .for_each(|(number, row)| println!("{number:>9} {}", row.1));
    Ok((seconds, most))
}

/// Seconds that this process, server included, has computed so far.
fn cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(
        (usage.user_time() + usage.system_time()).num_microseconds() as f64
            / 1e6,
    )
}
