use std::io::Read;
use std::mem::MaybeUninit;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn start(demo: &mut Command) -> Child {
    demo.env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it printed, if it ends.
fn output(mut demo: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    while demo.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            demo.kill().unwrap();
            panic!("it hangs: {:?}", demo.wait_with_output());
        }
        sleep(Duration::from_millis(5));
    }
    demo.wait_with_output().unwrap()
}

fn run(args: &[&str]) -> Output {
    output(start(Command::new(DEMO).args(args)))
}

fn shown(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

struct Evidence {
    alone: String,
    woken: usize,
}

/// Checks all that is printed, but the order with the mutex alone, against
/// the number of threads.
fn evidence(text: &str, threads: usize) -> Evidence {
    let lines: Vec<&str> = text.lines().collect();
    let all = 8 * threads;
    let in_turn = "123456789"[..threads].repeat(8);
    let first = format!("{threads} threads add their number to a list, 8 ");
    assert!(lines[0].starts_with(&first), "{text}");
    assert_eq!(lines[2], "mutex alone:");
    let alone = lines[3];
    assert_eq!(lines[5], "mutex and condition variable:");
    assert_eq!(lines[6], in_turn);
    let woken = lines[8].strip_prefix("threads were woken ").unwrap();
    let woken = woken.strip_suffix(&format!(" times for {all} turns"));
    let woken = woken.unwrap().parse().unwrap();

    for thread in in_turn[..threads].chars() {
        assert_eq!(alone.matches(thread).count(), 8, "{text}");
    }
    assert_eq!(alone.len(), all, "{text}");
    let pairs = alone.chars().zip(in_turn.chars());
    let differ = pairs.filter(|(entry, turn)| entry != turn).count();
    assert!(differ > 0, "{text}");
    let verdict = [
        format!("not in turn with the mutex alone: {differ} of {all} entries"),
        format!("not in turn with the condition variable: 0 of {all}"),
    ];
    assert_eq!(lines[9..], verdict, "{text}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
    Evidence {
        alone: alone.to_string(),
        woken,
    }
}

#[test]
fn threads_take_turns_where_the_mutex_alone_does_not_make_them() {
    evidence(&shown(&[]), 3);
    for threads in 2..=9 {
        evidence(&shown(&["--threads", &threads.to_string()]), threads);
    }
}

/// That the mutex alone leaves the order to luck: it is not always the same.
#[test]
fn the_order_of_the_mutex_alone_is_luck() {
    let mut seen = Vec::new();
    for _ in 0..200 {
        let Evidence { alone, .. } = evidence(&shown(&["--threads", "9"]), 9);
        if !seen.contains(&alone) {
            seen.push(alone);
        }
        if seen.len() == 3 {
            return;
        }
    }
    panic!("always the same: {seen:?}");
}

/// Seen from outside: a thread whose turn it is not sleeps. The kernel counts
/// how often a thread gives its core away by itself: as often as one is woken,
/// or nearly, and each time that one waits for the mutex.
#[test]
#[allow(clippy::zombie_processes, reason = "wait4 reaps it")]
fn the_kernel_saw_the_threads_sleep() {
    let mut demo = start(Command::new(DEMO).args(["--threads", "9"]));
    let pid = demo.id() as i32;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut status = 0;
    loop {
        // SAFETY: wait4 writes to both variables, which live long enough.
        let reaped = unsafe {
            libc::wait4(pid, &mut status, libc::WNOHANG, usage.as_mut_ptr())
        };
        if reaped == pid {
            break;
        }
        assert_eq!(reaped, 0);
        if Instant::now() > deadline {
            demo.kill().unwrap();
        }
        sleep(Duration::from_millis(5));
    }
    assert_eq!(status, 0);
    // SAFETY: all bytes were zero, and wait4 has filled them in.
    let sleeps = unsafe { usage.assume_init() }.ru_nvcsw as usize;

    let mut text = String::new();
    demo.stdout.unwrap().read_to_string(&mut text).unwrap();
    let Evidence { woken, .. } = evidence(&text, 9);
    assert!(woken > 36, "woken {woken} times for 72 turns");
    assert!(sleeps > woken / 2, "woken {woken} times, {sleeps} sleeps");
}
