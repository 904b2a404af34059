use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{SigHandler, SigSet, Signal, kill};
use nix::unistd::{Pid, alarm};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The demo, ended by SIGALRM after a minute, so that no test waits for ever.
fn demo() -> Command {
    let mut demo = Command::new(DEMO);
    demo.env_remove("RUST_BACKTRACE");
    let set_alarm = || {
        alarm::set(60);
        Ok(())
    };
    // SAFETY: alarm is one system call.
    unsafe { demo.pre_exec(set_alarm) };
    demo
}

fn run(args: &[&str]) -> Output {
    demo().args(args).output().unwrap()
}

const EXPECTED: &str = "\
default: sends itself SIGUSR1
 parent: default was killed by SIGUSR1

handled: SIGUSR1 sent  handler runs: 1   pending: false
 parent: handled exited with code 0

ignored: SIGUSR1 sent  handler runs: 0   pending: false
 parent: ignored exited with code 0

blocked: SIGUSR1 sent  handler runs: 0   pending: true
blocked: unblocked     handler runs: 1   pending: false
 parent: blocked exited with code 0

refused: a handler for SIGKILL? sigaction says Err(EINVAL)
refused: sends itself SIGKILL
 parent: refused was killed by SIGKILL

3 of 5 survived: handled, ignored, blocked
2 of 5 were killed: default by SIGUSR1, refused by SIGKILL
";

#[test]
fn each_preparation_has_its_effect() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), EXPECTED);
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// What the kernel did to a child.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// sigaction with a new action for SIGKILL returned this
    SigactionForSigkill(i64),
    Got(Signal),
    KilledBy(Signal),
    Exited(i32),
}

/// Seen from outside, by ptrace: which child asked for a handler for SIGKILL
/// and what it was told, which got which signal, and which of them it killed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_kernel_knows_of_the_signals() {
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    let mut demo = demo();
    demo.stdout(Stdio::null());
    // SAFETY: traceme is one system call.
    unsafe { demo.pre_exec(|| Ok(ptrace::traceme()?)) };
    let Ok(demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let parent = Pid::from_raw(demo.id().cast_signed());
    // Only what this thread started, not what other tests did.
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    waitpid(parent, mine).unwrap();
    let options = ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(parent, options).unwrap();
    ptrace::syscall(parent, None).unwrap();

    let mut children: Vec<Pid> = Vec::new();
    let mut events: Vec<(Pid, Event)> = Vec::new();
    let mut asking: Option<Pid> = None; // it is in sigaction for SIGKILL
    loop {
        let status = waitpid(None, mine).unwrap();
        let process = status.pid().unwrap();
        let mut deliver = None;
        match status {
            WaitStatus::PtraceEvent(..) => {
                let child = ptrace::getevent(parent).unwrap();
                children.push(Pid::from_raw(child.try_into().unwrap()));
            }
            WaitStatus::PtraceSyscall(_) => {
                let Ok(info) = ptrace::syscall_info(process) else {
                    return eprintln!("not tested: no syscall_info here");
                };
                if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                    // SAFETY: on entry, this is the field that is valid.
                    let entry = unsafe { info.u.entry };
                    let [signal, new_action, ..] = entry.args;
                    if entry.nr == libc::SYS_rt_sigaction.cast_unsigned()
                        && signal == Signal::SIGKILL as u64
                        && new_action != 0
                    {
                        asking = Some(process);
                    }
                } else if asking == Some(process) {
                    // SAFETY: on exit, this is the field that is valid.
                    let exit = unsafe { info.u.exit };
                    events
                        .push((process, Event::SigactionForSigkill(exit.sval)));
                    asking = None;
                }
            }
            WaitStatus::Stopped(_, Signal::SIGSTOP) => (), // a child starts so
            WaitStatus::Stopped(_, signal) => {
                events.push((process, Event::Got(signal)));
                deliver = Some(signal);
            }
            WaitStatus::Signaled(_, signal, _) => {
                events.push((process, Event::KilledBy(signal)));
            }
            WaitStatus::Exited(_, code) => {
                events.push((process, Event::Exited(code)));
                if process == parent {
                    break;
                }
            }
            _ => (),
        }
        let goes_on = ptrace::syscall(process, deliver);
        // ESRCH: it has ended, or has been killed meanwhile.
        assert!(goes_on.is_ok() || goes_on == Err(Errno::ESRCH));
    }
    let mut seen: Vec<Vec<Event>> = Vec::new();
    for child in children {
        let mut of_this_child = Vec::new();
        for (process, event) in &events {
            if *process == child {
                of_this_child.push(*event);
            }
        }
        seen.push(of_this_child);
    }
    let refusal = Event::SigactionForSigkill(-i64::from(libc::EINVAL));
    let got_usr1 = Event::Got(Signal::SIGUSR1);
    assert_eq!(
        seen,
        [
            vec![got_usr1, Event::KilledBy(Signal::SIGUSR1)],
            vec![got_usr1, Event::Exited(0)],
            vec![got_usr1, Event::Exited(0)],
            vec![got_usr1, Event::Exited(0)],
            vec![refusal, Event::KilledBy(Signal::SIGKILL)],
        ]
    );
}

