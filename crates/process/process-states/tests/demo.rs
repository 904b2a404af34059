#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const SOURCE: &str = include_str!("../src/main.rs");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into()
}

/// A row of one of the two tables.
#[derive(Debug, PartialEq)]
struct Row {
    label: String,
    child: u32,
    state: String,
    place: String,
}

fn row(line: &str) -> Option<Row> {
    let label = line.get(..20)?.trim().to_string();
    let child = line.get(20..28)?.trim().parse().ok()?;
    let state = line.get(30..42)?.trim().to_string();
    let place = line.get(42..)?.trim().to_string();
    Some(Row {
        label,
        child,
        state,
        place,
    })
}

/// The rows of both tables.
fn rows(text: &str) -> Vec<Row> {
    let tables = text.split("\n\n").take(2);
    tables.flat_map(str::lines).filter_map(row).collect()
}

/// The numbers with a decimal point in a text, in its order.
fn decimals(text: &str) -> Vec<f64> {
    let words = text.split_whitespace().filter(|word| word.contains('.'));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// A file of /proc/PID; empty if it is not there, or not for this user.
fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

#[test]
fn every_child_is_in_its_state_and_each_event_changes_it() {
    for args in [&[][..], &["--delay", "2"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = stdout(&output);
        assert!(text.lines().count() <= 23, "{text}");
        let rows = rows(&text);
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.label.as_str(), row.state.as_str()))
            .collect();
        let expected = [
            ("ready or executing", "R runnable"),
            ("ready or executing", "R runnable"),
            ("blocked in a read", "S sleeping"),
            ("delayed in a sleep", "S sleeping"),
            ("suspended", "T stopped"),
            ("zombie", "Z zombie"),
            ("SIGSTOP", "T stopped"),
            ("SIGKILL", "Z zombie"),
            ("a byte in the pipe", "R runnable"),
            ("end of the sleep", "R runnable"),
            ("SIGCONT", "R runnable"),
            ("waitpid", "gone"),
        ];
        assert_eq!(seen, expected, "{text}");
        for i in 0..6 {
            assert_eq!(rows[i].child, rows[i + 6].child, "{text}");
        }
        for row in &rows {
            if !row.state.starts_with(['S', 'T']) {
                assert_eq!(row.place, "-", "does not wait: {text}");
            }
        }

        let (_, turns) = text.split_once("\ncore ").unwrap();
        let (turns, verdict) = turns.split_once("\n\n").unwrap();
        let wall = decimals(turns)[0];
        let delay: f64 = if args.is_empty() { 1.0 } else { 2.0 };
        assert!(wall >= delay, "{text}");
        let mut executing = Vec::new();
        for (i, line) in turns.lines().skip(1).enumerate() {
            let child = format!("child {:>8} ", rows[i].child);
            assert!(line.starts_with(&child), "{text}");
            let times = decimals(line);
            for (time, cell) in [(times[0], '█'), (times[1], '░')] {
                assert!(time > 0.0, "executing and ready: {text}");
                let bar = (20.0 * time / wall).round() as usize;
                let drawn = line.matches(cell).count();
                assert!(drawn.abs_diff(bar) <= 1, "bar as time: {text}");
            }
            assert!(times[0] + times[1] <= 1.02 * wall, "not both: {text}");
            executing.push(times[0]);
        }
        let sum = executing[0] + executing[1];
        assert!(sum <= wall, "one at a time: {text}");

        let judged = decimals(verdict.trim_end());
        assert_eq!(judged[..2], executing[..], "{text}");
        assert!((judged[2] - sum).abs() < 0.0005, "{text}");
        assert_eq!(judged[3], wall, "{text}");
        assert!(verdict.starts_with("2 children in state R: "), "{text}");
        assert!(verdict.ends_with("\n6 events, 6 new states\n"), "{text}");
    }
}

/// PID and state letter of the running demo's children, as ps sees them.
fn children(demo: &Child) -> Vec<(u32, char)> {
    let ps = Command::new("ps")
        .args(["-o", "pid=,s=", "--ppid", &demo.id().to_string()])
        .output();
    let text = String::from_utf8(ps.unwrap().stdout).unwrap();
    let mut children = Vec::new();
    for line in text.lines() {
        let (pid, letter) = line.trim().split_once(' ').unwrap();
        let letter = letter.trim().chars().next().unwrap();
        children.push((pid.parse().unwrap(), letter));
    }
    children
}

