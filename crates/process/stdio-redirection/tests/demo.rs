#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::io::{pipe, read_to_string};
use std::os::fd::AsRawFd;
use std::process::{self, Command, Output, Stdio};
use std::{env, fs};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The demo, with a folder that comes first in its PATH. It cannot hang.
fn demo(folder: &str) -> Command {
    let path = env::var("PATH").unwrap();
    let mut demo = Command::new("timeout");
    demo.args(["30", DEMO]).stdin(Stdio::null());
    demo.env("PATH", format!("{folder}:{path}"));
    demo.env_remove("RUST_BACKTRACE");
    demo
}

/// What a child says is 0, 1 and 2 of it.
fn listed<'a>(errors: &'a str, program: &str) -> [&'a str; 3] {
    let mut lines = errors.lines();
    let line = lines.find(|line| line.starts_with(program)).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!([words[2], words[4], words[6]], ["0", "1", "2"], "{line}");
    [words[3], words[5], words[7]]
}

#[test]
fn each_child_has_its_files() {
    let (reader, writer) = pipe().unwrap();
    let link = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let error_pipe = fs::read_link(link).unwrap();
    let output = demo("").stderr(writer).output().unwrap();
    let errors = read_to_string(reader).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?} {errors}");

    let sort = listed(&errors, "sort ");
    let uniq = listed(&errors, "uniq ");
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert_eq!(sort[0], "words.txt");
    assert!(sort[1].starts_with("pipe:["), "{errors}");
    assert_eq!(uniq[0], sort[1]);
    assert!(uniq[1].starts_with("pipe:["), "{errors}");
    assert_ne!(uniq[1], uniq[0]);
    // Both have inherited 2, the third pipe here, as with `2>&1 | cat`.
    assert_eq!([sort[2], uniq[2]], [error_pipe.to_str().unwrap(); 2]);

    let expected = "$ echo \"$(sort < words.txt | uniq -c)\"\n\
        \n      2 be\n      1 not\n      1 or\n      2 to\n\n\
        sort and uniq exited with code 0\n\
        sh -c 'sort < words.txt | uniq -c' gives the same 4 lines\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// Runs the demo with scripts in place of sort and uniq. Each comes to the
/// real program by its name.
fn with_scripts(name: &str, sort: &str, uniq: &str) -> Output {
    let folder = format!("sort-and-uniq-{name}-{}", process::id());
    let folder = env::temp_dir().join(folder);
    fs::create_dir(&folder).unwrap();
    for (program, script) in [("sort", sort), ("uniq", uniq)] {
        // sh writes it: nothing of this process has it open when it is run.
        let write = "printf '#!/bin/sh\nPATH=%s\n%s\n' \"$PATH\" \"$1\" >\"$0\"
                     chmod 755 \"$0\"";
        let mut sh = Command::new("sh");
        sh.args(["-c", write]).arg(folder.join(program)).arg(script);
        assert!(sh.status().unwrap().success());
    }
    let output = demo(folder.to_str().unwrap()).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    output
}

/// Seen from outside: what a program finds open after exec.
#[test]
fn exec_leaves_these_files_open_and_closes_the_rest() {
    let look = "for file in $(readlink /proc/$$/fd/[0-9]); do
                    echo \"after $(basename \"$0\") $file\" >&2
                done; exec $(basename \"$0\") \"$@\"";
    let output = with_scripts("look", look, look);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let sort = listed(&errors, "sort ");
    let uniq = listed(&errors, "uniq ");
    for (program, before) in [("sort", sort), ("uniq", uniq)] {
        let start = format!("after {program} ");
        let lines = errors.lines();
        let after = lines.filter_map(|line| line.strip_prefix(&start));
        let after: Vec<&str> = after.collect();
        assert!(after[0].ends_with(before[0]), "{errors}");
        assert_eq!(after[1..3], before[1..], "{errors}");
        // What else is open was not opened by the demo.
        let rest = &after[3..];
        for file in [sort[0], sort[1], uniq[1]] {
            assert!(!rest.iter().any(|open| open.ends_with(file)), "{errors}");
        }
    }
}

fn complains(name: &str, sort: &str, uniq: &str, error: &str) {
    let output = with_scripts(name, sort, uniq);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains(error), "{name}: {errors}");
}

#[test]
fn says_so_where_something_else_happens() {
    complains("sort", "sort; exit 3", "uniq -c", "Error: sort: Exited(");
    complains("uniq", "sort", "uniq -c; exit 3", "Error: uniq: Exited(");
    complains(
        "cat",
        "sort",
        "cat; echo $$",
        "Error: sh has another result",
    );
    let mut without = Command::new(DEMO);
    let without = without.env("PATH", "/nowhere").output().unwrap();
    assert_eq!(without.status.code(), Some(1), "{without:?}");
    let errors = String::from_utf8_lossy(&without.stderr);
    assert!(errors.contains("exec sort: ENOENT"), "{errors}");
    assert!(errors.contains("exec uniq: ENOENT"), "{errors}");
}
