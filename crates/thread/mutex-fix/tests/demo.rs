use std::process::{Command, Output};
use std::time::Instant;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

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

/// The first number after a label at the beginning of a line.
fn number(text: &str, label: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let mut words = rest.expect(text).split_whitespace();
    words.next().unwrap().parse().unwrap()
}

/// Without the lock it would lose updates: race-condition sleeps as it does.
#[test]
fn the_lock_loses_nothing() {
    for (args, expected) in [
        (&[][..], 400),
        (&["--increments", "1000"], 4000),
        (&["--threads", "8", "--increments", "50"], 400),
        (&["--threads", "64", "--increments", "7"], 448),
        (&["--no-sleep", "--increments", "1000000"], 4_000_000),
    ] {
        let text = shown(args);
        assert_eq!(number(&text, "expected "), f64::from(expected), "{text}");
        assert_eq!(number(&text, "counted "), f64::from(expected), "{text}");
        assert_eq!(text.matches('█').count(), 100, "{text}");
        assert!(!text.contains('░'), "{text}");
        let verdict =
            format!("\n\nexpected {expected}, counted {expected}: 0 updates");
        assert!(text.contains(&verdict), "{text}");
        assert!(text.lines().count() <= 23, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
}

#[test]
fn the_first_line_says_what_was_asked_for() {
    let text = shown(&["--threads", "3", "--increments", "20"]);
    let first = "threads: 3, each adds 1 to one counter, 20 times, with a lock";
    assert_eq!(text.lines().next(), Some(first));
}

/// The times are those of this run: nothing takes no time, and 100 rounds of
/// 10 000 increments take no longer than the program. The ratio in the last
/// line is that of the times above it.
#[test]
fn the_price_is_what_was_measured() {
    let begin = Instant::now();
    let text = shown(&[]);
    let elapsed = begin.elapsed().as_nanos() as f64;
    let without = number(&text, "without the lock ");
    let with = number(&text, "with the lock ");
    assert!(without > 0.05 && with > without, "{text}");
    let measured = (without + with - 0.01) * 100.0 * 10_000.0;
    assert!(measured < elapsed, "{elapsed} ns elapsed: {text}");

    let last = text.lines().last().unwrap();
    let ratio = number(last, "the lock takes ");
    let lowest = (with - 0.005) / (without + 0.005) - 0.05;
    let highest = (with + 0.005) / (without - 0.005) + 0.05;
    assert!((lowest..=highest).contains(&ratio), "{text}");
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let what = format!("One thread alone, without the sleep, {build} build:\n");
    assert!(text.contains(&what), "{text}");
}

/// It is the price of the lock alone: the same, whether the threads that count
/// sleep inside it or not, and however many they are.
#[test]
fn the_price_includes_neither_sleep_nor_waiting() {
    let sleeps = shown(&["--threads", "8"]);
    let no_sleeps = shown(&["--threads", "1", "--no-sleep"]);
    for label in ["without the lock ", "with the lock "] {
        let one = number(&sleeps, label);
        let other = number(&no_sleeps, label);
        assert!(one < 3.0 * other, "{sleeps}{no_sleeps}");
        assert!(other < 3.0 * one, "{sleeps}{no_sleeps}");
    }
}

/// Seen from outside: the kernel lists so many tasks in the process, and each
/// sleep of a thread is a context switch that it asked for.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist_and_sleep() {
    let args = ["--threads", "3", "--increments", "300"];
    let mut demo = Command::new(DEMO)
        .args(args)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most_tasks = 0;
    let mut most_switches = 0.0;
    while demo.try_wait().unwrap().is_none() {
        let Ok(entries) = std::fs::read_dir(&tasks) else {
            continue;
        };
        let mut count = 0;
        for task in entries.flatten() {
            count += 1;
            let status = std::fs::read_to_string(task.path().join("status"));
            let status = status.unwrap_or_default(); // it has just ended
            if status.contains("voluntary_ctxt_switches:") {
                let switches = number(&status, "voluntary_ctxt_switches:");
                most_switches = f64::max(most_switches, switches);
            }
        }
        most_tasks = most_tasks.max(count);
    }
    assert_eq!(most_tasks, 1 + 3);
    assert!(most_switches > 50.0, "{most_switches}");
}

/// So that `diff` of the two shows the fix: race-condition starts its threads
/// in the same way, and sleeps in the same place.
#[test]
fn the_rest_is_as_in_race_condition() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let mine = std::fs::read_to_string(format!("{folder}/src/main.rs"));
    let mine = mine.unwrap();
    let other = format!("{folder}/../race-condition/src/main.rs");
    let Ok(other) = std::fs::read_to_string(other) else {
        return eprintln!("not tested: this folder was copied out alone");
    };
    for (begin, end) in [
        ("    thread::scope", "    })?;"),
        ("        let sum = ", " {"),
        ("            thread::sleep", "        }\n"),
        ("/// A count, and a bar", "\n}\n"),
    ] {
        let part = part(&mine, begin, end);
        assert!(other.contains(part), "{part}");
    }
}

/// The part of the text from `begin` up to and with `end`.
fn part<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = &text[text.find(begin).expect(begin)..];
    let length = rest.find(end).expect(end) + end.len();
    &rest[..length]
}
