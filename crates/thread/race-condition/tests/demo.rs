use std::collections::BTreeSet;
use std::process::{Command, Output};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn numbers(line: &str) -> Vec<u64> {
    let words = line.split(|character: char| !character.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The counts in the rows, and that each bar shows its share.
#[derive(Debug)]
struct Counts {
    highest: u64,
    counted: u64,
    lowest: u64,
}

fn counts(output: &Output) -> Counts {
    let text = text(output);
    let count = |label: &str| {
        let row = text.lines().find(|line| line.starts_with(label)).unwrap();
        let full = row.matches('█').count();
        assert_eq!(full + row.matches('░').count(), 50);
        (numbers(row)[0], full as u64)
    };
    let (highest, all) = count("highest possible ");
    let (counted, counted_bar) = count("counted ");
    let (lowest, lowest_bar) = count("lowest possible ");
    assert_eq!(all, 50, "{text}");
    assert_eq!(counted_bar, 50 * counted / highest, "{text}");
    assert_eq!(lowest_bar, 50 * lowest / highest, "{text}");
    Counts {
        highest,
        counted,
        lowest,
    }
}

/// Checks that updates were lost, and that the last line has the numbers of
/// the rows. Returns those.
fn losing(output: &Output) -> Counts {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let counts = counts(output);
    assert!(counts.lowest <= counts.counted, "{counts:?}");
    assert!(counts.counted < counts.highest, "{counts:?}");
    let lost = counts.highest - counts.counted;
    let verdict = format!(
        "\n\nexpected {}, counted {}: {lost} updates lost\n",
        counts.highest, counts.counted
    );
    assert!(text(output).ends_with(&verdict), "{output:?}");
    counts
}

#[test]
fn loses_updates() {
    let output = run(&[]);
    let counts = losing(&output);
    assert_eq!(counts.highest, 4000);
    assert_eq!(counts.lowest, 2);
    let text = text(&output);
    assert!(text.contains("not measured"), "{text}");
    assert!(text.lines().count() <= 23, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn counts_what_the_arguments_ask_for() {
    let output = run(&["--threads", "8", "--increments", "500"]);
    assert_eq!(losing(&output).highest, 4000);
    let first = "threads: 8, each adds 1 to one counter, 500 times\n";
    assert!(text(&output).starts_with(first), "{output:?}");
}

/// A few updates may get lost by chance. With the sleeps many do, every time.
#[test]
fn the_sleeps_lose_many() {
    for _ in 0..10 {
        let counts = losing(&run(&[]));
        assert!(4 * counts.counted <= 3 * counts.highest, "{counts:?}");
    }
}

/// Where a thread is in its work.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Thread {
    loaded: Option<u64>,
    left: u64,
}

/// All counts that threads can end at, by a search through all orders of
/// their loads and stores.
fn ends(count: usize, increments: u64) -> BTreeSet<u64> {
    let begin = Thread {
        loaded: None,
        left: increments,
    };
    let mut ends = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, vec![begin; count])];
    while let Some((counter, threads)) = open.pop() {
        if threads.iter().all(|thread| thread.left == 0) {
            ends.insert(counter);
        }
        for i in 0..threads.len() {
            let mut next = threads.clone();
            let mut next_counter = counter;
            if let Some(value) = next[i].loaded.take() {
                next_counter = value + 1;
                next[i].left -= 1;
            } else if next[i].left > 0 {
                next[i].loaded = Some(counter);
            } else {
                continue;
            }
            next.sort(); // the threads are alike
            if seen.insert((next_counter, next.clone())) {
                open.push((next_counter, next));
            }
        }
    }
    ends
}

/// The demo derives the lowest and the highest count. A search finds the same.
#[test]
fn what_it_calls_possible_is_what_a_search_finds() {
    for threads in 1..=3 {
        for increments in 1..=3 {
            let ends = ends(threads, increments);
            let output = run(&[
                "--threads",
                &threads.to_string(),
                "--increments",
                &increments.to_string(),
            ]);
            // Whether so few increments lose an update is luck.
            let counts = counts(&output);
            assert_eq!(Some(&counts.lowest), ends.first(), "{output:?}");
            assert_eq!(Some(&counts.highest), ends.last(), "{output:?}");
            assert!(ends.contains(&counts.counted), "{output:?}");
        }
    }
}

/// Seen from outside: the kernel lists so many tasks in the process.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    let args = ["--threads", "3", "--increments", "1000"];
    let mut demo = Command::new(DEMO)
        .args(args)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most = 0;
    while demo.try_wait().unwrap().is_none() {
        let entries = std::fs::read_dir(&tasks);
        most = most.max(entries.map_or(0, |entries| entries.count()));
    }
    assert_eq!(most, 1 + 3);
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
    let runs = if cfg!(debug_assertions) { 10 } else { 1000 };
    for _ in 0..runs {
        let output = run(&["--no-sleep", "--increments", "1000000"]);
        if output.status.code() == Some(0) {
            assert_eq!(losing(&output).highest, 4 * 1_000_000);
            return;
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("Error: no update was lost"), "{error}");
    }
    panic!("{runs} runs lost nothing");
}
