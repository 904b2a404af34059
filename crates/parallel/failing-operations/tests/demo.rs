use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

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

/// A row of the table.
#[derive(Debug)]
struct Row {
    job: String,
    pid: String,
    wrote: String,
    then: String,
    end: String,
}

/// What the output says.
#[derive(Debug)]
struct Seen {
    rows: Vec<Row>,
    results: String,
    /// The last lines: what the verdict was judged by
    verdict: Vec<String>,
}

fn look(output: &Output) -> Seen {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 23, "{text}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
    let header: Vec<&str> = lines[0].split("  ").filter(full).collect();
    let names = ["job", "worker", " it wrote", " and then", "ended by"];
    assert_eq!(header.len(), names.len(), "{text}");
    let mut rows = Vec::new();
    for line in &lines[1..] {
        if line.is_empty() {
            break;
        }
        let cells: Vec<&str> = line.split("  ").filter(full).collect();
        let cell = |number: usize| cells[number].trim().to_string();
        rows.push(Row {
            job: cell(0),
            pid: cell(1),
            wrote: cell(2),
            then: cell(3),
            end: cell(4),
        });
    }
    let results = lines
        .iter()
        .find_map(|line| line.strip_prefix("job:result  "));
    let mut verdict = Vec::new();
    for line in lines.iter().rev().take_while(|line| !line.is_empty()) {
        verdict.insert(0, line.to_string());
    }
    Seen {
        rows,
        results: results.unwrap().to_string(),
        verdict,
    }
}

fn full(cell: &&str) -> bool {
    !cell.trim().is_empty()
}

/// The jobs with their squares.
fn pairs(jobs: &[u64]) -> String {
    let mut pairs = Vec::new();
    for job in jobs {
        pairs.push(format!("{job}:{}", job * job));
    }
    pairs.join(" ")
}

