use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_race-condition");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The last line of standard output is `expected E, counted C: L updates lost`.
fn verdict(output: &Output) -> [u64; 3] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    numbers(text.lines().last().unwrap()).try_into().unwrap()
}

fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn loses_updates_and_never_counts_too_many() {
    let [expected, counted, lost] = verdict(&run(&[]));
    assert_eq!(expected, 4 * 1000);
    assert!(counted < expected && counted >= 2, "{counted}");
    assert_eq!(lost, expected - counted);
}

#[test]
fn counts_what_the_arguments_ask_for() {
    let [expected, counted, _] =
        verdict(&run(&["--threads", "8", "--increments", "500"]));
    assert_eq!(expected, 8 * 500);
    assert!(counted < expected, "{counted}");
}

/// Seen from outside: the kernel lists so many tasks in the process while it works.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    let args = ["--threads", "3", "--increments", "100000"];
    let mut demo = Command::new(DEMO)
        .args(args)
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
    assert_eq!(most, 1 + 3);
}

#[test]
fn one_thread_loses_nothing_and_says_so() {
    let output = run(&["--threads", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("no update was lost") && error.contains("counted 1000"),
        "{error}"
    );
}

/// How many rounds it takes is luck; that it loses updates in the end is not.
#[test]
fn without_yield_it_takes_some_number_of_rounds() {
    let output = run(&["--no-yield", "--increments", "100000"]);
    let [expected, counted, lost] = verdict(&output);
    assert_eq!((expected, lost), (4 * 100_000, expected - counted));
    assert!((2..expected).contains(&counted), "{counted}");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.contains("; then round ")) {
        let [lost_nothing, this] = numbers(line)[..] else {
            panic!("{text}")
        };
        assert_eq!(lost_nothing + 1, this, "{text}");
    }
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
