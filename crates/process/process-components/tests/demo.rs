#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

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

/// The begin, the end and the address inside of the heap's or stack's row.
fn mapping(text: &str, label: &str, holds: &str) -> [usize; 3] {
    let (range, address) = rows(text, label)[0].split_once(holds).unwrap();
    let (begin, end) = range.split_once('-').unwrap();
    [begin, end, address].map(|hex| usize::from_str_radix(hex, 16).unwrap())
}

/// Seen from outside: its output is blocked, so it stands still before the
/// first line of its box.
#[test]
#[cfg_attr(target_feature = "crt-static", ignore = "musl's malloc changes it")]
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
    let pid = demo.id();
    let parent = std::process::id();
    let read =
        |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let leads_to =
        |number| fs::read_link(format!("/proc/{pid}/fd/{number}")).ok();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !(leads_to(6).is_some() && read("status").contains("State:\tS")) {
        assert!(Instant::now() < deadline, "{}", read("status"));
    }
    let status = read("status");
    let maps = read("maps");
    let targets = [0, 1, 2, 3, 4, 5, 6].map(leads_to);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.wait().unwrap().success());

    let ids = [
        format!("PID {pid}, PPID {parent}"),
        format!("TID {pid}, threads: 1"),
    ];
    assert_eq!(rows(&text, "ids"), ids);
    assert_eq!(rows(&text, "directory"), ["/"]);
    assert_eq!(
        rows(&text, "errno"),
        ["2 ENOENT: No such file or directory"]
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
    for (number, (name, link)) in names.iter().zip(targets).enumerate() {
        let row = rows(&text, &format!("{number} {name}"))[0];
        let target = link.unwrap().to_string_lossy().to_string();
        assert!(target.ends_with(row.trim_start_matches('…')), "{row}");
    }
    for (label, holds, name) in [
        ("heap", " holds a Box at ", "[heap]"),
        ("stack", " holds a local at ", "[stack]"),
    ] {
        let [begin, end, address] = mapping(&text, label, holds);
        assert!((begin..end).contains(&address), "{text}");
        let range = rows(&text, label)[0].split(' ').next().unwrap();
        let line = maps.lines().find(|line| line.starts_with(range));
        assert!(line.unwrap().contains(" rw-p "), "{maps}");
        if cfg!(target_env = "gnu") {
            assert!(line.unwrap().ends_with(name), "{maps}");
        }
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
            (1, "HUP"),
            (7, "BUS"),
            (10, "USR1"),
            (11, "SEGV"),
            (12, "USR2"),
            (13, "PIPE"),
            (31, "SYS"),
        ] {
            let inside = (mask >> (signal - 1)) & 1 == 1;
            assert_eq!(inside, now.contains(name), "{name} {label}: {text}");
        }
    }
}

#[test]
fn what_changed_is_shown_before_and_after() {
    let text = shell("exec \"$0\"");
    assert_eq!(rows(&text, "handled"), ["{BUS SEGV}  ──▶  {BUS USR1 SEGV}"]);
    for (label, signal, was, is) in [
        ("ignored", "PIPE", true, false),
        ("blocked", "USR2", false, true),
    ] {
        let (before, after) =
            rows(&text, label)[0].split_once("  ──▶  ").unwrap();
        assert_eq!(before.contains(signal), was, "{text}");
        assert_eq!(after.contains(signal), is, "{text}");
    }
}

/// A heap need not be what the kernel calls [heap]: here malloc asks it for a
/// mapping each time. (Another C library than glibc pays no heed to this.)
#[test]
fn the_heap_is_where_a_box_is() {
    let output = Command::new(DEMO)
        .env("MALLOC_MMAP_THRESHOLD_", "0")
        .env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let [begin, end, address] = mapping(&text, "heap", " holds a Box at ");
    assert!((begin..end).contains(&address), "{text}");
    assert_ne!(
        [begin, end],
        mapping(&text, "stack", " holds a local at ")[..2]
    );
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
    for (taken, numbers, socket) in [
        ("", "[3, 4, 5, 6]", 6),
        ("4</dev/null", "[3, 5, 6, 7]", 7),
        ("3</dev/null 5</dev/null 9</dev/null", "[4, 6, 7, 8]", 8),
    ] {
        let text = shell(&format!("exec \"$0\" {taken}"));
        let verdict = format!(
            "\n\nlowest free: {numbers}, opened: {numbers}\n\
             removed by close: {socket}; USR1 is handled, USR2 blocked, \
             errno ENOENT\n"
        );
        assert!(text.ends_with(&verdict), "{text}");
    }
}

#[test]
fn what_is_ignored_is_inherited_what_is_handled_is_not() {
    let text = shell("trap '' INT; trap : HUP; exec \"$0\"");
    assert_eq!(rows(&text, "handled"), ["{BUS SEGV}  ──▶  {BUS USR1 SEGV}"]);
    let ignored = rows(&text, "ignored")[0];
    assert_eq!(ignored.matches("INT").count(), 2, "{text}");
    assert!(!ignored.contains("HUP"), "{text}");
}

/// What is blocked is inherited, too, and what was blocked before still is.
#[test]
fn shows_its_point_if_usr2_was_blocked_before() {
    let mut demo = Command::new(DEMO);
    let block = || Ok(SigSet::from(Signal::SIGUSR2).thread_block()?);
    // SAFETY: thread_block is one system call.
    unsafe { demo.pre_exec(block) };
    let output = demo.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(rows(&text, "blocked"), ["{USR2}  ──▶  {USR2}"]);
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
    assert!(text.contains("│ directory    …"), "{text}");
    assert!(text.contains("à/the-end│\n"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 23, "{text}");
    let (verdict, boxed) = (&lines[lines.len() - 3..], &lines[..20]);
    assert!(
        boxed.iter().all(|line| line.chars().count() == 80),
        "{text}"
    );
    assert!(
        verdict.iter().all(|line| line.chars().count() <= 80),
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
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("(os error 24)"), "{message}");
}

#[test]
fn cannot_run_without_proc() {
    let script = "mount -t tmpfs none /proc || exit 99; exec \"$0\"";
    let args = ["-rm", "sh", "-c", script, DEMO];
    let Ok(output) = Command::new("unshare").args(args).output() else {
        return eprintln!("not tested: there is no unshare here");
    };
    let message = String::from_utf8_lossy(&output.stderr);
    if message.starts_with("unshare:") || output.status.code() == Some(99) {
        return eprintln!("not tested: {message}");
    }
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(message.contains("/proc"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}
