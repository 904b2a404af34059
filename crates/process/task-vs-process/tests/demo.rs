#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn row(label: &str, folder: &str, number: usize, files: usize) -> String {
    format!("{label:<16}{folder:<24}{number:>8}{files:>14}\n")
}

#[test]
fn what_tasks_do_is_seen_and_what_a_forked_process_does_is_not() {
    for tasks in [1, 3, 8] {
        // The shell lists its descriptors, and then becomes the demo.
        let script = format!("ls /proc/$$/fd; exec \"$0\" --threads {tasks}");
        let demo = Command::new("sh")
            .args(["-c", &script, DEMO])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = demo.id();
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let header = format!(
            "tasks: {tasks}, forked processes: 1. Each adds 1, opens a file\n\n\
             \x20               PID/task/TID              number   descriptors\n"
        );
        let (listed, shown) = text.split_once(&header).unwrap();
        let start = listed.lines().count();
        let end = start + tasks;

        let words = shown.split_whitespace();
        let folders: Vec<&str> =
            words.filter(|word| word.contains("/task/")).collect();
        assert_eq!(folders.len(), tasks + 3, "{text}");
        let main_task = format!("{pid}/task/{pid}");
        let forked = folders[tasks + 1];

        let mut expected = row("main task", &main_task, 0, start);
        for (index, folder) in folders[1..=tasks].iter().enumerate() {
            let number = index + 1;
            expected += &row("task", folder, number, start + number);
        }
        expected += &row("forked process", forked, tasks + 1, end + 1);
        expected += &row("main task", &main_task, tasks, end);
        expected += &format!(
            "\nmain task at the start: number 0, descriptors {start}\n\
             main task at the end:   number {tasks}, descriptors {end}\n"
        );
        assert_eq!(shown, expected);

        // The tasks have the PID of the main one. Each has its own TID.
        let its_tasks = format!("{pid}/task/");
        for task in &folders[1..=tasks] {
            assert!(task.starts_with(&its_tasks), "{text}");
        }
        let different: BTreeSet<&&str> = folders.iter().collect();
        assert_eq!(different.len(), tasks + 2, "{text}");
        // The forked process has another PID, and one task.
        let (child, tid) = forked.split_once("/task/").unwrap();
        assert_ne!(child, pid.to_string());
        assert_eq!(child, tid);
    }
}
