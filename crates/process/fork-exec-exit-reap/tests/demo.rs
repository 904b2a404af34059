#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Command, Output, Stdio};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const SOURCE: &str = include_str!("../src/main.rs");

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

/// The PIDs of the row of `fork`: parent and child.
fn pids(text: &str) -> (String, String) {
    let row = text.lines().find(|line| line.starts_with("fork"));
    let words: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(words[2], "──────▶", "{text}");
    (words[1].to_string(), words[3].to_string())
}

#[test]
fn the_exit_code_travels_from_the_program_to_the_parent() {
    for code in ["0", "1", "7", "42", "127", "255"] {
        let output = run(&["--exit-code", code]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = stdout(&output);
        let (parent, child) = pids(&text);
        assert_ne!(parent, child);
        let rows = format!(
            "        parent         child   (a name has 15 bytes at most)\n\
             start   {parent:<23}runs \"fork-exec-exit-\"\n\
             fork    {parent:<7}──────▶ {child:<8}runs \"fork-exec-exit-\"\n\
             exec                   {child:<8}execvp \"sh\"\n\
             exit                   {child:<8}ran \"sh\", is Z (zombie)\n\
             reap    {parent:<7}◀────── {child:<8}\
             waitpid: Exited(Pid({child}), {code})\n\
             check   {parent:<7}──────▶ {child:<8}\
             kill: ESRCH: No such process\n\n\
             PID {child} ran \"fork-exec-exit-\", and after exec \"sh\"\n\
             its parent got exit code {code}, then PID {child} was gone\n"
        );
        assert_eq!(text, rows);
    }
}

/// A program that is a script: it lies in a folder of its own.
fn write_program(name: &str, script: &str) -> String {
    let folder = std::env::temp_dir();
    let folder =
        folder.join(format!("fork-exec-{name}-{}", std::process::id()));
    let folder = folder.display();
    let write = format!(
        "mkdir '{folder}' && cd '{folder}' && chmod 755 . &&
         printf '#!/bin/sh\n{script}\n' >probe && chmod 755 probe"
    );
    let status = Command::new("sh").args(["-c", &write]).status().unwrap();
    assert!(status.success());
    folder.to_string()
}

/// Seen from outside: the program that the child becomes writes down its PID.
#[test]
fn the_program_runs_under_the_childs_pid() {
    let script = "echo $$ $PPID >\"${0%%/*}/ids\"\nexec sh \"$@\"";
    let folder = write_program("pids", script);
    let demo = Command::new(DEMO)
        .args(["--program", &format!("{folder}/probe")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let demo_pid = demo.id().to_string();
    let text = stdout(&demo.wait_with_output().unwrap());
    let ids = fs::read_to_string(format!("{folder}/ids")).unwrap();
    fs::remove_dir_all(&folder).unwrap();

    let (child_pid, parent_pid) = ids.trim().split_once(' ').unwrap();
    let (parent, child) = pids(&text);
    assert_eq!(parent_pid, demo_pid);
    assert_eq!(parent, demo_pid, "{text}");
    assert_eq!(child, child_pid, "{ids} {text}");
    let status = format!("waitpid: Exited(Pid({child_pid}), 7)\n");
    assert!(text.contains(&status), "{ids} {text}");
}

/// The child's alarm is kept by exec, so that nothing outlives a demo. Perl can
/// ask for the seconds that are left.
#[test]
fn the_program_has_ten_seconds_at_most() {
    let perl = ["-c", "command -v perl >/dev/null"];
    if !Command::new("sh").args(perl).status().unwrap().success() {
        return eprintln!("not tested: no perl here");
    }
    let script = "exec perl -e \"exit((alarm 0) > 0 ? 42 : 1)\"";
    let folder = write_program("alarm", script);
    let probe = format!("{folder}/probe");
    let output = run(&["--program", &probe, "--exit-code", "42"]);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Every Try line, as it stands, but for cargo.
#[test]
fn the_try_lines_do_what_they_say() {
    let mut codes = Vec::new();
    for line in SOURCE.lines() {
        let Some(line) = line.strip_prefix("//! Try:") else {
            continue;
        };
        let cargo = "cargo run -p fork-exec-exit-reap --";
        assert!(line.contains(cargo), "{line}");
        let command = line.replace(cargo, "\"$0\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command, DEMO]);
        shell.env_remove("RUST_BACKTRACE");
        let output = shell.output().unwrap();
        let says_so = line.contains("# exits 1");
        assert_eq!(output.status.code() == Some(1), says_so, "{line}");
        codes.push(output.status.code().unwrap());
    }
    assert_eq!(codes, [0, 1]);
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
        stderr(&output).contains("Error: exec failed: still fork-exec-exit-\n"),
        "the parent's: {output:?}"
    );
}

#[test]
fn a_program_that_exits_otherwise_is_not_taken_for_the_right_one() {
    let output = run(&["--program", "true", "--exit-code", "3"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with("Error: exit code 3 was expected, and waitpid said"),
        "{text}"
    );
    assert!(text.trim_end().ends_with(", 0)"), "{text}");
}

/// In a mount namespace of its own, /proc is an empty folder.
#[test]
fn says_so_where_there_is_no_proc() {
    let hide = "mount -t tmpfs none /proc && echo hidden && exec \"$0\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", hide, DEMO])
        .output();
    let Ok(output) = output else {
        return eprintln!("not tested: no unshare here");
    };
    if output.stdout.is_empty() {
        return eprintln!("not tested: unshare or mount is refused here");
    }
    assert_eq!(stdout(&output), "hidden\n");
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(
        stderr(&output).starts_with("cannot run here: "),
        "{output:?}"
    );
    assert_eq!(stderr(&output).lines().count(), 1, "{output:?}");
}
