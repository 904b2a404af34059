use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, id};
use std::sync::Mutex;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// One test at a time: each keeps two cores busy.
static ALONE: Mutex<()> = Mutex::new(());

fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).env_remove("RUST_BACKTRACE");
    command.output().unwrap()
}

/// Runs the demo with this script as its Python.
fn run_with(script: &str) -> Output {
    let path = std::env::temp_dir().join(format!("python-{}", id()));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let output = run(DEMO, &["--python", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    output
}

fn check_error(output: &Output, code: i32, expected: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(expected), "{expected} {error}");
}

/// None if there is no such Python.
fn has_gil(python: &str) -> Option<bool> {
    let ask = "import sys; print(getattr(sys, '_is_gil_enabled', lambda: 1)())";
    let output = Command::new(python).args(["-c", ask]).output().ok()?;
    output.status.success().then(|| output.stdout != b"False\n")
}

fn numbers(line: &str) -> Vec<f64> {
    let words = line.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Checks a run that has shown its point. Returns how many cores its
/// processes kept busy.
fn check(output: &Output, gil: bool) -> f64 {
    check_error(output, 0, "");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let with = if gil { "with" } else { "without" };
    assert!(lines[0].ends_with(&format!(" {with} the GIL")), "{text}");

    // Two threads of one process, and two other processes
    let mut pids = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut drawn = Vec::new();
    for row in &lines[2..6] {
        pids.insert(numbers(row)[0] as u64);
        ids.insert(numbers(row)[1] as u64);
        let row = format!("{row:<80}"); // with the spaces at its end
        drawn.push(row.chars().collect::<Vec<_>>());
    }
    assert_eq!((pids.len(), ids.len()), (3, 4), "{text}");
    // With the GIL, the threads share only milliseconds with a change.
    let (mut any, mut both) = (0, 0);
    for (one, other) in drawn[0].iter().zip(&drawn[1]) {
        any += i32::from(*one == '█' || *other == '█');
        both += i32::from(*one == '█' && *other == '█');
    }
    assert!(any > 0 && (!gil || 3 * both <= any + 3), "{text}");

    // Each row: how many workers, seconds, cores busy, and times blocked
    let threads = numbers(lines[6]);
    let processes = numbers(lines[7]);
    let waiting = numbers(lines[8]); // its second number: 0.1 s
    assert!(!gil || threads[2] < 1.2, "{text}");
    assert!(
        (threads[3] > 30.0) == gil || cfg!(target_os = "macos"),
        "{text}"
    );
    assert!(processes[2] < 2.1 && processes[3] < 30.0, "{text}");
    assert!(
        (0.1..0.8).contains(&waiting[2]) && lines.len() == 9,
        "{text}"
    );
    // Both do the same work, so they need about as much CPU time.
    let ratio = threads[1] * threads[2] / (processes[1] * processes[2]);
    assert!((0.3..3.0).contains(&ratio), "{text}");
    processes[2]
}

/// Whatever a site's own Python prints at its start; on one core, too.
#[test]
fn threads_compute_one_at_a_time_and_processes_at_once() {
    let _alone = ALONE.lock();
    let Some(gil) = has_gil("python3") else {
        return check_error(&run(DEMO, &[]), 77, "python3 does not work");
    };
    check(&run(DEMO, &[]), gil);
    let gil_py = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gil.py");
    check(&run("python3", &[gil_py]), gil);
    let pinned = Command::new("taskset").args(["-c", "0", "true"]).status();
    let pinned = pinned.is_ok_and(|status| status.success());
    let on_one_core = if pinned { "taskset -c 0" } else { "" };
    let output = run_with(&format!(
        "printf 'site config'; exec {on_one_core} python3 \"$@\""
    ));
    assert!(check(&output, gil) < 1.1 || !pinned, "{output:?}");
    for python in ["python3.13t", "python3.14t", "python3.15t"] {
        if has_gil(python) == Some(false) {
            check(&run(DEMO, &["--python", python]), false);
        }
    }
}

/// One that says the wrong thing of its GIL; and one without it, as its
/// threads are processes.
#[test]
fn what_python_says_of_its_gil_is_measured() {
    let _alone = ALONE.lock();
    if has_gil("python3") != Some(true) || cfg!(target_os = "macos") {
        return;
    }
    // The demo's arguments for Python are -I, -c, and gil.py. A third of the
    // rounds is enough.
    let gil_py = "$(printf %s \"$3\" | sed s/1_000_000/300_000/)";
    let first =
        |lines| run_with(&format!("exec python3 -I -c \"{lines}\n{gil_py}\""));
    let says_none = "import sys; sys._is_gil_enabled = lambda: False";
    let processes = "import multiprocessing, threading\n\
        threading.Thread = multiprocessing.get_context('fork').Process";
    let both = format!("{says_none}\n{processes}");
    check_error(&first(says_none), 1, "Error: the threads ran as if");
    check_error(&first(processes), 1, "Error: with the GIL, threads");
    check_error(&first(&both), 0, "");
}

#[test]
fn the_limits_of_the_verdict() {
    let _alone = ALONE.lock();
    for (told, code, expected) in [
        ("with 1.19 31 29 0.10", 0, ""),
        ("without 1.20 31 0 0.49", 0, ""),
        ("without 1.19 30 0 0.49", 0, ""),
        ("with 1.20 31 29 0.1", 1, "with the GIL, threads"),
        ("with 1.19 30 29 0.1", 1, "with the GIL, threads"),
        ("without 1.19 31 29 0.1", 1, "as if with the GIL"),
        ("with 1.19 31 30 0.1", 1, "processes block each other"),
        ("with 1.19 31 29 0.09", 1, "did not wait"),
        ("with 1.19 31 29 0.80", 1, "one after another"),
        ("with 1.19 few 29 0.1", 1, "invalid digit"),
        ("with 1.19 31 29 ", 1, "not understood: "),
    ] {
        let words: Vec<&str> = told.split(' ').collect();
        let [with, threads_busy, often, seldom, waited] = words[..] else {
            panic!("{told}")
        };
        let output = run_with(&format!(
            "echo 'Python 3.9 {with} the GIL
2 threads compute:     1.00 s, {threads_busy} cores busy, blocked {often} times
2 processes compute:   1.00 s, 2.00 cores busy, blocked {seldom} times
10 threads wait 0.1 s: {waited} s, 0.00 cores busy, blocked 10 times'"
        ));
        check_error(&output, code, expected);
    }
    let broken = run_with("exit 127");
    check_error(&broken, 77, "does not work (exit status: 127)");
    let silent = run_with("exit 0");
    check_error(&silent, 1, "printed no \"2 threads compute:\"");
    let ends = run_with("if [ $1 = -I ]; then echo oh >&2; exit 3; fi");
    check_error(&ends, 1, "oh\nError: ");
}
