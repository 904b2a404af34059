#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::libc::{PRIO_PROCESS, setpriority};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// A task, as the kernel numbers it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Task {
    pid: i64,
    tid: i64,
    nice: i64,
}

impl Task {
    /// The file that only this task opens.
    fn file(&self) -> String {
        format!("/proc/{}/task/{}/stat", self.pid, self.tid)
    }
}

/// PID, TID and nice value, if a line starts with them.
fn task(line: &str) -> Option<Task> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse().ok();
    Some(Task {
        pid: number()?,
        tid: number()?,
        nice: number()?,
    })
}

struct Row<'a> {
    name: &'a str,
    task: Task,
    /// What the main task sees, without blanks
    seen: String,
}

impl Row<'_> {
    /// The address on its stack, if both write and file are seen.
    fn stack(&self) -> u64 {
        let stack = self.seen.strip_prefix("yes,stack").expect(&self.seen);
        let stack = stack.strip_suffix("yes").expect(&self.seen);
        hex(stack)
    }
}

fn hex(digits: &str) -> u64 {
    u64::from_str_radix(digits, 16).unwrap()
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_at_checked(16) else {
            continue;
        };
        if let Some(task) = task(rest) {
            let name = name.trim();
            let seen = rest.split_whitespace().skip(3).collect();
            rows.push(Row { name, task, seen });
        }
    }
    rows
}

#[test]
fn tasks_share_what_a_process_does_not() {
    for threads in [1, 3, 8] {
        let output = run(&["--threads", &threads.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let rows = rows(&text);
        assert_eq!(rows.len(), 1 + threads + 1, "{text}");
        let main = &rows[0];
        let tasks = &rows[1..=threads];
        let forked = &rows[threads + 1];
        assert_eq!((main.name, &*main.seen), ("main task", ""), "{text}");
        assert_eq!(main.task.pid, main.task.tid, "{text}");
        assert_eq!(forked.name, "forked process", "{text}");
        assert_eq!(forked.seen, "nono", "{text}");
        assert_eq!(forked.task.pid, forked.task.tid, "{text}");
        assert_ne!(forked.task.pid, main.task.pid, "{text}");

        let mut stacks = BTreeSet::new();
        for task in tasks {
            assert_eq!(task.name, "task", "{text}");
            assert_eq!(task.task.pid, main.task.pid, "{text}");
            stacks.insert(task.stack() >> 20);
        }
        assert_eq!(stacks.len(), threads, "a MiB apart: {text}");
        let tids: BTreeSet<i64> = rows.iter().map(|row| row.task.tid).collect();
        assert_eq!(tids.len(), rows.len(), "{text}");

        let nice = main.task.nice;
        let last = last_lines(threads, nice, &nice_values(&rows[1..]));
        assert!(text.ends_with(&last), "{text}");
        let nicer: BTreeSet<i64> =
            rows.iter().map(|row| row.task.nice - nice).collect();
        assert_eq!(nicer, (0..=threads as i64 + 1).collect(), "{text}");
    }
}

fn nice_values(rows: &[Row]) -> String {
    let values: Vec<String> =
        rows.iter().map(|row| row.task.nice.to_string()).collect();
    values.join(" ")
}

fn last_lines(threads: usize, nice: i64, others: &str) -> String {
    format!(
        "\n{threads} tasks: {threads} writes seen, {threads} files seen, \
         {threads} stacks\n\
         1 forked process: no write and no file of it seen\n\
         nice of the main task: {nice}, of the others: {others} (19 at most)\n"
    )
}

/// Whoever starts the demo may have a high nice value; it cannot exceed 19.
#[test]
fn the_nice_value_ends_at_19() {
    for (start, others) in [(17, "18 19 19 19"), (19, "19 19 19 19")] {
        let output = Command::new("nice")
            .args(["-n", &start.to_string(), DEMO])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let rows = rows(&text);
        if rows[0].task.nice == start {
            assert_eq!(nice_values(&rows[1..]), others, "{text}");
            assert!(text.ends_with(&last_lines(3, start, others)), "{text}");
        }
    }
}

/// Killed and reaped when dropped.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        _ = self.0.kill(); // fails if it has ended
        _ = self.0.wait(); // fails if a test has reaped it
    }
}

/// The demo, its output, and its child. The output is full, so they stay as
/// they are: all three tasks and the child have done what they do, and nothing
/// is printed yet.
fn stopped() -> (Demo, UnixStream, u32) {
    let (output, full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while (&full).write(b"\n").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let demo = Command::new(DEMO)
        .env_remove("RUST_BACKTRACE")
        .stdout(OwnedFd::from(full))
        .stderr(Stdio::piped())
        .spawn();
    let demo = Demo(demo.unwrap());
    let pid = demo.0.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let child = fs::read_to_string(&children).unwrap();
        let child = child.trim().parse().unwrap_or(0);
        let tasks = tasks(pid, child);
        let nice: BTreeSet<i64> = tasks.iter().map(|task| task.nice).collect();
        if nice.len() == 5 {
            return (demo, output, child);
        }
        assert!(Instant::now() < deadline, "5 nice values? {tasks:?}");
    }
}

