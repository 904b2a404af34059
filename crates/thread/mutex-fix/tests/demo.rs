use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let demo = env!("CARGO_BIN_EXE_mutex-fix");
    Command::new(demo).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Expected, counted and lost of the table's row that starts with `label`.
fn row(output: &Output, label: &str) -> [u64; 3] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find_map(|line| line.strip_prefix(label)).unwrap();
    let numbers: Vec<_> = row.split_whitespace().map_while(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn the_lock_loses_nothing_where_its_absence_does() {
    for args in [&[][..], &["--threads", "8", "--increments", "500"]] {
        let output = run(args);
        assert_eq!(row(&output, "with lock"), [4000, 4000, 0]);
        let [expected, counted, lost] = row(&output, "without lock");
        assert!(counted < expected && lost == expected - counted, "{output:?}");
    }
}

#[test]
fn exact_without_yield_too() {
    let output = run(&["--no-yield", "--increments", "100000"]);
    assert_eq!(row(&output, "with lock"), [400_000, 400_000, 0]);
}

#[test]
fn one_thread_needs_no_lock() {
    let output = run(&["--threads", "1", "--no-yield", "--increments", "100000"]);
    assert_eq!(row(&output, "with lock"), [100_000, 100_000, 0]);
    assert_eq!(row(&output, "without lock"), [100_000, 100_000, 0]);
}

/// The ratio in the last line is that of the times in the table.
#[test]
fn the_price_is_what_was_measured() {
    let output = run(&["--threads", "4", "--increments", "10000"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = |line: &str| -> Vec<f64> {
        line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let times: Vec<f64> =
        text.lines().filter(|l| l.ends_with(" ms")).map(|l| *numbers(l).last().unwrap()).collect();
    let ratio = *numbers(text.lines().last().unwrap()).last().unwrap();
    assert!((times[1] / times[0] - ratio).abs() < 0.06 + 0.01 * ratio, "{text}");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--threads", "0"][..], &["--threads", "65"], &["--increments", "0"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
