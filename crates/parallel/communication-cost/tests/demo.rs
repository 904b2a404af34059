#![cfg(target_os = "linux")] // --pin, and the outside look at /proc

use std::process::{Command, Output, Stdio};

const DEMO: &str = env!("CARGO_BIN_EXE_communication-cost");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Round trips per second, and sleeps in each, of a way.
fn row(output: &Output, way: &str) -> [f64; 2] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find_map(|line| line.strip_prefix(way)).expect(way);
    let numbers: Vec<_> = row.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn memory_needs_no_sleep_and_the_kernel_does() {
    for args in [&[][..], &["--pin"]] {
        let output = run(args);
        for way in ["processes, pipes", "threads, channels"] {
            let [rate, sleeps] = row(&output, way);
            assert!(rate > 0.0 && sleeps > 0.1 && sleeps < 4.5, "{output:?}");
        }
        for way in ["processes, shared memory", "threads, shared memory"] {
            let [rate, sleeps] = row(&output, way);
            assert!(rate > 0.0 && sleeps * rate * 0.2 < 40.0, "a few in all: {output:?}");
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap();
        let ratio: f64 = last.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        let [memory, pipes] =
            ["threads, shared memory", "processes, pipes"].map(|w| row(&output, w)[0]);
        assert!((memory / pipes - ratio).abs() < 0.06, "{text}");
    }
}

/// Seen from outside: pinned, the demo may use one core only, and has a child for a while.
#[test]
fn the_kernel_sees_pin_and_partner() {
    let mut demo = Command::new(DEMO).arg("--pin").stdout(Stdio::null()).spawn().unwrap();
    let (mut cores, mut partner) = (String::new(), false);
    while demo.try_wait().unwrap().is_none() {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", demo.id())).unwrap_or_default();
        if let Some(list) = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:\t")) {
            cores = list.into();
        }
        let ps = Command::new("ps").args(["-o", "pid=", "--ppid", &demo.id().to_string()]).output();
        partner |= !ps.unwrap().stdout.is_empty();
    }
    assert!(cores.parse::<u32>().is_ok(), "one core, not {cores:?}");
    assert!(partner, "no child was seen");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--pin", "0"][..], &["--pin=yes"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
