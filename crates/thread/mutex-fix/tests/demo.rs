use std::process::{Command, Output};
use std::time::Instant;

const DEMO: &str = env!("CARGO_BIN_EXE_mutex-fix");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Expected, counted and lost of the table's row that starts with `label`.
fn row(output: &Output, label: &str) -> [u64; 3] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap();
    let numbers: Vec<_> = row
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    numbers.try_into().unwrap()
}

#[test]
fn the_lock_loses_nothing_where_its_absence_does() {
    for args in [&[][..], &["--threads", "8", "--increments", "500"]] {
        let output = run(args);
        assert_eq!(row(&output, "with lock"), [4000, 4000, 0]);
        let [expected, counted, lost] = row(&output, "without lock");
        assert!(
            counted < expected && lost == expected - counted,
            "{output:?}"
        );
    }
}

#[test]
fn exact_without_yield_too() {
    let output = run(&["--no-yield", "--increments", "100000"]);
    assert_eq!(row(&output, "with lock"), [400_000, 400_000, 0]);
}

#[test]
fn one_thread_needs_no_lock() {
    let output =
        run(&["--threads", "1", "--no-yield", "--increments", "100000"]);
    assert_eq!(row(&output, "with lock"), [100_000, 100_000, 0]);
    assert_eq!(row(&output, "without lock"), [100_000, 100_000, 0]);
}

/// The times are those of this run: nothing takes no time, and no more has passed than outside.
/// The ratio in the last line is that of the times in the table.
#[test]
fn the_price_is_what_was_measured() {
    let yields = ["--increments", "2000"];
    let no_yield = ["--increments", "100000", "--no-yield"];
    let alone = ["--increments", "100000", "--no-yield", "--threads", "1"];
    for args in [&yields[..], &no_yield, &alone] {
        let begin = Instant::now();
        let output = run(args);
        let elapsed = begin.elapsed().as_secs_f64() * 1e3;
        let text = String::from_utf8_lossy(&output.stdout);
        let last_number = |line: &str| -> f64 {
            line.split(' ')
                .filter_map(|word| word.parse().ok())
                .next_back()
                .unwrap()
        };
        let times: Vec<_> = text
            .lines()
            .filter(|l| l.ends_with(" ms"))
            .map(last_number)
            .collect();
        let [without, with] = times[..] else {
            panic!("{text}")
        };
        assert!(without > 0.01 && with > 0.01, "{text}");
        assert!(
            without + with <= elapsed + 0.01,
            "{elapsed} ms elapsed: {text}"
        );
        let ratio = last_number(text.lines().last().unwrap());
        let [lowest, highest] = [-0.005, 0.005]
            .map(|error| (with + error) / (without - error) + 10.0 * error);
        assert!(
            (lowest..=highest).contains(&ratio),
            "{lowest} to {highest}: {text}"
        );
    }
}

/// Seen from outside: the kernel lists so many tasks in the process while it works.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    let args = ["--threads", "3", "--increments", "4000"];
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
    // While the second run begins, threads of the first one may just be ending.
    assert!((1 + 3..=1 + 3 + 3).contains(&most), "{most}");
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
