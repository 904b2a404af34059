#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The PIDs that the demo prints.
fn pids(text: &str) -> Vec<u32> {
    let list = text.split(['[', ']']).nth(1).unwrap();
    list.split(", ").map(|pid| pid.parse().unwrap()).collect()
}

/// Mean Rss, sum of Pss, copies; and the length of the bar.
fn row(text: &str, part: &str) -> ([f64; 3], usize) {
    let line = text.lines().find(|line| line.starts_with(part)).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |i: usize| words[i].parse().unwrap();
    let bar = words.get(4).map_or(0, |bar| bar.chars().count());
    ([number(1), number(2), number(3)], bar)
}

#[test]
fn one_copy_of_the_text_and_one_of_the_data_for_each() {
    for count in [2, 5, 10, 30] {
        let count_arg = count.to_string();
        let output = Command::new(DEMO)
            .args(["--processes", &count_arg])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut pids = pids(&text);
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), count, "{text}");
        for pid in pids {
            let exists = fs::exists(format!("/proc/{pid}")).unwrap();
            assert!(!exists, "{pid} was not reaped");
        }

        for part in ["text", "data"] {
            let ([mean_rss, sum_of_pss, copies], bar) = row(&text, part);
            let error = copies - sum_of_pss / mean_rss;
            assert!(error.abs() < 0.05, "{text}");
            assert!((copies - bar as f64).abs() < 0.51, "{text}");
        }
        let ([.., of_text], _) = row(&text, "text");
        let ([rss, _, of_data], _) = row(&text, "data");
        assert!(of_text <= 1.3, "{text}");
        assert!(of_data >= 0.9 * count as f64, "{text}");
        assert!((950.0..1100.0).contains(&rss), "1 MB of data: {text}");
        let last = format!(
            "\n{count} processes, {of_text:.2} copies of text, \
             {of_data:.2} of data\n"
        );
        assert!(text.ends_with(&last), "{text}");
    }
}

/// Looks from outside, while the demo stands still: its output is blocked. It
/// is found under any name, too.
#[test]
fn all_run_the_same_file_and_the_kernel_says_the_same_of_their_memory() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a folder");
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("my copy");
    fs::hard_link(DEMO, &program).unwrap();
    let (mut output, full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while (&full).write(b"\n").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut command = Command::new(&program);
    let mut demo = command.stdout(OwnedFd::from(full)).spawn().unwrap();
    drop(command); // it holds an end of the pair

    let id = demo.id();
    let mut children = Vec::new();
    while children.len() < 4 || !children.iter().all(sleeps) {
        assert!(demo.try_wait().unwrap().is_none(), "it ended");
        let list = format!("/proc/{id}/task/{id}/children");
        let list = fs::read_to_string(list).unwrap();
        children = list.split_whitespace().map(String::from).collect();
    }
    let mut rss = [0.0; 2];
    for pid in &children {
        let file = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(file, program);
        rss[0] += rss_of(pid, "r-xp", &program) / 4.0;
        rss[1] += rss_of(pid, "rw-p", &program) / 4.0;
    }
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.wait().unwrap().success());
    fs::remove_dir_all(folder).unwrap();

    let pids: Vec<String> = pids(&text).iter().map(u32::to_string).collect();
    assert_eq!(pids[0], id.to_string());
    assert_eq!(pids[1..], children);
    let ([of_text, ..], _) = row(&text, "text");
    let ([of_data, ..], _) = row(&text, "data");
    // The parent has used a little more than the children.
    assert!((of_text / rss[0] - 1.0).abs() < 0.1, "{rss:?} {text}");
    assert!((of_data / rss[1] - 1.0).abs() < 0.02, "{rss:?} {text}");
}

/// Does it sleep? A child has nothing to wait for but its standard input.
fn sleeps(pid: &String) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.contains("State:\tS")
}

fn rss_of(pid: &str, permissions: &str, program: &Path) -> f64 {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let end = program.to_str().unwrap();
    let is_it = |line: &&str| line.contains(permissions) && line.ends_with(end);
    let mut rest = smaps.lines().skip_while(|line| !is_it(line));
    let rss = rest.find(|line| line.starts_with("Rss:")).unwrap();
    rss.split_whitespace().nth(1).unwrap().parse().unwrap()
}
