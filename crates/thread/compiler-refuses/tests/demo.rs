use std::process::{Command, Output};

fn run(args: &[&str], rustc: Option<&str>) -> Output {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_compiler-refuses"));
    rustc.map(|rustc| demo.env("RUSTC", rustc));
    demo.args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[test]
fn refuses_three_and_accepts_their_twins() {
    let output = run(&[], None);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for code in ["error[E0499]: ", "error[E0277]: ", "error[E0505]: "] {
        assert_eq!(text.matches(code).count(), 1, "{text}");
    }
    for prints in ["prints 2", "prints 6", "prints 1"] {
        assert!(text.contains(prints), "{text}");
    }
    assert!(
        text.ends_with("bugs refused: 3, corrected programs run: 3\n"),
        "{text}"
    );
    assert!(text.lines().count() <= 24, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

#[test]
fn full_shows_all_that_the_compiler_says_of_one_bug() {
    for (bug, code, says) in [
        ("1", "E0499", "first mutable borrow occurs here"),
        ("2", "E0277", "the trait `Send` is not implemented"),
        ("3", "E0505", "borrow later used here"),
    ] {
        let output = run(&["--full", bug], None);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains(&format!("error[{code}]")) && text.contains(says),
            "{text}"
        );
        assert_eq!(text.matches("error[").count(), 1, "{text}");
        assert!(
            text.ends_with("bugs refused: 1, corrected programs run: 1\n"),
            "{text}"
        );
    }
}

/// Seen from outside: a compiler in rustc's place sees six sources, and decides what is shown.
#[cfg(unix)]
#[test]
fn the_compiler_is_really_asked() {
    let folder = std::env::temp_dir()
        .join(format!("compiler-refuses-test-{}", std::process::id()));
    let folder = folder.to_str().unwrap();
    let wrap = |name: &str, script: &str| {
        let make = format!(
            "mkdir -p {folder} && printf '%s\\n' '{script}' >{folder}/{name} && chmod +x {folder}/{name}"
        );
        assert!(
            Command::new("sh")
                .args(["-c", &make])
                .status()
                .unwrap()
                .success()
        );
        format!("{folder}/{name}")
    };
    let real = std::env::var("RUSTC").unwrap_or("rustc".into());
    let spy = wrap(
        "spy",
        &format!("#!/bin/sh\necho call >>{folder}/calls\nexec {real} \"$@\""),
    );
    let yes = wrap("yes", "#!/bin/sh");
    let spied = run(&[], Some(&spy));
    let accepted = run(&[], Some(&yes));
    let calls = std::fs::read_to_string(format!("{folder}/calls")).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(spied.status.code(), Some(0), "{spied:?}");
    assert_eq!(
        calls.lines().count(),
        1 + 6,
        "a question for its version, and six sources"
    );
    assert_eq!(accepted.status.code(), Some(1), "{accepted:?}");
    assert!(
        String::from_utf8_lossy(&accepted.stderr).contains("rustc accepted it")
    );
}

#[test]
fn says_so_where_there_is_no_rustc() {
    for rustc in ["/no/such/rustc", "false"] {
        let output = run(&[], Some(rustc));
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("rustup.rs"),
            "{output:?}"
        );
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--full"][..],
        &["--full", "0"],
        &["--full", "4"],
        &["--no"],
    ] {
        let output = run(args, None);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
