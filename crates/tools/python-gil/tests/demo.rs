use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

const DEMO: &str = env!("CARGO_BIN_EXE_python-gil");

/// One demo at a time: each keeps all cores busy.
static ALONE: Mutex<()> = Mutex::new(());

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

fn has_python() -> bool {
    Command::new("python3").args(["-c", ""]).status().is_ok_and(|status| status.success())
}

/// Of both rows of this kind (computing, waiting): cores busy, cores wanted, most under way.
fn rows(text: &str, kind: &str) -> Vec<[f64; 3]> {
    let rows = text.lines().filter_map(|line| line.strip_prefix(&format!("Python, {kind} ")));
    let numbers = rows
        .map(|row| row.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<f64>>());
    numbers.map(|row| [row[1], row[2], row[4]]).collect()
}

#[test]
fn threads_compute_one_at_a_time_and_wait_together() {
    let _alone = ALONE.lock();
    if !has_python() {
        return assert_eq!(run(&[]).status.code(), Some(77));
    }
    for workers in ["2", "8"] {
        let output = run(&["--workers", workers]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let [serial, threading, processes] =
            ["serial", "threading", "multiprocessing"].map(|kind| rows(&text, kind));
        assert!(serial[0][0] < 1.1 && processes[0][1] > 1.4, "{text}");
        if text.contains("with the GIL") {
            assert!(threading[0][0] < 1.2, "{text}");
        }
        assert!(serial[1][2] == 1.0 && threading[1][2] > 1.0, "{text}");
    }
}

/// Seen from outside: Python has threads, and children, while the demo runs; and none is left.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_threads_and_processes() {
    let _alone = ALONE.lock();
    if !has_python() {
        return;
    }
    let mut demo = Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
    let children = |pid: u32| {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list: Vec<u32> =
            list.unwrap_or_default().split_whitespace().flat_map(str::parse).collect();
        list
    };
    let (mut threads, mut processes, mut seen) = (0, 0, Vec::new());
    while demo.try_wait().unwrap().is_none() {
        for python in children(demo.id()) {
            let tasks = fs::read_dir(format!("/proc/{python}/task"));
            threads = threads.max(tasks.map_or(0, Iterator::count));
            processes = processes.max(children(python).len());
            seen.push(python);
            seen.extend(children(python));
        }
    }
    assert!(threads >= 3 && processes >= 2, "{threads} threads, {processes} processes");
    seen.sort_unstable();
    seen.dedup();
    for pid in seen {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(!name.starts_with("python"), "{pid} outlived the demo");
    }
}

/// No build without the GIL is at hand: a stub answers as one would, though its threads do take
/// turns. The demo takes its word for what it is, measures, and finds no speed-up to show.
#[cfg(target_os = "linux")]
#[test]
fn a_build_without_the_gil_is_held_to_its_word() {
    let _alone = ALONE.lock();
    if !has_python() {
        return;
    }
    let stub = std::env::temp_dir().join(format!("python-stub-{}", std::process::id()));
    // $2 is gil.py: it asks sys for _is_gil_enabled, if there is one
    let text = "#!/bin/sh\nexec python3 -c \"import sys; sys._is_gil_enabled = lambda: False\n$2\" \"$3\"\n";
    fs::write(&stub, text).unwrap();
    Command::new("chmod").arg("+x").arg(&stub).status().unwrap();
    let output = run(&["--python", stub.to_str().unwrap()]);
    fs::remove_file(&stub).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("without the GIL"), "{output:?}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("threads kept "), "{output:?}");
}

#[test]
fn says_what_is_no_python() {
    let _alone = ALONE.lock();
    if has_python() {
        let output = run(&["--python", "/nonexistent"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot start /nonexistent"));
        let output = run(&["--python", "true"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("true does not answer"));
    }
    let output = Command::new(DEMO).env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--workers", "1"][..], &["--workers", "17"], &["--rounds", "0"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
