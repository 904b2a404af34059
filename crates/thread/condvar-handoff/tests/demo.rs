use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Checks all that is printed; returns the list of the mutex alone.
fn list_of_the_mutex_alone(threads: usize) -> String {
    let output = Command::new(DEMO)
        .args(["--threads", &threads.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let all = 8 * threads;
    let first = format!("{threads} threads add their number to a list, 8 ");
    assert!(lines[0].starts_with(&first), "{text}");
    let alone = lines[3];
    let in_turn = "123456789"[..threads].repeat(8);
    assert_eq!(lines[6], in_turn);

    assert_eq!(alone.len(), all, "{text}");
    for thread in in_turn[..threads].chars() {
        assert_eq!(alone.matches(thread).count(), 8, "{text}");
    }
    let pairs = alone.chars().zip(in_turn.chars());
    let differ = pairs.filter(|(entry, turn)| entry != turn).count();
    assert!(differ > 0, "{text}");
    let verdict = [
        format!("out of turn with the mutex alone: {differ} of {all} entries"),
        format!("out of turn with the condition variable: 0 of {all}"),
    ];
    assert_eq!(lines[8..], verdict, "{text}");
    alone.to_string()
}

/// One test, so that the kernel's count for all children is that of one demo.
#[test]
fn threads_take_turns_where_the_mutex_alone_does_not_make_them() {
    for threads in 2..=8 {
        list_of_the_mutex_alone(threads);
    }

    // A thread whose turn it is not sleeps: for almost each turn, a thread has
    // given its core away by itself.
    let children = UsageWho::RUSAGE_CHILDREN;
    let before = getrusage(children).unwrap();
    let first = list_of_the_mutex_alone(9);
    let after = getrusage(children).unwrap();
    let sleeps = after.voluntary_context_switches()
        - before.voluntary_context_switches();
    assert!(sleeps > 9 * 8 / 2, "{sleeps}");

    // With the mutex alone the order is luck: it is not each time the same.
    for _ in 0..200 {
        if list_of_the_mutex_alone(9) != first {
            return;
        }
    }
    panic!("200 times the same: {first}");
}
