#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};
use std::{fs, iter};

const DEMO: &str = env!("CARGO_BIN_EXE_task-vs-process");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// PID, TID and nice value of each row, then what the main task sees: a stack, a file.
fn rows(text: &str) -> Vec<([i64; 3], Vec<&str>)> {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.get(16..)?.split_whitespace();
        let numbers: Vec<_> =
            words.by_ref().take(3).flat_map(str::parse).collect();
        Some((numbers.try_into().ok()?, words.collect()))
    });
    rows.collect()
}

#[test]
fn tasks_share_what_a_process_does_not() {
    for threads in [1, 3, 8] {
        let output = run(&["--threads", &threads.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let rows = rows(&text);
        assert_eq!(rows.len(), 1 + threads + 1, "{text}");
        let ([pid, tid, nice], tasks) = (rows[0].0, &rows[1..=threads]);
        let ([process, its_tid, _], seen) = &rows[threads + 1];
        assert!(
            pid == tid && pid != *process && process == its_tid,
            "{text}"
        );
        assert_eq!(*seen, ["no", "no"], "{text}");
        assert!(
            tasks.iter().all(|row| row.0[0] == pid && row.1[1] == "yes"),
            "{text}"
        );
        let tids: BTreeSet<_> = rows.iter().map(|row| row.0[1]).collect();
        assert_eq!(tids.len(), rows.len(), "{text}");
        let nicer: BTreeSet<_> =
            rows.iter().map(|row| row.0[2] - nice).collect();
        assert_eq!(nicer, (0..=threads as i64 + 1).collect(), "{text}");
        let stacks = tasks
            .iter()
            .map(|row| u64::from_str_radix(row.1[0], 16).unwrap() >> 20);
        assert_eq!(
            stacks.collect::<BTreeSet<_>>().len(),
            threads,
            "a MiB apart: {text}"
        );
    }
}

/// The demo, its output, and its child. The output is full, so that they stay as they are: all
/// three tasks and the child have done what they do, and nothing is printed yet.
fn stopped() -> (Child, UnixStream, u32) {
    let (output, full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while (&full).write(b"\n").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let demo = Command::new(DEMO)
        .stdout(OwnedFd::from(full))
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let child = loop {
        let ppid = ["-o", "pid=", "--ppid", &demo.id().to_string()];
        let child = String::from_utf8(
            Command::new("ps").args(ppid).output().unwrap().stdout,
        );
        let child = child.unwrap().trim().parse().unwrap_or(0);
        let nice: BTreeSet<_> = tasks(demo.id(), child)
            .into_iter()
            .map(|task| task[2])
            .collect();
        if nice.len() == 5 {
            break child;
        }
        assert!(
            Instant::now() < deadline,
            "five nice values expected, seen: {nice:?}"
        );
    };
    (demo, output, child)
}

/// PID, TID and nice value of all tasks of the two processes, as ps sees them.
fn tasks(demo: u32, child: u32) -> BTreeSet<[i64; 3]> {
    let ps = ["-Lo", "pid=,lwp=,ni=", "-p", &format!("{demo},{child}")];
    let ps =
        String::from_utf8(Command::new("ps").args(ps).output().unwrap().stdout)
            .unwrap();
    let numbers = |line: &str| {
        line.split_whitespace()
            .flat_map(str::parse)
            .collect::<Vec<_>>()
    };
    ps.lines()
        .map(|line| numbers(line).try_into().unwrap())
        .collect()
}

/// The files of tasks, /proc/PID/task/TID/stat, that a process has open.
fn files(pid: u32) -> BTreeSet<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets =
        links.map(|link| fs::read_link(link.unwrap().path()).unwrap());
    let targets = targets.map(|target| target.to_str().unwrap().to_string());
    targets.filter(|target| target.contains("/task/")).collect()
}

/// Seen from outside: who there is, who has which file open, and whose memory the stacks are in.
#[test]
fn the_kernel_tells_others_the_same() {
    let (mut demo, mut output, child) = stopped();
    let (tasks, pid) = (tasks(demo.id(), child), demo.id());
    let (its_files, files) = (files(child), files(pid));
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.wait().unwrap().success());
    assert!(!fs::exists(format!("/proc/{child}")).unwrap(), "reaped");

    let rows = rows(&text);
    assert_eq!(tasks, rows.iter().map(|row| row.0).collect(), "{text}");
    let name = |row: &([i64; 3], _)| {
        format!("/proc/{}/task/{}/stat", row.0[0], row.0[1])
    };
    assert_eq!(files, rows[1..4].iter().map(name).collect(), "{text}");
    assert_eq!(its_files, iter::once(name(&rows[4])).collect(), "{text}");
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let in_map = |stack: &str| {
        let ranges = maps.lines().map(|line| {
            line.split_once(' ').unwrap().0.split_once('-').unwrap()
        });
        ranges.into_iter().position(|(begin, end)| {
            (hex(begin)..hex(end)).contains(&hex(stack))
        })
    };
    let stacks: BTreeSet<_> = rows[1..4]
        .iter()
        .map(|row| in_map(row.1[0]).unwrap())
        .collect();
    assert_eq!(
        stacks.len(),
        3,
        "each in a mapping of its own: {text} {maps}"
    );
}

#[test]
fn nothing_is_left_when_the_demo_is_killed() {
    let (mut demo, _output, child) = stopped();
    demo.kill().unwrap();
    demo.wait().unwrap();
    let state = || {
        fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !state().is_empty() && !state().contains(") Z ") {
        assert!(Instant::now() < deadline, "{}", state());
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "0"][..],
        &["--threads", "9"],
        &["--threads", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
