use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Round trips per second, and sleeps per trip.
fn row(text: &str, way: &str) -> (f64, f64) {
    let row = text.lines().find_map(|line| line.strip_prefix(way));
    let words: Vec<&str> = row.unwrap().split_whitespace().collect();
    (words[0].parse().unwrap(), words[1].parse().unwrap())
}

/// What holds on one CPU and on many.
fn check(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let (pipe_trips, pipe_sleeps) = row(&text, "processes, pipe ");
    let (channel_trips, channel_sleeps) = row(&text, "threads, channel ");
    let (memory_trips, memory_sleeps) = row(&text, "threads, shared memory ");
    let last = text.split("\nsleeps at shared memory: ").nth(1).unwrap();
    let (sleeps, rest) = last.split_once(", in ").unwrap();
    let sleeps: f64 = sleeps.parse().unwrap();
    let trips: f64 = rest.strip_suffix(" trips\n").unwrap().parse().unwrap();
    assert!(sleeps < 30.0 || cfg!(target_os = "freebsd"), "{text}");
    assert!((sleeps / trips - memory_sleeps).abs() < 0.006, "{text}");
    // It takes 0.3 s, or more if the last of the trips takes long.
    assert!(trips > 0.29 * memory_trips, "{text}");
    // At most both sides, and at most twice each: to send, and to receive.
    assert!((0.5..4.5).contains(&pipe_sleeps), "{text}");
    assert!((0.1..4.5).contains(&channel_sleeps), "{text}");
    for rate in [pipe_trips, channel_trips, memory_trips] {
        assert!(rate > 10.0 && rate < 1e9, "{text}");
    }
}

#[test]
fn a_side_sleeps_at_pipe_and_channel_and_not_at_shared_memory() {
    check(&Command::new(DEMO).output().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn on_one_cpu_too() {
    let taskset =
        "taskset -c \"$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')\"";
    let command = format!("{taskset} \"$0\"");
    let output = Command::new("sh").args(["-c", &command, DEMO]).output();
    let output = output.unwrap();
    if output.status.code() == Some(127) {
        return eprintln!("not tested: there is no taskset");
    }
    check(&output);
}

/// Another cat, first in PATH, decides what comes back.
#[test]
fn each_number_is_compared() {
    for (cat, error) in [
        ("exit 0", "Error: "), // perhaps before the first number is written
        ("printf 12345678; exec cat", "Error: 1 was sent, "),
    ] {
        let script =
            "d=$(mktemp -d) && printf '#!/bin/sh\\n%s\\n' \"$1\" >$d/cat &&
             chmod 755 $d/cat && PATH=$d:$PATH && \"$0\"
             code=$?; rm -r $d; exit $code";
        let output = Command::new("sh")
            .args(["-c", script, DEMO, cat])
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(error), "{output:?}");
    }
}
