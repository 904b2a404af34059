use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(program: &[&str], args: &[&str]) -> Output {
    Command::new(program[0])
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// With one thread, or with several: what a line says, and where its picture
/// ends.
#[derive(Debug)]
struct Part {
    seconds: f64,
    times: f64,
    at_once: f64,
    most_at_once: usize,
    end: usize,
}

fn part(picture: &str, line: &str, threads: usize) -> Part {
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    for row in picture.lines() {
        let wait = row.trim_start();
        assert!(wait.chars().all(|symbol| symbol == '▒'), "{picture}");
        starts.push(row.len() - wait.len());
        ends.push(row.chars().count());
    }
    assert_eq!(starts.len(), 8, "{picture}");
    let mut most_at_once = 0;
    for start in &starts {
        let waiting =
            |row: &usize| starts[*row] <= *start && *start < ends[*row];
        most_at_once = most_at_once.max((0..8).filter(waiting).count());
    }
    // A thread sends when it has the last answer.
    assert_eq!(starts[0], 0, "{picture}");
    ends.sort_unstable();
    for (end, start) in ends.iter().zip(&starts[threads..]) {
        assert!(end <= start, "{picture}");
    }
    // 8 threads: 0.101 s = 1.0 times 100ms, waiting at the same time: 7.9
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], threads.to_string(), "{line}");
    assert_eq!(words[3..5], ["s", "="], "{line}");
    Part {
        seconds: words[2].parse().unwrap(),
        times: words[5].parse().unwrap(),
        at_once: words[words.len() - 1].parse().unwrap(),
        most_at_once,
        end: ends[7],
    }
}

/// A run with one thread, and one with so many.
fn look(output: &Output, threads: usize) -> (Part, Part) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() <= 23, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80));
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let lines: Vec<&str> = blocks[3].lines().collect();
    let alone = part(blocks[1], lines[0], 1);
    let together = part(blocks[2], lines[1], threads);
    // The longer one fills the picture.
    assert!((70..=72).contains(&alone.end), "{text}");
    for part in [&alone, &together] {
        assert!((part.seconds * 10.0 - part.times).abs() < 0.1, "{text}");
        let columns = 72.0 * part.seconds / alone.seconds;
        assert!((columns - part.end as f64).abs() < 2.5, "{text}");
    }
    // No answer comes early.
    assert!(alone.times >= 8.0, "{text}");
    assert!(together.times >= 8.0 / threads as f64, "{text}");
    // All waits, added up, as a multiple of the time that they took.
    assert!((0.8..=1.0).contains(&alone.at_once), "{text}");
    let most = threads as f64;
    let least = f64::max(most / 4.0, 1.1);
    assert!((least..=most).contains(&together.at_once), "{text}");
    assert_eq!(alone.most_at_once, 1, "{text}");
    assert!(together.most_at_once > threads / 2, "{text}");

    // 8.0 times as fast; on a core 0.004 s of 0.930 s
    let words: Vec<&str> = lines[2].split(' ').collect();
    let number = |word: usize| words[word].parse::<f64>().unwrap();
    let (ratio, on_a_core, both) = (number(0), number(7), number(10));
    let sum = alone.seconds + together.seconds;
    assert!((sum - both).abs() < 0.002, "{text}");
    let expected = alone.seconds / together.seconds;
    assert!((ratio - expected).abs() < 0.2, "{text}");
    assert!(0.0 < on_a_core && on_a_core < both / 4.0, "{text}");
    (alone, together)
}

#[test]
fn eight_threads_wait_once() {
    let (alone, together) = look(&run(&[DEMO], &[]), 8);
    assert!(together.seconds < alone.seconds / 2.0);
}

#[test]
fn two_threads_wait_at_the_same_time() {
    let (_, together) = look(&run(&[DEMO], &["--threads", "2"]), 2);
    assert_eq!(together.most_at_once, 2);
}

/// `cargo run` becomes the demo by exec. What it computed does not count.
#[test]
fn the_time_before_exec_does_not_count() {
    let count = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
    let script = format!("{count}; exec '{DEMO}'");
    look(&run(&["sh", "-c", &script], &[]), 8);
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_loopback_interface_it_cannot_run() {
    let output = run(&["unshare", "--map-root-user", "--net", DEMO], &[]);
    if output.stderr.starts_with(b"unshare") {
        return; // not allowed
    }
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(
        output.stderr.starts_with(b"cannot run here: "),
        "{output:?}"
    );
}

/// Seen from outside: many threads of the demo sleep at the same time.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_threads_blocked() {
    use std::fs;
    use std::process::Stdio;

    let mut demo = Command::new(DEMO);
    let mut demo = demo.stdout(Stdio::null()).spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most_asleep = 0;
    while demo.try_wait().unwrap().is_none() {
        let mut asleep = 0;
        for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("stat"));
            if stat.is_ok_and(|stat| stat.contains(") S ")) {
                asleep += 1;
            }
        }
        most_asleep = most_asleep.max(asleep);
    }
    // Eight wait for an answer, and the server has a thread for each.
    assert!(most_asleep > 10, "only {most_asleep} threads slept");
}
