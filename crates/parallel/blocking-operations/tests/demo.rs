use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_blocking-operations");

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Of the run with so many threads: seconds, CPU seconds, most requests under way, rows drawn.
fn part(output: &Output, threads: &str) -> (f64, f64, usize, usize) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("{threads} threads: ")));
    let head = lines.next().unwrap();
    let numbers = head
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter(|w| !w.is_empty());
    let numbers: Vec<f64> = numbers.map(|word| word.parse().unwrap()).collect();
    let rows = lines.take_while(|line| line.contains('▌')).count();
    (numbers[1], numbers[2], numbers[3] as usize, rows)
}

#[test]
fn the_pool_waits_once_where_one_thread_waits_eight_times() {
    let output = run(&[DEMO], &[]);
    let (serial, serial_cpu, alone, serial_rows) = part(&output, "1");
    let (pooled, pooled_cpu, together, rows) = part(&output, "8");
    assert!(
        serial >= 8.0 * 0.05 && pooled >= 0.05,
        "no answer comes early: {output:?}"
    );
    assert!(pooled < serial / 2.0, "{output:?}");
    assert_eq!((alone, serial_rows, rows), (1, 1, 8));
    assert!(together >= 4, "{output:?}");
    assert!(
        serial_cpu < serial / 4.0 && pooled_cpu < serial / 4.0,
        "waiting is not computing"
    );
}

#[test]
fn two_workers_need_half_the_sum() {
    let output = run(&[DEMO], &["--workers", "2"]);
    let (serial, _, _, _) = part(&output, "1");
    let (pooled, _, together, rows) = part(&output, "2");
    assert!(
        (together, rows) == (2, 2) && pooled >= 4.0 * 0.05 && pooled < serial,
        "{output:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn one_core_is_enough() {
    let output = run(&["taskset", "-c", "0", DEMO], &[]);
    if output.stderr.starts_with(b"taskset") {
        return; // core 0 is not ours
    }
    let (serial, ..) = part(&output, "1");
    let (pooled, ..) = part(&output, "8");
    assert!(pooled < serial / 2.0, "{output:?}");
}

/// Seen from outside: the demo's threads sleep, all at the same time.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_threads_blocked() {
    let mut demo = Command::new(DEMO)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most_asleep = 0;
    while demo.try_wait().unwrap().is_none() {
        let entries = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let states = entries.filter_map(|e| {
            std::fs::read_to_string(e.path().join("stat")).ok()
        });
        most_asleep = most_asleep
            .max(states.filter(|stat| stat.contains(") S ")).count());
    }
    assert!(
        most_asleep > 8,
        "8 clients and their server, but only {most_asleep} threads slept"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--requests", "1"][..],
        &["--workers", "17"],
        &["--workers", "1"],
        &["--no"],
    ] {
        let output = run(&[DEMO], args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
