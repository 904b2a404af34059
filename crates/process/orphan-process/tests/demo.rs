#![cfg(target_os = "linux")] // subreapers are Linux's

use std::fs;
use std::process::{Command, Stdio};

use nix::errno::Errno::ECHILD;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// What the demo said.
struct Said {
    text: String,
    grandparent: Pid,
    parent: Pid,
    child: Pid,
    adopter: Pid,
}

fn run(arguments: &[&str]) -> Said {
    let mut demo = Command::new(DEMO);
    let demo = demo.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let grandparent = Pid::from_raw(demo.id().cast_signed());
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    let pid = |word: &str| Pid::from_raw(word.parse().expect(&text));
    Said {
        grandparent,
        parent: pid(rows[1][3]),
        child: pid(rows[1][5]),
        adopter: pid(rows[2].last().unwrap()),
        text,
    }
}

/// All that the demo says, if these are right.
fn check_text(said: &Said, name: &str, waitpid: &str) {
    let Said {
        text,
        grandparent,
        parent,
        child,
        adopter,
    } = said;
    let expected = format!(
        "      grandparent parent      child    getppid\n\
         fork  {grandparent:<7}───▶ {parent:<7}───▶ {child:<9}{parent}\n\
         kill  {grandparent:<7}───▶ {parent:<12}{child:<9}{adopter}\n\n\
         the parent of {child} was {parent}, which was killed\n\
         now it is {adopter} ({name}); the grandparent is {grandparent}\n\
         the grandparent's waitpid({child}) said {waitpid}\n"
    );
    assert_eq!(*text, expected);
}

fn name_of(process: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
    name.trim().to_string()
}

/// One test, because a process is a subreaper with all of its threads. The
/// waitpid of the test is a look from outside: it reaps what it has adopted.
#[test]
fn init_or_the_nearest_subreaper_adopts() {
    let test = Pid::this();

    let left_alone = run(&[]);
    let adopter = left_alone.adopter;
    check_text(&left_alone, &name_of(adopter), "Err(ECHILD)");
    for passed_over in [left_alone.parent, left_alone.grandparent, test] {
        assert_ne!(adopter, passed_over);
    }
    assert_eq!(waitpid(left_alone.child, None), Err(ECHILD));

    set_child_subreaper(true).unwrap();
    let by_test = run(&[]);
    assert_eq!(by_test.adopter, test);
    check_text(&by_test, &name_of(test), "Err(ECHILD)");
    let exited = WaitStatus::Exited(by_test.child, 0);
    assert_eq!(waitpid(by_test.child, None), Ok(exited));

    let by_demo = run(&["--adopt"]);
    assert_eq!(by_demo.adopter, by_demo.grandparent);
    let name = env!("CARGO_PKG_NAME");
    let name_in_kernel = name.get(..15).unwrap_or(name); // it keeps 15 bytes
    let reaped = format!("Ok(Exited(Pid({}), 0))", by_demo.child);
    check_text(&by_demo, name_in_kernel, &reaped);
    for process in [by_demo.parent, by_demo.child] {
        let path = format!("/proc/{process}");
        assert!(!fs::exists(path).unwrap(), "{process} was not reaped");
        assert_eq!(waitpid(process, None), Err(ECHILD));
    }
}
