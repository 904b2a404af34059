#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::process::{Command, Output, Stdio};

const DEMO: &str = env!("CARGO_BIN_EXE_fork-then-load");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Milliseconds of four forks, page faults, MiB of the row that starts with `label`.
fn row(output: &Output, label: &str) -> [f64; 3] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap();
    let numbers: Vec<_> = row
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.try_into().unwrap()
}

#[test]
fn loading_first_doubles_faults_and_memory() {
    for mib in [64.0, 128.0] {
        let output = run(&["--mib", &mib.to_string()]);
        let [_, faults, used] = row(&output, "fork, then load");
        let [_, more_faults, more_used] = row(&output, "load, then fork");
        assert!((used - mib).abs() < 8.0, "the data once: {output:?}");
        assert!(
            (more_used - 2.0 * mib).abs() < 8.0,
            "the data twice: {output:?}"
        );
        assert!(more_faults > faults, "{output:?}");
    }
}

/// Forking copies the page tables: 512 MiB of pages take longer to fork than none.
#[test]
fn the_more_is_loaded_the_longer_fork_takes() {
    let output = run(&["--mib", "512"]);
    assert!(
        row(&output, "load, then fork")[0] > row(&output, "fork, then load")[0],
        "{output:?}"
    );
}

/// Seen from outside: the processes' own figures, added up by another process.
#[test]
fn the_kernel_sees_the_memory() {
    let args = ["--mib", "512"];
    let mut demo = Command::new(DEMO)
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    while demo.try_wait().unwrap().is_none() {
        let ps = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &demo.id().to_string()])
            .output();
        let children = String::from_utf8(ps.unwrap().stdout).unwrap();
        let family = children
            .split_whitespace()
            .map(Into::into)
            .chain([demo.id().to_string()]);
        let pss = family.filter_map(|pid: String| {
            let text =
                std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
                    .ok()?;
            let line =
                text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        most = most.max(pss.sum());
    }
    assert!(
        most > 512 * 1024 * 11 / 10,
        "never more than {most} KiB in use"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--mib", "15"][..],
        &["--mib", "4097"],
        &["--mib", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
