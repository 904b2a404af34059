#![cfg(target_os = "linux")] // subreapers are Linux's

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno::ECHILD;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// What the demo said, mostly in its last lines.
struct Said {
    text: String,
    /// What the test started: the demo, or the shell that starts it
    started: Pid,
    child: Pid,
    parent: Pid,
    adopter: Pid,
    /// What it says of the adopter
    kind: String,
    grandparent: Pid,
    waitpid: String,
}

/// What stands between two words, and what stands after the second one.
fn cut<'a>(text: &'a str, start: &str, end: &str) -> (&'a str, &'a str) {
    let (_, rest) = text.split_once(start).expect(text);
    rest.split_once(end).expect(text)
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().expect(text))
}

/// Runs the demo. It is started as badly as can be: it ignores SIGCHLD, and it
/// may be a subreaper. Exec keeps both.
fn run(mut command: Command, is_subreaper: bool) -> Said {
    command.env_remove("RUST_BACKTRACE").stdout(Stdio::piped());
    let prepare = move || {
        alarm::set(60); // so that no test waits for ever
        // SAFETY: this installs no function.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }?;
        Ok(set_child_subreaper(is_subreaper)?)
    };
    // SAFETY: these are three system calls.
    unsafe { command.pre_exec(prepare) };
    let running = command.spawn().unwrap();
    let started = Pid::from_raw(running.id().cast_signed());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let text = String::from_utf8(output.stdout).unwrap();
    let (table, verdict) = text.split_once("\n\n").expect(&text);
    assert!(table.starts_with("    PID  process"), "{text}");
    let lines: Vec<&str> = verdict.lines().collect();
    let [before, after, waited] = lines[..] else {
        panic!("{text}")
    };
    let (child, parent) = cut(before, "parent of ", " before: ");
    let (parent, killed) = parent.split_once(", ").unwrap();
    assert_eq!(killed, "killed", "{text}");
    let (same_child, adopter) = cut(after, "parent of ", " after:  ");
    assert_eq!(same_child, child, "{text}");
    let (adopter, kind) = adopter.split_once(", ").unwrap();
    let (waited_for, caller) = cut(waited, "waitpid(", ") by ");
    assert_eq!(waited_for, child, "{text}");
    let (grandparent, waitpid) = cut(caller, "the grandparent, ", ": ");
    Said {
        started,
        child: pid(child),
        parent: pid(parent),
        adopter: pid(adopter),
        kind: kind.into(),
        grandparent: pid(grandparent),
        waitpid: waitpid.into(),
        text,
    }
}

/// The PID, and the words between it and the mark, of the row with the mark.
fn marked(said: &Said, mark: &str) -> (Pid, String) {
    let mut rows = said.text.lines();
    let row = rows.find_map(|line| line.strip_suffix(mark)).unwrap();
    let (number, words) = row.trim().split_once("  ").unwrap();
    let words: Vec<&str> = words.split_whitespace().collect();
    (pid(number), words.join(" "))
}

/// What the last rows say: the grandparent, the parent and the child.
fn check_family(said: &Said) {
    let (table, _) = said.text.split_once("\n\n").unwrap();
    let rows: Vec<&str> = table.lines().collect();
    let [.., grandparent, parent, child] = rows[..] else {
        panic!("{table}")
    };
    let name = format!("{:>7}  orphan-process   grandparent", said.grandparent);
    assert!(grandparent.starts_with(&name), "{table}");
    assert_eq!(
        parent,
        format!(
            "{:>7}  (killed)         parent       ◀── before",
            said.parent
        )
    );
    assert_eq!(child, format!("{:>7}  (ended)          child", said.child));
    assert_eq!(said.text.matches("◀── after").count(), 1, "{table}");
    for line in said.text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Seen from outside: this test makes itself a subreaper, and then it can reap
/// the orphan, which the kernel allows to the parent only. One test, because
/// a process is a subreaper with all of its threads.
#[test]
fn init_or_the_nearest_subreaper_adopts() {
    set_child_subreaper(false).unwrap();
    adopted_beyond_this_test();

    set_child_subreaper(true).unwrap();
    adopted_by_this_test(&run(through_a_shell(), false));
    let undone = run(Command::new(DEMO), true);
    assert_eq!(undone.grandparent, undone.started);
    adopted_by_this_test(&undone);

    adopted_by_the_demo();
}

/// A shell that is no subreaper. `timeout`, so that no test waits for ever.
fn through_a_shell() -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "timeout 60 \"$0\"; exit $?", DEMO]);
    shell
}

