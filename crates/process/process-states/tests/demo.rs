#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Both tables, with a number instead of each PID.
const TABLES: &str = "\
child                    PID  state
ready or executing  1  R (running)
ready or executing  2  R (running)
blocked in a read   3  S (sleeping)
delayed in a sleep  4  S (sleeping)
suspended           5  T (stopped)
zombie              6  Z (zombie)

event                    PID  new state
SIGSTOP             1  T (stopped)
SIGKILL             2  Z (zombie)
a byte in the pipe  3  R (running)
end of the sleep    4  R (running)
SIGCONT             5  R (running)
waitpid             6  gone";

struct Demo {
    process: Child,
    output: BufReader<ChildStdout>,
    text: String,
    children: Vec<Pid>,
}

/// Starts the demo, and reads its first table.
fn start(delay: &str) -> Demo {
    let mut demo = Command::new(DEMO);
    demo.args(["--delay", delay]).env_remove("RUST_BACKTRACE");
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = demo.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..7 {
        output.read_line(&mut text).unwrap();
    }
    let rows = text.lines().skip(1);
    let pids = rows.map(|row| row[20..28].trim().parse().unwrap());
    Demo {
        children: pids.map(Pid::from_raw).collect(),
        process,
        output,
        text,
    }
}

/// Waits for its end. Gives its exit code, what it printed, and its errors.
fn finish(mut demo: Demo) -> (Option<i32>, String, String) {
    demo.output.read_to_string(&mut demo.text).unwrap();
    let result = demo.process.wait_with_output().unwrap();
    let errors = String::from_utf8(result.stderr).unwrap();
    (result.status.code(), demo.text, errors)
}

/// The numbers in what it prints below the tables.
fn times(text: &str) -> Vec<u64> {
    let (_, text) = text.rsplit_once("\n\n").unwrap();
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Looks from outside, too, as the Try line does.
#[test]
fn every_child_is_in_its_state_and_each_event_changes_it() {
    let demo = start("2");
    let parent = demo.process.id().to_string();
    let ps = Command::new("ps").args(["l", "--ppid", &parent]).output();
    let ps = String::from_utf8(ps.unwrap().stdout).unwrap();
    let children = demo.children.clone();
    let (code, text, errors) = finish(demo);
    assert_eq!(code, Some(0), "{errors}");

    let mut letters = String::new();
    for (row, child) in ps.lines().skip(1).zip(&children) {
        // F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[2], child.to_string(), "{ps}");
        letters += &words[9][..1];
    }
    assert_eq!(letters, "RRSSTZ", "{ps}");

    let (tables, end) = text.rsplit_once("\n\n").unwrap();
    let mut tables = tables.to_string();
    for (child, number) in children.iter().zip(1..) {
        let shown = format!("{child:>8}  ");
        tables = tables.replace(&shown, &format!("{number}  "));
    }
    assert_eq!(tables, TABLES);

    let [first, waited, second, queued, sum, wall] = times(&text)[..] else {
        panic!("{text}")
    };
    let expected = format!(
        "{}: {first} ms executing, {waited} ms ready\n\
         {}: {second} ms executing, {queued} ms ready\n\
         together {sum} ms executing, in {wall} ms on one CPU\n",
        children[0], children[1]
    );
    assert_eq!(end, expected);
    for both in [first + waited, second + queued] {
        assert!(both <= wall + 20, "executing or ready: {text}");
        assert!(both >= wall / 2, "and hardly anything else: {text}");
    }
    assert!(first > 0 && second > 0 && wall >= 2000, "{text}");
    assert_eq!(sum, first + second, "{text}");
}

/// Somebody else stops a child: it does not run when its time is over.
#[test]
fn an_event_without_its_new_state_is_an_error() {
    let demo = start("1");
    let delayed = demo.children[3];
    kill(delayed, Signal::SIGSTOP).unwrap();
    let (code, _, errors) = finish(demo);
    assert_eq!(code, Some(1), "{errors}");
    let expected = format!("{delayed} is T (stopped), not R (running)");
    assert_eq!(errors, format!("Error: {expected}\n"));
}

/// Somebody else gives the second child another CPU. Then both execute at the
/// same time, if there is another one, and if these are not busy.
#[test]
fn a_second_cpu_is_not_taken_for_turns() {
    let demo = start("1");
    let second = demo.children[1];
    let used = sched_getaffinity(second).unwrap();
    let mine = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let mut pinned = 0;
    let mut others = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        if used.is_set(cpu).unwrap() {
            pinned += 1;
        } else if mine.is_set(cpu).unwrap() {
            others.set(cpu).unwrap();
        }
    }
    assert_eq!(pinned, 1);
    _ = sched_setaffinity(second, &others); // an error if there is no other
    let (code, text, errors) = finish(demo);
    let [.., sum, wall] = times(&text)[..] else {
        panic!("{text}")
    };
    let expected = if sum > wall { 1 } else { 0 };
    assert_eq!(code, Some(expected), "{text} {errors}");
}
