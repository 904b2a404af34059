#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Command, Stdio};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The words of the row that begins with this name.
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().split_whitespace().collect()
}

#[test]
fn opposite_order_gets_stuck() {
    for _ in 0..5 {
        let output = Command::new(DEMO).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        for name in ["thread 1 ", "thread 2 "] {
            let row = row(&text, name);
            assert_eq!(row[..2], ["S", "(sleeping)"], "{text}");
            let cpu_time: u64 = row[2].parse().unwrap();
            assert!(cpu_time > 0, "it has never run: {text}");
            assert_eq!(row[2], row[4], "it has used CPU time: {text}");
        }
        let rounds = text.split("before the deadlock: ").nth(1).unwrap();
        let (rounds, rest) = rounds.split_once(' ').unwrap();
        assert!(rounds.parse::<u32>().unwrap() < 20_000, "{text}");
        let end = "of 20000\nCPU time that both threads have used in 50 ms: \
                   0 ns\n";
        assert_eq!(rest, end);
    }
}

/// The fix, and that all rounds were done.
#[test]
fn the_same_order_ends() {
    let output = Command::new(DEMO)
        .arg("--same-order")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    let end = "Error: no deadlock: both ended after 20000 rounds\n";
    assert_eq!(error, end);
}

/// Seen from outside, while the threads work: they are there, with their names,
/// and wait for a lock or sleep most of the time.
#[test]
fn the_kernel_lists_both_threads() {
    // On a busy machine a look may come too late: then once more.
    for _ in 0..20 {
        let mut demo = Command::new(DEMO)
            .arg("--same-order")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let tasks = format!("/proc/{}/task", demo.id());
        let mut most = 0;
        while demo.try_wait().unwrap().is_none() {
            let mut named = 0;
            for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
                let name = fs::read_to_string(task.path().join("comm"));
                if name.is_ok_and(|name| name.starts_with("thread ")) {
                    named += 1;
                }
            }
            most = most.max(named);
        }
        if most == 2 {
            return;
        }
    }
    panic!("not all threads were seen in 20 runs");
}
