#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_process-components");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Closes what this test may have inherited.
const CLOSE: &str = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-;";

/// What a shell prints that runs the demo as `$0`.
fn shell(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", &format!("{CLOSE} {script}"), DEMO])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The text of the box's rows with this label, from top to bottom.
fn rows<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let boxed = text
        .lines()
        .filter_map(|line| line.strip_prefix("│ ")?.strip_suffix('│'));
    let rows =
        boxed.filter_map(|row| row.strip_prefix(&format!("{label:<14}")));
    rows.map(str::trim_end).collect()
}

/// Seen from outside: its output is blocked, so it stands still before the first line of its box.
#[test]
fn the_kernel_tells_others_the_same() {
    let (mut output, full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while (&full).write(b"\n").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{CLOSE} exec \"$0\""), DEMO])
        .stdout(OwnedFd::from(full));
    let mut demo = command.current_dir("/").spawn().unwrap();
    drop(command); // it holds an end of the pair
    let (pid, parent) = (demo.id(), std::process::id());
    let read =
        |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let target =
        |number| fs::read_link(format!("/proc/{pid}/fd/{number}")).ok();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(target(6).is_some() && read("status").contains("State:\tS")) {
        assert!(Instant::now() < deadline, "{}", read("status"));
    }
    let (status, maps, targets) = (
        read("status"),
        read("maps"),
        [0, 1, 2, 3, 4, 5, 6].map(target),
    );
    let in_use = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.wait().unwrap().success());

    let ids = [
        format!("PID {pid}, PPID {parent}"),
        format!("TID {pid}, threads: 1"),
    ];
    assert_eq!(rows(&text, "ids"), ids);
    assert_eq!(rows(&text, "directory"), ["/"]);
    assert_eq!(rows(&text, "in use"), [in_use.to_string()]);
    assert!(
        rows(&text, "blocked")[0]
            .split('▶')
            .next_back()
            .unwrap()
            .contains("USR2"),
        "{text}"
    );
    let names = [
        "stdin",
        "stdout",
        "stderr",
        "file",
        "pipe, read",
        "pipe, write",
        "socket",
    ];
    for (number, (name, target)) in names.iter().zip(targets).enumerate() {
        let (row, target) =
            (rows(&text, &format!("{number} {name}"))[0], target.unwrap());
        assert!(
            target
                .to_str()
                .unwrap()
                .ends_with(row.trim_start_matches('…')),
            "{row}"
        );
    }
    for (part, name) in [("heap", "[heap]"), ("stack", "[stack]")] {
        let line = maps.lines().find(|line| line.ends_with(name)).unwrap();
        assert!(line.starts_with(rows(&text, part)[0]), "{line} {text}");
    }
    for (label, mask) in [
        ("handled", "SigCgt:"),
        ("ignored", "SigIgn:"),
        ("blocked", "SigBlk:"),
    ] {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix(mask))
            .unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        let now = rows(&text, label)[0].rsplit("▶  ").next().unwrap();
        for (signal, name) in [
            (7, "BUS"),
            (10, "USR1"),
            (11, "SEGV"),
            (12, "USR2"),
            (13, "PIPE"),
        ] {
            assert_eq!(
                (mask >> (signal - 1)) & 1 == 1,
                now.contains(name),
                "{name} {label}: {text}"
            );
        }
    }
}

#[test]
fn the_shell_decides_where_the_first_descriptors_lead() {
    let text = shell("\"$0\" </dev/null 2>/dev/zero | cat");
    assert_eq!(rows(&text, "0 stdin"), ["/dev/null"]);
    assert_eq!(rows(&text, "2 stderr"), ["/dev/zero"]);
    assert!(rows(&text, "1 stdout")[0].starts_with("pipe:["), "{text}");
    assert_ne!(rows(&text, "1 stdout"), rows(&text, "4 pipe, read"));
    assert_eq!(rows(&text, "4 pipe, read"), rows(&text, "5 pipe, write"));
}

#[test]
fn each_one_opened_gets_the_lowest_free_number() {
    for (taken, expected) in [
        ("", "opened [3, 4, 5, 6], close removed 6;"),
        ("4</dev/null", "opened [3, 5, 6, 7], close removed 7;"),
        (
            "3</dev/null 5</dev/null 9</dev/null",
            "opened [4, 6, 7, 8], close removed 8;",
        ),
    ] {
        let text = shell(&format!("exec \"$0\" {taken}"));
        assert!(text.lines().last().unwrap().starts_with(expected), "{text}");
    }
}

#[test]
fn what_is_ignored_is_inherited_what_is_handled_is_not() {
    let text = shell("trap '' INT; trap : HUP; exec \"$0\"");
    assert_eq!(rows(&text, "handled"), ["{BUS SEGV}  ──▶  {BUS USR1 SEGV}"]);
    assert!(rows(&text, "ignored")[0].contains("INT"), "{text}");
}

#[test]
fn the_box_fits_whatever_the_paths() {
    let folder = std::env::temp_dir()
        .join(format!("components-test-{}", std::process::id()));
    let deep = folder.join("déjà".repeat(20)).join("the-end");
    fs::create_dir_all(&deep).unwrap();
    let output = Command::new(DEMO).current_dir(&deep).output().unwrap();
    fs::remove_dir_all(folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("│ directory    …") && text.contains("à/the-end│\n"),
        "{text}"
    );
    let (lines, widths): (Vec<_>, Vec<_>) = text
        .lines()
        .map(|line| (line, line.chars().count()))
        .unzip();
    assert!(lines.len() <= 24, "{text}");
    assert!(
        widths[..lines.len() - 2].iter().all(|&width| width == 80),
        "{text}"
    );
}

#[test]
fn fails_where_no_descriptor_is_free() {
    let limited = ["-c", "ulimit -n 5; exec \"$0\"", DEMO];
    let output = Command::new("sh")
        .args(limited)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("Too many open files")
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--no"][..], &["3"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
