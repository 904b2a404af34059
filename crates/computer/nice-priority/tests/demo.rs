#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Held by each test that runs the demo: two of them at a time would compete
/// for the same core.
static CORE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CORE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// What the demo shows of a child
#[derive(Debug)]
struct Row {
    nice: f64,
    weight: f64,
    /// CPU time in seconds
    cpu: f64,
    /// Percent
    predicted: f64,
    measured: f64,
    turns: f64,
    /// One for each of 60 cells
    picture: Vec<char>,
}

impl Row {
    fn filled(&self) -> usize {
        self.picture.iter().filter(|cell| **cell == '█').count()
    }
}

fn picture(line: &str) -> Vec<char> {
    let cells: Vec<char> = line.chars().skip(15).collect();
    assert!(cells.len() <= 60, "{line}");
    format!("{:<60}", String::from_iter(cells))
        .chars()
        .collect()
}

/// Both children, whose pictures show them never at once.
fn rows(text: &str) -> [Row; 2] {
    let lines: Vec<&str> = text.lines().collect();
    let fits = lines.iter().all(|line| line.chars().count() <= 80);
    assert!(fits && lines.len() <= 23, "{text}");
    let row = |x: usize| {
        let columns: [f64; 7] = numbers(lines[3 + x]).try_into().expect(text);
        let [pid, nice, weight, cpu, predicted, measured, turns] = columns;
        assert!(numbers(lines[8 + x]).starts_with(&[pid, nice]), "{text}");
        Row {
            nice,
            weight,
            cpu,
            predicted,
            measured,
            turns,
            picture: picture(lines[8 + x]),
        }
    };
    let rows = [row(0), row(1)];
    assert!(lines[10].starts_with(" others"), "{text}");
    let others = picture(lines[10]);
    for (x, left) in others.iter().enumerate() {
        let column = [rows[0].picture[x], rows[1].picture[x], *left];
        let most = column.iter().filter(|cell| **cell == '█').count();
        let less = column.iter().filter(|cell| **cell == '░').count();
        assert!(most <= 1, "two at once, in cell {x}: {text}");
        assert!(most == 1 || less >= 2, "cell {x} is lost: {text}");
    }
    rows
}

/// The rows of a run that showed its point, and the verdict's own numbers
/// compared with them.
fn shown(args: &[&str]) -> [Row; 2] {
    let _alone = alone();
    let begin = Instant::now();
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = rows(&text);
    let [first, second] = &rows;

    let last: Vec<&str> = text.lines().rev().take(2).collect();
    let apart = numbers(last[0])[0];
    for row in &rows {
        let off = (row.predicted - row.measured).abs();
        assert!(apart <= 3.0 && (off - apart).abs() <= 0.11, "{text}");
        let share = 100.0 * row.cpu / (first.cpu + second.cpu);
        assert!((share - row.measured).abs() < 0.2, "{text}");
        let by_weight = 100.0 * row.weight / (first.weight + second.weight);
        assert!((by_weight - row.predicted).abs() < 0.051, "{text}");
    }
    let words = last[1].replace(',', " ");
    let [fewest, overlap] = numbers(&words)[..] else {
        panic!("{text}")
    };
    assert_eq!(fewest, first.turns.min(second.turns), "{text}");
    assert!(fewest >= 2.0 && overlap < 5.0, "{text}");
    // Long enough, or for as long as a busy machine is given
    let long = first.cpu + second.cpu >= 0.899;
    assert!(long || begin.elapsed().as_secs() >= 8, "{text}");
    rows
}

#[test]
fn the_nicer_child_gets_less_and_as_much_as_predicted() {
    let [first, second] = shown(&[]);
    assert_eq!(second.nice, first.nice + 10.0);
    assert!(
        first.weight > second.weight && first.cpu > 5.0 * second.cpu,
        "{first:?} {second:?}"
    );
    assert!(first.filled() > second.filled(), "{first:?} {second:?}");
}

#[test]
fn equals_share_equally() {
    let [first, second] = shown(&["--nice", "0"]);
    assert_eq!(first.nice, second.nice);
    assert_eq!(first.weight, second.weight);
    assert_eq!(first.predicted, 50.0);
    assert!(
        (first.cpu / second.cpu - 1.0).abs() < 0.13,
        "{first:?} {second:?}"
    );
}

