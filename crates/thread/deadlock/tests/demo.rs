#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_deadlock");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Name, TID, lock held, lock wanted, state, kernel function, CPU time of both stuck threads.
fn rows(text: &str) -> [Vec<&str>; 2] {
    let rows = text.lines().filter(|line| line.starts_with(['┌', '└']));
    let rows = rows.map(|line| line.split_whitespace().skip(1).collect());
    rows.collect::<Vec<_>>().try_into().unwrap()
}

/// The numbers of the last line: rounds before the deadlock, rounds asked for, rounds in one order.
fn verdict(text: &str) -> [u32; 3] {
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
    assert_eq!((one[0], one[2], one[3], one[4]), ("1", "A", "B", "S"), "{text}");
    assert_eq!((two[0], two[2], two[3], two[4]), ("2", "B", "A", "S"), "{text}");
    assert!(text.contains("SIGKILL") && text.contains("Exited(") && text.contains(", 0)"));
    assert_eq!(verdict(&text), [0, 600, 600]);
}

/// Whether it comes to a deadlock is luck; what is said of it is not.
#[test]
fn without_the_barrier_it_is_luck() {
    let output = run(&["--no-barrier"]);
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(0) {
        let [before, all, in_order] = verdict(&text);
        assert!(before < all && in_order == all, "{text}");
        let [one, two] = rows(&text);
        assert_eq!([one[2], one[3]], [two[3], two[2]], "a cycle: {text}");
    } else {
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("no deadlock in 600 of 600 rounds: Exited("), "{error}");
    }
}

/// What /proc tells of the threads 1 and 2 of a process: name, state, context switches, futex(2)?
fn look(process: &str) -> Vec<[String; 4]> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let (status, wchan) = (read("status"), read("wchan"));
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let [name, state, switches] = ["Name:\t", "State:\t", "voluntary_ctxt_switches:\t"]
            .map(|name| field(name).unwrap_or("?").to_string());
        let hidden = ["", "0"].contains(&&*wchan); // to some users, on some systems
        [name, state, switches, (hidden || wchan.contains("futex")).to_string()]
    };
    let mut threads: Vec<_> = tasks.map(thread).filter(|thread| thread[0].len() == 1).collect();
    threads.sort();
    threads
}

/// Seen from outside, as the demo has been killed and cannot end its child: both threads wait in
/// futex(2) and never move again. Ten seconds later nothing is left.
#[test]
fn the_child_is_stuck_until_its_alarm_ends_it() {
    let mut demo = Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", demo.id());
    let child = loop {
        let child = fs::read_to_string(&children).expect("CONFIG_PROC_CHILDREN");
        if !child.is_empty() {
            break child.trim().to_string();
        }
        assert!(demo.try_wait().unwrap().is_none(), "no child was seen");
    };
    demo.kill().unwrap();
    demo.wait().unwrap();
    sleep(Duration::from_secs(4)); // ample time to get stuck, or to finish
    let stuck = look(&child);
    sleep(Duration::from_secs(1)); // the time in which nothing happens
    assert_eq!(look(&child), stuck);
    let names: Vec<_> = stuck.iter().map(|thread| thread[0].as_str()).collect();
    assert_eq!(names, ["1", "2"]);
    assert!(stuck.iter().all(|[_, state, _, futex]| state == "S (sleeping)" && futex == "true"));

    let deadline = Instant::now() + Duration::from_secs(30);
    while !look(&child).is_empty() {
        assert!(Instant::now() < deadline, "{child} outlived the demo");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--no-barrier", "3"][..], &["--no-barrier=yes"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
