use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The table's rows without PIDs, then the lines below it.
fn parts(output: &Output) -> (Vec<String>, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let (table, below) = text.split_once("\n\n").unwrap();
    let mut rows = Vec::new();
    for line in table.lines().skip(1) {
        let (job, rest) = line.trim().split_once("  ").unwrap();
        let (pid, rest) = rest.split_once(' ').unwrap();
        assert!(pid.parse::<u32>().unwrap() > 1, "{text}");
        rows.push(format!("{job} {}", rest.trim()));
    }
    (rows, below.to_string())
}

/// Each failure that is in store was noticed, and for what it is. Under load
/// there may be others: workers that are late.
fn assert_noticed(rows: &[String]) {
    for expected in [
        "2 \"\"          exit status: 101     Crash",
        "4 \"4 1\"       signal: 9 (SIGKILL)  Hang",
        "6 \"six 36\\n\"  exit status: 0       Nonsense",
        "8 \"8 6\"       exit status: 0       HalfAnswer",
    ] {
        assert!(rows.iter().any(|row| row == expected), "{rows:?}");
    }
}

/// `8 6` is not taken as the result of job 8, and `sleep` is ended, too: it
/// has the pipe open, and the supervisor waits for the pipe's end.
#[test]
fn every_result_arrives_once_whatever_fails() {
    for args in [&[][..], &["--attempts", "2"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (rows, below) = parts(&output);
        assert_noticed(&rows);
        let failed = rows.len();
        let expected = format!(
            "job:result  1:1 2:4 3:9 4:16 5:25 6:36 7:49 8:64\n\n\
             {} workers started: 8 at first, {failed} for those that failed\n\
             8 jobs, 8 results, 8 of them right\n",
            8 + failed
        );
        assert_eq!(below, expected);
    }
}

/// The other side: without a second attempt four results are missing.
#[test]
fn a_second_attempt_is_what_makes_up_for_failures() {
    let output = run(&["--attempts", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(message, "Error: 4 of 8 jobs have the right result\n");
    let (rows, below) = parts(&output);
    assert_noticed(&rows);
    assert_eq!(below, "job:result  1:1 3:9 5:25 7:49\n\n");
}

/// With another sh, which comes first in PATH: what the supervisor does not
/// notice, or cannot end, is never a success.
#[cfg(target_os = "linux")]
#[test]
fn what_goes_unnoticed_is_no_success() {
    use std::os::unix::fs::PermissionsExt;
    use std::{env, fs, process};

    let folder = env::temp_dir().join(format!("sh-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    let sh = folder.join("sh");
    for (job, instead, error) in [
        (2, "echo 2 4", "not noticed: Crash"),
        (4, "echo 4 16", "not noticed: Hang"),
        (6, "echo 6 36", "not noticed: Nonsense"),
        (8, "echo 8 64", "not noticed: HalfAnswer"),
        (3, "echo 3 8", "7 of 8 jobs have the right result"),
        (
            1,
            "setsid sleep 6 & wait",
            "killed, but its pipe is still open",
        ),
    ] {
        let script = format!(
            "#!/bin/sh\nif [ $JOB = {job} ]; then {instead}; exit; fi\n\
             exec /bin/sh \"$@\"\n"
        );
        fs::write(&sh, script).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&sh, mode).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.display());
        let mut demo = Command::new(DEMO);
        demo.env("PATH", path).env_remove("RUST_BACKTRACE");
        let output = demo.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        let first = message.lines().next().unwrap();
        assert_eq!(first, format!("Error: {error}"));
    }
    fs::remove_dir_all(&folder).unwrap();
}
