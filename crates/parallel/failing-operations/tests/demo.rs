use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_failing-operations");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

#[test]
fn every_result_arrives_once_whatever_fails() {
    for workers in ["1", "3", "8"] {
        let output = run(&["--workers", workers]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with("1:")).unwrap();
        let results: Vec<_> =
            line.split_whitespace().map(|pair| pair.split_once(':').unwrap()).collect();
        let right: Vec<_> =
            (1..=12).map(|job| (job.to_string(), (job * job).to_string())).collect();
        assert!(results.iter().copied().eq(right.iter().map(|(j, r)| (&j[..], &r[..]))), "{text}");
        for (job, failure) in [(2, "crashed: signal: 9"), (5, "hangs"), (8, "answers nonsense")] {
            let noticed = text.lines().filter(|line| line.starts_with(&format!("job {job}: ")));
            assert!(noticed.clone().any(|line| line.contains(failure)), "{text}");
        }
    }
}

/// Seen from outside: the worker that hangs is a process that the kernel no longer knows later.
#[cfg(target_os = "linux")]
#[test]
fn the_failed_workers_are_gone() {
    let text = String::from_utf8(run(&[]).stdout).unwrap();
    let failed = text.lines().filter_map(|line| line.split_once("worker ")?.1.split_once(' '));
    let pids: Vec<_> =
        failed.map(|(pid, _)| pid.parse::<u32>()).take_while(Result::is_ok).collect();
    assert!(pids.len() >= 3, "{text}");
    for pid in pids.into_iter().flatten() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(!name.starts_with("failing-op"), "worker {pid} outlived the demo");
    }
}

/// A worker by itself, as the supervisor talks to it.
#[test]
fn a_worker_answers_and_fails_for_real() {
    let ask = |order: &str| {
        let script = format!("printf '7 {order}\\n' | {DEMO} --be-worker");
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    assert_eq!(ask("square").stdout, b"7 49\n");
    assert_eq!(ask("nonsense").stdout, b"colourless green ideas\n");
    assert_eq!(ask("crash").status.code(), Some(128 + 9));
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--workers", "0"][..], &["--workers", "9"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
