#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const HIDDEN: &str = "no permission";

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Where a process has its text and its data.
struct Process<'a> {
    pid: &'a str,
    text: &'a str,
    text_page: &'a str,
    data: &'a str,
    data_page: &'a str,
}

fn processes(output: &str) -> Vec<Process<'_>> {
    let mut processes = Vec::new();
    for line in output.lines().filter(|line| line.contains(" 0x")) {
        let parts: Vec<&str> = line.split("──▶").collect();
        let (pid, text) = parts[0].trim().split_once(' ').unwrap();
        let (text_page, data) = parts[1].split_once("0x").unwrap();
        processes.push(Process {
            pid,
            text: text.trim().strip_prefix("0x").unwrap(),
            text_page: text_page.trim(),
            data: data.trim(),
            data_page: parts[2].trim(),
        });
    }
    processes
}

fn different<'a>(words: impl Iterator<Item = &'a str>) -> usize {
    words.collect::<HashSet<_>>().len()
}

/// One row of the lower table, in KiB.
#[derive(Debug)]
struct Memory<'a> {
    name: &'a str,
    mean: f64,
    rss: f64,
    pss: f64,
    copies: f64,
    bar: usize,
}

fn memories(output: &str) -> Vec<Memory<'_>> {
    let table = output.split("copies\n").nth(1).expect(output);
    let (table, _) = table.split_once("copies:").expect(output);
    let mut memories = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (words, bar) = match words.last() {
            Some(bar) if bar.starts_with('█') => {
                (&words[..words.len() - 1], bar.chars().count())
            }
            _ => (&words[..], 0),
        };
        let numbers = &words[words.len() - 4..];
        let number = |i: usize| numbers[i].parse().expect(line);
        memories.push(Memory {
            name: line.split("  ").next().unwrap(),
            mean: number(0),
            rss: number(1),
            pss: number(2),
            copies: number(3),
            bar,
        });
    }
    memories
}

fn find<'a>(memories: &'a [Memory], name: &str) -> &'a Memory<'a> {
    memories.iter().find(|memory| memory.name == name).unwrap()
}

