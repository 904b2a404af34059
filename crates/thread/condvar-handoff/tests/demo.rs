use std::io::Read;
use std::mem::MaybeUninit;
use std::process::{Command, Output, Stdio};

use nix::libc;

const DEMO: &str = env!("CARGO_BIN_EXE_condvar-handoff");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn shown(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What was drawn of both runs, and the numbers: wake-ups, those too early, entries, longest run.
fn evidence(text: &str) -> ([String; 2], [usize; 4]) {
    let drawn = text
        .lines()
        .filter(|line| line.starts_with(['▀', '▄']))
        .map(String::from);
    let lines: Vec<_> = text.lines().collect();
    let last_two = lines[lines.len() - 2..].join(" ");
    let words = last_two.split(|c: char| !c.is_ascii_digit());
    let numbers = words
        .filter_map(|word| word.parse().ok())
        .collect::<Vec<_>>();
    (
        drawn.collect::<Vec<_>>().try_into().unwrap(),
        numbers.try_into().unwrap(),
    )
}

#[test]
fn turns_alternate_where_the_mutex_alone_does_not() {
    let ([alone, with], [woken, too_early, entries, longest_run]) =
        evidence(&shown(&[]));
    assert_eq!((with, entries), ("▀▄".repeat(30), 60));
    assert!(
        woken < entries + 10 && too_early < 10,
        "{woken} {too_early}"
    );
    for thread in ['▀', '▄'] {
        assert_eq!(alone.matches(thread).count(), 30, "{alone}");
    }
    let runs = [alone.split('▀'), alone.split('▄')].into_iter().flatten();
    assert_eq!(
        runs.map(|run| run.chars().count()).max(),
        Some(longest_run),
        "{alone}"
    );
    assert!(longest_run > 1, "{alone}");
}

#[test]
fn wake_ups_that_come_too_early_do_no_harm() {
    let ([_, with], [woken, too_early, entries, _]) =
        evidence(&shown(&["--spurious"]));
    assert_eq!((with, entries), ("▀▄".repeat(30), 60));
    assert!((10..=woken).contains(&too_early), "{woken} {too_early}");
}

#[test]
fn the_order_holds_for_as_many_turns_as_one_likes() {
    for (turns, drawn) in [(1, 1), (2, 2), (500, 30)] {
        let ([_, with], [_, _, entries, _]) =
            evidence(&shown(&["--turns", &turns.to_string()]));
        assert_eq!((with, entries), ("▀▄".repeat(drawn), 2 * turns));
    }
}

/// Seen from outside: whoever waits for its turn sleeps. The kernel has counted how often a thread
/// gave its core away by itself: about as often as one was woken.
#[test]
#[allow(clippy::zombie_processes, reason = "wait4 reaps it")]
fn the_kernel_saw_the_threads_sleep() {
    let demo = Command::new(DEMO)
        .args(["--turns", "1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut status = 0;
    // SAFETY: the child is this test's own, and wait4 writes to both variables.
    let pid = unsafe {
        libc::wait4(demo.id() as i32, &mut status, 0, usage.as_mut_ptr())
    };
    assert_eq!((pid, status), (demo.id() as i32, 0));
    // SAFETY: all bytes were zero, and wait4 has filled them in.
    let sleeps = unsafe { usage.assume_init() }.ru_nvcsw as usize;

    let mut text = String::new();
    demo.stdout.unwrap().read_to_string(&mut text).unwrap();
    let (_, [woken, _, entries, _]) = evidence(&text);
    assert_eq!(entries, 2000);
    assert!(
        sleeps > woken / 2,
        "woken {woken} times, slept {sleeps} times"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--turns", "0"][..],
        &["--turns", "1001"],
        &["--spurious=1"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
