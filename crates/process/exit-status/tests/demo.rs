use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::{env, fs, process};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Each way to end, and the status word of it.
const WAYS: [(&str, i32); 8] = [
    ("exit-0", 0),
    ("exit-7", 7 << 8),
    ("exit-137", 137 << 8),
    ("panic", 101 << 8),
    ("rust-divides", 101 << 8),
    (
        "cpu-divides",
        if cfg!(target_arch = "x86_64") { 8 } else { 0 },
    ),
    ("abort", 6),
    ("sigkill", 9),
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

/// A row of the demo: the status word, its parts, and $? by the word and of sh.
struct Row {
    way: String,
    word: i32,
    code: i32,
    core: i32,
    signal: i32,
    decoded: String,
    dollar: i32,
    by_sh: i32,
}

fn number(digits: &str, radix: u32) -> i32 {
    i32::from_str_radix(digits, radix).unwrap()
}

fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let cells: Vec<_> = line.split_whitespace().collect();
        if cells.len() < 7 || !cells[1].starts_with("0x") {
            continue;
        }
        let last = cells.len() - 1;
        rows.push(Row {
            way: cells[0].to_string(),
            word: number(&cells[1][2..], 16),
            code: number(cells[2], 2),
            core: number(cells[3], 2),
            signal: number(cells[4], 2),
            decoded: cells[5..last - 1].join(" "),
            dollar: number(cells[last - 1], 10),
            by_sh: number(cells[last], 10),
        });
    }
    rows
}

/// Seen from outside: here the parents are the test, and a shell that the test
/// has started.
#[test]
fn the_status_words_are_those_that_any_parent_gets() {
    let text = stdout(&run(&[]));
    let seen = rows(&text);
    assert_eq!(seen.len(), WAYS.len(), "{text}");
    for (row, (way, word)) in seen.iter().zip(WAYS) {
        assert_eq!(row.way, way, "{text}");
        assert_eq!(row.word, word, "{way}");
        let parts = (row.code << 8) | (row.core << 7) | row.signal;
        assert_eq!(row.word, parts, "{way}");
        let output = run(&["--end", way]);
        assert_eq!(output.status.into_raw(), word, "{way}");
        assert_eq!(output.status.to_string(), row.decoded, "{way}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let sh = Command::new("sh")
            .args(["-c", "\"$0\" --end $1; exit $?", DEMO, way])
            .output();
        assert_eq!(sh.unwrap().status.code(), Some(row.by_sh), "{way}");
        assert_eq!(row.dollar, row.by_sh, "{way}");
    }
    let verdict = "\n8 of 8 ended as expected, with the same $? in sh\n\
        $? is 137 for exit-137 (word 0x8900) and for sigkill (word 0x0009)\n";
    assert!(text.ends_with(verdict), "{text}");
    assert!(text.starts_with("child        status  exit code"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn the_panic_message_is_for_those_who_want_it() {
    assert!(run(&[]).stderr.is_empty());
    for (way, message) in
        [("panic", "on purpose"), ("rust-divides", "divide by zero")]
    {
        let output = run(&["--end", way]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(message), "{output:?}");
    }
}

/// A folder of this test's own, which is removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("exit-status-{name}-{}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Even where core files are wanted, the demo leaves none.
#[test]
fn no_core_file_stays_behind() {
    let folder = Folder::new("core");
    let mut sh = Command::new("sh");
    sh.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$0\"", DEMO])
        .current_dir(&folder.0);
    let output = sh.output().unwrap();
    let no_core = rows(&stdout(&output)).iter().all(|row| row.core == 0);
    assert!(no_core, "{output:?}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

/// A shell that says something else than the real one must not pass.
#[test]
fn believes_no_wrong_shell() {
    let folder = Folder::new("sh");
    let write = "printf '#!/bin/sh\necho 0\n' >\"$0/sh\"; chmod 755 \"$0/sh\"";
    let mut sh = Command::new("sh");
    let written = sh.args(["-c", write]).arg(&folder.0).status();
    assert!(written.unwrap().success());
    let output = Command::new(DEMO).env("PATH", &folder.0).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    let complaint = "Error: exit-7: $? is 7 by the status word, but 0 in sh";
    assert!(error.starts_with(complaint), "{output:?}");
}