/// What the demo was started with must not change what its children show.
#[test]
fn inherited_signal_settings_make_no_difference() {
    let mut ignoring = demo();
    let ignore = || {
        for signal in [Signal::SIGUSR1, Signal::SIGCHLD] {
            // SAFETY: this installs no function.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
        }
        Ok(())
    };
    // SAFETY: these are two system calls.
    unsafe { ignoring.pre_exec(ignore) };
    let ignored = ignoring.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ignored.stdout), EXPECTED);
    assert!(ignored.status.success());

    let mut blocking = demo();
    // SAFETY: the closure is one system call.
    unsafe { blocking.pre_exec(|| Ok(SigSet::all().thread_block()?)) };
    let blocked = blocking.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&blocked.stdout), EXPECTED);
    assert!(blocked.status.success());
}

/// Seen from outside: the kernel lists a handler for SIGINT, two of them leave
/// the demo alive, and the third is counted before it ends by itself.
#[test]
fn three_interrupts_are_handled() {
    let mut demo = demo().arg("--wait").stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(demo.id().try_into().unwrap());
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert_eq!(
        lines.next().unwrap(),
        format!("PID {pid}: press Ctrl-C three times (or: kill -INT {pid})")
    );
    #[cfg(target_os = "linux")]
    assert!(status_has(pid, "SigCgt", Signal::SIGINT));
    for count in 1..=3 {
        let ended = demo.try_wait().unwrap();
        assert_eq!(ended, None, "it ended before the third signal");
        kill(pid, Signal::SIGINT).unwrap();
        assert_eq!(
            lines.next().unwrap(),
            format!("handler runs: {count} of 3")
        );
    }
    assert_eq!(lines.next(), None);
    assert!(demo.wait().unwrap().success());
}

/// Seen from outside, by ptrace: when the demo starts to wait, SIGINT is still
/// blocked. So one that came after the look at the counter is not missed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn no_interrupt_is_missed() {
    use nix::libc;
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};

    let mut demo = demo();
    demo.arg("--wait").stdout(Stdio::null());
    // SAFETY: traceme is one system call.
    unsafe { demo.pre_exec(|| Ok(ptrace::traceme()?)) };
    let Ok(mut demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let pid = Pid::from_raw(demo.id().cast_signed());
    waitpid(pid, None).unwrap(); // stopped by its exec
    let option = ptrace::Options::PTRACE_O_TRACESYSGOOD;
    ptrace::setoptions(pid, option).unwrap();
    loop {
        ptrace::syscall(pid, None).unwrap();
        let status = waitpid(pid, None).unwrap();
        assert_eq!(status, WaitStatus::PtraceSyscall(pid));
        let Ok(info) = ptrace::syscall_info(pid) else {
            return eprintln!("not tested: no syscall_info here");
        };
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: on entry, this is the field that is valid.
            let entry = unsafe { info.u.entry };
            if entry.nr == libc::SYS_rt_sigsuspend.cast_unsigned() {
                break;
            }
        }
    }
    assert!(status_has(pid, "SigBlk", Signal::SIGINT));
    kill(pid, Signal::SIGINT).unwrap();
    assert!(status_has(pid, "ShdPnd", Signal::SIGINT));
    demo.kill().unwrap();
    demo.wait().unwrap();
}

/// Whether a signal is in a set in /proc/PID/status.
#[cfg(target_os = "linux")]
fn status_has(pid: Pid, set: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.unwrap();
    let mut lines = status.lines();
    let line = lines.find(|line| line.starts_with(set)).unwrap();
    let (_, bits) = line.split_once('\t').unwrap();
    let bits = u64::from_str_radix(bits, 16).unwrap();
    (bits >> (signal as u32 - 1)) & 1 == 1
}