/// Waits until ps sees so many children in these states, in any order.
fn await_states(demo: &mut Child, expected: &str) -> Vec<(u32, char)> {
    loop {
        let children = children(demo);
        let mut letters: Vec<char> = Vec::new();
        for (_, letter) in &children {
            letters.push(*letter);
        }
        letters.sort_unstable();
        if letters.into_iter().collect::<String>() == expected {
            return children;
        }
        assert!(
            demo.try_wait().unwrap().is_none(),
            "{expected} expected, {children:?} seen"
        );
        std::thread::sleep(Duration::from_millis(10)); // spares the core
    }
}

/// How long a process has been executing, in nanoseconds.
fn executing(pid: u32) -> u64 {
    let schedstat = read(pid, "schedstat");
    let first = schedstat.split(' ').next();
    first.unwrap().parse().expect("the demo still runs")
}

/// Waits until the children in state R have had the core for much longer than
/// any of the others.
fn await_computing(demo: &mut Child, children: &[(u32, char)]) {
    loop {
        assert!(demo.try_wait().unwrap().is_none(), "{children:?}");
        let mut computing = u64::MAX;
        let mut waiting = 0;
        for (pid, letter) in children {
            if *letter == 'R' {
                computing = computing.min(executing(*pid));
            } else {
                waiting = waiting.max(executing(*pid));
            }
        }
        if computing > 20 * waiting {
            break;
        }
    }
}

/// The cores that a process may use, as the kernel lists them.
fn allowed_cores(pid: u32) -> String {
    let status = read(pid, "status");
    let mut lines = status.lines();
    let cores = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores.unwrap().trim().to_string()
}

/// Seen from outside: ps gives the same letters, and the kernel the system
/// calls, the places, the times and the core.
#[test]
fn another_process_sees_the_states() {
    let mut demo = Command::new(DEMO);
    demo.args(["--delay", "5"]).stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let seen = await_states(&mut demo, "RRSSTZ");
    await_computing(&mut demo, &seen);
    let mut calls = Vec::new();
    let mut places = Vec::new();
    let mut cores = Vec::new();
    let mut times = Vec::new();
    for (pid, _) in &seen {
        calls.push(read(*pid, "syscall"));
        places.push(read(*pid, "wchan"));
        cores.push(allowed_cores(*pid));
        times.push(executing(*pid) as f64 / 1e9);
    }
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);

    assert!(cores[0].parse::<u32>().is_ok(), "one core: {cores:?}");
    assert!(text.contains(&format!("\ncore {}, ", cores[0])), "{text}");
    for core in &cores {
        assert_eq!(*core, cores[0], "the same core: {cores:?}");
    }
    let rows = rows(&text);
    for (i, (pid, letter)) in seen.iter().enumerate() {
        let row = rows.iter().find(|row| row.child == *pid).unwrap();
        assert!(row.state.starts_with(*letter), "{text}");
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "reaped");
        if *letter == 'R' {
            let child = format!("child {pid:>8} ");
            let line = text.lines().find(|line| line.starts_with(&child));
            assert!(decimals(line.unwrap())[0] > times[i], "{text}");
        } else if places[i].len() > 1 {
            assert_eq!(row.place, places[i], "{text}");
        } // else this user may not look
        let call = match row.label.as_str() {
            "blocked in a read" => libc::SYS_read,
            "delayed in a sleep" => libc::SYS_clock_nanosleep,
            _ => continue,
        };
        if !calls[i].is_empty() {
            let number = calls[i].split(' ').next().unwrap();
            assert_eq!(number, call.to_string(), "{calls:?}");
        } // else this user may not look
    }
}

/// The demo, and what it printed up to the row with this label.
fn start_until(args: &[&str], label: &str) -> (Child, impl BufRead, Vec<Row>) {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    let mut rows = Vec::new();
    loop {
        let mut line = String::new();
        let length = output.read_line(&mut line).unwrap();
        assert!(length > 0, "{label} expected: {rows:?}");
        let Some(row) = row(&line) else {
            continue;
        };
        let found = row.label == label;
        rows.push(row);
        if found {
            break;
        }
    }
    (demo, output, rows)
}

/// The verdict counts what was seen: here somebody else stops the delayed
/// child, so that it is not runnable when its time is over.
#[test]
fn an_event_without_its_new_state_is_not_counted() {
    let (demo, mut output, rows) = start_until(&[], "zombie");
    let delayed = rows.iter().find(|row| row.label == "delayed in a sleep");
    let delayed = Pid::from_raw(delayed.unwrap().child.cast_signed());
    kill(delayed, Signal::SIGSTOP).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let result = demo.wait_with_output().unwrap();
    assert_eq!(result.status.code(), Some(1), "{text} {result:?}");
    let row = text.lines().filter_map(row);
    let row = row.into_iter().find(|row| row.label == "end of the sleep");
    assert_eq!(row.unwrap().state, "T stopped", "{text}");
    assert_eq!(
        stderr(&result),
        "Error: 6 events, but 5 new states as expected\n"
    );
    assert!(kill(delayed, None).is_err(), "{delayed} was left behind");
}

