use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Checks that updates were lost, and that all lines agree. Returns the count.
fn losing(output: &Output, expected: u64) -> u64 {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let row = |label: &str| {
        let row = text.lines().find(|line| line.starts_with(label)).unwrap();
        let bar = (row.matches('█').count() as u64, row.matches('░').count());
        assert_eq!(bar.0 as usize + bar.1, 50, "{text}");
        let count: u64 =
            row.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(bar.0, 50 * count / expected, "{text}");
        count
    };
    assert_eq!(row("expected "), expected, "{text}");
    let counted = row("counted ");
    assert!((1..expected).contains(&counted), "{text}");
    let lost = expected - counted;
    let verdict = format!(
        "\n\nexpected {expected}, counted {counted}: {lost} updates lost\n"
    );
    assert!(text.ends_with(&verdict), "{text}");
    counted
}

/// A few updates may get lost by chance. With the sleeps many do, every time.
#[test]
fn the_sleeps_lose_many() {
    for _ in 0..10 {
        assert!(losing(&run(&[]), 4000) <= 3000);
    }
}

#[test]
fn counts_what_the_arguments_ask_for() {
    let output = run(&["--threads", "8", "--increments", "500"]);
    losing(&output, 4000);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("8 threads, each adds 1, 500 times\n"),
        "{text}"
    );
}

#[test]
fn one_thread_loses_nothing_and_says_so() {
    let output = run(&["--threads", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    let sentence = "Error: no update was lost: expected 1000, counted 1000\n";
    assert_eq!(error, sentence);
}

/// Optimised, load, add and store may become one instruction, which the kernel
/// cannot interrupt. Then only another core can come between. How many runs
/// that takes is luck; that it loses updates in the end is not.
#[test]
fn loses_updates_without_sleep_too() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if !cfg!(debug_assertions) && cores == 1 {
        return eprintln!("not tested: needs two cores");
    }
    for _ in 0..1000 {
        let output = run(&["--no-sleep", "--increments", "1000000"]);
        if output.status.code() == Some(0) {
            losing(&output, 4_000_000);
            return;
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("Error: no update was lost"), "{error}");
    }
    panic!("1000 runs lost nothing");
}
