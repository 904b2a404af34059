#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{self, Command};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The demo, with a folder that comes first in its PATH.
fn demo(path: &str) -> Command {
    let mut demo = Command::new(DEMO);
    demo.env("PATH", format!("{path}:/usr/local/bin:/usr/bin:/bin"));
    demo.env_remove("RUST_BACKTRACE");
    demo
}

#[test]
fn the_exit_code_travels_from_the_program_to_the_parent() {
    let name = env!("CARGO_PKG_NAME");
    let name = name.get(..15).unwrap_or(name); // the kernel keeps 15 bytes
    for code in ["0", "1", "7", "42", "255"] {
        let output = demo("").args(["--exit-code", code]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let row = text.lines().find(|line| line.starts_with("fork")).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        let (parent, child) = (words[1], words[3]);
        assert_ne!(parent, child);
        let expected = format!(
            "        parent         child\n\
             start   {parent:<23}runs {name:?}\n\
             fork    {parent:<7}──────▶ {child:<8}runs {name:?}\n\
             exec                   {child:<8}execvp \"sh\"\n\
             exit                   {child:<8}ran \"sh\", is Z (zombie)\n\
             reap    {parent:<7}◀────── {child:<8}\
             waitpid: Exited(Pid({child}), {code})\n\
             check   {parent:<7}──────▶ {child:<8}\
             kill: ESRCH: No such process\n\n\
             PID {child} ran {name:?}, and after exec \"sh\"\n\
             its parent got exit code {code}, then PID {child} was gone\n"
        );
        assert_eq!(text, expected);
    }
}

/// Puts another sh into PATH. What it does is seen from outside, and judged.
#[test]
fn the_program_runs_under_the_childs_pid_and_its_exit_code_counts() {
    let folder = std::env::temp_dir().join(format!("sh-{}", process::id()));
    let path = folder.to_str().unwrap();
    fs::create_dir(&folder).unwrap();
    let sh = folder.join("sh");
    // A child writes it: this process could not run a file that another test
    // holds open, in a child that it has just forked.
    let script = format!("#!/bin/sh\necho $$ $PPID >'{path}/ids'; exit 3\n");
    let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let mut writer = Command::new("sh");
    writer.args(["-c", write]).arg(&sh).arg(script);
    assert!(writer.status().unwrap().success());

    let right = demo(path).args(["--exit-code", "3"]).output().unwrap();
    let ids = fs::read_to_string(folder.join("ids")).unwrap();
    let wrong = demo(path).output().unwrap();
    fs::remove_file(&sh).unwrap();
    fs::remove_file(folder.join("ids")).unwrap();
    let mut without = demo(path);
    without.env("PATH", path);
    let without = without.output().unwrap();
    fs::remove_dir(&folder).unwrap();

    assert_eq!(right.status.code(), Some(0), "{right:?}");
    let text = String::from_utf8_lossy(&right.stdout);
    let (child, parent) = ids.trim().split_once(' ').unwrap();
    let row = format!("fork    {parent:<7}──────▶ {child:<8}runs");
    assert!(text.contains(&row), "{ids} {text}");

    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let error = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        error.starts_with("Error: exit code 7 was expected"),
        "{error}"
    );

    assert_eq!(without.status.code(), Some(1), "{without:?}");
    let complaint = String::from_utf8_lossy(&without.stderr);
    assert!(complaint.contains("execvp \"sh\": ENOENT"), "{error}");
    assert!(
        complaint.contains("\nError: exec failed: still "),
        "{error}"
    );
}
