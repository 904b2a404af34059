use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_communication-cost");

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Round trips per second, and sleeps in each, of a way.
fn row(output: &Output, way: &str) -> [f64; 2] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(way))
        .expect(way);
    let numbers: Vec<_> = row
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.try_into().unwrap()
}

/// Checks what holds on one core and on many; returns the rates by memory and by pipe.
fn check(output: &Output) -> [f64; 2] {
    for way in ["processes, pipes", "threads, channels"] {
        let [rate, sleeps] = row(output, way);
        assert!(rate > 0.0 && sleeps > 0.1 && sleeps < 4.5, "{output:?}");
    }
    let [[memory, sleeps], [pipes, _]] =
        ["threads, shared memory", "processes, pipes"]
            .map(|way| row(output, way));
    assert!(
        memory > 0.0 && sleeps * memory * 0.3 < 40.0,
        "a few in all: {output:?}"
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap().split_whitespace();
    let rates: Vec<f64> = last.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(rates, [memory, pipes], "{text}");
    [memory, pipes]
}

#[test]
fn memory_needs_no_sleep_and_the_kernel_does() {
    for looks in ["1", "200", "10000"] {
        check(&run(&[DEMO], &["--looks", looks]));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_one_core_looking_long_is_slower_than_a_pipe() {
    for looks in ["200", "10000"] {
        let output = run(&["taskset", "-c", "0", DEMO], &["--looks", looks]);
        if output.stderr.starts_with(b"taskset") {
            return; // core 0 is not ours
        }
        let [memory, pipes] = check(&output);
        assert!(looks != "10000" || memory < pipes, "{output:?}");
    }
}

/// Seen from outside: the other process, which ends with the demo even if that is killed; and the
/// other thread.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_partners() {
    use std::process::Stdio;
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    for kill in [false, true] {
        let mut demo =
            Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
        let tasks = format!("/proc/{}/task", demo.id());
        let (mut most, mut cat) = (0, None);
        while demo.try_wait().unwrap().is_none() {
            most = most.max(
                std::fs::read_dir(&tasks).map_or(0, |entries| entries.count()),
            );
            let children = read(format!("{tasks}/{}/children", demo.id()));
            let is_cat =
                |pid: &&str| read(format!("/proc/{pid}/comm")) == "cat\n";
            let seen = children.split_whitespace().find(is_cat);
            if let Some(pid) = seen {
                cat = Some(pid.to_string());
                if kill {
                    demo.kill().unwrap();
                }
            }
        }
        let cat = cat.expect("no child was seen");
        // While the second way with threads begins, the thread of the first one may just be ending.
        assert!(kill || most == 2 || most == 3, "{most} threads at most");
        // Killed, the demo has not waited for it: an event that is reported nowhere but here.
        while read(format!("/proc/{cat}/stat")).contains("(cat) ") {
            let state = read(format!("/proc/{cat}/stat"));
            if state.contains("(cat) Z") {
                break; // ended, and waits for whoever adopts orphans here
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--looks", "0"][..],
        &["--looks", "10001"],
        &["--pin"],
        &["--no"],
    ] {
        let output = run(&[DEMO], args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
