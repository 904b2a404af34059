#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The rows of one step: PID, then what was seen of it.
fn rows<'a>(text: &'a str, step: &str) -> Vec<(&'a str, &'a str)> {
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(row) = line.strip_prefix(step) {
            let (pid, seen) = row.trim().split_once(' ').unwrap();
            rows.push((pid, seen.trim()));
        }
    }
    rows
}

#[test]
fn every_child_goes_from_alive_to_zombie_to_nothing() {
    for count in [1, 3, 100] {
        let output = Command::new(DEMO)
            .args(["--count", &count.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let alive = rows(&text, "alive ");
        assert_eq!(alive.len(), count, "{text}");
        for (_, seen) in &alive {
            assert!(!seen.contains('Z') && seen.ends_with(" kB"), "{text}");
        }
        for (step, state) in [
            ("exited ", "Z (zombie)    none"),
            ("SIGKILL sent ", "Z (zombie)    none"),
            ("reaped ", "no such process"),
        ] {
            let expected: Vec<_> =
                alive.iter().map(|(pid, _)| (*pid, state)).collect();
            assert_eq!(rows(&text, step), expected, "{text}");
        }
        let verdict = format!(
            "zombies after exit: {count}, without memory\n\
             zombies after SIGKILL: {count}\n\
             exit code 7 kept for: {count}\n\
             zombies after reaping: 0\n"
        );
        assert!(text.ends_with(&verdict), "{text}");
    }
}

/// At a terminal the demo pauses, and any process can see its zombies.
#[test]
fn another_process_sees_the_zombies() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut demo = Command::new(DEMO)
        .args(["--count", "2"])
        .stdin(terminal.slave)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let mut before = String::new();
    while !before.contains("press Enter") {
        before += &(lines.next().unwrap() + "\n");
    }
    let zombies = rows(&before, "exited ");
    assert_eq!(zombies.len(), 2, "{before}");
    let parent = format!("PPid:\t{}\n", demo.id());
    for (pid, _) in &zombies {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("State:\tZ (zombie)"), "{status}");
        assert!(status.contains(&parent), "{status}");
        assert!(!status.contains("VmRSS"), "{status}");
    }
    let ps = Command::new("ps").args(["-o", "args", "-p", "1"]).output();
    if ps.is_ok_and(|ps| ps.status.success()) {
        assert_eq!(before.matches("<defunct>").count(), 2, "{before}");
    }

    File::from(terminal.master).write_all(b"\n").unwrap();
    assert_eq!(lines.filter(|line| line.starts_with("reaped")).count(), 2);
    assert!(demo.wait().unwrap().success());
}
