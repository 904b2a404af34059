#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

const DEMO: &str = env!("CARGO_BIN_EXE_fork-exec-exit-reap");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into()
}

#[test]
fn the_exit_code_travels_from_the_program_to_the_parent() {
    for code in ["0", "1", "7", "42", "127", "255"] {
        let output = run(&["--exit-code", code]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = stdout(&output);
        assert!(
            text.contains(&format!(", {code})\n")),
            "waitpid's status: {text}"
        );
        assert!(text.contains("ran \"sh\", state Z (zombie)"), "{text}");
        assert!(
            text.ends_with(&format!("exited with {code}, is gone\n")),
            "{text}"
        );
    }
}

/// Seen from outside: the program that the child becomes writes down who it is.
#[test]
fn the_program_runs_under_the_childs_pid() {
    let folder = std::env::temp_dir()
        .join(format!("fork-exec-test-{}", std::process::id()));
    let (folder, probe) =
        (folder.display(), format!("{}/probe", folder.display()));
    let write = format!(
        "mkdir {folder} && cd {folder} && chmod 755 . &&
         printf '#!/bin/sh\necho $$ $PPID >{folder}/ids\nexec sh \"$@\"\n' >probe && chmod 755 probe"
    );
    assert!(
        Command::new("sh")
            .args(["-c", &write])
            .status()
            .unwrap()
            .success()
    );
    let demo = Command::new(DEMO)
        .args(["--program", &probe])
        .stdout(Stdio::piped())
        .spawn();
    let demo = demo.unwrap();
    let parent = demo.id();
    let text = stdout(&demo.wait_with_output().unwrap());
    let ids = std::fs::read_to_string(format!("{folder}/ids")).unwrap();
    std::fs::remove_dir_all(folder.to_string()).unwrap();

    let (pid, ppid) = ids.trim().split_once(' ').unwrap();
    assert_eq!(ppid, parent.to_string());
    assert!(text.contains(&format!("──────▶ {pid}")), "{ids} {text}");
    assert!(
        text.contains(&format!("Exited(Pid({pid}), 7)")),
        "{ids} {text}"
    );
}

#[test]
fn a_program_that_does_not_exist() {
    let output = run(&["--program", "no-such"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains(", 127)\n"), "{output:?}");
    assert!(
        stderr(&output).contains("\"no-such\": ENOENT"),
        "the child's report: {output:?}"
    );
    assert!(
        stderr(&output).contains("Error: exec failed"),
        "the parent's: {output:?}"
    );
}

#[test]
fn a_program_that_exits_otherwise_is_not_taken_for_the_right_one() {
    let output = run(&["--program", "true", "--exit-code", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unexpected: Exited"), "{output:?}");
}

/// A limit on processes binds ordinary users only, so root becomes one.
#[test]
fn says_so_where_fork_is_refused() {
    let limited = |args: &str| {
        let script = format!(
            "ulimit -p 0 2>/dev/null || ulimit -u 0; exec {DEMO} {args}"
        );
        let mut shell = Command::new("sh");
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            shell.uid(65534);
        }
        shell
            .args(["-c", &script])
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap()
    };
    if !limited("--help").status.success() {
        return eprintln!("not tested: an ordinary user cannot run {DEMO}");
    }
    let output = limited("");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("Error: fork refused: EAGAIN"),
        "{output:?}"
    );
    assert_eq!(
        stderr(&output).lines().count(),
        1,
        "one sentence: {output:?}"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--exit-code", "256"][..],
        &["--exit-code", "-1"],
        &["--program"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
