use std::collections::BTreeSet;
use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(ranks: usize, rows_per_rank: usize) -> Output {
    let mut demo = Command::new(DEMO);
    demo.args(["--ranks", &ranks.to_string()]);
    demo.args(["--rows-per-rank", &rows_per_rank.to_string()]);
    demo.env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Checks all that a run printed, and returns b0 and b1.
fn check(output: &Output, ranks: usize, rows_per_rank: usize) -> [f64; 2] {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), ranks + 7, "{text}");

    let held = 16 * rows_per_rank;
    let mut pids = BTreeSet::new();
    for (rank, line) in lines[1..=ranks].iter().enumerate() {
        // Rank, host, PID, first row, bytes held and contributed, gradient
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], rank.to_string());
        pids.insert(words[2]);
        assert_eq!(words[3], (rank * rows_per_rank).to_string());
        assert_eq!(words[4], held.to_string());
        assert_eq!(words[5], "640");
        let gradient: f64 = words[6].parse().unwrap();
        assert_eq!(gradient > 1e-6, ranks > 1, "{text}");
    }
    assert_eq!(pids.len(), ranks, "each rank is a process: {text}");

    assert_eq!(lines[ranks + 2], "truth: b0 = 3, b1 = -2");
    let line = lines[ranks + 3].strip_prefix("found: b0 = ").unwrap();
    let (b0, b1) = line.split_once(", b1 = ").unwrap();
    let found: [f64; 2] = [b0.parse().unwrap(), b1.parse().unwrap()];
    assert!((found[0] - 3.0).abs() < 0.02, "{text}");
    assert!((found[1] + 2.0).abs() < 0.02, "{text}");

    let own = lines[1].split_whitespace().last().unwrap();
    let start = format!("gradient per row: rank 0's own {own}, of all rows ");
    let total = lines[ranks + 5].strip_prefix(&start).unwrap();
    let total: f64 = total.parse().unwrap();
    assert!(total < 1e-6, "{text}");
    let last = format!(
        "rank 0 held {held} bytes, and contributed 640: 40 steps, \
         2 numbers each"
    );
    assert_eq!(lines[ranks + 6], last);
    found
}

/// The same rows, however many ranks share them.
#[test]
fn any_number_of_ranks_finds_the_same_line() {
    let one = check(&run(1, 600_000), 1, 600_000);
    for ranks in [2, 4] {
        let rows_per_rank = 600_000 / ranks;
        let found = check(&run(ranks, rows_per_rank), ranks, rows_per_rank);
        assert!((found[0] - one[0]).abs() < 1e-9, "{found:?} {one:?}");
        assert!((found[1] - one[1]).abs() < 1e-9, "{found:?} {one:?}");
    }
}

#[test]
fn ten_times_the_rows_need_no_more_bytes_to_travel() {
    let few = Command::new(DEMO).output().unwrap();
    let few = check(&few, 2, 100_000);
    let many = check(&run(2, 1_000_000), 2, 1_000_000);
    assert_ne!(few, many, "other rows, another line");
}

#[test]
fn without_mpirun_it_says_what_to_install() {
    let mut demo = Command::new(DEMO);
    let output = demo.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no mpirun (apt install"), "{error}");
}

/// Started by the launcher of another MPI, each rank finds itself alone.
#[test]
fn a_rank_alone_is_not_several() {
    for (ranks, code) in [("1", 0), ("2", 1)] {
        let mut demo = Command::new(DEMO);
        demo.args(["--ranks", ranks]).env("PMI_RANK", "0");
        let output = demo.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(error.contains("one rank alone"), code == 1, "{error}");
    }
}
