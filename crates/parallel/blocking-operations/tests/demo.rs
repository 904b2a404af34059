use std::fs;
use std::process::{Command, Output, Stdio};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// One of both runs: what its picture shows, and what the verdict says of it.
#[derive(Debug)]
struct Part {
    /// Of each thread the columns where it sends
    rows: Vec<Vec<usize>>,
    seconds: f64,
    /// How many times 100 ms that is
    times: f64,
    most_at_once: usize,
}

#[derive(Debug)]
struct Seen {
    alone: Part,
    together: Part,
    on_a_core: f64,
}

fn numbers(line: &str) -> Vec<f64> {
    let mut numbers = Vec::new();
    for word in line.split([' ', ',', ';', 'm']) {
        numbers.extend(word.parse::<f64>());
    }
    numbers
}

fn part(rows: &[&str], line: &str, threads: &str) -> Part {
    assert!(line.starts_with(&format!("{threads}: ")), "{line}");
    assert!(line.contains("waiting at the same time: "), "{line}");
    let mut columns = Vec::new();
    for (number, row) in (1..).zip(rows) {
        assert!(row.starts_with(&format!("{number:>4} ")), "{row}");
        let mut sent = Vec::new();
        for (column, symbol) in row.chars().skip(5).enumerate() {
            match symbol {
                '▌' => sent.push(column),
                '▒' => {
                    assert!(!sent.is_empty(), "waits for nothing: {row}");
                }
                ' ' => assert!(sent.is_empty(), "it does not wait: {row}"),
                _ => panic!("{row}"),
            }
        }
        columns.push(sent);
    }
    // 8 threads: 0.101 s = 1.0 times 100ms, waiting at the same time: 8
    let numbers = numbers(line.split_once(": ").unwrap().1);
    assert_eq!(numbers.len(), 4, "{line}");
    assert_eq!(numbers[2], 100.0, "{line}");
    Part {
        rows: columns,
        seconds: numbers[0],
        times: numbers[1],
        most_at_once: numbers[3] as usize,
    }
}

/// The output of a run with so many threads, all of which sent a request.
fn look(output: &Output, threads: usize) -> Seen {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(lines[0].starts_with("Each answer takes 100ms."), "{text}");
    let blocks: Vec<&[&str]> =
        lines[1..].split(|line| line.is_empty()).collect();
    let [[], alone, together, [one, many, last]] = blocks[..] else {
        panic!("{text}");
    };
    let last_numbers = numbers(last);
    let [ratio, on_a_core, of] = last_numbers[..] else {
        panic!("{text}");
    };
    let seen = Seen {
        alone: part(alone, one, "1 thread"),
        together: part(together, many, &format!("{threads} threads")),
        on_a_core,
    };
    assert_eq!(seen.alone.rows.len(), 1, "{text}");
    assert_eq!(seen.alone.most_at_once, 1, "{text}");
    assert_eq!(seen.together.rows.len(), threads, "{text}");
    for part in [&seen.alone, &seen.together] {
        assert!((part.seconds * 10.0 - part.times).abs() < 0.1, "{text}");
    }
    let seconds = seen.alone.seconds + seen.together.seconds;
    assert!((seconds - of).abs() < 0.002, "{text}");
    let times = seen.alone.seconds / seen.together.seconds;
    assert!((times - ratio).abs() < 0.2, "{text}");
    assert!(on_a_core > 0.0, "{text}");
    seen
}

#[test]
fn the_threads_wait_once_where_one_thread_waits_eight_times() {
    let output = run(&[DEMO], &[]);
    let seen = look(&output, 8);
    assert!(output.stdout.iter().filter(|byte| **byte == b'\n').count() <= 23);
    assert!(seen.alone.times >= 8.0, "no answer comes early: {seen:?}");
    assert!(
        seen.together.times >= 1.0,
        "no answer comes early: {seen:?}"
    );
    assert!(seen.together.seconds < seen.alone.seconds / 2.0, "{seen:?}");
    assert!(seen.together.most_at_once >= 4, "{seen:?}");
    assert!(seen.on_a_core < seen.alone.seconds / 4.0, "{seen:?}");
    assert_eq!(seen.alone.rows[0].len(), 8, "{seen:?}");
    for row in &seen.together.rows {
        assert_eq!(row.len(), 1, "{seen:?}");
    }
    // The longer one fills the picture, at equal steps unless the machine is
    // busy. The other one, drawn to the same scale, ends in its first half.
    let sent = &seen.alone.rows[0];
    assert!(sent[0] == 0 && sent.is_sorted() && sent[7] < 72, "{seen:?}");
    assert!(sent[7] > 36, "{seen:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let length = |line: &str| line.chars().count();
    assert!((75..=77).contains(&length(text.lines().nth(2).unwrap())));
    for line in text.lines().skip(4).take(8) {
        assert!(length(line) <= 5 + 36, "{text}");
        assert!(line.contains("▌▒"), "{text}");
    }
}

#[test]
fn two_threads_need_half_the_sum() {
    let seen = look(&run(&[DEMO], &["--threads", "2"]), 2);
    assert_eq!(seen.together.most_at_once, 2);
    assert!(seen.together.times >= 4.0, "{seen:?}");
    assert!(seen.together.seconds < seen.alone.seconds, "{seen:?}");
    let sent: Vec<usize> = seen.together.rows.iter().map(Vec::len).collect();
    assert_eq!(sent.iter().sum::<usize>(), 8, "{seen:?}");
    assert!(sent.iter().all(|count| *count >= 2), "{seen:?}");
}

#[test]
fn each_request_is_sent_once() {
    for requests in [2, 3, 16] {
        let count = requests.to_string();
        let args = ["--requests", &count, "--threads", "2"];
        let seen = look(&run(&[DEMO], &args), 2);
        assert_eq!(seen.alone.rows[0].len(), requests, "{seen:?}");
        let together = seen.together.rows.concat().len();
        assert_eq!(together, requests, "{seen:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn one_core_is_enough() {
    let output = run(&["taskset", "-c", "0", DEMO], &[]);
    if output.stderr.starts_with(b"taskset") {
        return; // core 0 is not ours
    }
    let seen = look(&output, 8);
    assert!(seen.together.seconds < seen.alone.seconds / 2.0, "{seen:?}");
}

/// The seconds on a core are those of the requests, not those of a program that
/// was there before: `cargo run` becomes the demo, and has computed a lot.
#[test]
fn what_ran_before_in_this_process_does_not_count() {
    let count = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done";
    let script = format!("{count}; exec {DEMO}");
    let output = run(&["sh", "-c", &script], &[]);
    let seen = look(&output, 8);
    assert!(seen.on_a_core < seen.alone.seconds / 4.0, "{seen:?}");
}

/// Seen from outside: the threads that sent requests sleep, at the same time.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_threads_blocked() {
    let mut demo = Command::new(DEMO);
    let mut demo = demo.stdout(Stdio::null()).spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most_asleep = 0;
    while demo.try_wait().unwrap().is_none() {
        let mut asleep = 0;
        for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("stat"));
            if stat.is_ok_and(|stat| stat.contains(" (client) S ")) {
                asleep += 1;
            }
        }
        most_asleep = most_asleep.max(asleep);
    }
    assert!(most_asleep > 4, "of 8 clients only {most_asleep} slept");
}