fn adopted_beyond_this_test() {
    let this = Pid::this();
    let said = run(through_a_shell(), false);
    let Said { text, started, .. } = &said;
    check_family(&said);
    let passed_over =
        [said.child, said.parent, said.grandparent, *started, this];
    assert!(!passed_over.contains(&said.adopter), "{text}");
    assert_ne!(said.grandparent, *started);
    assert_eq!(marked(&said, "◀── after").0, said.adopter);
    let is_init = said.adopter.as_raw() == 1;
    let kind = if is_init { "init" } else { "a subreaper" };
    assert_eq!(said.kind, format!("{kind}, not the grandparent"));
    assert_eq!(said.waitpid, "Err(ECHILD)");
    let reaped_here = waitpid(said.child, None);
    assert_eq!(reaped_here, Err(ECHILD), "it was no child of this test");

    // Above the grandparent are its ancestors: this test, then the shell.
    let row_of_test = text.find(&format!("\n{this:>7}  ")).unwrap();
    let row_of_shell = text.find(&format!("\n{started:>7}  sh\n")).unwrap();
    assert!(row_of_test < row_of_shell, "{text}");
}

fn adopted_by_this_test(said: &Said) {
    let this = Pid::this();
    check_family(said);
    let comm = fs::read_to_string(format!("/proc/{this}/comm")).unwrap();
    assert_eq!(marked(said, "◀── after"), (this, comm.trim().to_string()));
    assert_eq!(said.adopter, this);
    assert_eq!(said.kind, "a subreaper, not the grandparent");
    assert_eq!(said.waitpid, "Err(ECHILD)");
    let exited = WaitStatus::Exited(said.child, 0);
    assert_eq!(waitpid(said.child, None), Ok(exited), "reaped here");
}

fn adopted_by_the_demo() {
    let mut command = Command::new(DEMO);
    command.arg("--adopt");
    let said = run(command, false);
    check_family(&said);
    let demo = said.started;
    assert_eq!(said.grandparent, demo);
    let row = (demo, "orphan-process grandparent".into());
    assert_eq!(marked(&said, "◀── after"), row);
    assert_eq!(said.adopter, demo);
    assert_eq!(said.kind, "a subreaper, the grandparent");
    let child = said.child;
    assert_eq!(said.waitpid, format!("Ok(Exited(Pid({child}), 0))"));
    for pid in [child, said.parent] {
        let reaped_here = waitpid(pid, None);
        assert_eq!(reaped_here, Err(ECHILD), "this subreaper got {pid}");
        let is_left = fs::exists(format!("/proc/{pid}")).unwrap();
        assert!(!is_left, "{pid} was not reaped");
    }
}

/// The children of a process, by what the kernel says of all processes.
#[cfg(target_env = "gnu")]
fn children_of(process: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let Ok(status) = fs::read_to_string(path.join("status")) else {
            continue; // no process, or it has ended
        };
        if status.contains(&format!("\nPPid:\t{process}\n")) {
            children.push(pid(path.file_name().unwrap().to_str().unwrap()));
        }
    }
    children
}

/// The grandparent is stopped by ptrace where it would kill the parent. There,
/// seen from outside, all three generations live. Then it is killed itself.
#[cfg(target_env = "gnu")]
#[test]
fn nothing_outlives_a_killed_grandparent() {
    use nix::libc;
    use nix::sys::ptrace;
    use std::time::{Duration, Instant};

    let mut demo = Command::new(DEMO);
    demo.stdout(Stdio::null());
    let prepare = || {
        alarm::set(60); // so that this test does not wait for ever
        Ok(ptrace::traceme()?)
    };
    // SAFETY: these are two system calls.
    unsafe { demo.pre_exec(prepare) };
    let Ok(mut demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let grandparent = Pid::from_raw(demo.id().cast_signed());
    waitpid(grandparent, None).unwrap(); // stopped by its exec
    let option = ptrace::Options::PTRACE_O_TRACESYSGOOD;
    ptrace::setoptions(grandparent, option).unwrap();
    loop {
        ptrace::syscall(grandparent, None).unwrap();
        let status = waitpid(grandparent, None).unwrap();
        assert_eq!(status, WaitStatus::PtraceSyscall(grandparent));
        let Ok(info) = ptrace::syscall_info(grandparent) else {
            return eprintln!("not tested: no syscall_info here");
        };
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: on entry, this is the field that is valid.
            let entry = unsafe { info.u.entry };
            if entry.nr == libc::SYS_kill.cast_unsigned() {
                break;
            }
        }
    }
    let parents = children_of(grandparent);
    assert_eq!(parents.len(), 1);
    let children = children_of(parents[0]);
    assert_eq!(children.len(), 1);

    demo.kill().unwrap();
    demo.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    for process in [parents[0], children[0]] {
        loop {
            let status = fs::read_to_string(format!("/proc/{process}/status"));
            // Reaped already, or left to a subreaper that may do so later.
            if status.is_err() || status.unwrap().contains("Z (zombie)") {
                break;
            }
            assert!(Instant::now() < deadline, "{process} outlived the demo");
        }
    }
}
