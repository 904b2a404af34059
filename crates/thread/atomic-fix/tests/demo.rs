use std::process::Command;
use std::time::Instant;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// One way of counting: its row.
struct Row {
    counted: f64,
    lost: f64,
    nanoseconds: f64,
}

/// Race, mutex, fetch_add, private.
fn rows(threads: &str) -> [Row; 4] {
    let begin = Instant::now();
    let output = Command::new(DEMO)
        .args(["--threads", threads])
        .output()
        .unwrap();
    let elapsed = begin.elapsed().as_nanos() as f64;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.contains("debug build"),
        cfg!(debug_assertions),
        "{text}"
    );

    let rows = ["race ", "mutex ", "fetch_add ", "private "].map(|name| {
        let row = text.lines().find_map(|line| line.strip_prefix(name));
        let words: Vec<&str> = row.unwrap().split_whitespace().collect();
        Row {
            counted: words[0].parse().unwrap(),
            lost: words[1].parse().unwrap(),
            nanoseconds: words[2].parse().unwrap(),
        }
    });
    let expected = threads.parse::<f64>().unwrap() * 1e6;
    let mut measured = 0.0;
    for row in &rows {
        assert_eq!(row.counted + row.lost, expected, "{text}");
        assert!(row.nanoseconds > 0.05, "optimised away: {text}");
        measured += (row.nanoseconds - 0.005) * expected;
    }
    // Seen from outside: the program took at least as long as it says.
    assert!(measured < elapsed, "{text}");
    for row in &rows[1..] {
        assert_eq!(row.lost, 0.0, "{text}");
    }
    let end = format!(
        "\nlost by mutex, fetch_add and private: 0 of {expected} each\n\
         lost by the race: {} of {expected}\n",
        rows[0].lost
    );
    assert!(text.ends_with(&end), "{text}");
    rows
}

#[test]
fn all_but_the_race_are_exact() {
    for threads in ["1", "2", "5"] {
        let [race, ..] = rows(threads);
        if threads == "1" {
            assert_eq!(race.lost, 0.0);
        }
    }
}

/// How many runs it takes is luck; that updates get lost in the end is not.
/// One core cannot interrupt what is one instruction.
#[test]
fn the_race_loses_updates() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if !cfg!(debug_assertions) && cores == 1 {
        return eprintln!("not tested: needs two cores");
    }
    for _ in 0..1000 {
        let [race, ..] = rows("4");
        if race.lost > 0.0 {
            return;
        }
    }
    panic!("the race lost nothing in 1000 runs");
}

/// The answer to Predict, from the fastest of five runs: a busy machine may
/// slow down any of them. In a debug build, calls take most of the time.
#[cfg(not(debug_assertions))]
#[test]
fn private_is_the_fastest() {
    let mut fastest = [f64::MAX; 4];
    for _ in 0..5 {
        for (best, row) in fastest.iter_mut().zip(rows("4")) {
            *best = best.min(row.nanoseconds);
        }
    }
    let [_, mutex, fetch_add, private] = fastest;
    assert!(private < fetch_add && private < mutex, "{fastest:?}");
}
