#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output, Stdio};

const DEMO: &str = env!("CARGO_BIN_EXE_stacks-and-heap");
const STACK: u64 = 2 << 20;

fn run(args: &[&str]) -> Output {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    local: (u64, u64), // address, value
    mapping: (u64, u64),
    heap: (u64, u64),
}

/// The rows whose label starts with `who`.
fn rows(text: &str, who: &str) -> Vec<Row> {
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let row = |line: &str| {
        let words: Vec<_> = line.get(14..)?.split_whitespace().collect();
        let [local, "=", one, mapping, heap, "=", two] = words[..] else {
            return None;
        };
        let (begin, end) = mapping.split_once('-')?;
        let (one, two) = (one.parse().unwrap(), two.parse().unwrap());
        let (local, heap) = ((hex(local), one), (hex(heap), two));
        Some(Row {
            local,
            mapping: (hex(begin), hex(end)),
            heap,
        })
    };
    text.lines()
        .filter(|line| line.starts_with(who))
        .filter_map(row)
        .collect()
}

#[test]
fn a_child_has_copies_and_threads_share_the_heap() {
    for count in [1, 3, 8] {
        let output = run(&["--threads", &count.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let (main, child, threads) = (
            rows(&text, "main"),
            rows(&text, "forked child")[0],
            rows(&text, "thread "),
        );
        assert_eq!(
            (child.local.0, child.heap.0),
            (main[0].local.0, main[0].heap.0),
            "addresses"
        );
        assert_eq!((child.local.1, child.heap.1), (1, 1));
        assert_eq!(
            (main[0].local.1, main[0].heap.1),
            (0, 0),
            "what the child changed is its own"
        );
        assert_eq!(
            (main[1].local.1, main[1].heap.1),
            (0, count),
            "threads change what main has"
        );
        assert_eq!(threads.len() as u64, count, "{text}");
        for (thread, number) in threads.iter().zip(1..) {
            assert_eq!(thread.local.1, 1);
            assert_eq!(thread.heap, (main[0].heap.0, number));
        }
        let stacks: Vec<_> = threads.iter().chain(&main[..1]).collect();
        for (i, one) in stacks.iter().enumerate() {
            assert!(
                one.mapping.0 <= one.local.0 && one.local.0 < one.mapping.1,
                "{one:?}"
            );
            assert!(
                one.heap.0 < one.mapping.0 || one.heap.0 >= one.mapping.1,
                "{one:?}"
            );
            assert!(
                stacks[..i]
                    .iter()
                    .all(|two| one.local.0.abs_diff(two.local.0) >= STACK)
            );
        }
        let last = format!(
            "heap: main sees 0 of the child's 1, {count} of the threads' {count}\n"
        );
        assert!(text.ends_with(&last), "{text}");
    }
}

/// Seen from outside: at a terminal the demo pauses, and what it said is in the kernel's list of
/// its threads and mappings, and in its memory.
#[test]
fn another_process_finds_it_all_in_its_memory() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut demo = Command::new(DEMO);
    demo.args(["--threads", "4"])
        .stdin(terminal.slave)
        .stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let text: Vec<_> = lines
        .by_ref()
        .take_while(|line| !line.contains("then Enter"))
        .collect();
    let text = text.join("\n");
    let (main, threads) = (rows(&text, "main")[1], rows(&text, "thread "));
    assert_eq!(threads.len(), 4);

    let proc = format!("/proc/{}", demo.id());
    assert_eq!(fs::read_dir(format!("{proc}/task")).unwrap().count(), 1 + 4);
    let maps = fs::read_to_string(format!("{proc}/maps")).unwrap();
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
    assert!(
        stack.starts_with(&format!(
            "{:x}-{:x} rw",
            main.mapping.0, main.mapping.1
        )),
        "{maps}"
    );
    if let Ok(memory) = File::open(format!("{proc}/mem")) {
        let read = |address| {
            let mut bytes = [0; 8];
            memory.read_exact_at(&mut bytes, address).unwrap();
            u64::from_ne_bytes(bytes)
        };
        assert_eq!((read(main.local.0), read(main.heap.0)), (0, 4));
        assert!(
            threads.iter().all(|thread| read(thread.local.0) == 1),
            "{text}"
        );
    } else {
        eprintln!(
            "not tested: this system does not let a parent read its child's memory"
        );
    }
    File::from(terminal.master).write_all(b"\n").unwrap();
    assert_eq!(
        lines
            .filter(|line| line.starts_with("heap: main sees 0"))
            .count(),
        1
    );
    assert!(demo.wait().unwrap().success());
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "0"][..],
        &["--threads", "9"],
        &["--threads", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
