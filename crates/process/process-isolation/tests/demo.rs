#![cfg(target_os = "linux")] // page faults as Linux counts them, and its ptrace

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::{fs, io};

use nix::sys::ptrace::{
    Event, Options, cont, getevent, getsiginfo, setoptions, traceme,
};
use nix::sys::signal::Signal::{self, SIGSEGV, SIGSTOP};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[test]
fn the_childs_writes_are_copied_and_stay_its_own() {
    for count in ["1", "2", "100"] {
        let output = run(&["--pages", count]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(&format!("page 1 of {count} ")));
        let mut rows: Vec<Vec<&str>> = Vec::new();
        for line in &lines[1..6] {
            rows.push(line.split_whitespace().collect());
        }
        let (parent, address) = (rows[0][2], rows[0][3]);
        let child = rows[1][2];
        assert_ne!(parent, child);
        assert_eq!(rows[0], ["parent", "reads", parent, address, "1"]);
        assert_eq!(rows[1], ["child", "reads", child, address, "1"]);
        assert_eq!(rows[2], ["child", "writes", child, address, "2", count]);
        assert_eq!(rows[3], ["child", "writes", child, address, "3", "0"]);
        assert_eq!(rows[4], ["parent", "reads", parent, address, "1"]);
        let verdict = [
            format!("pages copied for the child: {count}"),
            format!("pages in which the parent still reads 1: {count}"),
        ];
        assert_eq!(lines[6..8], verdict, "{text}");
        let last = format!("\n\nparent {parent} outlived both crashes\n");
        assert!(text.ends_with(&last), "{text}");
        assert!(lines.len() <= 23, "{text}");
        assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
    }
}

#[test]
fn a_child_crashes_alone_and_a_thread_takes_the_other_with_it() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let (child, end) = words(lines[9], " writes to address 1: ");
    assert_eq!(end, "killed by SIGSEGV");
    let (threads, count) = words(lines[10], ": thread 1 has counted to ");
    assert_ne!(child, threads);
    let count = count.strip_suffix(", and goes on").unwrap();
    assert!(count.parse::<u64>().unwrap() >= 1, "{text}");
    let crash = [
        format!("{threads}: thread 2 writes to address 1"),
        format!("{threads}, with both threads: killed by SIGSEGV"),
    ];
    assert_eq!(lines[11..13], crash, "{text}");
}

fn words<'a>(line: &'a str, between: &str) -> (&'a str, &'a str) {
    line.split_once(between).expect(line)
}

/// Seen from outside: the signals each task got, and the page faults that the
/// kernel had counted.
#[test]
fn the_kernel_knows_of_crashes_and_page_faults() {
    let (Some(one), Some(hundred)) = (trace("1"), trace("100")) else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    for seen in [&one, &hundred] {
        let [_, crashing, process, thread] = seen.tasks[..] else {
            panic!("{seen:?}")
        };
        // Twice each: the first is for Rust's own handler.
        let mut signals = seen.signals.clone();
        signals.dedup();
        let expected = [(crashing, SIGSEGV, 1), (thread, SIGSEGV, 1)];
        assert_eq!(signals, expected, "{seen:?}");
        assert_eq!(seen.killed.len(), 3, "{seen:?}");
        for end in [crashing, thread, process] {
            assert!(seen.killed.contains(&(end, SIGSEGV)), "{seen:?}");
        }
        for line in [
            format!("\nchild {crashing} writes to address 1: killed"),
            format!("\nchild {process}, with both threads: killed"),
        ] {
            assert!(seen.output.contains(&line), "{seen:?}");
        }
    }
    // Pages of code make some noise.
    let more = hundred.page_faults[0] - one.page_faults[0];
    assert!(
        (50..150).contains(&more),
        "99 pages, {more} page faults more"
    );
}

/// A small stack is enough: no page lies on it.
#[test]
fn runs_on_a_small_stack() {
    let script = "ulimit -s 256; exec \"$0\" --pages 100";
    let output = Command::new("sh").args(["-c", script, DEMO]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Even if the shell allows one.
#[test]
fn the_crashes_leave_no_core_file() {
    let folder = std::env::temp_dir()
        .join(format!("isolation-test-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let script = "ulimit -c unlimited; exec \"$0\"";
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", script, DEMO])
        .current_dir(&folder)
        .output();
    let left = fs::read_dir(&folder).unwrap().count();
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(output.unwrap().status.code(), Some(0));
    assert_eq!(left, 0);
}

/// Tasks in the order of their start, each one's page faults in that of their
/// end, and signals.
#[derive(Debug, Default)]
struct Seen {
    tasks: Vec<Pid>,
    page_faults: Vec<i64>,
    signals: Vec<(Pid, Signal, usize)>,
    killed: Vec<(Pid, Signal)>,
    output: String,
}

/// Runs the demo under ptrace; None if that is not allowed.
fn trace(pages: &str) -> Option<Seen> {
    let mut demo = Command::new(DEMO);
    demo.args(["--pages", pages]).stdout(Stdio::piped());
    // SAFETY: traceme is one system call.
    unsafe { demo.pre_exec(|| Ok(traceme()?)) };
    let mut demo = demo.spawn().ok()?;
    let pid = Pid::from_raw(demo.id() as i32);
    // Not the tasks of other tests.
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    waitpid(pid, mine).unwrap();
    let new_tasks = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACECLONE;
    setoptions(
        pid,
        new_tasks | Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL,
    )
    .unwrap();
    cont(pid, None).unwrap();

    let mut seen = Seen::default();
    loop {
        let status = waitpid(None, mine).unwrap();
        let mut deliver = None;
        match status {
            WaitStatus::PtraceEvent(task, _, event)
                if event == Event::PTRACE_EVENT_EXIT as i32 =>
            {
                let stat =
                    fs::read_to_string(format!("/proc/{task}/stat")).unwrap();
                let mut fields = stat.rsplit(')').next().unwrap().split(' ');
                seen.page_faults
                    .push(fields.nth(8).unwrap().parse().unwrap());
            }
            WaitStatus::PtraceEvent(task, ..) => {
                seen.tasks
                    .push(Pid::from_raw(getevent(task).unwrap() as i32));
            }
            WaitStatus::Stopped(task, signal @ SIGSEGV) => {
                // SAFETY: si_addr reads what the kernel filled in.
                let address =
                    unsafe { getsiginfo(task).unwrap().si_addr() } as usize;
                seen.signals.push((task, signal, address));
                deliver = Some(signal);
            }
            WaitStatus::Stopped(_, signal) if signal != SIGSTOP => {
                deliver = Some(signal);
            }
            WaitStatus::Signaled(task, signal, _) => {
                seen.killed.push((task, signal));
            }
            WaitStatus::Exited(task, _) if task == pid => break,
            _ => (),
        }
        // It fails if the task has just been killed.
        _ = cont(status.pid().unwrap(), deliver);
    }
    seen.output = io::read_to_string(demo.stdout.take().unwrap()).unwrap();
    Some(seen)
}
