use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal::SIGINT, kill};
use nix::unistd::Pid;

const DEMO: &str = env!("CARGO_BIN_EXE_signal-handler");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[test]
fn each_disposition_has_its_effect() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[1],
        [
            "default", "SIGUSR1", "-", "-", "-", "killed", "by", "SIGUSR1"
        ]
    );
    assert_eq!(rows[2], ["handled", "SIGUSR1", "0", "1", "1", "exited"]);
    assert_eq!(rows[3], ["ignored", "SIGUSR1", "0", "0", "0", "exited"]);
    assert_eq!(rows[4], ["blocked", "SIGUSR1", "1", "0", "1", "exited"]);
    assert_eq!(
        rows[5],
        [
            "handled", "SIGKILL", "-", "-", "-", "killed", "by", "SIGKILL"
        ]
    );
    assert!(
        text.contains("sigaction for SIGKILL: Err(EINVAL)"),
        "{text}"
    );
    assert!(
        text.ends_with("3 of 5 children survived: handled, ignored, blocked\n"),
        "{text}"
    );
}

/// Seen from outside, by ptrace: which child got which signal, and which of them it killed.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_knows_of_the_signals() {
    use nix::sys::ptrace::{Options, cont, getevent, setoptions, traceme};
    use nix::sys::signal::Signal::{SIGKILL, SIGSTOP, SIGUSR1};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use std::os::unix::process::CommandExt;

    let mut demo = Command::new(DEMO);
    // SAFETY: traceme is one system call.
    unsafe { demo.stdout(Stdio::null()).pre_exec(|| Ok(traceme()?)) };
    let Ok(demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let pid = Pid::from_raw(demo.id() as i32);
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD); // not those of other tests
    waitpid(pid, mine).unwrap();
    setoptions(
        pid,
        Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_EXITKILL,
    )
    .unwrap();
    cont(pid, None).unwrap();
    let (mut children, mut got, mut killed) = (vec![], vec![], vec![]);
    loop {
        let (status, mut deliver) = (waitpid(None, mine).unwrap(), None);
        match status {
            WaitStatus::PtraceEvent(..) => {
                children.push(getevent(pid).unwrap() as i32);
            }
            WaitStatus::Stopped(child, signal) if signal != SIGSTOP => {
                got.extend((signal == SIGUSR1).then_some(child.as_raw()));
                deliver = Some(signal);
            }
            WaitStatus::Signaled(child, signal, _) => {
                killed.push((child.as_raw(), signal));
            }
            WaitStatus::Exited(child, _) if child == pid => break,
            _ => (),
        }
        _ = cont(status.pid().unwrap(), deliver);
    }
    assert_eq!(
        (children.len(), &got[..]),
        (5, &children[..4]),
        "all but the last got SIGUSR1"
    );
    assert_eq!(killed, [(children[0], SIGUSR1), (children[4], SIGKILL)]);
}

/// What the parent was started with must not change what its children show.
#[test]
fn a_signal_ignored_from_outside_makes_no_difference() {
    let ignoring = ["-c", "trap '' USR1; exec \"$0\"", DEMO];
    let output = Command::new("sh").args(ignoring).output().unwrap();
    assert_eq!(output.stdout, run(&[]).stdout);
    assert!(output.status.success());
}

/// Seen from outside: the kernel lists a handler for SIGINT, two of them leave the demo alive, and
/// the third one is counted before it ends by itself.
#[test]
fn three_interrupts_are_caught() {
    let mut demo = Command::new(DEMO)
        .arg("--wait")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(demo.id().try_into().unwrap());
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with(&format!("PID {pid}:")));
    #[cfg(target_os = "linux")]
    {
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:\t"))
            .unwrap();
        let caught = u64::from_str_radix(caught, 16).unwrap();
        assert_eq!((caught >> (SIGINT as u32 - 1)) & 1, 1, "{status}");
    }
    for count in 1..=3 {
        assert!(
            demo.try_wait().unwrap().is_none(),
            "it ended before the third signal"
        );
        kill(pid, SIGINT).unwrap();
        assert_eq!(lines.next().unwrap(), format!("caught {count} of 3"));
    }
    assert!(demo.wait().unwrap().success());
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--wait", "3"][..], &["--wait=yes"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
