use std::fs;
use std::process::Command;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Without the lock it would lose updates: race-condition sleeps as it does.
#[test]
fn the_lock_loses_nothing() {
    for (threads, increments, more) in [
        ("4", "1000", vec![]),
        ("8", "50", vec![]),
        ("64", "7", vec![]),
        ("4", "1000000", vec!["--no-sleep"]),
    ] {
        let output = Command::new(DEMO)
            .args(["--threads", threads, "--increments", increments])
            .args(more)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let first =
            format!("{threads} threads, each adds 1, {increments} times\n");
        assert!(text.starts_with(&first), "{text}");
        let threads: u64 = threads.parse().unwrap();
        let expected = threads * increments.parse::<u64>().unwrap();
        let bar = "█".repeat(50);
        assert!(text.contains(&format!("counted   {expected:>9} {bar}\n")));
        let verdict = format!(
            "\n\nexpected {expected}, counted {expected}: 0 updates lost\n"
        );
        assert!(text.ends_with(&verdict), "{text}");
    }
}

/// `diff` of the two shows the fix, so little else may differ.
#[test]
fn the_rest_is_as_in_race_condition() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let other = format!("{folder}/../race-condition/src/main.rs");
    let Ok(other) = fs::read_to_string(other) else {
        return eprintln!("not tested: this folder was copied out alone");
    };
    let mine = fs::read_to_string(format!("{folder}/src/main.rs")).unwrap();
    let mut differ = 0;
    for line in mine.lines() {
        let is_code = !line.trim().is_empty() && !line.contains("//");
        if is_code && !other.contains(line) {
            differ += 1;
        }
    }
    assert!(
        differ <= 12,
        "{differ} lines of code are not in race-condition"
    );
}
