#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::HashSet;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// What the demo shows of a child
struct Row {
    pid: String,
    /// In milliseconds
    cpu: f64,
    /// In percent
    share: f64,
    lost: f64,
    picture: Vec<char>,
}

/// All numbers of a line
fn numbers(line: &str) -> Vec<f64> {
    line.split(|sign: char| !(sign.is_ascii_digit() || sign == '.'))
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn rows(output: &Output) -> Vec<Row> {
    let text = String::from_utf8_lossy(&output.stdout);
    let row = |line: &str| {
        let [pid, cpu, share, lost] = numbers(line)[..] else {
            panic!("{text}")
        };
        let pid = pid.to_string();
        let picture = line.chars().skip(30).collect();
        Row {
            pid,
            cpu,
            share,
            lost,
            picture,
        }
    };
    text.lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .map(row)
        .collect()
}

#[test]
fn equal_processes_take_turns_and_get_equal_shares() {
    for (n, args) in [
        (4, &[][..]),
        (2, &["--processes", "2"]),
        (16, &["--processes", "16"]),
    ] {
        let output = Command::new(DEMO).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let rows = rows(&output);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(rows.len(), n, "{text}");

        // The verdict's numbers against those of the rows
        let lines: Vec<&str> = text.lines().skip(3 + n).collect();
        let [sum, passed] = numbers(lines[0])[..] else {
            panic!("{text}")
        };
        let [index, one_has_all, 1.0] = numbers(lines[2])[..] else {
            panic!("{text}")
        };
        let total: f64 = rows.iter().map(|row| row.cpu).sum();
        let squares: f64 = rows.iter().map(|row| row.cpu * row.cpu).sum();
        let jain = total * total / (n as f64 * squares);
        assert!((0.99..=1.0).contains(&index), "{text}");
        assert!((index - jain).abs() < 0.002, "{text}");
        assert!((one_has_all - 1.0 / n as f64).abs() < 0.006, "{text}");
        assert!(sum <= passed && passed >= 2.0, "{text}");
        assert!((1000.0 * sum - total).abs() < 15.0, "{text}");
        for row in &rows {
            let share = 100.0 * row.cpu / total;
            assert!((row.share - share).abs() < 1.0, "{text}");
        }
        let lost: Vec<f64> = rows.iter().map(|row| row.lost).collect();
        let fewest = lost.iter().copied().fold(f64::MAX, f64::min);
        assert_eq!(numbers(lines[1]), [fewest], "{text}");
        assert!(fewest >= 2.0, "{text}");
        // Each row counts for itself: sums would grow from row to row.
        let grow = lost.is_sorted() && lost[n - 1] > 4.0 * lost[0];
        assert!(n < 16 || !grow, "{text}");

        // The picture: no two have most of the same cell.
        let mut drawn = HashSet::new();
        let mut empty = 0;
        for x in 0..50 {
            let cells: String = rows.iter().map(|row| row.picture[x]).collect();
            let most = cells.matches('█').count();
            let less = cells.matches('░').count();
            if most + less == 0 {
                empty += 1;
            }
            assert!(5 * most + less < 10, "cell {x} is too full: {text}");
            if most > 0 {
                drawn.insert((x % 2, cells.find('█')));
            }
        }
        // On a very busy machine others may have the CPU meanwhile.
        assert!(drawn.len() >= 3 || sum < 0.5, "it is too empty: {text}");
        assert!(empty < 17 || sum < 1.85, "it is too empty: {text}");
    }
}

/// The demo with two children, and their PIDs, from the kernel.
fn start() -> (Child, [Pid; 2]) {
    let mut demo = Command::new(DEMO)
        .args(["--processes", "2"])
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", demo.id());
    while demo.try_wait().unwrap().is_none() {
        let pids = fs::read_to_string(&children).unwrap();
        let pids = pids.split_whitespace().map(|pid| pid.parse().unwrap());
        let pids: Vec<Pid> = pids.map(Pid::from_raw).collect();
        if let Ok(pids) = pids.try_into() {
            return (demo, pids);
        }
    }
    panic!("no two children were seen: {:?}", demo.wait_with_output());
}

/// One child is made nicer from outside, and so gets less.
#[test]
fn unequal_processes_are_not_taken_for_equal() {
    let (demo, children) = start();
    let pid = children[1].to_string();
    let mut renice = Command::new("renice");
    let renice = renice.args(["-n", "19", "-p", &pid]).output().unwrap();
    assert!(renice.status.success(), "{renice:?}");
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("Error: Jain's index is 0."), "{error}");
    let [first, second] = &rows(&output)[..] else {
        panic!("{output:?}")
    };
    assert_eq!(second.pid, pid);
    assert!(first.share > second.share + 5.0, "{output:?}");
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "not reaped");
}

/// The one CPU on which a process may run
fn only_cpu(process: Pid) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.unwrap();
    let (_, value) = status.split_once("Cpus_allowed_list:").unwrap();
    value.lines().next().unwrap().trim().parse().unwrap()
}

/// Both children run on one CPU. Then one is moved to another: if that is
/// free, both have more CPU time than one CPU has.
#[test]
fn two_cpus_are_not_taken_for_one() {
    let begin = Instant::now();
    let (demo, children) = start();
    let cpu = only_cpu(children[0]);
    assert_eq!(cpu, only_cpu(children[1]));
    let mut others = sched_getaffinity(Pid::this()).unwrap();
    others.unset(cpu).unwrap();
    // Refused if there is no other CPU
    let _refused = sched_setaffinity(children[1], &others).is_err();

    let output = demo.wait_with_output().unwrap();
    let passed = begin.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with(&format!("2 children compute on CPU {cpu}")));
    let sum: f64 = rows(&output).iter().map(|row| row.cpu / 1000.0).sum();
    let error = String::from_utf8_lossy(&output.stderr);
    let noticed = error.contains("more than one CPU has");
    assert!(noticed || sum < passed + 0.01, "{output:?}");
    assert!(!noticed || sum > passed - 0.5, "{output:?}");
}