#[test]
fn one_copy_of_the_text_and_one_of_the_data_for_each() {
    for count in [2, 5, 50] {
        let output = run(&["--processes", &count.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let count = f64::from(count);
        let pids = different(processes(&text).iter().map(|row| row.pid));
        assert_eq!(pids as f64, count, "{text}");

        let memories = memories(&text);
        for row in &memories {
            // The table has whole KiB of what the demo has in bytes.
            let mean = row.rss / count;
            assert!(row.mean <= mean && row.mean > mean - 1.0, "{row:?}");
            let copies = row.pss / mean;
            assert!((copies - row.copies).abs() < 0.006, "{row:?}");
            let bar = 15.0 * row.copies / count;
            assert!((row.bar as f64 - bar).abs() < 0.6, "{row:?}");
        }
        let shared = find(&memories, "shared-text");
        assert!(shared.pss <= 1.3 * shared.rss / count, "{text}");
        let own = find(&memories, "(data, heap, stack)");
        assert!(own.pss >= 0.7 * own.rss && own.pss <= own.rss, "{text}");
        let last = format!(
            "\n{count} processes run this program. In memory there are\n\
             {:.2} copies of its text, and {:.2} copies of its data.\n",
            shared.copies, own.copies
        );
        assert!(text.ends_with(&last), "{text}");

        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        if maps.contains("/libc.so.6") {
            let libc = find(&memories, "libc.so.6");
            // This test is an unrelated program, and shares it, too.
            assert!(libc.pss < 0.99 * libc.rss / count, "{text}");
        }
    }
}

#[test]
fn the_page_of_text_is_the_same_and_those_of_data_are_not() {
    let output = run(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = processes(&text);
    assert_eq!(rows.len(), 5, "{text}");
    assert_eq!(different(rows.iter().map(|row| row.text_page)), 1, "{text}");
    let data_pages = different(rows.iter().map(|row| row.data_page));
    if rows[0].text_page == HIDDEN {
        assert!(rows.iter().all(|row| row.data_page == HIDDEN), "{text}");
    } else {
        assert_eq!(data_pages, 5, "{text}");
    }
}

/// Root sees physical pages, if no container keeps it from that.
#[test]
fn pages_are_hidden_from_others_only() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    let capabilities = u64::from_str_radix(capabilities.trim(), 16).unwrap();
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let first_namespace = uid_map.contains("4294967295");
    let cap_sys_admin = capabilities & (1 << 21) != 0;
    let output = run(&["--processes", "2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let hidden = text.matches(HIDDEN).count();
    let expected = if cap_sys_admin && first_namespace {
        0
    } else {
        4
    };
    assert_eq!(hidden, expected, "{text}");

    // In a user namespace of its own, root counts as any other user.
    let probe = Command::new("unshare").args(["--user", "true"]).output();
    if probe.is_ok_and(|probe| probe.status.success()) {
        let unshare = ["--user", DEMO, "--processes", "2"];
        let other = Command::new("unshare").args(unshare).output().unwrap();
        assert!(other.status.success(), "{other:?}");
        let rows = String::from_utf8_lossy(&other.stdout);
        assert_eq!(rows.matches(HIDDEN).count(), 4, "{rows}");
    }
}

/// A library that nothing has touched has no page in memory: with it, a mean
/// of 0 would be divided by.
#[test]
fn what_has_no_memory_is_left_out() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join("untouched.so");
    let source = folder.join("untouched.c");
    fs::write(&source, "int untouched(void) { return 1; }\n").unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-nostdlib", "-o"])
        .args([&library, &source])
        .status();
    let mut demo = Command::new(DEMO);
    if compiled.is_ok_and(|status| status.success()) {
        demo.env("LD_PRELOAD", &library);
    }
    let output = demo.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for row in memories(&text) {
        assert!(row.rss > 0.0 && row.pss > 0.0, "{text}");
    }
}

/// The program is found under whatever name, in whatever folder.
#[test]
fn the_program_may_have_another_name() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a folder");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("my copy");
    fs::copy(DEMO, &program).unwrap();
    let output = Command::new(&program).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let memories = memories(&text);
    assert!(find(&memories, "my copy").copies < 1.3, "{text}");
    fs::remove_dir_all(folder).unwrap();
}

/// Killed and reaped when dropped, even if it is stopped.
struct Demo(Child);

impl Demo {
    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        _ = self.0.kill(); // fails if it has ended
        _ = self.0.wait(); // fails if a test has reaped it
    }
}

/// A demo that was stopped when it had some children, and their PIDs.
fn stop_with_children(count: usize) -> (Demo, Vec<String>) {
    let demo = Command::new(DEMO)
        .args(["--processes", "100"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null()) // a child may say that the demo was killed
        .spawn();
    let mut demo = Demo(demo.unwrap());
    let children = format!("/proc/{0}/task/{0}/children", demo.0.id());
    loop {
        let pids = fs::read_to_string(&children).unwrap();
        let pids: Vec<&str> = pids.split_whitespace().collect();
        if pids.len() > count {
            demo.send(Signal::SIGSTOP);
            // Without the newest one, which may not run yet.
            let pids = pids[..count].iter().map(ToString::to_string);
            return (demo, pids.collect());
        }
        let ended = demo.0.try_wait().unwrap();
        assert!(ended.is_none(), "{count} children were not seen");
    }
}

/// Seen from outside: all run the very same file, and have its text and data
/// where they say; the kernel counts the text once.
#[test]
fn the_children_exist() {
    let (mut demo, pids) = stop_with_children(10);
    let mut rss = 0;
    let mut pss = 0;
    let mut maps = Vec::new();
    for pid in &pids {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(program, fs::canonicalize(DEMO).unwrap());
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let is_text = |line: &&str| {
            line.contains(" r-xp ") && line.ends_with("/shared-text")
        };
        let text = smaps.lines().skip_while(|line| !is_text(line));
        let text: Vec<&str> = text.collect();
        let kib = |field| -> u64 {
            let value = text.iter().find_map(|line| line.strip_prefix(field));
            let value = value.unwrap().trim_end_matches(" kB");
            value.trim().parse().unwrap()
        };
        rss += kib("Rss:");
        pss += kib("Pss:");
        maps.push(fs::read_to_string(format!("/proc/{pid}/maps")).unwrap());
    }
    assert!(
        pss as f64 <= 1.3 * rss as f64 / 10.0,
        "Rss {rss}, Pss {pss}"
    );
    demo.send(Signal::SIGCONT);
    let mut text = String::new();
    let mut output = demo.0.stdout.take().unwrap();
    output.read_to_string(&mut text).unwrap();
    assert!(demo.0.wait().unwrap().success());
    let rows = &processes(&text)[1..];
    for (i, pid) in pids.iter().enumerate() {
        assert_eq!(rows[i].pid, pid, "{text}");
        assert!(permissions(&maps[i], rows[i].text).contains('x'), "{text}");
        assert!(permissions(&maps[i], rows[i].data).contains('w'), "{text}");
        let still_there = fs::exists(format!("/proc/{pid}")).unwrap();
        assert!(!still_there, "{pid} was not reaped");
    }
}

/// The permissions of the mapping that an address is in.
fn permissions<'a>(maps: &'a str, address: &str) -> &'a str {
    let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
    let address = number(address);
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (begin, end) = range.split_once('-').unwrap();
        if (number(begin)..number(end)).contains(&address) {
            return rest.split(' ').next().unwrap();
        }
    }
    panic!("{address:x} is not in {maps}")
}

#[test]
fn children_end_even_if_the_parent_is_killed() {
    let (demo, pids) = stop_with_children(10);
    drop(demo); // kills it
    // A zombie has no program.
    let running = |pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    let deadline = Instant::now() + Duration::from_secs(30);
    while pids.iter().any(running) {
        assert!(Instant::now() < deadline, "{pids:?} outlived the demo");
        std::thread::yield_now();
    }
}

#[test]
fn the_try_line_shows_ten_processes() {
    let output = run(&["--processes", "10"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(processes(&text).len(), 10, "{text}");
}

#[test]
fn the_output_fits_a_projector() {
    let output = run(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() < 24, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}
