#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

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

/// What the output says of a segment.
struct Row<'a> {
    address: u64,
    start: u64,
    end: u64,
    permissions: &'a str,
    /// Of the file; "" if there is none
    name: &'a str,
    writer: &'a str,
}

fn row<'a>(text: &'a str, segment: &str) -> Row<'a> {
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(segment))
        .expect(text);
    let words: Vec<&str> = row
        .split([' ', '│'])
        .filter(|word| !word.is_empty())
        .collect();
    let hex = |number| u64::from_str_radix(number, 16).unwrap();
    let (start, end) = words[1].split_once('-').unwrap();
    Row {
        address: hex(words[0]),
        start: hex(start),
        end: hex(end),
        permissions: words[2],
        name: if words.len() > 4 { words[3] } else { "" },
        writer: words[words.len() - 1],
    }
}

/// The segments in the order in which the output shows them.
fn segments(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.split_once('│'))
        .map(|(segment, _)| segment.trim())
        .collect()
}

#[test]
fn only_text_and_rodata_are_read_only() {
    for (heap, heap_name) in [("100", "[heap]"), ("1000000", "")] {
        let output = run(&["--heap", heap]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        for (segment, permissions, name, writer) in [
            ("stack", "rw-p", "[stack]", "lives"),
            ("heap", "rw-p", heap_name, "lives"),
            ("bss", "rw-p", "", "lives"),
            ("data", "rw-p", "memory-segments", "lives"),
            ("text", "r-xp", "memory-segments", "SIGSEGV"),
            ("rodata", "r--p", "memory-segments", "SIGSEGV"),
        ] {
            let row = row(&text, segment);
            assert!((row.start..row.end).contains(&row.address), "{text}");
            assert!(segment != "bss" || row.end - row.start >= 64 << 20);
            assert_eq!(row.permissions, permissions, "{text}");
            assert_eq!(row.writer, writer, "{text}");
            let other_malloc = segment == "heap" && !cfg!(target_env = "gnu");
            assert!(row.name == name || other_malloc, "{text}");
        }
        assert!(
            text.contains(
                "are read-only: SIGSEGV ended 2 of 6 writers\nthe bss has "
            ),
            "{text}"
        );
    }
}

/// Bytes, of a size such as 1.5 MiB.
fn bytes(size: &str) -> f64 {
    let (number, unit) = size.split_once(' ').expect(size);
    let power = ["B", "KiB", "MiB", "GiB", "TiB"]
        .iter()
        .position(|known| *known == unit)
        .expect(size);
    number.parse::<f64>().unwrap() * 1024_f64.powi(power as i32)
}

/// The highest address is on top. Between two mappings is the gap that their
/// ranges leave, or a line if there is none.
#[test]
fn the_drawing_shows_the_gaps() {
    let output = run(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let order = segments(&text);
    assert_eq!(order.len(), 6, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let top = lines.iter().position(|line| line.contains('┌')).unwrap();
    for i in 1..order.len() {
        let above = row(&text, order[i - 1]);
        let below = row(&text, order[i]);
        assert!(above.address > below.address, "{text}");
        let line = lines[top + 2 * i].trim();
        let drawn = line.trim_matches(['├', '┄', '─', '┤']).trim();
        let gap = above.start - below.end;
        if gap == 0 {
            assert_eq!(line, "├──────────────┤", "{text}");
        } else {
            let relative = bytes(drawn) / gap as f64;
            assert!((relative - 1.0).abs() < 0.06, "{gap} {text}");
            let (number, _) = drawn.split_once(' ').unwrap();
            let number: f64 = number.parse().unwrap();
            assert!((1.0..1024.0).contains(&number), "{text}");
        }
    }
}

/// Program headers of an ELF file: where each is, its type, flags, size in
/// the file and in memory.
struct Header {
    at: usize,
    kind: usize,
    flags: usize,
    in_file: usize,
    in_memory: usize,
}

/// A number of `size` bytes in an ELF file, the lowest byte first.
fn number(file: &[u8], at: usize, size: usize) -> usize {
    let mut number = 0;
    for byte in file[at..at + size].iter().rev() {
        number = (number << 8) | usize::from(*byte);
    }
    number
}

fn program_headers(file: &[u8]) -> Vec<Header> {
    let mut headers = Vec::new();
    for i in 0..number(file, 0x38, 2) {
        let at = number(file, 0x20, 8) + i * number(file, 0x36, 2);
        headers.push(Header {
            at,
            kind: number(file, at, 4),
            flags: number(file, at + 4, 4),
            in_file: number(file, at + 32, 8),
            in_memory: number(file, at + 40, 8),
        });
    }
    headers
}

/// The addresses of a section of an ELF file, before it is loaded.
fn section(file: &[u8], name: &str) -> std::ops::Range<u64> {
    let header = |i| number(file, 0x28, 8) + i * number(file, 0x3a, 2);
    let names = number(file, header(number(file, 0x3e, 2)) + 24, 8);
    for i in 0..number(file, 0x3c, 2) {
        let at = header(i);
        let name_at = &file[names + number(file, at, 4)..];
        if name_at.starts_with(format!("{name}\0").as_bytes()) {
            let start = number(file, at + 16, 8) as u64;
            return start..start + number(file, at + 32, 8) as u64;
        }
    }
    panic!("no section {name}")
}

/// Seen from outside: at a terminal the demo pauses, and everybody may read
/// the map of its memory. There, each byte is in the section of its name.
#[test]
#[cfg_attr(target_feature = "crt-static", ignore = "musl's malloc changes it")]
fn another_process_sees_the_same_map() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    // Whatever happens, this ends.
    let mut demo = Command::new("timeout")
        .args(["60", DEMO])
        .stdin(terminal.slave)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut text = String::new();
    let mut prompt = String::new();
    for line in lines.by_ref() {
        if line.contains("press Enter") {
            prompt = line;
            break;
        }
        text += &format!("{line}\n");
    }
    let (_, command) = prompt.split_once("pmap ").expect(&text);
    let (pid, _) = command.split_once(';').unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut shown = Vec::new();
    for segment in segments(&text) {
        let row = row(&text, segment);
        let (start, end) = (row.start, row.end);
        let begin = format!("{start:x}-{end:x} {} ", row.permissions);
        let same = maps
            .lines()
            .find(|line| line.starts_with(&begin))
            .expect(&text);
        assert!(same.ends_with(row.name), "{same} {text}");
        shown.push(same);
    }

    let file = fs::read(DEMO).unwrap();
    let base = maps
        .lines()
        .find(|line| line.ends_with("memory-segments"))
        .unwrap();
    let (base, _) = base.split_once('-').unwrap();
    let base = u64::from_str_radix(base, 16).unwrap();
    for name in ["text", "rodata", "data", "bss"] {
        let range = section(&file, &format!(".{name}"));
        let address = row(&text, name).address - base;
        assert!(range.contains(&address), "{address:x} in {name} {range:x?}");
    }

    // Others are read-only, too: the output speaks of those that it shows.
    let others = maps
        .lines()
        .filter(|line| line.contains(" r--p ") && !shown.contains(line));
    assert!(others.count() > 0, "{maps}");
    let note = lines.next().unwrap();
    assert!(note.contains("more mappings than these"), "{note}");

    File::from(terminal.master).write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap(), "");
    let verdict = lines.next().unwrap();
    assert!(verdict.starts_with("of these 6 only "), "{verdict}");
    for segment in ["text", "rodata"] {
        assert!(verdict.contains(segment), "{verdict}");
    }
    for segment in ["data", "bss", "heap", "stack"] {
        assert!(!verdict.contains(&format!(" {segment}")), "{verdict}");
    }
    assert!(lines.next().unwrap().starts_with("the bss has "));
    assert!(demo.wait().unwrap().success());
}

const PT_LOAD: usize = 1;

#[test]
fn the_file_declares_a_bss_that_it_does_not_hold() {
    let file = fs::read(DEMO).unwrap();
    let mut bss = 0;
    for header in program_headers(&file) {
        if header.kind == PT_LOAD {
            bss += header.in_memory - header.in_file;
        }
    }
    assert!(bss >= 64 << 20, "{bss}");
    assert!(file.len() < 64 << 20, "{}", file.len());
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

/// The demo, made from a file that was changed.
fn run_changed(name: &str, file: &[u8]) -> Output {
    let changed = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&changed, file).unwrap();
    // A copy, as no other test's child can hold this one open for writing.
    script(&format!(
        "trap 'rm \"{changed}\" \"{changed}.copy\"' EXIT
         cp \"{changed}\" \"{changed}.copy\"
         chmod 755 \"{changed}.copy\"; \"{changed}.copy\""
    ))
}

/// The control cases: in a copy of the demo whose file asks for writable text
/// or constants, their writer lives.
#[test]
fn writable_text_or_rodata_is_noticed() {
    const EXECUTE: usize = 1;
    const WRITE: usize = 2;
    for (segment, flags, permissions) in
        [("text", EXECUTE, "rwxp"), ("rodata", 0, "rw-p")]
    {
        let mut file = fs::read(DEMO).unwrap();
        for header in program_headers(&file) {
            let asked = header.flags & (EXECUTE | WRITE);
            if header.kind == PT_LOAD && asked == flags {
                file[header.at + 4] |= WRITE as u8;
            }
        }
        let output = run_changed(&format!("writable-{segment}"), &file);
        let text = String::from_utf8_lossy(&output.stdout);
        let row = row(&text, segment);
        assert_eq!(row.permissions, permissions, "{text}");
        assert_eq!(row.writer, "lives", "{text}");
        assert_eq!(output.status.code(), Some(1), "{text}");
        let error = String::from_utf8_lossy(&output.stderr);
        let begin = format!("Error: {segment} is in ");
        assert!(error.starts_with(&begin), "{error}");
    }
}

/// The file has to be smaller than the bss.
#[test]
fn a_file_as_large_as_the_bss_is_noticed() {
    let mut file = fs::read(DEMO).unwrap();
    file.resize(64 << 20, 0);
    let output = run_changed("large", &file);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    let sentence =
        "Error: the file is not smaller than the bss: 67108864 bytes\n";
    assert_eq!(error, sentence);
}

#[test]
fn says_that_there_is_no_proc() {
    let hidden = "mount -t tmpfs none /proc || exit; echo hidden; exec \"$0\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", hidden, DEMO])
        .output();
    let Some(output) = output.ok().filter(|output| !output.stdout.is_empty())
    else {
        return eprintln!("not tested: unshare or mount is refused here");
    };
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert_eq!(output.stdout, b"hidden\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "cannot run here: it needs Linux's /proc/self/maps\n"
    );
}

#[test]
fn leaves_no_core_file() {
    let go =
        format!("ulimit -c unlimited; cd $(mktemp -d); \"{DEMO}\"; rmdir $PWD");
    assert!(
        script(&go).status.success(),
        "only an empty folder can be removed"
    );
}
