#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

const DEMO: &str = env!("CARGO_BIN_EXE_memory-segments");

fn run(args: &[&str]) -> Output {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn script(script: &str) -> Output {
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", script])
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// A segment's address, its line of maps (range, permissions, file if any), what became of a writer.
fn row<'a>(text: &'a str, segment: &str) -> (u64, Vec<&'a str>, &'a str) {
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(segment))
        .expect(text);
    let mut words: Vec<_> = row
        .split([' ', '│'])
        .filter(|word| !word.is_empty())
        .collect();
    let writer = words.pop().unwrap();
    (
        u64::from_str_radix(words.remove(0), 16).unwrap(),
        words,
        writer,
    )
}

#[test]
fn only_text_is_read_only() {
    for (heap, place) in
        [("100", &["rw-p", "[heap]"][..]), ("1000000", &["rw-p"])]
    {
        let output = run(&["--heap", heap]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut above = u64::MAX;
        for (segment, place, writer) in [
            ("stack", &["rw-p", "[stack]"][..], "lives"),
            ("heap", place, "lives"),
            ("bss", &["rw-p"], "lives"),
            ("data", &["rw-p", "memory-segments"], "lives"),
            ("text", &["r-xp", "memory-segments"], "SIGSEGV"),
        ] {
            let (address, line, seen) = row(&text, segment);
            let (start, end) = line[0].split_once('-').unwrap();
            let [start, end] =
                [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            assert!((start..end).contains(&address) && end <= above, "{text}");
            assert!(segment != "bss" || end - start >= 64 << 20, "{text}");
            let other_malloc = segment == "heap" && !cfg!(target_env = "gnu");
            assert!(
                seen == writer && (line[1..] == *place || other_malloc),
                "{text}"
            );
            above = start;
        }
    }
}

/// Seen from outside: at a terminal the demo pauses, and everybody may read the map of its memory.
#[test]
fn another_process_sees_the_same_map() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut demo = Command::new(DEMO);
    let mut demo = demo
        .stdin(terminal.slave)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let text: Vec<_> = lines
        .by_ref()
        .take_while(|line| !line.contains("press Enter"))
        .collect();
    let text = text.join("\n");
    let maps = fs::read_to_string(format!("/proc/{}/maps", demo.id())).unwrap();
    for segment in ["stack", "heap", "bss", "data", "text"] {
        let (_, line, _) = row(&text, segment);
        let begin = format!("{} {} ", line[0], line[1]);
        let same = maps
            .lines()
            .find(|line| line.starts_with(&begin))
            .expect(&text);
        assert!(same.ends_with(line.get(2).unwrap_or(&"")), "{same} {text}");
    }
    File::from(terminal.master).write_all(b"\n").unwrap();
    assert_eq!(lines.count(), 1, "the last line");
    assert!(demo.wait().unwrap().success());
}

/// Program headers of an ELF file: where each is, its type, flags, size in the file and in memory.
fn program_headers(file: &[u8]) -> Vec<[usize; 5]> {
    let number = |at: usize, size: usize| {
        file[at..at + size]
            .iter()
            .rev()
            .fold(0, |number, &byte| (number << 8) | usize::from(byte))
    };
    let headers =
        (0..number(0x38, 2)).map(|i| number(0x20, 8) + i * number(0x36, 2));
    headers
        .map(|at| {
            [
                at,
                number(at, 4),
                number(at + 4, 4),
                number(at + 32, 8),
                number(at + 40, 8),
            ]
        })
        .collect()
}

const PT_LOAD: usize = 1;

#[test]
fn the_file_declares_a_bss_that_it_does_not_hold() {
    let file = fs::read(DEMO).unwrap();
    let loaded = program_headers(&file)
        .into_iter()
        .filter(|header| header[1] == PT_LOAD);
    let bss: usize = loaded
        .map(|[_, _, _, in_file, in_memory]| in_memory - in_file)
        .sum();
    assert!(
        bss >= 64 << 20 && file.len() < 64 << 20,
        "{bss} {}",
        file.len()
    );
    let size = format!(
        " 64.0 MiB, the whole file {:.1} MiB\n",
        file.len() as f64 / 1_048_576.0
    );
    let output = run(&[]);
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with(&size),
        "{size} {output:?}"
    );
}

/// The control case: a copy of the demo whose file asks for writable text, in which a writer lives.
#[test]
fn writable_text_is_noticed() {
    let mut file = fs::read(DEMO).unwrap();
    let executable =
        |header: &[usize; 5]| header[1] == PT_LOAD && header[2] & 1 == 1;
    let [at, ..] = program_headers(&file).into_iter().find(executable).unwrap();
    file[at + 4] |= 2;
    let patched = format!("{}/patched", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&patched, file).unwrap();
    // A copy, as no other test's child can hold this one open for writing.
    let output = script(&format!(
        "trap 'rm {patched} {patched}.copy' EXIT; cp {patched} {patched}.copy
         chmod 755 {patched}.copy; {patched}.copy"
    ));
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, line, writer) = row(&text, "text");
    assert_eq!(
        (output.status.code(), line[1], writer),
        (Some(1), "rwxp", "lives"),
        "{text}"
    );
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .starts_with("Error: text is in "),
        "{output:?}"
    );
}

#[test]
fn leaves_no_core_file() {
    let go =
        format!("ulimit -c unlimited; cd $(mktemp -d); {DEMO}; rmdir $PWD");
    assert!(
        script(&go).status.success(),
        "only an empty folder can be removed"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--heap", "0"][..],
        &["--heap", "100000001"],
        &["--heap", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