/// The other side of the verdict: somebody else gives the second child a core
/// of its own. Then both execute at once, unless these cores are busy.
#[test]
fn a_second_core_is_not_taken_for_turns() {
    let (demo, mut output, rows) = start_until(&["--delay", "2"], "zombie");
    let second = rows[1].child;
    let core: usize = allowed_cores(second).parse().unwrap();
    let mine = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let mut others = (0..CpuSet::count())
        .filter(|other| *other != core && mine.is_set(*other).unwrap());
    let Some(other) = others.next() else {
        return eprintln!("not tested: only one core");
    };
    let mut only_other = CpuSet::new();
    only_other.set(other).unwrap();
    let second = Pid::from_raw(second.cast_signed());
    sched_setaffinity(second, &only_other).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let result = demo.wait_with_output().unwrap();

    let (_, turns) = text.split_once("\ncore ").unwrap();
    let wall = decimals(turns)[0];
    let mut sum = 0.0;
    for line in turns.lines().skip(1).take(2) {
        sum += decimals(line)[0];
    }
    if (sum - wall).abs() < 0.003 {
        return; // too close to see in rounded numbers what is right
    }
    if sum > wall {
        assert_eq!(result.status.code(), Some(1), "{text} {result:?}");
        let error = stderr(&result);
        assert!(error.starts_with("Error: not one at a time: "), "{error}");
    } else {
        assert_eq!(result.status.code(), Some(0), "{text} {result:?}");
    }
}