/// All tasks of the two processes, as ps sees them.
fn tasks(demo: u32, child: u32) -> BTreeSet<Task> {
    let pids = format!("{demo},{child}");
    let ps = ["-Lo", "pid=,lwp=,ni=", "-p", &pids];
    let output = Command::new("ps").args(ps).output().unwrap().stdout;
    let output = String::from_utf8(output).unwrap();
    output.lines().map(|line| task(line).unwrap()).collect()
}

/// The files of tasks, /proc/PID/task/TID/stat, that a process has open.
fn files(pid: u32) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for link in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let file = fs::read_link(link.unwrap().path()).unwrap();
        let file = file.to_str().unwrap();
        if file.contains("/task/") && file.ends_with("/stat") {
            files.insert(file.to_string());
        }
    }
    files
}

/// The number of the mapping that an address is in.
fn mapping(maps: &str, address: u64) -> Option<usize> {
    maps.lines().position(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (begin, end) = range.split_once('-').unwrap();
        (hex(begin)..hex(end)).contains(&address)
    })
}

/// Seen from outside: which tasks there are, which process has which file
/// open, and in whose memory the stacks are.
#[test]
fn the_kernel_tells_others_the_same() {
    let (mut demo, mut output, child) = stopped();
    let pid = demo.0.id();
    let tasks = tasks(pid, child);
    let files_of_demo = files(pid);
    let files_of_child = files(child);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.0.wait().unwrap().success());
    assert!(!fs::exists(format!("/proc/{child}")).unwrap(), "reaped");

    let rows = rows(&text);
    assert_eq!(rows.len(), 5, "{text}");
    assert_eq!(tasks.len(), 5, "{tasks:?}");
    assert!(rows.iter().all(|row| tasks.contains(&row.task)), "{text}");
    let files_of_tasks = rows[1..4].iter().map(|row| row.task.file());
    assert_eq!(files_of_demo, files_of_tasks.collect(), "{text}");
    let file_of_forked = [rows[4].task.file()];
    assert_eq!(files_of_child, file_of_forked.into(), "{text}");

    let mut mappings = BTreeSet::new();
    for row in &rows[1..4] {
        mappings.insert(mapping(&maps, row.stack()).expect(&maps));
    }
    assert_eq!(mappings.len(), 3, "one for each stack: {text} {maps}");
}

#[test]
fn a_forked_process_that_is_killed_is_an_error() {
    let (mut demo, mut output, child) = stopped();
    kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let mut error = String::new();
    let mut stderr = demo.0.stderr.take().unwrap();
    stderr.read_to_string(&mut error).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(1), "{text}");
    assert!(error.contains("the forked process ended with"), "{error}");
    assert!(!text.contains("1 forked process:"), "{text}");
}

/// If the main task had the nice value of another one, who could tell that
/// nice does not change both?
#[test]
fn the_same_nice_value_is_an_error() {
    let (mut demo, mut output, child) = stopped();
    let pid = demo.0.id();
    let nice_values = tasks(pid, child).into_iter().map(|task| task.nice);
    let second = *nice_values.collect::<BTreeSet<_>>().iter().nth(1).unwrap();
    let nice = second.try_into().unwrap();
    // SAFETY: setpriority takes numbers and returns one.
    assert_eq!(unsafe { setpriority(PRIO_PROCESS, pid, nice) }, 0);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let mut error = String::new();
    let mut stderr = demo.0.stderr.take().unwrap();
    stderr.read_to_string(&mut error).unwrap();
    assert_eq!(demo.0.wait().unwrap().code(), Some(1), "{text}");
    let expected =
        format!("nice of the main task: {nice}, of another one: {nice}");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn nothing_is_left_when_the_demo_is_killed() {
    let (mut demo, _output, child) = stopped();
    demo.0.kill().unwrap();
    demo.0.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stat = fs::read_to_string(format!("/proc/{child}/stat"));
        let gone = stat.is_err();
        let dead = stat.is_ok_and(|stat| stat.contains(") Z "));
        if gone || dead {
            break;
        }
        assert!(Instant::now() < deadline, "{child} outlived the demo");
    }
}

/// With too few descriptors for all, the demo says so, and ends.
#[test]
fn too_few_descriptors_are_an_error() {
    for limit in 7..=20 {
        let limited = format!("ulimit -n {limit}; exec timeout 30 '{DEMO}'");
        let output = Command::new("sh").args(["-c", &limited]).output();
        let output = output.unwrap();
        let code = output.status.code().unwrap();
        let shown = code == 0 && output.stderr.is_empty() && limit > 10;
        let said = code == 1 && !output.stderr.is_empty();
        assert!(shown || said, "{limit}: {output:?}");
    }
}

#[test]
fn the_output_fits_a_projector() {
    for args in [&[][..], &["--threads", "8"]] {
        let output = run(args);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().count() < 24, "{text}");
        let fits = text.lines().all(|line| line.chars().count() <= 80);
        assert!(fits, "{text}");
    }
}
