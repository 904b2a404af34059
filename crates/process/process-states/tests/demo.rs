#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::libc;

const DEMO: &str = env!("CARGO_BIN_EXE_process-states");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The rows of both tables: PID, letter, cells executing, cells ready.
fn rows(text: &str) -> Vec<(String, String, usize, usize)> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let pid = words.iter().position(|word| word.parse::<u32>().is_ok())?;
        let cells = |cell| line.matches(cell).count();
        Some((
            words[pid].to_string(),
            words.get(pid + 1)?.to_string(),
            cells('█'),
            cells('░'),
        ))
    };
    text.lines()
        .filter(|line| !line.starts_with("core "))
        .filter_map(row)
        .collect()
}

#[test]
fn every_child_is_in_its_state_and_each_event_changes_it() {
    for args in [&[][..], &["--delay", "2"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let rows = rows(&text);
        let letters: Vec<_> = rows.iter().map(|row| row.1.as_str()).collect();
        assert_eq!(
            letters,
            ["R", "R", "S", "S", "T", "Z", "T", "Z", "R", "R", "R", "-"],
            "{text}"
        );
        assert!(
            (0..6).all(|i| rows[i].0 == rows[i + 6].0),
            "an event of each child: {text}"
        );
        assert!(
            rows[6..8].iter().all(|row| row.3 > 0),
            "both were ready: {text}"
        );
        assert!(
            rows[2..6].iter().all(|row| row.2 <= 1),
            "the others do not execute: {text}"
        );

        let last = text.lines().last().unwrap();
        let times = last
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect::<Vec<f64>>();
        assert!(times[0] > 0.0 && times[1] > 0.0, "{last}");
        assert!(
            times[0] + times[1] <= 1.02 * times[2],
            "one at a time: {last}"
        );
        let bar = (20.0 * times[0] / times[2]).round() as usize;
        assert!(rows[6].2.abs_diff(bar) <= 1, "the bar is the time: {text}");
    }
}

/// PID and state letter of the running demo's children, as ps sees them.
fn children(demo: &Child) -> Vec<(u32, char)> {
    let ps = Command::new("ps")
        .args(["-o", "pid=,s=", "--ppid", &demo.id().to_string()])
        .output();
    let text = String::from_utf8(ps.unwrap().stdout).unwrap();
    let child = |line: &str| {
        Some((
            line[..line.len() - 1].trim().parse().ok()?,
            line.chars().last()?,
        ))
    };
    text.lines().filter_map(child).collect()
}

/// Waits until ps sees so many children in these states, in any order.
fn await_states(demo: &mut Child, expected: &str) -> Vec<(u32, char)> {
    loop {
        let children = children(demo);
        let mut letters: Vec<_> =
            children.iter().map(|child| child.1).collect();
        letters.sort();
        if letters.into_iter().collect::<String>() == expected {
            return children;
        }
        assert!(
            demo.try_wait().unwrap().is_none(),
            "{expected} expected, {children:?} seen"
        );
    }
}

/// Seen from outside: ps gives the same letters, and the kernel the system calls and the core.
#[test]
fn another_process_sees_the_states() {
    let mut demo = Command::new(DEMO);
    let mut demo = demo
        .args(["--delay", "5"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = await_states(&mut demo, "RRSSTZ");
    let read = |pid, file| {
        fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    };
    let calls = seen
        .iter()
        .map(|&(pid, _)| (pid, read(pid, "syscall")))
        .collect::<Vec<_>>();
    let core = |pid| {
        let status = read(pid, "status");
        status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap()
            .to_string()
    };
    let cores: Vec<_> = seen.iter().map(|&(pid, _)| core(pid)).collect();
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");

    assert!(
        cores[0].trim().parse::<u32>().is_ok(),
        "one core: {cores:?}"
    );
    assert!(
        cores.iter().all(|core| *core == cores[0]),
        "the same core: {cores:?}"
    );
    let rows = rows(std::str::from_utf8(&output.stdout).unwrap());
    for (pid, letter) in &seen {
        let row = rows.iter().find(|row| row.0 == pid.to_string()).unwrap();
        assert_eq!(row.1, letter.to_string());
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "reaped");
    }
    for (row, number) in [(2, libc::SYS_read), (3, libc::SYS_clock_nanosleep)] {
        let (_, call) = calls
            .iter()
            .find(|(pid, _)| rows[row].0 == pid.to_string())
            .unwrap();
        if !call.is_empty() {
            assert_eq!(
                call.split(' ').next().unwrap(),
                number.to_string(),
                "{calls:?}"
            );
        } // else this user may not look
    }
}

/// No child outlives a demo that is killed, not even the suspended one.
#[test]
fn children_end_even_if_the_parent_is_killed() {
    let mut demo = Command::new(DEMO)
        .arg("--delay=5")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let children = await_states(&mut demo, "RRSSTZ");
    demo.kill().unwrap();
    demo.wait().unwrap();
    let alive = |&(pid, _): &(u32, char)| {
        let stat =
            fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ") // init may reap late
    };
    let deadline = Instant::now() + Duration::from_secs(8); // before the alarm
    while children.iter().any(alive) {
        assert!(Instant::now() < deadline, "{children:?} outlived the demo");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--delay", "0"][..],
        &["--delay", "6"],
        &["--delay", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
