#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_fair-scheduling");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// All numbers of a line.
fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// PID, CPU milliseconds, times that it gave up the core and lost it, milliseconds per turn, cells.
fn rows(text: &str) -> Vec<[f64; 6]> {
    let row = |line: &str| {
        let cells = line.matches('█').count() as f64;
        [numbers(line), vec![cells]].concat().try_into().ok()
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn equal_processes_get_equal_shares() {
    for n in [2, 4, 16] {
        let output = if n == 4 {
            run(&[])
        } else {
            run(&["--processes", &n.to_string()])
        };
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let rows = rows(&text);
        assert_eq!(rows.len(), n, "{text}");
        let [switches, seconds, index] =
            numbers(text.lines().last().unwrap()).try_into().unwrap();

        let total: f64 = rows.iter().map(|row| row[1]).sum();
        let squares: f64 = rows.iter().map(|row| row[1] * row[1]).sum();
        let jain = total * total / (n as f64 * squares);
        assert!(
            index >= 0.99 && (index - jain).abs() < 0.001,
            "{jain} {text}"
        );
        assert!(
            total <= 1010.0 * seconds + 100.0,
            "no more than one core has: {text}"
        );
        assert_eq!(switches, rows.iter().map(|row| row[3]).sum::<f64>());
        for [_, time, gave_up, lost, turn, cells] in rows {
            assert!(lost >= 1.0 && gave_up < lost, "{text}");
            assert!(
                (turn * (gave_up + lost) - time).abs()
                    < 0.06 * (gave_up + lost) + 0.1
            );
            assert!(
                (cells - 18.0 * time * n as f64 / total).abs() < 1.0,
                "{text}"
            );
        }
    }
}

/// The running demo's children, as ps sees them.
fn children(demo: &mut Child) -> Vec<String> {
    loop {
        let ps = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &demo.id().to_string()])
            .output();
        let pids = String::from_utf8(ps.unwrap().stdout).unwrap();
        let pids: Vec<_> = pids.split_whitespace().map(Into::into).collect();
        if pids.len() == 2 {
            return pids;
        }
        assert!(
            demo.try_wait().unwrap().is_none(),
            "no two children were seen"
        );
    }
}

fn start() -> (Child, Vec<String>) {
    let mut demo = Command::new(DEMO);
    demo.args(["--processes", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let children = children(&mut demo);
    (demo, children)
}

/// Seen from outside: one core for both, and switches that the kernel counts while they compute.
#[test]
fn the_kernel_counts_the_switches() {
    let (demo, children) = start();
    let field = |pid: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap_or_default();
        status.lines().find_map(|line| {
            line.strip_prefix(name)?.trim().parse::<u32>().ok()
        })
    };
    let core = field(&children[0], "Cpus_allowed_list:");
    assert!(
        core.is_some() && core == field(&children[1], "Cpus_allowed_list:"),
        "{core:?}"
    );
    let lost =
        |pid: &String| field(pid, "nonvoluntary_ctxt_switches:").unwrap();
    while children.iter().any(|pid| lost(pid) < 3) {}
    let seen: Vec<_> = children.iter().map(lost).collect();
    let output = demo.wait_with_output().unwrap();
    let rows = rows(std::str::from_utf8(&output.stdout).unwrap());
    for (pid, seen) in children.iter().zip(seen) {
        let row = rows.iter().find(|row| row[0].to_string() == *pid).unwrap();
        assert!(row[3] >= f64::from(seen), "{seen} {output:?}");
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "reaped");
    }
}

/// One child is made nicer from outside: the index tells, and the demo gives it up after 5 s.
#[test]
fn unequal_processes_are_not_taken_for_equal() {
    let (demo, children) = start();
    let renice = Command::new("renice")
        .args(["-n", "19", "-p", &children[1]])
        .output()
        .unwrap();
    assert!(renice.status.success(), "{renice:?}");
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains(" in 5.") && error.contains("index 0."),
        "{error}"
    );
}

/// Ten seconds after the demo has been killed, none of its children is left.
#[test]
fn children_end_even_if_the_parent_is_killed() {
    let (mut demo, children) = start();
    demo.kill().unwrap();
    demo.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while children
        .iter()
        .any(|pid| fs::exists(format!("/proc/{pid}")).unwrap())
    {
        assert!(Instant::now() < deadline, "{children:?} outlived the demo");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--processes", "1"][..],
        &["--processes", "17"],
        &["--processes"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
