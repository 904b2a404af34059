//! What the threads wait for: a server, which is threads of the same process.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::exit;
use std::thread;

use anyhow::{Context, Result};

use crate::ANSWER_AFTER;

/// The server has a thread for each connection.
pub fn start_server() -> Result<SocketAddr> {
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
