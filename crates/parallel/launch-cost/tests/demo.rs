#![cfg(target_os = "linux")] // the outside look is at /proc

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::unistd::alarm;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let no_test_waits_for_ever = || {
        alarm::set(100);
        Ok(())
    };
    // SAFETY: alarm is one system call.
    unsafe { demo.pre_exec(no_test_waits_for_ever) };
    demo
}

fn run(args: &[&str]) -> Output {
    demo(args).output().unwrap()
}

fn text_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The only line on standard error of a demo that exits with 1.
fn error_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// A folder for programs, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("launch-cost-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn with_true(name: &str) -> Folder {
        let folder = Folder::new(name);
        let program = if Path::new("/usr/bin/true").exists() {
            "/usr/bin/true"
        } else {
            "/bin/true"
        };
        symlink(program, folder.0.join("true")).unwrap();
        folder
    }

    fn add_script(&self, name: &str, text: &str) {
        let file = self.0.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const EXEC: &str = "fork + exec true ";
const FORK: &str = "fork (RSS ";
const THREAD: &str = "thread ";
const JOB: &str = "job, warm pool ";
const CALLS: &str = "1000 function calls ";

/// Times in seconds.
struct Row {
    count: usize,
    median: f64,
    low: f64,
    high: f64,
    job: f64,
    cells: usize,
}

fn seconds(word: &str) -> f64 {
    let unit = word.find(|letter: char| letter.is_alphabetic()).unwrap();
    let factor = match &word[unit..] {
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => panic!("{word}"),
    };
    word[..unit].parse::<f64>().unwrap() * factor
}

/// The row that starts with `name`, and perhaps a note in parentheses.
fn row(text: &str, name: &str) -> Row {
    let line = text.lines().find(|line| line.starts_with(name));
    let (_, rest) = line.expect(name).split_at(20);
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [count, median, low, "to", high, job, bar] = words[..] else {
        panic!("{text}")
    };
    Row {
        count: count.parse().unwrap(),
        median: seconds(median),
        low: seconds(low),
        high: seconds(high),
        job: seconds(job),
        cells: bar.chars().count(),
    }
}

/// Numbers are printed with one decimal at least.
fn close(left: f64, right: f64) -> bool {
    (left / right - 1.0).abs() < 0.06
}

/// Of the last lines: how many calls a thread takes, and a Python.
fn in_calls(text: &str) -> (f64, Option<f64>) {
    let start = "in the median, a thread takes as long as ";
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let (thread, python) = line.expect(text).split_once(" calls").unwrap();
    let python = python.strip_prefix(", a Python as ").map(|rest| {
        let millions = rest.strip_suffix(" million").unwrap();
        millions.parse::<f64>().unwrap() * 1e6
    });
    (thread.parse().unwrap(), python)
}

fn check_row(row: &Row, launches: usize) {
    assert_eq!(row.count, launches);
    assert!(row.low <= row.median && row.median <= row.high);
    assert!(close(row.job, 100.0 * row.median));
    let cells = 2.0 * (row.median / 100e-9).log10();
    assert!((row.cells as f64 - (cells - 0.5)).abs() < 0.6, "{cells}");
}

fn check(text: &str, launches: usize) {
    assert!(text.lines().count() <= 23, "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let heading =
        format!("{launches} launches of each kind; more if their order is");
    assert!(text.starts_with(&heading), "{text}");

    let [exec, fork, thread, job, calls] =
        [EXEC, FORK, THREAD, JOB, CALLS].map(|name| row(text, name));
    // In turns of ten, and more on a busy machine.
    let all = launches.next_multiple_of(10);
    assert!(exec.count >= all && thread.count >= all, "{text}");
    assert!(exec.count.is_multiple_of(10), "{text}");
    check_row(&exec, exec.count);
    check_row(&fork, exec.count);
    check_row(&thread, thread.count);
    check_row(&job, launches);
    check_row(&calls, launches);
    assert!(calls.low < 1000.0 * job.low, "{text}");

    let call = calls.median / 1000.0;
    assert!(close(in_calls(text).0, thread.median / call), "{text}");

    let order = text.lines().last().unwrap();
    let words: Vec<&str> = order.split(" < ").collect();
    let mut last = 0.0;
    for (word, (name, low)) in words.iter().zip([
        ("call ", calls.low / 1000.0),
        ("thread ", thread.low),
        ("fork ", fork.low),
        ("fork + exec true ", exec.low),
    ]) {
        let time = word.strip_prefix(name).expect(order);
        let time: f64 = time.strip_suffix(" µs").unwrap().parse().unwrap();
        assert!(close(time * 1e-6, low), "{text}");
        assert!(last < time, "{text}");
        last = time;
    }
    assert_eq!(words.len(), 4, "{text}");
}

/// By default, with few launches, and with a number that is no full turn.
#[test]
fn each_launch_costs_more() {
    let works = Command::new("python3").args(["-c", "pass"]).status();
    let python_works = works.is_ok_and(|status| status.success());
    for (args, launches) in [
        (&[][..], 100),
        (&["--launches", "20"], 20),
        (&["--launches", "41"], 41),
    ] {
        let text = text_of(&run(args));
        check(&text, launches);
        // Not on a machine so busy that Python took 10 s.
        if python_works && !text.contains("SIGALRM") {
            let python = row(&text, "fork + exec python3");
            check_row(&python, launches / 20);
            assert!(python.low > row(&text, EXEC).low, "{text}");
            let call = row(&text, CALLS).median / 1000.0;
            let calls = in_calls(&text).1.unwrap();
            let difference = (calls - python.median / call).abs();
            assert!(difference < 0.06 * calls + 0.06e6, "{text}");
        }
    }
}

/// As in the header: on one core.
#[test]
fn one_core_is_enough() {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0", "timeout", "100", DEMO]);
    let Ok(output) = pinned.output() else {
        return eprintln!("not tested: needs taskset");
    };
    if output.status.code() == Some(1) {
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("failed to set"), "{message}");
        return eprintln!("not tested: core 0 is not to be used");
    }
    check(&text_of(&output), 100);
}

/// Seen from outside: the kernel's count of processes and threads made since
/// boot.
#[test]
fn the_kernel_has_made_them() {
    let made = || -> u64 {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let mut lines = stat.lines();
        let count = lines.find_map(|line| line.strip_prefix("processes "));
        count.unwrap().parse().unwrap()
    };
    let before = made();
    text_of(&run(&["--launches", "300"]));
    assert!(made() - before >= 3 * 300, "threads, forks and execs");
}

/// Seen from outside: Python's place is taken by a script that asks the kernel
/// what its parent has in memory.
#[test]
fn says_how_much_is_forked() {
    let folder = Folder::with_true("rss");
    let script = "while read -r name value unit; do\n\
                  [ \"$name\" != VmRSS: ] || echo \"$value\" >&2\n\
                  done < /proc/$PPID/status";
    folder.add_script("python3", script);
    let args = ["--launches", "20"];
    let output = demo(&args).env("PATH", &folder.0).output().unwrap();
    let text = text_of(&output);
    let seen = String::from_utf8_lossy(&output.stderr);
    let seen = seen.trim().parse::<f64>().expect(&text) / 1024.0;
    let line = text.lines().find_map(|line| line.strip_prefix(FORK));
    let (said, _) = line.expect(&text).split_once(" MiB) ").unwrap();
    let said: f64 = said.parse().unwrap();
    assert!((said - seen).abs() < 1.0, "{seen} MiB: {text}");
}

#[test]
fn without_python_the_rest_is_shown() {
    let folder = Folder::with_true("none");
    let not_found = "fork + exec python3: not found\n";
    let failed = "fork + exec python3: Exited(Pid(";
    for message in [not_found, failed] {
        if message == failed {
            // It works once.
            let script = format!("rmdir '{}/once'", folder.0.display());
            folder.add_script("python3", &format!("PATH=/bin; {script}"));
            fs::create_dir(folder.0.join("once")).unwrap();
        }
        let output = demo(&["--launches", "40"])
            .env("PATH", &folder.0)
            .output()
            .unwrap();
        let text = text_of(&output);
        check(&text, 40);
        assert!(text.contains(message), "{text}");
        assert_eq!(in_calls(&text).1, None, "{text}");
        for word in ["program", "million", "Python"] {
            assert!(!text.contains(word), "{text}");
        }
    }
}

#[test]
fn says_so_without_the_program_true() {
    let folder = Folder::new("empty");
    let output = demo(&[]).env("PATH", &folder.0).output().unwrap();
    assert_eq!(error_of(&output), "Error: fork + exec true: not found\n");
}

/// Stands between the demo and the C library. It makes the first forks and
/// threads slow, or refuses threads, and it notices each exit that does what
/// is registered for it.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

pid_t fork(void) {
    /* The first is for Python. Then ten with exec, ten without, and so on. */
    static int forks = -1;
    pid_t (*next)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    int count = forks++;
    if (count >= 0 && count / 10 % 2 == 1
        && count / 20 * 10 + count % 10 < number("SLOW_FORKS"))
        usleep(10000);
    return next();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *argument) {
    static int threads = 0;
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
        = dlsym(RTLD_NEXT, "pthread_create");
    threads++;
    if (threads <= number("SLOW_THREADS"))
        usleep(10000);
    if (number("THREADS") > 0 && threads > number("THREADS"))
        return EAGAIN;
    return next(thread, attributes, run, argument);
}

__attribute__((destructor)) static void at_exit(void) {
    if (strcmp(program_invocation_short_name, "launch-cost") == 0)
        fprintf(stderr, "exit\n");
}
"#;

/// Runs the demo behind the shim. None if there is no C compiler.
fn run_with(variable: &str, value: &str) -> Option<Output> {
    let folder = Folder::with_true(&format!("{variable}-{value}"));
    let source = folder.0.join("shim.c");
    let shim = folder.0.join("shim.so");
    fs::write(&source, SHIM).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]);
    compiler.arg(&shim).arg(&source).arg("-ldl");
    if !compiler.status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: needs cc");
        return None;
    }
    let output = demo(&["--launches", "20"])
        .env("PATH", &folder.0)
        .env("LD_PRELOAD", &shim)
        .env(variable, value)
        .output();
    Some(output.unwrap())
}

