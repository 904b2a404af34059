#![cfg(target_os = "linux")] // the outside look is at /proc

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{self, Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
/// Each with two spaces behind it, or it would be the start of another, too.
const ROWS: [&str; 5] = [
    "1000 function calls  ",
    "job, warm pool  ",
    "thread  ",
    "fork  ",
    "fork + exec true  ",
];

fn nanoseconds(word: &str) -> f64 {
    let unit = word.find(char::is_alphabetic).unwrap();
    let factor = match &word[unit..] {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => panic!("{word}"),
    };
    word[..unit].parse::<f64>().unwrap() * factor
}

/// Numbers are rounded when they are printed.
fn is_close(left: f64, right: f64) -> bool {
    (left / right - 1.0).abs() < 0.06
}

struct Row {
    /// Nanoseconds
    fastest: f64,
    median: f64,
    in_calls: f64,
}

fn row(text: &str, name: &str) -> Row {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let words: Vec<&str> = rest.expect(text).split_whitespace().collect();
    let fastest = nanoseconds(words[0]);
    let median = nanoseconds(words[2]);
    assert!(fastest <= median, "{text}");
    assert!(is_close(nanoseconds(words[3]), 100.0 * median), "{text}");
    let cells = 2.0 * (fastest / 100.0).log10();
    let printed = words[4].chars().count() as f64;
    assert!((printed + 0.5 - cells).abs() < 0.6, "{cells}: {text}");
    Row {
        fastest,
        median,
        in_calls: words[1].parse().unwrap(),
    }
}

fn check(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let start = "100 launches of each kind, 5 of Python\n\n";
    assert!(text.starts_with(start), "{text}");
    let rows = ROWS.map(|name| row(&text, name));
    let one_call = rows[0].fastest / 1000.0;
    for row in &rows {
        assert!(is_close(row.in_calls, row.fastest / one_call), "{text}");
    }
    assert!(rows[4].fastest < rows[4].median, "{text}");
    let [_, job, thread, fork, exec] = rows.map(|row| row.in_calls);
    assert!(job < exec && thread < fork && fork < exec, "{text}");
    let last = format!(
        "\n\na thread takes as long as {thread} calls, a fork {fork}, \
         with exec {exec}\n"
    );
    assert!(text.ends_with(&last), "{text}");
    text
}

/// Seen from outside: the kernel counts processes and threads since its start.
#[test]
fn each_launch_costs_more_and_the_kernel_has_made_them() {
    let made = || -> u64 {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let count = stat.split("\nprocesses ").nth(1).unwrap();
        count.split_once('\n').unwrap().0.parse().unwrap()
    };
    let before = made();
    let text = check(&Command::new(DEMO).output().unwrap());
    // Pythons, execs, forks, threads, and the one of the pool
    assert!(made() - before >= 306, "{text}");

    let works = Command::new("python3").args(["-c", "pass"]).status();
    if works.is_ok_and(|status| status.success()) {
        let python = row(&text, "fork + exec python3 ");
        assert!(python.fastest > row(&text, ROWS[4]).fastest, "{text}");
    }
}

/// As in the header.
#[test]
fn one_core_is_enough() {
    let pinned = Command::new("taskset").args(["-c", "0", DEMO]).output();
    match pinned {
        Ok(output) if !output.stdout.is_empty() => _ = check(&output),
        _ => eprintln!("not tested: no taskset, or core 0 is not to be used"),
    }
}

/// Programs of these names that exit with a code, in a folder of their own.
fn run_with(programs: &[(&str, i32)]) -> (Output, String) {
    let unique = format!("launch-{}-{}", process::id(), programs.len());
    let folder = std::env::temp_dir().join(unique);
    fs::create_dir(&folder).unwrap();
    for (name, code) in programs {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\nexit {code}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut demo = Command::new(DEMO);
    demo.env_remove("RUST_BACKTRACE").env("PATH", &folder);
    let output = demo.output().unwrap();
    fs::remove_dir_all(folder).unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, errors)
}

#[test]
fn a_python_that_is_not_found_is_left_out() {
    let (output, errors) = run_with(&[("true", 0)]);
    let text = check(&output);
    assert!(
        text.contains("\nfork + exec python3: Exited(Pid("),
        "{text}"
    );
    assert!(errors.starts_with("exec \"python3\": ENOENT"), "{errors}");
}

#[test]
fn a_program_that_fails_is_not_timed() {
    let (output, errors) = run_with(&[("true", 1), ("python3", 0)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(errors.starts_with("Error: Exited(Pid("), "{errors}");
    assert!(output.stdout.is_empty(), "{output:?}");
}
