#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// All numbers of a line
fn numbers(line: &str) -> Vec<f64> {
    line.split(|sign: char| !(sign.is_ascii_digit() || sign == '.'))
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// What the demo shows of a child: PID, nice value, weight, CPU time in
/// seconds, and its share in percent, predicted and measured.
fn rows(output: &Output) -> [[f64; 6]; 2] {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().skip(3).take(2);
    let rows: Vec<[f64; 6]> = lines
        .map(|line| numbers(line).try_into().unwrap())
        .collect();
    rows.try_into().unwrap()
}

#[test]
fn the_nicer_child_gets_what_its_weight_predicts() {
    for (args, nice, weight, share) in [
        (&[][..], 10.0, 110.0, 9.7),
        (&["--nice", "0"], 0.0, 1024.0, 50.0),
        (&["--nice", "19"], 19.0, 15.0, 1.4),
    ] {
        let output = Command::new(DEMO).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let [first, second] = rows(&output);
        assert_eq!(first[1..3], [0.0, 1024.0], "{text}");
        assert_eq!(second[1..3], [nice, weight], "{text}");

        let sum = first[3] + second[3];
        for [_, _, _, cpu, predicted, measured] in [first, second] {
            assert!((measured - predicted).abs() < 3.11, "{text}");
            assert!((100.0 * cpu / sum - measured).abs() < 0.3, "{text}");
            let bar = "█".repeat((measured / 4.0).ceil() as usize);
            assert!(text.contains(&format!(" {measured:.1} %  {bar}\n")));
        }
        assert!((first[4] - (100.0 - share)).abs() < 0.01, "{text}");
        let last: Vec<&str> = text.lines().skip(6).collect();
        let [all, passed] = numbers(last[0])[..] else {
            panic!("{text}")
        };
        assert!((all - sum).abs() < 0.01, "{text}");
        assert!(all <= passed && passed >= 1.0, "{text}");
        // It goes on, second after second, until they had half a second.
        assert!(all < 1.7 && (all >= 0.5 || passed >= 8.0), "{text}");
        let apart = (second[5] - share).abs();
        let [_, got, predicted, points] = numbers(last[1])[..] else {
            panic!("{text}")
        };
        assert_eq!([got, predicted], [second[5], share], "{text}");
        assert!(got > 0.0 && (points - apart).abs() < 0.11, "{text}");
    }
}

/// The demo, started by a process that is nice already
fn started_nice(nice: &str) -> Output {
    let mut demo = Command::new("nice");
    demo.args(["-n", nice, DEMO]).env_remove("RUST_BACKTRACE");
    demo.output().unwrap()
}

#[test]
fn nothing_is_nicer_than_19() {
    let nice = started_nice("12");
    let [first, second] = rows(&nice);
    assert_eq!([first[1], second[1]], [12.0, 19.0], "{nice:?}");

    let nicest = started_nice("19");
    assert_eq!(nicest.status.code(), Some(1), "{nicest:?}");
    let error = String::from_utf8_lossy(&nicest.stderr);
    let sentence = "Error: both have nice value 19: nothing is nicer\n";
    assert_eq!(error, sentence);
}

/// The demo with --nice 19, and the PIDs of its children, from the kernel.
fn start() -> (Child, [Pid; 2]) {
    let mut demo = Command::new(DEMO)
        .args(["--nice", "19"])
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

/// The first child goes into the scheduling class for idle times, whose weight
/// is less than any: the second one gets more than was predicted.
#[test]
fn other_shares_than_predicted_do_not_pass() {
    let (demo, children) = start();
    let pid = children[0].to_string();
    let mut chrt = Command::new("chrt");
    let chrt = chrt.args(["--idle", "--pid", "0", &pid]).output().unwrap();
    assert!(chrt.status.success(), "{chrt:?}");

    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("%, and 1.4 % was predicted"), "{error}");
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
    assert!(text.starts_with(&format!("two children compute on CPU {cpu}")));
    let sum = rows(&output)[0][3] + rows(&output)[1][3];
    let error = String::from_utf8_lossy(&output.stderr);
    let noticed = error.contains("more than one CPU has");
    assert!(noticed || sum < passed + 0.01, "{output:?}");
    assert!(!noticed || sum > passed - 0.5, "{output:?}");
}
