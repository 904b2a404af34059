#![cfg(target_os = "linux")] // page faults as Linux counts them, and its ptrace

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::{fs, io};

use nix::sys::ptrace::{
    Event, Options, cont, getevent, getsiginfo, setoptions, traceme,
};
use nix::sys::signal::Signal::{self, SIGABRT, SIGSEGV, SIGSTOP};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const DEMO: &str = env!("CARGO_BIN_EXE_process-isolation");

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
        let rows = text.lines().skip(1).take(5);
        let rows: Vec<Vec<_>> = rows
            .map(|row| row[14..].split_whitespace().collect())
            .collect();
        let ([parent, address], child) = ([rows[0][0], rows[0][1]], rows[1][0]);
        assert_ne!(parent, child);
        assert_eq!(rows[0], [parent, address, "1"]);
        assert_eq!(rows[1], [child, address, "1"]);
        assert_eq!(rows[2], [child, address, "2", count]);
        assert_eq!(rows[3], [child, address, "3", "0"]);
        assert_eq!(rows[4], [parent, address, "1"]);
        let last = format!(
            "parent {parent} still reads 1; it outlived two crashed children\n"
        );
        assert!(text.ends_with(&last), "{text}");
    }
}

/// Seen from outside: who got which signal, and the page faults that the kernel had counted.
#[test]
fn the_kernel_knows_of_crashes_and_page_faults() {
    let (Some(one), Some(hundred)) = (trace("1"), trace("100")) else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    for seen in [&one, &hundred] {
        let [_, crashing, aborting, thread] = seen.tasks[..] else {
            panic!("{seen:?}")
        };
        let segv = (crashing, SIGSEGV, 1); // twice: the first is for Rust's own handler
        let abort = (thread, SIGABRT, aborting.as_raw() as usize);
        assert!(
            seen.signals == [segv, segv, abort]
                || seen.signals == [segv, abort],
            "{seen:?}"
        );
        for end in [(crashing, SIGSEGV), (thread, SIGABRT), (aborting, SIGABRT)]
        {
            assert!(
                seen.killed.len() == 3 && seen.killed.contains(&end),
                "{seen:?}"
            );
        }
        assert!(seen.output.contains(&format!(
            "\nchild {crashing} writes to address 1: killed"
        )));
        assert!(seen.output.contains(&format!(
            "\nchild {aborting}, with both threads: killed"
        )));
    }
    let more = hundred.page_faults[0] - one.page_faults[0]; // pages of code make some noise
    assert!(
        (50..150).contains(&more),
        "99 pages more, and {more} page faults more"
    );
}

/// Tasks in the order of their start, each one's page faults in that of their end, and signals.
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
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD); // not those of other tests
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
        let (status, mut deliver) = (waitpid(None, mine).unwrap(), None);
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
            WaitStatus::Stopped(task, signal @ (SIGSEGV | SIGABRT)) => {
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
        _ = cont(status.pid().unwrap(), deliver);
    }
    seen.output = io::read_to_string(demo.stdout.take().unwrap()).unwrap();
    Some(seen)
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--pages", "0"][..],
        &["--pages", "101"],
        &["--pages", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
