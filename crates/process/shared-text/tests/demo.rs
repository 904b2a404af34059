#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{self, SIGCONT, SIGSTOP};
use nix::sys::signal::kill;
use nix::unistd::Pid;

const DEMO: &str = env!("CARGO_BIN_EXE_shared-text");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Of each process: PID; where its text is, and in which page; where its data is, in which page.
fn processes(text: &str) -> Vec<[&str; 5]> {
    let rows = text.lines().filter(|line| line.contains(" 0x"));
    let words =
        rows.map(|row| row.split_whitespace().filter(|word| *word != "──▶"));
    words
        .map(|words| words.collect::<Vec<_>>().try_into().unwrap())
        .collect()
}

/// Of one row of the lower table: mean and sum of Rss, sum of Pss, copies.
fn memory(text: &str, name: &str) -> [f64; 4] {
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect(text);
    let numbers = row.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn one_copy_of_the_text_and_one_of_the_data_for_each() {
    for copies in [1, 4, 50] {
        let output = run(&["--copies", &copies.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (text, count) = (
            String::from_utf8_lossy(&output.stdout),
            f64::from(1 + copies),
        );
        let pids: HashSet<_> =
            processes(&text).iter().map(|row| row[0]).collect();
        assert_eq!(pids.len() as f64, count, "{text}");

        let [mean, rss, pss, shared] = memory(&text, "shared-text ");
        assert!(
            (rss / mean - count).abs() < 0.1 && pss <= 1.3 * mean,
            "{text}"
        );
        let [mean, _, pss, own] = memory(&text, "(data, heap, stack) ");
        assert!(
            pss >= 0.7 * count * mean && pss <= 1.1 * count * mean,
            "{text}"
        );
        let last = format!(
            "{shared:.2} copies of the text in memory, {own:.2} of the data\n"
        );
        assert!(text.ends_with(&last), "{text}");
        if fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains("/libc.so.6")
        {
            let [mean, _, pss, _] = memory(&text, "libc.so.6 ");
            assert!(
                pss < 0.99 * mean,
                "this unrelated program shares it, too: {text}"
            );
        }
    }
}

#[test]
fn the_page_of_text_is_the_same_and_those_of_data_are_not() {
    let output = run(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = processes(&text);
    let different =
        |i: usize| rows.iter().map(|row| row[i]).collect::<HashSet<_>>().len();
    assert_eq!(different(2), 1, "{text}");
    assert_eq!(
        different(4),
        if rows[0][2] == "hidden" { 1 } else { 5 },
        "{text}"
    );
}

/// Killed and reaped when dropped, even if it is stopped.
struct Demo(Child);

impl Demo {
    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        _ = self.0.kill().and(self.0.wait());
    }
}

/// Starts the demo, stops it when it has that many copies, and returns their PIDs, too.
fn stop_with_copies(count: usize) -> (Demo, Vec<String>) {
    let demo = Command::new(DEMO)
        .args(["--copies", "100"])
        .stdout(Stdio::piped())
        .spawn();
    let mut demo = Demo(demo.unwrap());
    loop {
        let children = fs::read_to_string(format!(
            "/proc/{0}/task/{0}/children",
            demo.0.id()
        ));
        let pids: Vec<_> = children
            .unwrap()
            .split_whitespace()
            .map(Into::into)
            .collect();
        if pids.len() > count {
            demo.send(SIGSTOP);
            return (demo, pids[..count].into()); // the newest one may not run yet
        }
        assert!(
            demo.0.try_wait().unwrap().is_none(),
            "{count} copies were not seen"
        );
    }
}

/// Seen from outside: all run the very same file, and the kernel counts its text once.
#[test]
fn the_copies_exist() {
    let (mut demo, pids) = stop_with_copies(10);
    let [mut rss, mut pss] = [0, 0];
    for pid in &pids {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(program, fs::canonicalize(DEMO).unwrap());
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let is_text = |line: &&str| {
            line.contains(" r-xp ") && line.ends_with("/shared-text")
        };
        let text: Vec<_> =
            smaps.lines().skip_while(|line| !is_text(line)).collect();
        let kib = |field| -> u64 {
            let value = text
                .iter()
                .find_map(|line| line.strip_prefix(field))
                .unwrap();
            value.trim_end_matches(" kB").trim().parse().unwrap()
        };
        [rss, pss] = [rss + kib("Rss:"), pss + kib("Pss:")];
    }
    assert!(
        pss as f64 <= 1.3 * rss as f64 / 10.0,
        "Rss {rss}, Pss {pss}"
    );
    demo.send(SIGCONT);
    let mut text = String::new();
    demo.0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(demo.0.wait().unwrap().success());
    assert!(
        processes(&text)[1..]
            .iter()
            .zip(&pids)
            .all(|(row, pid)| row[0] == pid),
        "{text}"
    );
    assert!(
        pids.iter()
            .all(|pid| !fs::exists(format!("/proc/{pid}")).unwrap()),
        "reaped"
    );
}

#[test]
fn copies_end_even_if_the_parent_is_killed() {
    let (demo, pids) = stop_with_copies(10);
    drop(demo); // kills it
    let running = |pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok(); // a zombie has none
    let deadline = Instant::now() + Duration::from_secs(30);
    while pids.iter().any(running) {
        assert!(Instant::now() < deadline, "{pids:?} outlived the demo");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--copies", "0"][..],
        &["--copies", "101"],
        &["--copies", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
