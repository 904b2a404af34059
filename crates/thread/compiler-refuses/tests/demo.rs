#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, id};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo
}

fn run(args: &[&str]) -> Output {
    demo(args).output().unwrap()
}

fn run_with_rustc(rustc: &str) -> Output {
    demo(&[]).env("RUSTC", rustc).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A new folder for one test, with a blank in its name.
fn new_folder(test: &str) -> PathBuf {
    let name = format!("compiler refuses {test} {}", id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

/// What stands in this line of a snippet, without its comment.
fn code(snippet: &str, line: usize) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snippets");
    let source = fs::read_to_string(path.join(snippet)).unwrap();
    let line = source.lines().nth(line - 1).unwrap();
    line.split("//").next().unwrap().trim().to_string()
}

#[test]
fn refuses_three_bugs_and_runs_their_twins() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = text(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let bugs = [
        ("counter", "E0499", "scope.spawn(|| counter += 1);", "2"),
        (
            "rc",
            "E0277",
            "let thread = thread::spawn(move || shared.len());",
            "6",
        ),
        ("guard", "E0505", "drop(guard);", "2"),
    ];
    for (i, (name, error, refused, prints)) in bugs.iter().enumerate() {
        let rows = &lines[5 * i..5 * i + 5];
        assert!(rows[0].ends_with(':'), "{text}");
        let error = format!("    error[{error}]: ");
        assert!(rows[1].starts_with(&error), "{text}");
        let file = format!("{name}_refused.rs");
        let place = rows[2].trim().strip_prefix("--> ").unwrap();
        let place: Vec<&str> = place.split(':').collect();
        assert_eq!(place[0], file, "{text}");
        assert_eq!(code(&file, place[1].parse().unwrap()), *refused);
        let fixed = format!("    fixed: compiles, runs, prints {prints}");
        assert_eq!(rows[3..], [fixed.as_str(), ""], "{text}");
    }
    assert_eq!(lines[15..], ["bugs refused: 3, fixed twins run: 3"]);
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn full_shows_all_that_the_compiler_says_of_one_bug() {
    for (bug, error, says) in [
        ("1", "error[E0499]", "first mutable borrow occurs here"),
        ("2", "error[E0277]", "the trait `Send` is not implemented"),
        ("3", "error[E0505]", "borrow later used here"),
    ] {
        let output = run(&["--full", bug]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = text(&output.stdout);
        assert!(text.contains(error) && text.contains(says), "{text}");
        assert_eq!(text.matches("error[").count(), 1, "{text}");
        let last = "\n\nbugs refused: 1, fixed twins run: 1\n";
        assert!(text.ends_with(last), "{text}");
    }
}

/// A script in a folder, to be used in rustc's place. The shell writes it: a
/// file that this process has open for writing could not be run.
fn script(folder: &Path, name: &str, lines: &str) -> String {
    let path = folder.join(name).to_str().unwrap().to_string();
    let text = format!("#!/bin/sh\n{lines}");
    let make = "printf '%s\n' \"$1\" >\"$2\" && chmod +x \"$2\"";
    let mut shell = Command::new("sh");
    let made = shell.args(["-c", make, "sh", &text, &path]).status();
    assert!(made.unwrap().success());
    path
}

/// Seen from outside: a compiler in rustc's place is asked for its version,
/// and sees six sources.
#[test]
fn the_compiler_is_really_asked() {
    let folder = new_folder("spy");
    let calls = folder.join("calls");
    let real = std::env::var("RUSTC").unwrap_or("rustc".to_string());
    let lines = format!(
        "for last; do :; done\necho \"$last\" >>'{}'\nexec '{real}' \"$@\"",
        calls.display()
    );
    let output = run_with_rustc(&script(&folder, "spy", &lines));
    let calls = fs::read_to_string(calls).unwrap();
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let expected = [
        "--version",
        "counter_refused.rs",
        "counter_fixed.rs",
        "rc_refused.rs",
        "rc_fixed.rs",
        "guard_refused.rs",
        "guard_fixed.rs",
    ];
    assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
}

/// Each of them works if it is asked for its version.
#[test]
fn a_compiler_that_does_something_else_decides_the_verdict() {
    // Of the programs that it makes, one prints 3 and one fails.
    let refuse =
        "case $* in *refused*) echo 'error[E0499]: x' >&2; exit 1;; esac";
    let program = "printf '#!/bin/sh\\necho 3\\n' >twin; chmod +x twin";
    let fails = "printf '#!/bin/sh\\necho 2; exit 4\\n' >twin; chmod +x twin";
    let folder = new_folder("others");
    for (lines, message) in [
        (":", "rustc accepted the bug"),
        (
            "case $* in *.rs*) echo 'error[E0499]: y' >&2; exit 1;; esac",
            "rustc refused the fixed twin: error[E0499]: y",
        ),
        (
            "case $* in *refused*) exit 1;; esac",
            "the error is not E0499",
        ),
        (&format!("{refuse}\n{program}"), "the twin did not print 2"),
        (
            &format!("{refuse}\n{fails}"),
            "the twin failed: exit status: 4",
        ),
    ] {
        let mut demo = demo(&[]);
        demo.env("RUSTC", script(&folder, "other", lines));
        // Where it makes its program, when asked for its version.
        let output = demo.current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{lines}: {output:?}");
        let error = text(&output.stderr);
        assert!(error.contains(message), "{lines}: {output:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn says_so_where_there_is_no_rustc() {
    for (rustc, why) in [
        ("/no/such/rustc", "No such file or directory"),
        ("false", "exit status: 1"),
    ] {
        let output = run_with_rustc(rustc);
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        let message = text(&output.stderr);
        assert!(message.contains(why), "{message}");
        assert!(message.contains("https://rustup.rs"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn leaves_nothing_in_the_temp_folder() {
    let folder = new_folder("temp");
    let works = demo(&[]).env("TMPDIR", &folder).output().unwrap();
    // Asked for its version it works; then it removes itself, and is gone.
    let rustc = script(&folder, "rustc", "rm \"$0\"");
    let mut fails = demo(&[]);
    fails.env("TMPDIR", &folder).env("RUSTC", rustc);
    let fails = fails.output().unwrap();
    let left = fs::read_dir(&folder).unwrap().count();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(works.status.code(), Some(0), "{works:?}");
    assert_eq!(fails.status.code(), Some(1), "{fails:?}");
    assert!(
        text(&fails.stderr).contains("cannot start rustc"),
        "{fails:?}"
    );
    assert_eq!(left, 0);

    // The folder is gone now.
    let output = demo(&[]).env("TMPDIR", &folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = format!("cannot create {}", folder.display());
    assert!(text(&output.stderr).contains(&message), "{output:?}");
}

/// As root: in a mount namespace of its own, with a folder mounted noexec.
#[cfg(target_os = "linux")]
#[test]
fn says_so_where_no_program_may_run() {
    let folder = new_folder("noexec");
    let mut unshare = Command::new("unshare");
    let mount =
        "mount -t tmpfs -o noexec none \"$TMPDIR\" || exit 99; exec \"$0\"";
    unshare.args(["-m", "sh", "-c", mount, DEMO]);
    let output = unshare.env("TMPDIR", &folder).output();
    fs::remove_dir(&folder).unwrap();
    let Ok(output) = output else {
        return eprintln!("not tested: no unshare here");
    };
    if output.status.code() == Some(99)
        || text(&output.stderr).contains("unshare")
    {
        return eprintln!("not tested: needs root");
    }
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let message = text(&output.stderr);
    let expected = format!("no program in {} can run", folder.display());
    assert!(message.contains(&expected), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

/// It panics where it may start too few threads, and ends with 101 then.
#[test]
fn says_so_if_rustc_itself_fails() {
    let folder = new_folder("fails");
    let lines = "[ \"$1\" = --version ] || exit 101";
    let output = run_with_rustc(&script(&folder, "fails", lines));
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let error = text(&output.stderr);
    assert!(
        error.starts_with("cannot run here: rustc itself"),
        "{error}"
    );
}
