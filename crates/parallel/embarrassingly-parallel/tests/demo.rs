#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::process::{Command, Output, Stdio};

const DEMO: &str = env!("CARGO_BIN_EXE_embarrassingly-parallel");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// Threads, seconds, speed-up, efficiency, cores busy, cores wanted, low and high end.
fn rows(args: &[&str]) -> Vec<Vec<f64>> {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = |line: &str| -> Vec<f64> {
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    text.lines()
        .map(numbers)
        .filter(|numbers| numbers.len() == 8)
        .collect()
}

#[test]
fn more_threads_same_interval() {
    if cores() == 1 {
        return assert_eq!(run(&[]).status.code(), Some(77));
    }
    for args in [&[][..], &["--resamples", "50000"]] {
        let rows = rows(args);
        assert_eq!(rows[0][0], 1.0);
        assert_eq!(rows[rows.len() - 1][0], cores() as f64);
        for row in &rows {
            assert_eq!(row[6..], rows[0][6..], "{rows:?}");
            // The sample's median is 850: the interval holds it, and is neither a point nor all.
            assert!(
                650.0 < row[6]
                    && row[6] < 850.0
                    && 850.0 < row[7]
                    && row[7] < 1000.0
            );
            let wanted = 1.2 * rows[0][5] - 0.02..1.6 * row[0];
            assert!(
                row[0] == 1.0 && row[5] < 1.3 || wanted.contains(&row[5]),
                "{rows:?}"
            );
            assert!(row[4] <= row[5] && row[4] > 0.0, "{rows:?}");
            assert!(
                (row[2] / row[0] * 100.0 - row[3]).abs() < 1.0,
                "efficiency: {rows:?}"
            );
        }
    }
}

/// Seen from outside: the pool's threads are tasks of the process, and they have used the cores.
#[test]
fn the_kernel_sees_the_threads_work() {
    if cores() == 1 {
        return;
    }
    let mut demo = Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let (mut most, mut at_work) = (0, 0);
    while demo.try_wait().unwrap().is_none() {
        let entries: Vec<_> = std::fs::read_dir(&tasks)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        most = most.max(entries.len());
        let states = entries.iter().filter_map(|e| {
            std::fs::read_to_string(e.path().join("stat")).ok()
        });
        at_work =
            at_work.max(states.filter(|stat| stat.contains(") R ")).count());
    }
    assert_eq!(most, 1 + cores());
    assert!(
        at_work >= 2,
        "never more than {at_work} threads running or ready"
    );
}

#[test]
fn one_core_cannot_show_it() {
    let pinned = ["-c", "0", DEMO];
    let Ok(output) = Command::new("taskset").args(pinned).output() else {
        return;
    };
    if output.stderr.starts_with(b"taskset") {
        return; // core 0 is not ours
    }
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("two cores"),
        "{output:?}"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--resamples", "999"][..],
        &["--resamples", "10000001"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
