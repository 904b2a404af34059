#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const BSS_SIZE: usize = 64 * 1024 * 1024;

/// Address, range, permissions, file if any, and how the writer ended.
fn row<'a>(text: &'a str, segment: &str) -> Vec<&'a str> {
    let mut rows = text.lines().map(|line| line.split_whitespace());
    let row = rows.find_map(|mut words| {
        (words.next() == Some(segment)).then(|| words.collect())
    });
    row.expect(text)
}

fn hex(number: &str) -> usize {
    usize::from_str_radix(number.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn only_text_and_rodata_are_read_only() {
    let output = Command::new(DEMO).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let demo = env!("CARGO_PKG_NAME"); // the file's name
    for (segment, permissions, file, end) in [
        ("stack", "rw-p", "[stack]", "lives"),
        ("heap", "rw-p", "", "lives"),
        ("bss", "rw-p", "", "lives"),
        ("data", "rw-p", demo, "lives"),
        ("text", "r-xp", demo, "SIGSEGV"),
        ("rodata", "r--p", demo, "SIGSEGV"),
    ] {
        let row = row(&text, segment);
        let (start, end_of_range) = row[1].split_once('-').unwrap();
        let range = hex(start)..hex(end_of_range);
        assert!(range.contains(&hex(row[0])), "{text}");
        assert_eq!(row[2], permissions, "{text}");
        assert_eq!(row[row.len() - 1], end, "{text}");
        // malloc's memory has the name [heap], or none.
        assert!(segment == "heap" || row[3..row.len() - 1].concat() == file);
        assert!(segment != "bss" || range.len() >= BSS_SIZE - 4096, "{text}");
    }
}

/// The Try line: size reads the file's headers.
#[test]
fn the_bss_has_a_size_that_the_file_has_not() {
    let size = Command::new("size").arg(DEMO).output().unwrap();
    let size = String::from_utf8(size.stdout).unwrap();
    let row = size.lines().nth(1).unwrap(); // text, data, bss, their sum
    let bss: usize = row.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(bss >= BSS_SIZE, "{size}");

    let file = fs::metadata(DEMO).unwrap().len() as usize;
    assert!(file < BSS_SIZE, "{file}");
    let expected = format!(
        "\nof these 6 only text and rodata are read-only: \
         SIGSEGV ended 2 of 6 writers\n\
         the bss has {BSS_SIZE} bytes, the whole file {file}\n"
    );
    let output = Command::new(DEMO).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let swapped = text.replace("rodata and text", "text and rodata");
    assert!(swapped.ends_with(&expected), "{text}");
}

/// The demo, made from a file that was changed: exit code 1, and why.
fn run_changed(name: &str, file: &[u8]) -> Output {
    let changed = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&changed, file).unwrap();
    // A copy, as another test's child may hold the file open for writing.
    let script = "cp $0 $0.copy; chmod 755 $0.copy; $0.copy; code=$?
                  rm $0 $0.copy; exit $code";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, &changed]);
    shell.env_remove("RUST_BACKTRACE").output().unwrap()
}

fn assert_error(output: &Output, begin: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with(begin), "{error}");
}

/// The control cases: in a copy of the demo whose file asks for writable text
/// or constants, their writer lives.
#[test]
fn writable_text_or_rodata_is_noticed() {
    const LOAD: &[u8] = &[1, 0, 0, 0];
    const READ: u8 = 4;
    const WRITE: u8 = 2;
    const EXECUTE: u8 = 1;
    for (segment, asked, permissions) in
        [("text", READ | EXECUTE, "rwxp"), ("rodata", READ, "rw-p")]
    {
        // elf(5): behind 64 bytes, headers of 56, which begin with type and
        // flags.
        let mut file = fs::read(DEMO).unwrap();
        for i in 0..usize::from(file[56]) {
            let header = &mut file[64 + 56 * i..];
            if header.starts_with(LOAD) && header[4] == asked {
                header[4] |= WRITE;
            }
        }
        let output = run_changed(&format!("writable-{segment}"), &file);
        let text = String::from_utf8_lossy(&output.stdout);
        let row = row(&text, segment);
        assert_eq!(row[2], permissions, "{text}");
        assert_eq!(row[row.len() - 1], "lives", "{text}");
        assert_error(&output, &format!("Error: {segment}: "));
    }
}

#[test]
fn a_file_as_large_as_the_bss_is_noticed() {
    let mut file = fs::read(DEMO).unwrap();
    file.resize(BSS_SIZE, 0);
    let output = run_changed("large", &file);
    assert_error(&output, "Error: the file has 67108864 bytes");
}

#[test]
fn leaves_no_core_file() {
    let script = "ulimit -c unlimited; cd $(mktemp -d); $0; rmdir $PWD";
    let output = Command::new("sh").args(["-c", script, DEMO]).status();
    assert!(
        output.unwrap().success(),
        "only an empty folder can be removed"
    );
}
