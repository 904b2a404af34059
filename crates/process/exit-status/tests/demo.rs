use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Each script, and the status word of a shell that runs it.
const WORDS: [(&str, i32); 5] = [
    ("exit 0", 0),
    ("exit 7", 7 << 8),
    ("exit 137", 137 << 8),
    ("kill -TERM $$", 15),
    ("kill -KILL $$", 9),
];

fn run(args: &[&str]) -> Output {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo.output().unwrap()
}

/// Checks a row against what the test, and a shell that it starts, get.
fn check_row(row: &str, script: &str, expected: i32) {
    let status = Command::new("sh").args(["-c", script]).status().unwrap();
    let word = status.into_raw();
    assert_eq!(word, expected, "{script}");
    let exit = "sh -c \"$0\"; exit $?";
    let sh = Command::new("sh").args(["-c", exit, script]).status();
    let dollar = sh.unwrap().code().unwrap();

    let (start, rest) = row.split_at(16);
    assert_eq!(start.trim(), script, "{row}");
    let mut cells = rest.split_whitespace();
    let mut number = |radix| {
        let digits = cells.next().unwrap().trim_start_matches("0x");
        i32::from_str_radix(digits, radix).unwrap()
    };
    assert_eq!(number(16), word, "{row}");
    assert_eq!(number(2), status.code().unwrap_or(0), "{row}");
    assert_eq!(number(2), status.signal().unwrap_or(0), "{row}");
    assert!(row.contains(&format!("  {status} ")), "{row}");
    let end = format!(" {dollar:<5}{dollar}");
    assert!(row.ends_with(&end), "{row}");
}

#[test]
fn the_words_are_those_that_any_parent_gets() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 + WORDS.len() + 2, "{text}");
    for (row, (script, word)) in lines[2..].iter().zip(WORDS) {
        check_row(row, script, word);
    }
    let verdict = "\n$? is 137 for two status words: 0x8900, 0x0009\n";
    assert!(text.ends_with(verdict), "{text}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
}

/// Both Try lines, and a signal.
#[test]
fn another_script_gets_a_row_of_its_own() {
    for (script, word) in [
        ("exit 256", 0),
        ("no-such-command", 127 << 8),
        ("kill -ALRM $$", 14),
    ] {
        let output = run(&["--script", script]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        check_row(text.lines().nth(7).unwrap(), script, word);
    }
}

/// Puts another sh into PATH. What it does is seen, and judged.
#[test]
fn a_wrong_shell_does_not_pass() {
    let folder = std::env::temp_dir().join(format!("sh-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    // Not by fs::write: what this process has open for writing cannot be run.
    let write =
        "echo '#!/bin/sh\neval \"$WRONG\"' >\"$0/sh\"; chmod +x \"$0/sh\"";
    let mut sh = Command::new("sh");
    let status = sh.args(["-c", write]).arg(&folder).status().unwrap();
    assert!(status.success(), "{folder:?}");
    let mut errors = Vec::new();
    for script in [
        "exit 3",
        "exit 137",
        "[ $# -lt 3 ]", // exits with 0 as a child of the demo, and else with 1
        "[ $# -lt 3 ] || kill -KILL $$",
    ] {
        let mut demo = Command::new(DEMO);
        demo.env("PATH", &folder).env("WRONG", script);
        demo.env_remove("RUST_BACKTRACE");
        let output = demo.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        errors.push(String::from_utf8(output.stderr).unwrap());
    }
    fs::remove_dir_all(&folder).unwrap();
    let expected = [
        "Error: $? was 137 for 0 children, not for two\n",
        "Error: one status word, 0x8900, for both\n",
        "Error: exit 0: $? is 0 by the status word, but 1 in sh\n",
        "Error: a signal killed sh\n",
    ];
    assert_eq!(errors, expected);
}