const ALL: [u64; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// Each failure that is in store was noticed, and for what it is. Under load
/// there may be others: workers that are late.
fn assert_noticed(seen: &Seen) {
    let crash = "end of pipe: crash";
    let hangs = "500ms over: hangs";
    for [job, wrote, then, end] in [
        ["2", "\"\"", crash, "exit code 101"],
        ["4", "\"\"", hangs, "SIGKILL"],
        ["6", "\"six 36\\n\"", "nonsense", "SIGKILL"],
        ["8", "\"8 6\"", crash, "exit code 101"],
        ["10", "\"10 10\"", hangs, "SIGKILL"],
    ] {
        let row = seen.rows.iter().find(|row| row.job == job).unwrap();
        assert_eq!([&row.wrote, &row.then, &row.end], [wrote, then, end]);
    }
}

/// Half a line, then a crash: `8 6` is not taken as the result of job 8. Half a
/// line, then a hang: the supervisor goes on, and ends that worker itself.
#[test]
fn every_result_arrives_once_whatever_fails() {
    for workers in [1, 3, 8] {
        let output = run(&["--workers", &workers.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let seen = look(&output);
        assert_noticed(&seen);
        assert_eq!(seen.results, pairs(&ALL));
        let failed = seen.rows.len();
        let count = |then: &str| {
            let rows = seen.rows.iter();
            rows.filter(|row| row.then.ends_with(then)).count()
        };
        let verdict = [
            format!(
                "{failed} failures: {} crashes, {} that hang, {} nonsense; \
                 2 after half an answer",
                count("crash"),
                count("hangs"),
                count("nonsense")
            ),
            format!(
                "{} workers started: {workers} at first, \
                 {failed} for those that failed",
                workers + failed
            ),
            "12 jobs, 12 results, 12 of them right".to_string(),
        ];
        assert_eq!(seen.verdict, verdict);
    }
}

/// The other side: without a second attempt five results are missing.
#[test]
fn a_second_attempt_is_what_makes_up_for_failures() {
    let output = run(&["--attempts", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(message, "Error: 7 of 12 jobs have the right result\n");
    let seen = look(&output);
    assert_noticed(&seen);
    assert_eq!(seen.rows.len(), 5);
    assert_eq!(seen.results, pairs(&[1, 3, 5, 7, 9, 11, 12]));

    let retried = run(&["--attempts", "2"]);
    assert_eq!(retried.status.code(), Some(0), "{retried:?}");
    assert_eq!(look(&retried).results, pairs(&ALL));
}

/// The PIDs of a process's children, in the order of their start.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<String> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let list = fs::read_to_string(file).unwrap_or_default();
    list.split_whitespace().map(String::from).collect()
}

/// Seen from outside: the workers that are said to have failed were children of
/// the demo, no more were started than is said, and none is left. Some live so
/// shortly that one look may miss them.
#[cfg(target_os = "linux")]
#[test]
fn the_failed_workers_were_children_and_are_gone() {
    use std::collections::BTreeSet;
    for _ in 0..20 {
        let mut demo = Command::new(DEMO);
        let mut demo = demo.stdout(Stdio::piped()).spawn().unwrap();
        let mut pids = BTreeSet::new();
        while demo.try_wait().unwrap().is_none() {
            pids.extend(children(demo.id()));
        }
        let output = demo.wait_with_output().unwrap();
        let seen = look(&output);
        let started = 3 + seen.rows.len();
        assert!(pids.len() <= started, "{pids:?} {output:?}");
        for pid in &pids {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            let left = name.is_ok_and(|name| name.starts_with("failing-op"));
            assert!(!left, "worker {pid} outlived the demo");
        }
        if seen.rows.iter().all(|row| pids.contains(&row.pid)) {
            return;
        }
    }
    panic!("in each of 20 runs, a failed worker was no child of the demo");
}

/// Waits until the demo has so many workers and the first one has answered,
/// which the kernel has counted. Returns the workers.
#[cfg(target_os = "linux")]
fn wait_for_an_answer(demo: u32, workers: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let pids = children(demo);
        if pids.len() == workers {
            let io = fs::read_to_string(format!("/proc/{}/io", pids[0]));
            if io.is_ok_and(|io| io.contains("\nwchar: 4\n")) {
                return pids;
            }
        }
        assert!(Instant::now() < deadline, "no answer was seen: {pids:?}");
    }
}

/// A worker that somebody else kills while it has no job: the supervisor is not
/// ended by its write to the pipe of a dead process, but starts another one.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_killed_from_outside_is_replaced() {
    let mut demo = Command::new(DEMO);
    demo.args(["--workers", "8"]).stdout(Stdio::piped());
    let demo = demo.spawn().unwrap();
    let first = wait_for_an_answer(demo.id(), 8).remove(0);
    kill(Pid::from_raw(first.parse().unwrap()), Signal::SIGKILL).unwrap();
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let seen = look(&output);
    let row = seen.rows.iter().find(|row| row.pid == first);
    let row = row.expect("it has failed");
    assert_eq!([&row.wrote, &row.end], ["\"\"", "SIGKILL"], "{seen:?}");
    assert_eq!(row.then, "end of pipe: crash", "{seen:?}");
    assert_eq!(seen.results, pairs(&ALL));
}

/// A worker that hangs does not wait for ever if its supervisor is killed.
#[cfg(target_os = "linux")]
#[test]
fn nothing_outlives_a_killed_demo() {
    let mut demo = Command::new(DEMO);
    demo.args(["--workers", "4"]);
    demo.stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = demo.spawn().unwrap();
    let workers = wait_for_an_answer(demo.id(), 4); // one of them hangs
    demo.kill().unwrap();
    demo.wait().unwrap();
    // Adopted and reaped by init, or by a subreaper that may do so later.
    let deadline = Instant::now() + Duration::from_secs(20);
    for pid in workers {
        loop {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            let gone = status.is_err();
            let dead = status.is_ok_and(|status| status.contains("(zombie)"));
            if gone || dead {
                break;
            }
            assert!(Instant::now() < deadline, "{pid} outlived the demo");
            std::thread::sleep(Duration::from_millis(10)); // spares the core
        }
    }
}

/// No stack is that large, so no thread can start: none is needed.
#[test]
fn needs_no_thread() {
    let mut demo = Command::new(DEMO);
    demo.env("RUST_MIN_STACK", (1_u64 << 62).to_string());
    let output = demo.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