/// The row says waitpid, so the zombie gets that, and no signal: each kill and
/// each wait of the demo, as ptrace shows them.
#[cfg(target_env = "gnu")] // nix has syscall_info only there
#[test]
fn the_zombie_is_reaped_by_waitpid_alone() {
    let mut demo = Command::new(DEMO);
    demo.stdout(Stdio::piped());
    // SAFETY: traceme is one system call.
    unsafe { demo.pre_exec(|| Ok(ptrace::traceme()?)) };
    let Ok(mut demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let pid = Pid::from_raw(demo.id().cast_signed());
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    waitpid(pid, mine).unwrap();
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).unwrap();
    let mut killed = Vec::new();
    let mut waited = Vec::new();
    let mut deliver = None;
    loop {
        ptrace::syscall(pid, deliver).unwrap();
        deliver = None;
        match waitpid(pid, mine).unwrap() {
            WaitStatus::PtraceSyscall(_) => {
                let info = ptrace::syscall_info(pid).unwrap();
                if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
                    continue;
                }
                // SAFETY: at the entry of a system call, this is in the union.
                let entry = unsafe { info.u.entry };
                let number = entry.nr.cast_signed();
                let child = entry.args[0] as u32;
                if number == libc::SYS_kill {
                    killed.push((child, entry.args[1] as i32));
                } else if number == libc::SYS_wait4 {
                    waited.push(child);
                }
            }
            WaitStatus::Stopped(_, signal) => deliver = Some(signal),
            WaitStatus::Exited(_, code) => {
                assert_eq!(code, 0);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let mut text = String::new();
    let mut output = demo.stdout.take().unwrap();
    output.read_to_string(&mut text).unwrap();
    let rows = rows(&text);
    let [first, second, blocked, delayed, suspended, zombie] =
        [0, 1, 2, 3, 4, 5].map(|i: usize| rows[i].child);
    assert_eq!(
        killed,
        [
            (first, libc::SIGSTOP),
            (second, libc::SIGKILL),
            (suspended, libc::SIGCONT),
            (first, libc::SIGKILL),
            (second, libc::SIGKILL),
            (blocked, libc::SIGKILL),
            (delayed, libc::SIGKILL),
            (suspended, libc::SIGKILL),
        ]
    );
    waited.dedup(); // SIGCHLD may interrupt a wait, which then starts again
    assert_eq!(waited, [zombie, first, second, blocked, delayed, suspended]);
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
        let stat = read(pid, "stat");
        !stat.is_empty() && !stat.contains(") Z ") // init may reap late
    };
    let deadline = Instant::now() + Duration::from_secs(8);
    while children.iter().any(alive) {
        assert!(Instant::now() < deadline, "{children:?} outlived the demo");
        sleep(Duration::from_millis(50));
    }
}

/// The parent may end before a child has asked for SIGKILL at that moment.
/// Here ptrace holds the first child until its parent is gone.
#[test]
fn a_child_ends_even_if_its_parent_is_killed_first() {
    let mut demo = Command::new(DEMO);
    // SAFETY: traceme is one system call.
    unsafe { demo.pre_exec(|| Ok(ptrace::traceme()?)) };
    let Ok(demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let parent = Pid::from_raw(demo.id().cast_signed());
    let mine = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    waitpid(parent, Some(mine)).unwrap();
    let options = ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(parent, options).unwrap();
    ptrace::cont(parent, None).unwrap();
    let forks = waitpid(parent, Some(mine)).unwrap();
    assert!(matches!(forks, WaitStatus::PtraceEvent(..)), "{forks:?}");
    let child = ptrace::getevent(parent).unwrap();
    let child = Pid::from_raw(child.try_into().unwrap());
    waitpid(child, Some(mine)).unwrap();

    kill(parent, Signal::SIGKILL).unwrap();
    waitpid(parent, Some(mine)).unwrap();
    ptrace::cont(child, None).unwrap();
    let deadline = Instant::now() + Duration::from_secs(8);
    loop {
        let no_wait = mine | WaitPidFlag::WNOHANG;
        let status = waitpid(child, Some(no_wait)).unwrap();
        if status == WaitStatus::Exited(child, 1) {
            break;
        }
        assert_eq!(status, WaitStatus::StillAlive);
        assert!(Instant::now() < deadline, "{child} outlived the demo");
        sleep(Duration::from_millis(50));
    }
}

/// Real-time processes of one priority do not give the core to each other.
#[test]
fn a_real_time_parent_makes_no_difference() {
    let chrt = |program: &str| {
        let mut chrt = Command::new("chrt");
        chrt.args(["-f", "1", program]).output()
    };
    let allowed = chrt("true").is_ok_and(|output| output.status.success());
    if !allowed {
        return eprintln!("not tested: no chrt, or no real-time for this user");
    }
    let output = chrt(DEMO).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// In a mount namespace of its own, /proc is an empty folder.
#[test]
fn says_so_where_there_is_no_proc() {
    let hide = "mount -t tmpfs none /proc && echo hidden && exec \"$0\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", hide, DEMO])
        .output();
    let Ok(output) = output else {
        return eprintln!("not tested: no unshare here");
    };
    if output.stdout.is_empty() {
        return eprintln!("not tested: unshare or mount is refused here");
    }
    assert_eq!(stdout(&output), "hidden\n");
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let error = stderr(&output);
    assert!(error.starts_with("cannot run here: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// Every Try line, as it stands, but for cargo. The ps of the last one shows
/// what the demo's first table says.
#[test]
fn the_try_lines_do_what_they_say() {
    let mut texts = Vec::new();
    for line in SOURCE.lines() {
        let Some(line) = line.strip_prefix("//! Try:") else {
            continue;
        };
        let cargo = "cargo run -p process-states --";
        assert!(line.contains(cargo), "{line}");
        let command = line.replace(cargo, "\"$0\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command, DEMO]);
        let output = shell.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line} {output:?}");
        texts.push(stdout(&output));
    }
    assert_eq!(texts.len(), 2);
    for text in &texts {
        assert!(text.ends_with("\n6 events, 6 new states\n"), "{text}");
    }
    let mut by_ps = Vec::new();
    let mut by_demo = Vec::new();
    for line in texts[1].lines() {
        if line.is_empty() && !by_ps.is_empty() {
            break; // the second table
        }
        if let Some(row) = row(line) {
            by_demo.push((row.child, row.state.chars().next()));
            continue;
        }
        // F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() >= 13 && words[0] != "F" {
            by_ps.push((words[2].parse().unwrap(), words[9].chars().next()));
        }
    }
    by_ps.sort_unstable();
    by_demo.sort_unstable();
    assert_eq!(by_ps.len(), 6, "{texts:?}");
    assert_eq!(by_ps, by_demo, "{texts:?}");
}

/// SCHED_IDLE, which only some may leave. Whoever may not, says so.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_parent_is_no_failure() {
    let mut idle = Command::new("chrt");
    idle.args(["-i", "0", DEMO]).env_remove("RUST_BACKTRACE");
    std::os::unix::process::CommandExt::uid(&mut idle, 54_327);
    let Ok(output) = idle.output() else {
        return eprintln!("not tested: no chrt, or not root");
    };
    let error = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(77) => assert!(error.contains("scheduling class"), "{error}"),
        code => assert_eq!(code, Some(0), "{output:?}"),
    }
}
