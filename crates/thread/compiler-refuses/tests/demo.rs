#![cfg(unix)]

use std::fs;
use std::process::{self, Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What stands in this line of a snippet, without its comment.
fn code(snippet: &str, line: usize) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snippets");
    let source = fs::read_to_string(format!("{folder}/{snippet}")).unwrap();
    let line = source.lines().nth(line - 1).unwrap();
    line.split("//").next().unwrap().trim().to_string()
}

#[test]
fn refuses_three_bugs_and_runs_their_twins() {
    let output = Command::new(DEMO).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = text(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let counter = "scope.spawn(|| counter += 1);";
    let rc = "let thread = thread::spawn(move || shared.len());";
    let bugs = [
        ("counter_refused.rs", "E0499", counter, "2"),
        ("rc_refused.rs", "E0277", rc, "6"),
        ("guard_refused.rs", "E0505", "drop(guard);", "2"),
    ];
    for (i, (file, error, refused, result)) in bugs.iter().enumerate() {
        let rows = &lines[5 * i..5 * i + 5];
        let error = format!("    error[{error}]: ");
        assert!(rows[1].starts_with(&error), "{text}");
        let place = rows[2].trim().strip_prefix("--> ").unwrap();
        let place: Vec<&str> = place.split(':').collect();
        assert_eq!(place[0], *file, "{text}");
        assert_eq!(code(file, place[1].parse().unwrap()), *refused);
        let fixed = format!("    fixed: compiles, runs, gives {result}");
        assert_eq!(rows[3], fixed, "{text}");
    }
    let last = "rustc refused 3 of 3; the fixed twins give 2, 6 and 2";
    assert_eq!(lines[15..], [last]);
}

#[test]
fn full_shows_all_that_rustc_says() {
    let output = Command::new(DEMO).arg("--full").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = text(&output.stdout);
    for says in [
        "first mutable borrow occurs here",
        "the trait `Send` is not implemented",
        "borrow later used here",
    ] {
        assert!(text.contains(says), "{text}");
    }
}

/// Runs the demo with another rustc: a script, first in PATH.
fn run_with(name: &str, script: &str) -> Output {
    let name = format!("rustc-{name}-{}", process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder).unwrap();
    let rustc = folder.join("rustc");
    // A child writes it: this process could not run a file that another test
    // holds open, in a child that it has just forked.
    let write = "printf '#!/bin/sh\\n%s' \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let mut writer = Command::new("sh");
    writer.args(["-c", write]).arg(&rustc).arg(script);
    assert!(writer.status().unwrap().success());
    let output = Command::new(DEMO)
        .env("PATH", &folder)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    fs::remove_dir_all(folder).unwrap();
    output
}

/// rustc decides the verdict, and nothing else.
#[test]
fn another_rustc_is_believed() {
    let accepts = run_with("accepts", "exit 0");
    assert_eq!(accepts.status.code(), Some(1), "{accepts:?}");
    let error = "Error: rustc accepted counter_refused.rs\n";
    assert_eq!(text(&accepts.stderr), error);

    let script = "case $1 in --version) exit 0;; esac
        echo 'warning: w' >&2; echo 'error[E0001]: e' >&2; exit 1";
    let other = run_with("other", script);
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    let complaint = "Error: not E0499, but error[E0001]: e\n";
    assert_eq!(text(&other.stderr), complaint);

    let broken = run_with("broken", "exit 1");
    assert_eq!(broken.status.code(), Some(77), "{broken:?}");
    assert!(text(&broken.stderr).starts_with("cannot run here: no rustc"));
}
