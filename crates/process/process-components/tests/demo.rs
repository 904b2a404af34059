#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// A shell that runs the demo as `$0`, without what this test has inherited.
fn shell(script: &str) -> Command {
    let close = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-;";
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{close} {script}"), DEMO]);
    shell
}

fn run(script: &str) -> String {
    let output = shell(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What is printed beside this label.
fn row<'a>(text: &'a str, label: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim_start);
    let value = lines.find_map(|line| line.strip_prefix(label));
    value.expect(text).trim()
}

/// Looks from outside, while the demo stands still: its output is blocked.
#[test]
fn the_kernel_tells_others_the_same() {
    let (mut output, full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while (&full).write(b"\n").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut command = shell("exec \"$0\"");
    let mut demo = command.stdout(OwnedFd::from(full)).spawn().unwrap();
    drop(command); // it holds an end of the pair

    let pid = demo.id();
    let read = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let link = |fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
    while link(6).is_none() || !read().contains("State:\tS") {
        assert!(demo.try_wait().unwrap().is_none(), "it ended");
    }
    let status = read();
    let links = [0, 1, 2, 3, 4, 5, 6].map(|fd| link(fd).unwrap());
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.wait().unwrap().success());

    assert_eq!(row(&text, "process"), pid.to_string());
    assert_eq!(row(&text, "parent"), std::process::id().to_string());
    assert_eq!(row(&text, "threads"), "1");
    assert!(row(&text, "memory").ends_with(" kB"), "{text}");
    for (fd, target) in links.iter().enumerate() {
        let label = if fd < 3 { "" } else { "new  " };
        let target = target.to_str().unwrap();
        assert_eq!(row(&text, &format!("{label}{fd}  ")), target, "{text}");
    }
    for (label, field) in [("handled", "SigCgt:"), ("blocked", "SigBlk:")] {
        let mask = u64::from_str_radix(row(&status, field), 16).unwrap();
        let (_, now) = row(&text, label).split_once("▶").unwrap();
        for (signal, name) in [
            (1, "SIGHUP"),
            (7, "SIGBUS"),
            (10, "SIGUSR1"),
            (11, "SIGSEGV"),
            (12, "SIGUSR2"),
            (31, "SIGSYS"),
        ] {
            let inside = (mask >> (signal - 1)) & 1 == 1;
            assert_eq!(now.contains(name), inside, "{name} {label}: {text}");
        }
    }
}

/// Both Try lines: the shell decides where 0 and 1 lead, and takes 4.
#[test]
fn each_one_opened_gets_the_lowest_free_number() {
    for (taken, numbers) in [
        ("</dev/null | cat", "[3, 4, 5, 6]"),
        ("4</dev/null | cat", "[3, 5, 6, 7]"),
        ("3</dev/null 5</dev/null 9</dev/null | cat", "[4, 6, 7, 8]"),
    ] {
        let text = run(&format!("\"$0\" {taken}"));
        let verdict = format!(
            "\n\nlowest free: {numbers}, opened: {numbers}\n\
             SIGUSR1 is handled, SIGUSR2 is blocked\n"
        );
        assert!(text.ends_with(&verdict), "{text}");
        assert!(row(&text, "1  ").starts_with("pipe:["), "{text}");
        assert_eq!(text.matches("    new ").count(), 4, "{text}");
    }
    assert_eq!(row(&run("\"$0\" </dev/zero"), "0  "), "/dev/zero");
}

#[test]
fn what_changed_is_shown_before_and_after() {
    let text = run("exec \"$0\"");
    let handled = "[SIGBUS, SIGSEGV]  ──▶  [SIGBUS, SIGUSR1, SIGSEGV]";
    assert_eq!(row(&text, "handled"), handled);
    let (before, after) = row(&text, "blocked").split_once("▶").unwrap();
    assert!(!before.contains("SIGUSR2"), "{text}");
    assert!(after.contains("SIGUSR2"), "{text}");
}