#[test]
fn the_nicest_still_gets_something() {
    let [first, second] = shown(&["--nice", "19"]);
    assert!(
        second.cpu > 0.0 && first.cpu > 20.0 * second.cpu,
        "{first:?} {second:?}"
    );
}

/// Weights as in kernel/sched/core.c: nice 0 is 1024, and the nicer the less.
#[test]
fn the_weight_is_that_of_the_nice_value() {
    let _alone = alone();
    let mut nice = Command::new("nice");
    let nice = nice.args(["-n", "1", DEMO]).output().unwrap();
    assert_eq!(nice.status.code(), Some(0), "{nice:?}");
    let [first, second] = rows(&String::from_utf8_lossy(&nice.stdout));
    assert_eq!(second.nice, f64::min(first.nice + 10.0, 19.0));
    if first.nice == 1.0 {
        assert_eq!((first.weight, second.weight), (820.0, 87.0));
    }
}

/// Then no child can be nicer than another.
#[test]
fn says_so_if_it_is_the_nicest_already() {
    let _alone = alone();
    let mut nice = Command::new("nice");
    let nice = nice.args(["-n", "19", DEMO]).output().unwrap();
    assert_eq!(nice.status.code(), Some(77), "{nice:?}");
    let error = String::from_utf8_lossy(&nice.stderr);
    assert!(error.contains("nice value of 19"), "{error}");
    assert!(nice.stdout.is_empty(), "{nice:?}");

    // It need not be for equals.
    let mut equal = Command::new("nice");
    let equal = equal.args(["-n", "19", DEMO, "--nice", "0"]);
    let equal = equal.output().unwrap();
    assert_ne!(equal.status.code(), Some(77), "{equal:?}");
}

/// The weights are those of ordinary processes. Whoever may leave another
/// class does.
#[test]
fn an_inherited_scheduling_class_makes_no_difference() {
    let _alone = alone();
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

fn start(args: &[&str]) -> (Child, [String; 2]) {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let children = children(&mut demo);
    (demo, children)
}

/// The only core on which a process may run
fn only_core(pid: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = "Cpus_allowed_list:";
    let cores = status.lines().find_map(|line| line.strip_prefix(field));
    cores.unwrap().trim().parse().unwrap()
}

/// Seen from outside: one and the same core for both, and nice values that
/// differ by 7.
#[test]
fn the_kernel_knows_of_core_and_nice_value() {
    let _alone = alone();
    let (mut demo, [first, second]) = start(&["--nice", "7"]);
    let core = only_core(&first);
    assert_eq!(core, only_core(&second));
    let nice = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let nice = fields.split_whitespace().nth(16).unwrap();
        nice.parse::<i32>().unwrap()
    };
    let mut apart = 0;
    while demo.try_wait().unwrap().is_none() && apart != 7 {
        apart = nice(&second) - nice(&first); // once the second has had a turn
    }
    assert_eq!(apart, 7);
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let core = format!("two children compute on core {core}\n");
    assert!(text.starts_with(&core), "{text}");
    assert!(!fs::exists(format!("/proc/{first}")).unwrap(), "reaped");
}

/// The first child is made as nice as the second from outside.
#[test]
fn equally_nice_children_show_nothing() {
    let _alone = alone();
    let (demo, [first, _]) = start(&["--nice", "19"]);
    let renice = Command::new("renice")
        .args(["-n", "19", "-p", &first])
        .output()
        .unwrap();
    assert!(renice.status.success(), "{renice:?}");
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("nothing is nicer"), "{error}");
}

/// One child is moved to another core: then both have a core at once.
#[test]
fn turns_on_two_cores_are_not_taken_for_turns_on_one() {
    let _alone = alone();
    let this_test = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_test).unwrap();
    let (demo, [_, second]) = start(&[]);
    let core = only_core(&second);
    let elsewhere = (0..CpuSet::count())
        .find(|&other| other != core && allowed.is_set(other).unwrap());
    if let Some(elsewhere) = elsewhere {
        let mut cores = CpuSet::new();
        cores.set(elsewhere).unwrap();
        let child = Pid::from_raw(second.parse().unwrap());
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
        error.contains("both children had the core at once"),
        "{error}"
    );
}

/// PIDs of the children
fn killed_demo_with_stopped_children() -> [String; 2] {
    let _alone = alone();
    let (mut demo, children) = start(&[]);
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
