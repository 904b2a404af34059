#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, alarm};
use procfs::process::{ProcState, Stat, all_processes};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let no_test_waits_for_ever = || {
        alarm::set(60);
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

struct Row {
    /// Milliseconds of CPU time for four forks
    forks: f64,
    faults: f64,
    mib: f64,
    bar: String,
}

/// The row that starts with `label`.
fn row(text: &str, label: &str) -> Row {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let words: Vec<&str> = rest.expect(text).split_whitespace().collect();
    let [forks, "ms", faults, mib, "MiB", bar] = words[..] else {
        panic!("{text}")
    };
    Row {
        forks: forks.parse().unwrap(),
        faults: faults.parse().unwrap(),
        mib: mib.parse().unwrap(),
        bar: bar.into(),
    }
}

/// The numbers of a text, without the signs around them.
fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// By default, and as in the header.
#[test]
fn loading_first_copies_all_data() {
    for (args, mib) in [
        (&[][..], 256.0),
        (&["--mib", "64"], 64.0),
        (&["--mib", "16"], 16.0),
    ] {
        let text = text_of(&run(args));
        assert!(text.lines().count() <= 23, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let heading = format!("{mib} MiB of data, 4 workers\n");
        assert!(text.starts_with(&heading), "{text}");

        let good = row(&text, "fork, then load ");
        let bad = row(&text, "load, then fork ");
        assert!((mib..mib + 6.0).contains(&good.mib), "once: {text}");
        let copies = bad.mib - good.mib;
        assert!((copies - mib).abs() <= 2.0, "twice: {text}");
        for shown in [&good, &bad] {
            let cells = shown.bar.chars().count() as f64;
            assert!((cells - 12.0 * shown.mib / mib).abs() < 1.5, "{text}");
        }
        // A copy of each page: huge pages are copied in parts.
        let pages = mib * 256.0;
        let more_faults = bad.faults - good.faults;
        assert!(more_faults > 0.5 * pages, "{text}");
        assert!(more_faults < 1.1 * pages, "{text}");
        assert!(good.faults < 1.5 * pages, "{text}");

        let (_, verdict) = text.split_once("fork, then load: ").unwrap();
        let verdict = numbers(verdict);
        let [used, data, twice, more, faults, longer] = verdict[..] else {
            panic!("{text}")
        };
        assert_eq!((used, data), (good.mib, mib), "{text}");
        assert_eq!(twice, bad.mib, "{text}");
        assert!((more - copies).abs() <= 1.0, "{text}");
        assert_eq!(faults, more_faults, "{text}");
        let difference = bad.forks - good.forks;
        assert!(longer >= 0.0 && difference >= 0.0, "{text}");
        assert!((longer - difference).abs() < 0.11, "{text}");
    }
}

/// fork copies the page table: that of 256 MiB takes longer than that of 16.
#[test]
fn the_more_is_loaded_the_longer_fork_takes() {
    let large = text_of(&run(&["--mib", "256"]));
    let small = text_of(&run(&["--mib", "16"]));
    let label = "load, then fork ";
    assert!(
        row(&large, label).forks > row(&small, label).forks,
        "{large}"
    );
}

/// Seconds in the output of the shell's `times`, such as 0m0.270s.
fn seconds(word: &str) -> f64 {
    let (minutes, seconds) = word.split_once('m').unwrap();
    let seconds: f64 = seconds.trim_end_matches('s').parse().unwrap();
    minutes.parse::<f64>().unwrap() * 60.0 + seconds
}

/// Loading is no part of it: all processes together take far more CPU time.
#[test]
fn only_the_forks_are_timed() {
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", "timeout 60 \"$0\" --mib 256; times", DEMO])
        .output()
        .unwrap();
    let text = text_of(&output);
    let forks = row(&text, "load, then fork ").forks / 1000.0;
    let of_children = text.lines().last().unwrap().split_whitespace();
    let all: f64 = of_children.map(seconds).sum();
    assert!(forks < 0.15 * all, "{text}");
}

fn children_of(parent: Pid) -> Vec<Stat> {
    let mut children = Vec::new();
    for process in all_processes().unwrap() {
        if let Ok(stat) = process.and_then(|process| process.stat())
            && stat.ppid == parent.as_raw()
        {
            children.push(stat);
        }
    }
    children
}

/// KiB of a process, by its share in each page.
fn pss(pid: i32) -> u64 {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(file).unwrap();
    let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = pss.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse().unwrap()
}

/// Returns the children when none of them computes any more.
fn wait_until_idle(parent: Pid) -> Vec<Stat> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let children = children_of(parent);
        let busy = children.iter().any(|child| {
            !matches!(
                child.state().unwrap(),
                ProcState::Sleeping | ProcState::Zombie
            )
        });
        if !busy {
            return children;
        }
        assert!(Instant::now() < deadline, "{children:?}");
    }
}

/// What another process sees when all four workers keep their memory.
struct Seen {
    /// MiB of parent and workers
    mib: f64,
    /// Page faults of the workers
    faults: f64,
}

/// Stops the parent, so that the workers wait for it, and looks at them all.
/// None if it was too early or too late.
fn look(parent: Pid) -> Option<Seen> {
    kill(parent, Signal::SIGSTOP).unwrap();
    let children = wait_until_idle(parent);
    let mut seen = None;
    let asleep = children
        .iter()
        .filter(|child| child.state().unwrap() == ProcState::Sleeping);
    if asleep.count() == 4 {
        let mut kib = pss(parent.as_raw());
        let mut faults = 0;
        for child in &children {
            kib += pss(child.pid);
            faults += child.minflt;
        }
        seen = Some(Seen {
            mib: kib as f64 / 1024.0,
            faults: faults as f64,
        });
    }
    kill(parent, Signal::SIGCONT).unwrap();
    seen
}

