#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

const DEMO: &str = env!("CARGO_BIN_EXE_deadlock");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Name, TID, lock held, lock wanted, state, kernel function, CPU time of both stuck threads.
fn rows(text: &str) -> [Vec<&str>; 2] {
    let rows = text.lines().filter(|line| line.starts_with(['┌', '└']));
    let rows = rows.map(|line| line.split_whitespace().skip(1).collect());
    rows.collect::<Vec<_>>().try_into().unwrap()
}

/// The numbers of the last line: rounds before the deadlock, and rounds in one order.
fn verdict(text: &str) -> [u32; 2] {
    let last = text.lines().last().unwrap();
    let numbers = last.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn opposite_order_gets_stuck_and_one_order_finishes() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let [one, two] = rows(&text);
    assert_eq!(
        (one[0], one[2], one[3], one[4]),
        ("1", "A", "B", "S"),
        "{text}"
    );
    assert_eq!(
        (two[0], two[2], two[3], two[4]),
        ("2", "B", "A", "S"),
        "{text}"
    );
    assert_eq!(verdict(&text), [0, 200_000]);
}

/// Whether it comes to a deadlock is luck; what is said of it is not.
#[test]
fn without_the_barrier_it_is_luck() {
    for _ in 0..10 {
        let output = run(&["--no-barrier"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.ends_with("both threads have ended, after 200000 rounds: no deadlock this time\n")
        {
            let [before, in_order] = verdict(&text);
            assert!(before < 200_000 && in_order == 200_000, "{text}");
            let [one, two] = rows(&text);
            assert_eq!([one[2], one[3]], [two[3], two[2]], "a cycle: {text}");
        }
    }
}

/// What /proc tells of the threads 1 and 2 of a process: name, TID, state, kernel function, and how
/// often it gave its core away or had to.
fn look(process: u32) -> Vec<[String; 6]> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let thread = |task: fs::DirEntry| {
        let read = |file| {
            fs::read_to_string(task.path().join(file)).unwrap_or_default()
        };
        let (status, wchan) = (read("status"), read("wchan"));
        let field =
            |name| status.lines().find_map(|line| line.strip_prefix(name));
        let field = |name| field(name).unwrap_or("?").to_string();
        let [tid, state] = ["Pid:\t", "State:\t"].map(field);
        let switches = [
            "voluntary_ctxt_switches:\t",
            "nonvoluntary_ctxt_switches:\t",
        ]
        .map(field);
        let [voluntary, involuntary] = switches;
        [field("Name:\t"), tid, state, wchan, voluntary, involuntary]
    };
    let mut threads: Vec<_> = tasks
        .map(thread)
        .filter(|thread| thread[0].len() == 1)
        .collect();
    threads.sort();
    threads
}

/// Seen from outside: both threads sleep in futex(2), and between two looks neither has run. That
/// is the deadlock: a thread that sleeps while the other one works has run before long. It lasts as
/// long as the demo needs to find out, so on a busy machine it may take several to see one.
#[test]
fn the_kernel_sees_two_threads_that_never_run_again() {
    let sleeps = |[_, _, state, wchan, ..]: &[String; 6]| {
        let hidden = ["", "0"].contains(&wchan.as_str()); // to some users, on some systems
        state == "S (sleeping)" && (hidden || wchan.contains("futex"))
    };
    for _ in 0..50 {
        let mut demo =
            Command::new(DEMO).stdout(Stdio::piped()).spawn().unwrap();
        let mut stuck = Vec::new();
        while demo.try_wait().unwrap().is_none() {
            let before = look(demo.id());
            sleep(Duration::from_millis(10)); // the time in which nothing happens
            if before.len() == 2
                && before.iter().all(sleeps)
                && look(demo.id()) == before
            {
                stuck = before;
            }
        }
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        if !stuck.is_empty() {
            let text = String::from_utf8_lossy(&output.stdout);
            let shown =
                rows(&text).map(|row| [row[0].to_string(), row[1].to_string()]);
            let seen = stuck
                .iter()
                .map(|[name, tid, ..]| [name.clone(), tid.clone()]);
            assert_eq!(
                seen.collect::<Vec<_>>(),
                shown,
                "other threads than the demo says"
            );
            return;
        }
    }
    panic!("never seen");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--no-barrier", "3"][..], &["--no-barrier=yes"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
