#![cfg(target_os = "linux")] // the outside look is at /proc

use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_launch-cost");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Of the row that starts with `name`: median, 10 %, 90 %, and the job length, in seconds.
fn row(text: &str, name: &str) -> [f64; 4] {
    let row = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    let words: Vec<_> = row.split_whitespace().collect();
    let seconds = words.windows(2).filter_map(|pair| {
        let unit = match pair[1] {
            "ns" => 1e-9,
            "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return None,
        };
        Some(pair[0].parse::<f64>().ok()? * unit)
    });
    seconds.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn each_launch_costs_more() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let names = ["function call", "job, warm pool", "thread", "fork ", "fork + exec true"];
    let [call, job, thread, fork, exec] = names.map(|name| row(&text, name));
    assert!(call[0] < job[0] && call[0] < thread[0] && thread[0] < exec[0] && fork[0] < exec[0]);
    for [median, low, high, job_length] in [call, job, thread, fork, exec] {
        assert!(low <= median && median <= high, "{text}");
        assert!((job_length / median / 100.0 - 1.0).abs() < 0.06, "{text}");
    }
    let python = Command::new("python3").args(["-c", "pass"]).status();
    if python.is_ok_and(|status| status.success()) {
        assert!(row(&text, "fork + exec python3")[0] > exec[0], "{text}");
    }
}

/// Seen from outside: the kernel's count of processes and threads made since boot.
#[test]
fn the_kernel_has_made_them() {
    let made = || -> u64 {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        stat.lines().find_map(|line| line.strip_prefix("processes ")).unwrap().parse().unwrap()
    };
    let before = made();
    assert!(run(&["--launches", "300"]).status.success());
    assert!(made() - before >= 3 * 300, "threads, forks and execs");
}

#[test]
fn without_python_the_rest_is_shown() {
    let folder = std::env::temp_dir().join(format!("launch-cost-test-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let program =
        if std::path::Path::new("/usr/bin/true").exists() { "/usr/bin/true" } else { "/bin/true" };
    std::os::unix::fs::symlink(program, folder.join("true")).unwrap();
    let output = Command::new(DEMO).env("PATH", &folder).env_remove("RUST_BACKTRACE").output();
    std::fs::remove_dir_all(&folder).unwrap();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("python3: not found"), "{text}");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--launches", "19"][..], &["--launches", "5001"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