/// Runs the demo until it ends, and looks at each group of workers.
fn look_at_all(mut running: Child) -> (Vec<Seen>, String) {
    let parent = Pid::from_raw(running.id().cast_signed());
    let mut all = Vec::new();
    let mut last = 0;
    while running.try_wait().unwrap().is_none() {
        let children = children_of(parent);
        if children.len() == 4 && children[0].pid != last {
            last = children[0].pid;
            all.extend(look(parent));
        }
    }
    (all, text_of(&running.wait_with_output().unwrap()))
}

/// Seen from outside: memory and page faults, added up by another process.
#[test]
fn the_kernel_tells_everybody_the_same() {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let (seen, text) =
            look_at_all(demo(&["--mib", "256"]).spawn().unwrap());
        if let [good, bad] = &seen[..] {
            let good_row = row(&text, "fork, then load ");
            let bad_row = row(&text, "load, then fork ");
            assert!((good.mib - good_row.mib).abs() < 2.0, "{text}");
            assert!((bad.mib - bad_row.mib).abs() < 2.0, "{text}");
            // All is loaded by the workers, or half of it by the parent.
            assert!(good.faults > 0.9 * good_row.faults, "{text}");
            assert!(good.faults <= good_row.faults, "{text}");
            assert!(bad.faults > 0.45 * bad_row.faults, "{text}");
            assert!(bad.faults <= bad_row.faults, "{text}");
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
}

/// The other workers do not wait for it, and neither does the parent.
#[test]
fn says_so_if_a_worker_dies() {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let running = demo(&["--mib", "256"]).spawn().unwrap();
        let parent = Pid::from_raw(running.id().cast_signed());
        let mut children = Vec::new();
        while children.is_empty() {
            children = children_of(parent);
            assert!(Instant::now() < deadline, "no worker to be seen");
        }
        kill(Pid::from_raw(children[0].pid), Signal::SIGKILL).unwrap();
        let output = running.wait_with_output().unwrap();
        if output.status.code() == Some(1) {
            let message = String::from_utf8_lossy(&output.stderr);
            let expected = "Error: a worker died: too little memory?\n";
            return assert_eq!(message, expected);
        }
        // It had done its work already: its byte was written.
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(Instant::now() < deadline, "no worker died");
    }
}

/// Whatever happens to the parent, the workers end.
#[test]
fn nothing_outlives_a_killed_demo() {
    let mut running = demo(&["--mib", "256"]).spawn().unwrap();
    let parent = Pid::from_raw(running.id().cast_signed());
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut children = Vec::new();
    while children.is_empty() {
        children = children_of(parent);
        assert!(Instant::now() < deadline, "no worker to be seen");
    }
    // Now it forks no more.
    kill(parent, Signal::SIGSTOP).unwrap();
    children = children_of(parent);
    running.kill().unwrap();
    running.wait().unwrap();
    for child in children {
        wait_until_gone(child.pid, deadline);
    }
}

/// Adopted and reaped by init, or by a subreaper that may do so later.
fn wait_until_gone(pid: i32, deadline: Instant) {
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let gone = status.is_err();
        let dead = status.is_ok_and(|status| status.contains("Z (zombie)"));
        if gone || dead {
            return;
        }
        assert!(Instant::now() < deadline, "{pid} outlived the demo");
    }
}

/// It needs four times the data, and is content with just that.
#[test]
fn says_so_if_there_is_too_little_memory() {
    for resource in [Resource::RLIMIT_AS, Resource::RLIMIT_DATA] {
        for (kib, code) in [(65_536, 0), (65_535, 77)] {
            let mut limited = demo(&["--mib", "16"]);
            let bytes = kib * 1024;
            let limit = move || Ok(setrlimit(resource, bytes, bytes)?);
            // SAFETY: setrlimit is one system call.
            unsafe { limited.pre_exec(limit) };
            let output = limited.output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            if code == 77 {
                let message = String::from_utf8_lossy(&output.stderr);
                let expected = "cannot run here: it needs 65536 KiB of \
                                memory, and 65535 KiB are free: choose a \
                                smaller --mib\n";
                assert_eq!(message, expected);
                assert!(output.stdout.is_empty());
            }
        }
    }
}

/// The demo in a control group, below one that may use so many MiB. None where
/// no group can be made: that needs root.
#[cfg(target_os = "linux")]
fn run_with_limit(mib: u64) -> Option<Output> {
    let script = "
        outer=/sys/fs/cgroup/memory/fork-then-load-$$ limit=memory.limit_in_bytes
        if [ ! -d /sys/fs/cgroup/memory ]; then # version 2
            outer=/sys/fs/cgroup/fork-then-load-$$ limit=memory.max
        fi
        mkdir -p $outer/inner && echo $1 >$outer/$limit || exit 99
        if [ $limit = memory.max ]; then
            echo +memory >$outer/cgroup.subtree_control || exit 99
        fi
        sh -c 'echo $$ >$1/inner/cgroup.procs && exec \"$0\"' \"$0\" $outer
        code=$?
        rmdir $outer/inner $outer
        exit $code";
    let bytes = (mib * 1024 * 1024).to_string();
    let output = Command::new("sh")
        .args(["-c", script, DEMO, &bytes])
        .output()
        .unwrap();
    if output.status.code() == Some(99) {
        eprintln!("not tested: no control group can be made here");
        return None;
    }
    Some(output)
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_an_outer_control_group_counts() {
    if let Some(output) = run_with_limit(512) {
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.starts_with("cannot run here: "), "{message}");
    }
}
