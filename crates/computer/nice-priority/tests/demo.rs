#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_nice-priority");

/// Held by each test that runs the demo: two of them at a time would compete for the same core.
static CORE: Mutex<()> = Mutex::new(());

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Nice value, weight, CPU seconds, predicted and measured share of both children.
fn rows(args: &[&str]) -> [[f64; 5]; 2] {
    let _alone = CORE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = |line: &str| -> Vec<f64> {
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let rows = text
        .lines()
        .map(numbers)
        .filter(|numbers| numbers.len() == 6);
    let rows: Vec<_> = rows.map(|row| row[1..].try_into().unwrap()).collect();
    rows.try_into().unwrap()
}

#[test]
fn the_nicer_child_gets_less_and_as_much_as_predicted() {
    let [first, second] = rows(&[]);
    assert_eq!(second[0], first[0] + 10.0);
    assert!(
        first[1] > second[1] && first[2] > 5.0 * second[2],
        "{first:?} {second:?}"
    );
    for [_, _, _, predicted, measured] in [first, second] {
        assert!((predicted - measured).abs() <= 3.1, "{first:?} {second:?}");
    }
    assert!(
        (second[2] / (first[2] + second[2]) * 100.0 - second[4]).abs() < 1.0,
        "share of time"
    );
}

#[test]
fn equals_share_equally() {
    let [first, second] = rows(&["--nice", "0"]);
    assert_eq!((first[0], first[1], first[3]), (second[0], second[1], 50.0));
    assert!(
        (first[2] / second[2] - 1.0).abs() < 0.13,
        "{first:?} {second:?}"
    );
}

#[test]
fn the_nicest_still_gets_something() {
    let [first, second] = rows(&["--nice", "19"]);
    assert!(
        second[2] > 0.0 && first[2] > 20.0 * second[2],
        "{first:?} {second:?}"
    );
}

/// The running demo's children, as ps sees them.
fn children(demo: &mut Child) -> [String; 2] {
    loop {
        let ps = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &demo.id().to_string()])
            .output();
        let pids = String::from_utf8(ps.unwrap().stdout).unwrap();
        let pids: Vec<String> =
            pids.split_whitespace().map(Into::into).collect();
        if let Ok(pids) = pids.try_into() {
            return pids;
        }
        assert!(
            demo.try_wait().unwrap().is_none(),
            "no two children were seen"
        );
    }
}

/// Seen from outside: one and the same core for both, and nice values that differ by 7.
#[test]
fn the_kernel_knows_of_core_and_nice_value() {
    let _alone = CORE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut demo = Command::new(DEMO)
        .args(["--nice", "7"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let [first, second] = children(&mut demo);
    let field = |pid: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_string()
    };
    let core = field(&first, "Cpus_allowed_list:");
    assert!(core.parse::<u32>().is_ok(), "{core}");
    assert_eq!(core, field(&second, "Cpus_allowed_list:"));
    let nice = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .nth(16)
            .unwrap()
            .parse::<i32>()
            .unwrap()
    };
    let mut apart = 0;
    while demo.try_wait().unwrap().is_none() && apart != 7 {
        apart = nice(&second) - nice(&first); // once the second child has had its turn
    }
    assert_eq!(apart, 7);
    assert!(demo.wait().unwrap().success());
    assert!(!fs::exists(format!("/proc/{first}")).unwrap(), "reaped");
}

/// Ten seconds after the demo has been killed, none of its children is left.
#[test]
fn children_end_even_if_the_parent_is_killed() {
    let _alone = CORE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut demo = Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
    let children = children(&mut demo);
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
        &["--nice", "20"][..],
        &["--nice", "-1"],
        &["--nice", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
