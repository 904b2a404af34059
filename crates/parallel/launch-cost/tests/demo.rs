#![cfg(target_os = "linux")] // the outside look is at /proc

use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_launch-cost");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Of the row that starts with `name`: median, 10 %, 90 %, and the job length, in seconds.
fn row(text: &str, name: &str) -> [f64; 4] {
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect(name);
    let seconds = row.split_whitespace().filter_map(|word| {
        let unit = word.find(char::is_alphabetic)?;
        let factor = match &word[unit..] {
            "ns" => 1e-9,
            "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return None,
        };
        Some(word[..unit].parse::<f64>().ok()? * factor)
    });
    seconds.collect::<Vec<_>>().try_into().unwrap()
}

/// Of the last line: how many calls a thread takes, what else is said, and how many calls it takes.
fn last(text: &str) -> (f64, String, f64) {
    let words: Vec<_> = text.lines().last().unwrap().split(' ').collect();
    let numbers: Vec<f64> =
        words.iter().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], words[words.len() - 4].into(), numbers[1] * 1e6)
}

#[test]
fn each_launch_costs_more() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let names = [
        "fork + exec true",
        "fork  ",
        "thread",
        "job, warm pool",
        "1000 function calls",
    ];
    let [exec, fork, thread, job, calls] = names.map(|name| row(&text, name));
    for [median, low, high, job_length] in [calls, job, thread, fork, exec] {
        assert!(low <= median && median <= high, "{text}");
        assert!((job_length / median / 100.0 - 1.0).abs() < 0.06, "{text}");
    }
    // The fastest tenth: a busy machine makes some launches slow, but not all of them.
    assert!(
        calls[1] < 1000.0 * job[1] && calls[1] < 1000.0 * thread[1],
        "{text}"
    );
    assert!(thread[1] < exec[1] && fork[1] < exec[1], "{text}");

    let python = Command::new("python3").args(["-c", "pass"]).status();
    let works = python.is_ok_and(|status| status.success());
    let python = works && !text.contains("SIGALRM"); // on a machine so busy that it took 10 s
    let (of_thread, name, of_program) = last(&text);
    let program = if python {
        row(&text, "fork + exec python3")
    } else {
        exec
    };
    assert!(!python || program[1] > exec[1], "{text}");
    assert_eq!(name, if python { "Python" } else { "program" });
    let call = calls[0] / 1000.0;
    assert!(
        (of_thread / (thread[0] / call) - 1.0).abs() < 0.06,
        "{text}"
    );
    assert!(
        (of_program - program[0] / call).abs() < 0.06 * of_program + 0.06e6,
        "{text}"
    );
}

/// Seen from outside: the kernel's count of processes and threads made since boot.
#[test]
fn the_kernel_has_made_them() {
    let made = || -> u64 {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        stat.lines()
            .find_map(|line| line.strip_prefix("processes "))
            .unwrap()
            .parse()
            .unwrap()
    };
    let before = made();
    let output = run(&["--launches", "300"]);
    assert!(output.status.success(), "{output:?}");
    assert!(made() - before >= 3 * 300, "threads, forks and execs");
}

#[test]
fn without_python_the_rest_is_shown() {
    let folder = std::env::temp_dir()
        .join(format!("launch-cost-test-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let program = if std::path::Path::new("/usr/bin/true").exists() {
        "/usr/bin/true"
    } else {
        "/bin/true"
    };
    std::os::unix::fs::symlink(program, folder.join("true")).unwrap();
    let output = Command::new(DEMO)
        .env("PATH", &folder)
        .env_remove("RUST_BACKTRACE")
        .output();
    std::fs::remove_dir_all(&folder).unwrap();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("python3: not found"), "{text}");
    assert_eq!(last(&text).1, "program");
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--launches", "19"][..],
        &["--launches", "5001"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