/// The demo exits once, and none of its children does so in its place.
#[test]
#[cfg_attr(target_feature = "crt-static", ignore = "nothing can be preloaded")]
fn a_forked_child_does_not_do_what_its_parent_registered() {
    if let Some(output) = run_with("NOTHING", "1") {
        check(&text_of(&output), 20);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "exit\n");
    }
}

/// As on a busy machine: 20 are too few, and 10 more are enough if it is idle.
#[test]
#[cfg_attr(target_feature = "crt-static", ignore = "nothing can be preloaded")]
fn launches_more_if_the_order_is_unclear() {
    if let Some(output) = run_with("SLOW_FORKS", "20") {
        let text = text_of(&output);
        check(&text, 20);
        assert!(row(&text, FORK).count >= 30, "{text}");
        assert!(row(&text, EXEC).count >= 30, "{text}");
        assert!(row(&text, FORK).high > 0.01, "{text}");
    }
    if let Some(output) = run_with("SLOW_THREADS", "20") {
        let text = text_of(&output);
        check(&text, 20);
        assert!(row(&text, THREAD).count >= 30, "{text}");
    }
}

/// It gives up after 50 turns more, and names the two.
#[test]
#[cfg_attr(target_feature = "crt-static", ignore = "nothing can be preloaded")]
fn says_which_two_are_not_in_order() {
    if let Some(output) = run_with("SLOW_FORKS", "1000000") {
        let message = error_of_shimmed(output.clone());
        assert_names(&message, "fork", "fork + exec true");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(row(&text, FORK).count, 520, "{text}");
        assert_eq!(row(&text, EXEC).count, 520, "{text}");
    }
    if let Some(output) = run_with("SLOW_THREADS", "1000000") {
        let message = error_of_shimmed(output.clone());
        assert_names(&message, "thread", "fork");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(row(&text, THREAD).count, 520, "{text}");
    }
}

/// Without the line that the shim adds at the exit.
fn error_of_shimmed(mut output: Output) -> String {
    assert!(output.stderr.ends_with(b"exit\n"), "{output:?}");
    output.stderr.truncate(output.stderr.len() - 5);
    error_of(&output)
}

fn assert_names(message: &str, first: &str, second: &str) {
    let start =
        format!("Error: not in order: the fastest 10 % of {first} took up to ");
    let rest = message.strip_prefix(&start).expect(message);
    let between = format!(" µs, those of {second} up to ");
    let (slow, fast) = rest.split_once(&between).expect(message);
    let slow: f64 = slow.parse().unwrap();
    let fast: f64 = fast.strip_suffix(" µs\n").unwrap().parse().unwrap();
    assert!(slow >= fast && slow >= 10_000.0, "{message}");
}

/// The thread of the pool is the first that cannot start.
#[test]
#[cfg_attr(target_feature = "crt-static", ignore = "nothing can be preloaded")]
fn says_so_if_the_pool_cannot_start_its_thread() {
    if let Some(output) = run_with("THREADS", "20") {
        let message = error_of_shimmed(output);
        assert!(message.contains("cannot start a thread"), "{message}");
    }
}
