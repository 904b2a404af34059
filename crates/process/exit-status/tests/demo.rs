use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::{env, fs, process};

const DEMO: &str = env!("CARGO_BIN_EXE_exit-status");
const NAMES: [&str; 8] = [
    "exit-0",
    "exit-7",
    "exit-137",
    "panic",
    "rust-divides",
    "cpu-divides",
    "abort",
    "sigkill",
];

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into()
}

/// The demo's rows: name, status word, its three parts, and $? as computed and by sh.
fn rows(text: &str) -> Vec<(String, [i32; 6])> {
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() > 6 && row[1].starts_with("0x"));
    let number = |text: &str, radix| i32::from_str_radix(text, radix).unwrap();
    rows.map(|row| {
        let [word, code, core, signal] =
            [(&row[1][2..], 16), (row[2], 2), (row[3], 2), (row[4], 2)]
                .map(|(text, radix)| number(text, radix));
        let [dollar, by_sh] = [row[row.len() - 2], row[row.len() - 1]]
            .map(|text| number(text, 10));
        (
            row[0].to_string(),
            [word, code, core, signal, dollar, by_sh],
        )
    })
    .collect()
}

/// Seen from outside: here the test is the parent, and a shell that the test has started.
#[test]
fn the_status_words_are_those_that_any_parent_gets() {
    let text = stdout(&run(&[]));
    let rows = rows(&text);
    assert_eq!(
        rows.iter().map(|row| &row.0).collect::<Vec<_>>(),
        NAMES.iter().collect::<Vec<_>>()
    );
    let cpu_divides = if cfg!(target_arch = "x86_64") { 8 } else { 0 };
    let expected = [0, 7 << 8, 137 << 8, 101 << 8, 101 << 8, cpu_divides, 6, 9];
    for ((name, [word, code, core, signal, dollar, by_sh]), expected) in
        rows.iter().zip(expected)
    {
        assert_eq!(*word, expected, "{name}");
        assert_eq!(*word, (code << 8) | (core << 7) | signal, "{name}");
        let output = run(&["--end", name]);
        assert_eq!(output.status.into_raw(), *word, "{name}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let sh = Command::new("sh")
            .args(["-c", "\"$0\" --end $1; exit $?", DEMO, name])
            .output();
        assert_eq!(sh.unwrap().status.code(), Some(*by_sh), "{name}");
        assert_eq!(dollar, by_sh, "{name}");
    }
    assert!(
        text.ends_with(
            "\n$? is 137 for exit-137 (0x8900) and for sigkill (0x0009)\n"
        ),
        "{text}"
    );
}

#[test]
fn the_panic_message_is_for_those_who_want_it() {
    assert!(run(&[]).stderr.is_empty());
    let panic = run(&["--end", "panic"]);
    assert!(
        String::from_utf8_lossy(&panic.stderr).contains("on purpose"),
        "{panic:?}"
    );
    let divide = run(&["--end", "rust-divides"]);
    assert!(
        String::from_utf8_lossy(&divide.stderr).contains("divide by zero"),
        "{divide:?}"
    );
}

/// Even where core files are wanted, the demo leaves none.
#[test]
fn no_core_file_stays_behind() {
    let folder =
        env::temp_dir().join(format!("exit-status-test-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    let mut sh = Command::new("sh");
    sh.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$0\"", DEMO])
        .current_dir(&folder);
    let output = sh.output().unwrap();
    let files = fs::read_dir(&folder).unwrap().count();
    fs::remove_dir_all(&folder).unwrap();
    assert!(
        rows(&stdout(&output)).iter().all(|row| row.1[2] == 0),
        "{output:?}"
    );
    assert_eq!(files, 0);
}

/// A shell that says something else than the real one must not pass.
#[test]
fn believes_no_wrong_shell() {
    let folder =
        env::temp_dir().join(format!("exit-status-sh-{}", process::id()));
    let write = "mkdir \"$0\" && printf '#!/bin/sh\necho 0\n' >\"$0/sh\" && chmod 755 \"$0/sh\"";
    assert!(
        Command::new("sh")
            .args(["-c", write])
            .arg(&folder)
            .status()
            .unwrap()
            .success()
    );
    let output = Command::new(DEMO).env("PATH", &folder).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("Error: exit status: 7"),
        "{output:?}"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--end", "well"][..], &["--end"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
