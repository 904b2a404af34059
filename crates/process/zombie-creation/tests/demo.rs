#![cfg(target_os = "linux")] // it looks at the zombies in /proc

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The rows of one step: PID, then what was seen of it.
fn rows<'a>(text: &'a str, step: &str) -> Vec<(&'a str, &'a str)> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix(step)?.trim().split_once(' '));
    rows.map(|(pid, seen)| (pid, seen.trim())).collect()
}

#[test]
fn every_child_goes_from_alive_to_zombie_to_nothing() {
    for count in [1, 3, 100] {
        let output = run(&["--count", &count.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let header = text.lines().next().unwrap().split_whitespace();
        assert_eq!(header.collect::<Vec<_>>(), ["PID", "state", "RSS"]);
        assert_eq!(text.matches("RSS").count(), 1, "{text}");
        let alive = rows(&text, "alive");
        assert_eq!(alive.len(), count, "{text}");
        for (_, seen) in &alive {
            let words: Vec<_> = seen.split_whitespace().collect();
            let rss: u64 = words[1].parse().unwrap();
            assert!(words[0] == "Sleeping" && words[2] == "KiB", "{seen}");
            assert!((1..100_000).contains(&rss), "{seen}");
        }
        for step in ["exited", "SIGKILL sent"] {
            let dead = rows(&text, step);
            let same_pids = dead
                .iter()
                .zip(&alive)
                .all(|(dead, alive)| dead.0 == alive.0);
            assert!(dead.len() == count && same_pids, "{text}");
            for (_, seen) in dead {
                assert_eq!(
                    seen.split_whitespace().collect::<Vec<_>>(),
                    ["Zombie", "0", "KiB"]
                );
            }
        }
        let reaped = rows(&text, "reaped");
        assert!(
            reaped.len() == count
                && reaped.iter().all(|row| row.1 == "no such process")
        );
        let verdict = format!(
            "zombies after exit: {count}, all with 0 KiB of memory\n\
             zombies after SIGKILL: {count}, exit code 7 kept for {count}\n\
             zombies after reaping: 0\n"
        );
        assert!(text.ends_with(&verdict), "{text}");
    }
}

/// A child whose parent is killed does not wait for ever.
#[test]
fn nothing_outlives_a_killed_demo() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut demo = Command::new(DEMO);
    demo.stdin(terminal.slave).stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let row = lines.find(|line| line.starts_with("exited")).unwrap();
    let pid = row.split_whitespace().nth(1).unwrap();
    demo.kill().unwrap();
    demo.wait().unwrap();
    // Adopted and reaped by init, or by a subreaper that may do so later.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let gone = status.is_err();
        let dead = status.is_ok_and(|status| status.contains("Z (zombie)"));
        if gone || dead {
            break;
        }
        assert!(Instant::now() < deadline, "{pid} outlived the demo");
    }
}

/// Seen from outside: at a terminal the demo pauses, and the kernel shows everybody its zombies.
#[test]
fn another_process_sees_the_zombies() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut demo = Command::new(DEMO);
    demo.args(["--count", "2"])
        .stdin(terminal.slave)
        .stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let before: Vec<_> = lines
        .by_ref()
        .take_while(|line| !line.contains("press Enter"))
        .collect();
    let before = before.join("\n");
    let pids: Vec<_> = rows(&before, "exited")
        .into_iter()
        .map(|(pid, _)| pid)
        .collect();
    assert_eq!(pids.len(), 2, "{before}");
    for pid in &pids {
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains("State:\tZ (zombie)") && !status.contains("VmRSS"),
            "{status}"
        );
        assert!(
            status.contains(&format!("PPid:\t{}\n", demo.id())),
            "{status}"
        );
    }
    File::from(terminal.master).write_all(b"\n").unwrap();
    assert_eq!(lines.filter(|line| line.starts_with("reaped")).count(), 2);
    assert!(demo.wait().unwrap().success());
    assert!(
        pids.iter()
            .all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    );
}
