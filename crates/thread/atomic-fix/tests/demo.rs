use std::process::{Command, Output};
use std::time::Instant;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const ROUNDS: f64 = 5.0;

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The text of a run that showed its point.
fn shown(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// One method's row. Times are in nanoseconds per increment.
struct Row {
    counted: f64,
    lost: f64,
    fastest: f64,
    slowest: f64,
    median: f64,
    /// Cells of its bar
    bar: f64,
}

/// Race, mutex, fetch_add, private.
fn rows(text: &str) -> [Row; 4] {
    ["race ", "mutex ", "fetch_add ", "private "].map(|method| {
        let row = text.lines().find_map(|line| line.strip_prefix(method));
        let words: Vec<&str> = row.unwrap().split_whitespace().collect();
        let number = |i: usize| words[i].parse().unwrap();
        Row {
            counted: number(0),
            lost: number(1),
            fastest: number(2),
            slowest: number(3),
            median: number(4),
            bar: row.unwrap().matches('█').count() as f64,
        }
    })
}

#[test]
fn all_but_the_race_are_exact() {
    for (args, threads, increments) in [
        (&[][..], 4, 250_000),
        (&["--threads", "7", "--increments", "1000"], 7, 1000),
        (&["--threads", "64", "--increments", "10000"], 64, 10_000),
        (&["--threads", "2", "--increments", "1"], 2, 1),
    ] {
        let text = shown(args);
        let first = format!(
            "threads: {threads}, each adds 1, {increments} times, in 5 rounds\n"
        );
        assert!(text.starts_with(&first), "{text}");
        let expected = ROUNDS * f64::from(threads * increments);
        assert!(text.contains(&format!("\nexpected {expected:>11} ")));
        let [race, exact @ ..] = rows(&text);
        assert!(race.counted <= expected, "{text}");
        assert_eq!(race.lost, expected - race.counted, "{text}");
        for row in exact {
            assert_eq!(row.counted, expected, "{text}");
            assert_eq!(row.lost, 0.0, "{text}");
        }
        let verdict = format!(
            "\nexact: mutex, fetch_add and private counted {expected}\n"
        );
        assert!(text.contains(&verdict), "{text}");
        let last =
            format!("\nrace counted {}: {} lost\n", race.counted, race.lost);
        assert!(text.ends_with(&last), "{text}");
        assert!(text.lines().count() <= 23, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

#[test]
fn alone_even_the_race_is_exact() {
    for row in rows(&shown(&["--threads", "1"])) {
        assert_eq!(row.counted, ROUNDS * 250_000.0);
        assert_eq!(row.lost, 0.0);
    }
}

/// Without any yield. How many runs it takes is luck; that updates get lost in
/// the end is not. One core cannot interrupt what is one instruction.
#[test]
fn the_race_loses_updates() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if !cfg!(debug_assertions) && cores == 1 {
        return eprintln!("not tested: needs two cores");
    }
    for _ in 0..1000 {
        let [race, ..] = rows(&shown(&["--increments", "1000000"]));
        if race.lost > 0.0 {
            return;
        }
    }
    panic!("the race lost nothing in 1000 runs");
}

/// Seen from outside: the program takes at least the time that it says it
/// measured. No round takes longer than the slowest, nor less than the fastest.
#[test]
fn times_are_those_of_this_run() {
    let begin = Instant::now();
    let text = shown(&["--threads", "3"]);
    let elapsed = begin.elapsed().as_nanos() as f64;
    let mut measured = 0.0;
    for row in rows(&text) {
        assert!(0.05 < row.fastest, "{text}"); // not optimised away
        assert!(row.fastest <= row.median, "{text}");
        assert!(row.median <= row.slowest, "{text}");
        let rounds = 2.0 * row.fastest + 2.0 * row.median + row.slowest;
        measured += (rounds - 0.05) * 3.0 * 250_000.0;
    }
    assert!(
        measured < elapsed,
        "{measured} ns measured, {elapsed} ns elapsed: {text}"
    );
}

/// The bars and the last lines have the medians of the rows.
#[test]
fn medians_are_drawn_and_repeated() {
    let text = shown(&[]);
    let rows = rows(&text);
    let longest = rows.iter().map(|row| row.median).fold(0.0, f64::max);
    for row in &rows {
        let bar = 16.0 * row.median / longest;
        assert!((row.bar - bar).abs() < 0.6, "{text}"); // both are rounded
    }
    let [_, mutex, fetch_add, private] = rows;
    let medians = format!(
        "\nmedian ns: mutex {:.2}, fetch_add {:.2}, private {:.2}\n",
        mutex.median, fetch_add.median, private.median
    );
    assert!(text.contains(&medians), "{text}");
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let unit = format!(" ns per increment, {build} build\n");
    assert!(text.contains(&unit), "{text}");
}

/// Seen from outside: the kernel lists so many tasks in the process.
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
        let entries = std::fs::read_dir(&tasks);
        most = most.max(entries.map_or(0, |entries| entries.count()));
    }
    assert!(most > 9, "{most}"); // perhaps with some that are just ending
}
