#![cfg(target_os = "linux")] // its ptrace, and its limit on a user's threads

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{Options, cont, setoptions, traceme};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

const DEMO: &str = env!("CARGO_BIN_EXE_condvar-handoff");

/// The last thread of the second run cannot start, and the threads before it
/// are not left waiting for its turn. As root: for a user without a process.
#[test]
fn leaves_no_thread_waiting_if_the_last_one_cannot_start() {
    let user = 20_000 + std::process::id() % 40_000;
    let mut demo = Command::new(DEMO);
    demo.uid(user).env_remove("RUST_BACKTRACE");
    let prepare = || {
        alarm::set(60); // so that this test ends even if the demo hangs
        setrlimit(Resource::RLIMIT_NPROC, 7, 7)?;
        Ok(traceme()?)
    };
    // SAFETY: these are system calls, and no more.
    unsafe { demo.pre_exec(prepare) };
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(demo) = demo.spawn() else {
        return eprintln!("not tested: needs root, and ptrace");
    };
    let pid = Pid::from_raw(demo.id() as i32);
    // Not the tasks of other tests.
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    waitpid(pid, mine).unwrap();
    setoptions(pid, Options::PTRACE_O_TRACECLONE).unwrap();
    cont(pid, None).unwrap();

    let mut started = 0;
    let mut others = Vec::new();
    let status = loop {
        let status = waitpid(None, mine).unwrap();
        let mut deliver = None;
        match status {
            WaitStatus::PtraceEvent(..) => {
                started += 1;
                // Three threads of the first run, two of the second.
                while started == 5 && others.len() < 7 {
                    // It ends with this test, as then its input does.
                    let mut other = Command::new("cat");
                    other.uid(user).stdin(Stdio::piped());
                    others.push(other.spawn().unwrap());
                }
            }
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGSTOP => {
                deliver = Some(signal);
            }
            WaitStatus::Exited(task, _) | WaitStatus::Signaled(task, ..)
                if task == pid =>
            {
                break status;
            }
            _ => (),
        }
        // It fails if the task has just ended.
        _ = cont(status.pid().unwrap(), deliver);
    };
    for mut other in others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert_eq!((started, status), (5, WaitStatus::Exited(pid, 1)));
    let mut message = String::new();
    demo.stderr.unwrap().read_to_string(&mut message).unwrap();
    assert!(
        message.starts_with("Error: cannot start a thread\n"),
        "{message}"
    );
    let mut text = String::new();
    demo.stdout.unwrap().read_to_string(&mut text).unwrap();
    assert!(
        text.ends_with("\n\n") && text.contains("mutex alone"),
        "{text}"
    );
}
