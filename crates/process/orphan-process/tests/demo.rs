#![cfg(target_os = "linux")] // subreapers are Linux's

use std::fs;
use std::process::{Command, Stdio};

use nix::errno::Errno::ECHILD;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

const DEMO: &str = env!("CARGO_BIN_EXE_orphan-process");

/// What the demo said: the last line's PIDs and word, and the result of waitpid in the line before.
struct Said {
    text: String,
    child: Pid,
    parent: Pid,
    adopter: Pid,
    kind: String,
    waitpid: String,
}

/// Runs a shell command, and returns the shell's PID and what the demo said.
fn run(command: &str) -> (Pid, Said) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped());
    let shell = shell.spawn().unwrap();
    let pid = Pid::from_raw(shell.id() as i32);
    let output = shell.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.trim_end().lines().rev();
    let (last, kind) = lines.next().unwrap().split_once(", ").unwrap();
    let numbers = last.split(' ').filter_map(|word| word.parse().ok());
    let pids: Vec<_> = numbers.map(Pid::from_raw).collect();
    let [child, parent, adopter] = pids[..] else {
        panic!("{text}")
    };
    let (_, waitpid) = lines.next().unwrap().split_once(": ").unwrap();
    let (kind, waitpid) = (kind.into(), waitpid.into());
    (
        pid,
        Said {
            child,
            parent,
            adopter,
            kind,
            waitpid,
            text,
        },
    )
}

/// The process in the row that ends with `mark`.
fn marked(said: &Said, mark: &str) -> Option<(Pid, String)> {
    let row = said.text.lines().find_map(|line| line.strip_suffix(mark))?;
    let (pid, name) = row.trim().split_once("  ").unwrap();
    Some((Pid::from_raw(pid.parse().unwrap()), name.into()))
}

/// Seen from outside: this test makes itself a subreaper, and then it can reap the orphan, which the
/// kernel allows the parent only. One test, as a process is a subreaper with all of its threads.
#[test]
fn init_or_the_nearest_subreaper_adopts() {
    let this = Pid::this();
    let through_a_shell = format!("{DEMO}; exit $?"); // which is no subreaper

    set_child_subreaper(false).unwrap();
    let (shell, said) = run(&through_a_shell);
    assert_eq!(
        marked(&said, "◀── before"),
        Some((said.parent, "parent, killed".into()))
    );
    let passed_over = [said.child, said.parent, shell, this];
    assert!(!passed_over.contains(&said.adopter), "{}", said.text);
    assert_eq!(said.kind == "init", said.adopter.as_raw() == 1);
    assert_eq!(said.waitpid, "Err(ECHILD)");
    assert_eq!(
        waitpid(said.child, None),
        Err(ECHILD),
        "it was no child of this test"
    );

    set_child_subreaper(true).unwrap();
    let (_, said) = run(&through_a_shell);
    let comm = fs::read_to_string(format!("/proc/{this}/comm")).unwrap();
    assert_eq!(marked(&said, "◀── after"), Some((this, comm.trim().into())));
    assert_eq!((said.adopter, said.kind.as_str()), (this, "a subreaper"));
    assert_eq!(said.waitpid, "Err(ECHILD)");
    assert_eq!(
        waitpid(said.child, None),
        Ok(WaitStatus::Exited(said.child, 0)),
        "reaped here"
    );

    let (demo, said) = run(&format!("exec {DEMO} --adopt"));
    assert_eq!(
        marked(&said, "◀── after"),
        Some((demo, "orphan-process".into()))
    );
    assert_eq!((said.adopter, said.kind.as_str()), (demo, "a subreaper"));
    assert_eq!(said.waitpid, format!("Ok(Exited(Pid({}), 0))", said.child));
    for pid in [said.child, said.parent] {
        assert_eq!(waitpid(pid, None), Err(ECHILD), "this subreaper got {pid}");
        assert!(
            !fs::exists(format!("/proc/{pid}")).unwrap(),
            "{pid} was not reaped"
        );
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--adopt", "3"][..], &["--adopt=yes"], &["--no"]] {
        let output = Command::new(DEMO).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
