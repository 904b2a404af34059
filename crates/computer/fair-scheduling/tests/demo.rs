#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

const CELL_MS: f64 = 2.0;

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// All numbers of a line.
fn numbers(line: &str) -> Vec<f64> {
    line.split(|sign: char| !(sign.is_ascii_digit() || sign == '.'))
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[derive(Debug)]
struct Row {
    pid: String,
    /// CPU time in milliseconds
    cpu: f64,
    /// Percent
    share: f64,
    lost: f64,
    /// One for each of 50 cells
    picture: Vec<char>,
}

/// Milliseconds in a picture. Each cell that is not empty may be wrong by a
/// quarter of its width.
fn drawn(picture: &[char]) -> f64 {
    let cell = |symbol: &char| match symbol {
        '█' => 0.75 * CELL_MS,
        '░' => 0.25 * CELL_MS,
        _ => 0.0,
    };
    picture.iter().map(cell).sum()
}

fn picture(line: &str) -> Vec<char> {
    let cells: Vec<char> = line.chars().skip(30).collect();
    assert!(cells.len() <= 50, "{line}");
    format!("{:<50}", String::from_iter(cells))
        .chars()
        .collect()
}

/// The rows of the children, and the picture of the others.
fn rows(text: &str) -> (Vec<Row>, Vec<char>) {
    let mut lines = text.lines().skip(2);
    let mut rows = Vec::new();
    for line in lines.by_ref() {
        if line.starts_with(" others") {
            return (rows, picture(line));
        }
        let numbers: [f64; 4] = numbers(line).try_into().expect(line);
        rows.push(Row {
            pid: numbers[0].to_string(),
            cpu: numbers[1],
            share: numbers[2],
            lost: numbers[3],
            picture: picture(line),
        });
    }
    panic!("no row of the others: {text}")
}

#[test]
fn equal_processes_take_turns_and_get_equal_shares() {
    for n in [2, 4, 16] {
        let output = if n == 4 {
            run(&[])
        } else {
            run(&["--processes", &n.to_string()])
        };
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let fits = text.lines().all(|line| line.chars().count() <= 80);
        assert!(fits && text.lines().count() <= 23, "{text}");
        let (rows, others) = rows(&text);
        assert_eq!(rows.len(), n, "{text}");
        totals_are_fair(&rows, &text);
        picture_shows_turns(&rows, &others, &text);
    }
}

/// The verdict's numbers against those of the rows.
fn totals_are_fair(rows: &[Row], text: &str) {
    let n = rows.len() as f64;
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    let [seconds, forced, voluntary] = numbers(last[2])[..] else {
        panic!("{text}")
    };
    let [fewest, overlap] = numbers(last[1])[..] else {
        panic!("{text}")
    };
    let [index, one_has_all, 1.0] = numbers(last[0])[..] else {
        panic!("{text}")
    };
    let total: f64 = rows.iter().map(|row| row.cpu).sum();
    let squares: f64 = rows.iter().map(|row| row.cpu * row.cpu).sum();
    let jain = total * total / (n * squares);
    assert!(index >= 0.99 && (index - jain).abs() < 0.001, "{text}");
    assert!((one_has_all - 1.0 / n).abs() < 0.006, "{text}");
    // One core has no more.
    assert!(total <= 1010.0 * seconds + 100.0, "{text}");
    assert!(seconds >= 1.0, "{text}");
    assert_eq!(forced, rows.iter().map(|row| row.lost).sum::<f64>());
    // Each gave up the core to wait for the start, if at all.
    assert!(voluntary < forced, "{text}");
    assert!(fewest >= 5.0 && overlap < 5.0, "{text}");
    for row in rows {
        assert!(row.lost >= 1.0, "{text}");
        assert!((row.share - 100.0 * row.cpu / total).abs() < 1.0, "{text}");
    }
}

/// Whoever has more than half of a cell, nobody else has.
fn picture_shows_turns(rows: &[Row], others: &[char], text: &str) {
    for (x, left) in others.iter().enumerate() {
        let children = rows.iter().map(|row| row.picture[x]);
        let column: String = children.chain([*left]).collect();
        let most = column.matches('█').count();
        let less = column.matches('░').count();
        assert!(most <= 1, "two at once, in cell {x}: {text}");
        // Nobody's share is invisible, if there are less than ten.
        if rows.len() < 9 {
            assert!(most == 1 || less >= 2, "cell {x} is lost: {text}");
        }
    }
    let total: f64 = rows.iter().map(|row| drawn(&row.picture)).sum();
    assert!(total > 0.0, "no turns: {text}");
    let mean = total / rows.len() as f64;
    for row in rows {
        let cells = row.picture.iter().filter(|cell| **cell != ' ').count();
        let wrong = 0.25 * CELL_MS * cells as f64;
        let had = drawn(&row.picture);
        assert!(had <= row.cpu + wrong + 1.0, "{text}");
        // A child may be some turns of some milliseconds ahead of another. If
        // a hypervisor has taken the core, one may make up for what it lost.
        if drawn(others) < 20.0 {
            assert!((had - mean).abs() < 30.0, "{text}");
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

/// A number from /proc/PID/status
fn field(pid: &str, name: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Seen from outside: one core for both, and switches that the kernel counts
/// while they compute.
#[test]
fn the_kernel_counts_the_switches() {
    let (demo, children) = start();
    let core = field(&children[0], "Cpus_allowed_list:");
    let other = field(&children[1], "Cpus_allowed_list:");
    assert!(core.is_some() && core == other, "{core:?}");
    let lost =
        |pid: &String| field(pid, "nonvoluntary_ctxt_switches:").unwrap();
    while children.iter().any(|pid| lost(pid) < 3) {}
    let before: Vec<_> = children.iter().map(lost).collect();
    let output = demo.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let core = format!("2 children compute on core {}. ", core.unwrap());
    assert!(text.starts_with(&core), "{text}");
    let (rows, _) = rows(&text);
    for (pid, seen) in children.iter().zip(before) {
        let row = rows.iter().find(|row| row.pid == *pid).unwrap();
        assert!(row.lost >= f64::from(seen), "{seen} {text}");
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "reaped");
    }
}

/// One child is made nicer from outside: the index tells, and the demo gives
/// it up after 5 s.
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
        error.contains("after 5.") && error.contains("index is 0."),
        "{error}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let (rows, _) = rows(&text);
    assert!(rows[0].share > rows[1].share + 10.0, "{text}");
}

/// One child is moved to another core: then both have a core at once, which
/// their notes tell, though their shares are as equal as can be.
#[test]
fn turns_on_two_cores_are_not_taken_for_turns_on_one() {
    let this_test = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_test).unwrap();
    let (demo, children) = start();
    let core = field(&children[1], "Cpus_allowed_list:").unwrap() as usize;
    let elsewhere = (0..CpuSet::count())
        .find(|&other| other != core && allowed.is_set(other).unwrap());
    if let Some(elsewhere) = elsewhere {
        let mut cores = CpuSet::new();
        cores.set(elsewhere).unwrap();
        let child = Pid::from_raw(children[1].parse().unwrap());
        sched_setaffinity(child, &cores).unwrap();
    }
    let output = demo.wait_with_output().unwrap();
    if elsewhere.is_none() {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("two children had the core at once"),
        "{error}"
    );
}

/// Real-time processes would not take turns. Whoever may leave a class does.
#[test]
fn an_inherited_scheduling_class_makes_no_difference() {
    for (class, priority) in
        [("--batch", "0"), ("--idle", "0"), ("--fifo", "1")]
    {
        let mut demo = Command::new("chrt");
        let output = demo.args([class, priority, DEMO]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        // Only with the right to do so: to leave idle, and to enter fifo.
        let may_not = match class {
            "--idle" => code == Some(77) && error.contains("may not leave"),
            "--fifo" => error.starts_with("chrt: "),
            _ => false,
        };
        assert!(may_not || code == Some(0), "{class}: {output:?}");
    }
}

/// PIDs of the children
fn killed_demo_with_stopped_children() -> Vec<String> {
    let (mut demo, children) = start();
    for child in &children {
        let pid = Pid::from_raw(child.parse().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    children
}

/// Ten seconds after the demo has been killed, none of its children is left.
/// Meanwhile they are stopped, which spares the core: the alarm does not stop.
#[test]
fn children_end_even_if_the_parent_is_killed() {
    let children = killed_demo_with_stopped_children();
    sleep(Duration::from_secs(10));
    let deadline = Instant::now() + Duration::from_secs(30);
    for child in children {
        let pid = Pid::from_raw(child.parse().unwrap());
        // It hears the alarm when it goes on. Gone already: that is well, too.
        let _gone_already = kill(pid, Signal::SIGCONT).is_err();
        while fs::exists(format!("/proc/{child}")).unwrap() {
            assert!(Instant::now() < deadline, "{child} outlived the demo");
            sleep(Duration::from_millis(10));
        }
    }
}
