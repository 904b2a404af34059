use std::process::{Command, Output};
use std::time::Instant;

const DEMO: &str = env!("CARGO_BIN_EXE_atomic-fix");
const ROUNDS: f64 = 5.0;

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Counted, lost, and the nanoseconds of the fastest, slowest and median round, by method.
fn rows(output: &Output) -> [[f64; 5]; 4] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    ["race", "mutex", "fetch_add", "private"].map(|method| {
        let row = text
            .lines()
            .find_map(|line| line.strip_prefix(method))
            .unwrap();
        let numbers: Vec<_> = row
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        numbers.try_into().unwrap()
    })
}

#[test]
fn all_but_the_race_are_exact() {
    for (args, each_round) in [
        (&[][..], 4.0 * 250_000.0),
        (&["--threads", "7", "--increments", "1000"], 7.0 * 1000.0),
        (
            &["--threads", "64", "--increments", "10000"],
            64.0 * 10_000.0,
        ),
        (&["--threads", "2", "--increments", "1"], 2.0),
    ] {
        let output = run(args);
        let expected = ROUNDS * each_round;
        let [race, exact @ ..] = rows(&output);
        assert!(
            race[0] <= expected && race[1] == expected - race[0],
            "{output:?}"
        );
        assert!(
            exact.iter().all(|row| (row[0], row[1]) == (expected, 0.0)),
            "{output:?}"
        );
        let last = format!("; race lost {}\n", race[1]);
        assert!(
            String::from_utf8_lossy(&output.stdout).ends_with(&last),
            "{output:?}"
        );
    }
}

#[test]
fn alone_even_the_race_is_exact() {
    for [counted, lost, ..] in rows(&run(&["--threads", "1"])) {
        assert_eq!((counted, lost), (ROUNDS * 250_000.0, 0.0));
    }
}

/// Seen from outside: the program takes at least the time that it says it measured.
#[test]
fn times_are_those_of_this_run() {
    let begin = Instant::now();
    let output = run(&["--threads", "3"]);
    let elapsed = begin.elapsed().as_nanos() as f64;
    let mut measured = 0.0;
    for [_, _, fastest, slowest, median] in rows(&output) {
        assert!(
            0.0 < fastest && fastest <= median && median <= slowest,
            "{output:?}"
        );
        measured +=
            (2.0 * fastest + 2.0 * median + slowest - 0.05) * 3.0 * 250_000.0;
    }
    assert!(
        measured < elapsed,
        "{measured} ns measured, {elapsed} ns elapsed: {output:?}"
    );
}

/// Seen from outside: the kernel lists so many tasks in the process while it works.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    let mut demo = Command::new(DEMO);
    let mut demo = demo
        .args(["--threads", "9", "--increments", "1000000"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most = 0;
    while demo.try_wait().unwrap().is_none() {
        most = most.max(
            std::fs::read_dir(&tasks).map_or(0, |entries| entries.count()),
        );
    }
    assert!(most > 9, "{most}"); // and one or the other that is just ending
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "0"][..],
        &["--threads", "65"],
        &["--increments", "0"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
