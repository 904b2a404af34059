use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Runs the demo where a crash may leave a core file, if that is possible.
fn run(args: &str) -> (Output, String) {
    let script = format!("ulimit -c unlimited; exec \"$0\" {args}");
    let output = Command::new("sh")
        .args(["-c", &script, DEMO])
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

const HEADER: &str =
    "                     PID  thread       address         number\n";

fn row(label: &str, pid: &str, id: &str, address: &str, number: u8) -> String {
    format!("{label:<16}{pid:>8}  {id:<13}{address:<16}{number:>6}\n")
}

#[test]
fn the_child_writes_and_crashes_and_its_parent_sees_nothing_of_it() {
    let (output, text) = run("");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (parent, first, address) = (words[6], words[7], words[8]);
    let (child, second) = (words[12], words[20]);
    assert_ne!(parent, child);
    assert_ne!(first, second);
    let mut expected = HEADER.to_string();
    expected += &row("parent reads", parent, first, address, 1);
    expected += &row("child writes", child, first, address, 2);
    expected += &row("thread 2 reads", child, second, address, 2);
    expected += "thread 2 writes to address 1, which leads nowhere\n";
    expected += &row("parent reads", parent, first, address, 1);
    expected += &format!(
        "\nchild {child}, with both threads: killed by SIGSEGV\n\
         parent {parent} outlived that crash, and still reads 1\n"
    );
    assert_eq!(text, expected);
}

/// The test is the parent here: it sees how both threads end.
#[test]
fn without_fork_the_second_thread_ends_the_first() {
    let (output, text) = run("--no-fork");
    assert_eq!(output.status.signal(), Some(11), "{output:?}"); // SIGSEGV
    assert!(!output.status.core_dumped(), "{output:?}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (pid, first, address) = (words[6], words[7], words[8]);
    let second = words[20];
    assert_ne!(first, second);
    let mut expected = HEADER.to_string();
    expected += &row("parent reads", pid, first, address, 1);
    expected += &row("parent writes", pid, first, address, 2);
    expected += &row("thread 2 reads", pid, second, address, 2);
    expected += "thread 2 writes to address 1, which leads nowhere\n";
    assert_eq!(text, expected);
}
