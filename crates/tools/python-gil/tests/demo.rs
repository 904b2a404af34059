use std::process::{Command, Output};
use std::sync::Mutex;

const DEMO: &str = env!("CARGO_BIN_EXE_python-gil");

/// One demo at a time: each keeps all cores busy.
static ALONE: Mutex<()> = Mutex::new(());

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// A row of the table, of computing first and then of waiting: seconds, cores busy, times blocked,
/// waiting at once.
fn rows(text: &str, kind: &str) -> [[f64; 4]; 2] {
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|words| words.len() == 6 && words[1] == kind);
    let numbers =
        rows.map(|words| [2, 3, 4, 5].map(|i| words[i].parse().unwrap()));
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

/// Checks a run that has shown its point: who took turns, and who did not.
fn check(output: &Output, workers: f64, gil: bool) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains(if gil {
            ", with the GIL"
        } else {
            ", without the GIL"
        }),
        "{text}"
    );
    assert!(text.lines().count() <= 24, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    let [serial, threading, processes] =
        ["serial", "threading", "multiprocessing"]
            .map(|kind| rows(&text, kind));
    assert!(
        serial[0][1] < 1.1 && processes[0][1] < workers + 0.1,
        "{text}"
    );
    if cfg!(target_os = "linux") {
        assert_eq!(threading[0][2] > 5.0, gil, "blocked by the GIL: {text}");
        assert!(processes[0][2] <= 5.0, "{text}");
        // It gives up its core when it asks, and has to wait for each answer.
        assert!(serial[1][2] >= 4.0 * workers, "{text}");
    }
    if gil {
        assert!(threading[0][1] < 1.2, "{text}");
    }
    assert!(serial[1][3] == 1.0 && threading[1][3] > 1.0, "{text}");
    assert!(
        serial[1][0] >= 0.05 * 4.0 * workers,
        "no answer comes before its time: {text}"
    );
}

fn has_gil(python: &str) -> Option<bool> {
    let ask =
        "import sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())";
    let output = Command::new(python).args(["-c", ask]).output().ok()?;
    output.status.success().then(|| output.stdout == b"True\n")
}

#[test]
fn threads_compute_one_at_a_time_and_wait_together() {
    let _alone = ALONE.lock();
    let Some(gil) = has_gil("python3") else {
        return assert_eq!(run(&[]).status.code(), Some(77));
    };
    for workers in ["2", "8"] {
        check(&run(&["--workers", workers]), workers.parse().unwrap(), gil);
    }
}

/// Runs where there is such a build: `python3.14t`, say, or the one that this variable names.
#[test]
fn without_the_gil_threads_do_not_block_each_other() {
    let _alone = ALONE.lock();
    let named = std::env::var("FREE_THREADED_PYTHON").unwrap_or_default();
    for python in [&named, "python3.13t", "python3.14t", "python3.15t"] {
        if has_gil(python) == Some(false) {
            check(&run(&["--python", python]), 2.0, false);
        }
    }
}

/// On one core, too, the threads block for the GIL, and the processes do not.
#[cfg(target_os = "linux")]
#[test]
fn one_core_shows_it_too() {
    let _alone = ALONE.lock();
    let Ok(output) = Command::new("taskset").args(["-c", "0", DEMO]).output()
    else {
        return;
    };
    let Some(gil) = has_gil("python3") else {
        return;
    };
    if !output.stderr.starts_with(b"taskset") {
        check(&output, 2.0, gil);
    }
}

/// Seen from outside: Python has threads, and children, while the demo runs; and none is left.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_threads_and_processes() {
    use std::{fs, process::Stdio};
    let _alone = ALONE.lock();
    if has_gil("python3").is_none() {
        return;
    }
    let mut demo = Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
    let children = |pid: u32| {
        let list =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list: Vec<u32> = list
            .unwrap_or_default()
            .split_whitespace()
            .flat_map(str::parse)
            .collect();
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
    assert!(
        threads >= 3 && processes >= 2,
        "{threads} threads, {processes} processes"
    );
    seen.sort_unstable();
    seen.dedup();
    for pid in seen {
        let name =
            fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(!name.starts_with("python"), "{pid} outlived the demo");
    }
}

/// A stub says that it has no GIL, though its threads do take turns: the demo measures.
#[cfg(target_os = "linux")]
#[test]
fn a_build_without_the_gil_is_held_to_its_word() {
    let _alone = ALONE.lock();
    if has_gil("python3") != Some(true) {
        return;
    }
    let stub = std::env::temp_dir()
        .join(format!("python-stub-{}", std::process::id()));
    // $2 is gil.py: it asks sys for _is_gil_enabled, if there is one
    let text = "#!/bin/sh\nexec python3 -c \"import sys; sys._is_gil_enabled = lambda: False\n$2\" \"$3\"\n";
    std::fs::write(&stub, text).unwrap();
    Command::new("chmod").arg("+x").arg(&stub).status().unwrap();
    let output = run(&["--python", stub.to_str().unwrap()]);
    std::fs::remove_file(&stub).unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("without the GIL"),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("no Python without the GIL does that"),
        "{output:?}"
    );
}

#[test]
fn says_what_is_no_python() {
    let _alone = ALONE.lock();
    if has_gil("python3").is_some() {
        let output = run(&["--python", "/nonexistent"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&output.stderr)
                .contains("cannot start /nonexistent")
        );
        let output = run(&["--python", "true"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&output.stderr)
                .contains("true does not answer")
        );
    }
    let output = Command::new(DEMO)
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--workers", "1"][..],
        &["--workers", "17"],
        &["--rounds", "0"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
