#![cfg(target_os = "linux")] // it looks into /proc, and limits memory

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::yield_now;
use std::time::{Duration, Instant};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const STACK_SIZE: u64 = 2 * 1024 * 1024;

/// The demo, without a terminal.
fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("RUST_BACKTRACE");
    demo
}

/// Its output. A demo that waits for ever is killed, and the test fails.
fn output_of(mut demo: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    while demo.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            demo.kill().unwrap();
            panic!("it hangs: {:?}", demo.wait_with_output());
        }
        yield_now();
    }
    demo.wait_with_output().unwrap()
}

fn run(args: &[&str]) -> Output {
    output_of(demo(args).spawn().unwrap())
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    local_address: u64,
    local: u64,
    heap_address: u64,
    heap: u64,
}

/// The rows that start with these words.
fn rows(text: &str, who: &str) -> Vec<Row> {
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let mut rows = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = match line.get(16..) {
            Some(numbers) => numbers.split_whitespace().collect(),
            None => continue,
        };
        if line.starts_with(who) && words.len() == 4 {
            rows.push(Row {
                local_address: hex(words[0]),
                local: words[1].parse().unwrap(),
                heap_address: hex(words[2]),
                heap: words[3].parse().unwrap(),
            });
        }
    }
    rows
}

#[test]
fn a_child_has_a_copy_and_threads_share_the_heap() {
    for count in [1, 3, 8] {
        let output = run(&["--threads", &count.to_string()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = text_of(&output);
        let main = rows(&text, "main  ");
        let child = rows(&text, "forked child  ");
        assert!(main.len() == 2 && child.len() == 1, "{text}");
        // The same addresses, and other memory.
        assert_eq!(child[0].local_address, main[0].local_address);
        assert_eq!(child[0].heap_address, main[0].heap_address);
        assert_eq!((child[0].local, child[0].heap), (1, 1));
        assert_eq!((main[0].local, main[0].heap), (0, 0));

        let mut stacks = vec![main[0].local_address];
        for number in 1..=count {
            let row = rows(&text, &format!("thread {number}  "))[0];
            assert_eq!((row.local, row.heap), (1, number), "{text}");
            assert_eq!(row.heap_address, main[0].heap_address, "{text}");
            stacks.push(row.local_address);
        }
        assert_eq!(rows(&text, "thread ").len() as u64, count);
        assert_eq!(main[1].local_address, main[0].local_address);
        assert_eq!(main[1].heap_address, main[0].heap_address);
        assert_eq!((main[1].local, main[1].heap), (0, count));

        stacks.sort_unstable();
        let pairs = stacks.windows(2).map(|pair| pair[1] - pair[0]);
        let distance = pairs.min().unwrap();
        assert!(distance >= STACK_SIZE, "{text}");
        let kib = distance / 1024;
        let verdict = format!(
            "\n\nheap: main sees 0 of the child's 1, \
             and {count} of the threads' {count}\n\
             main's local variable is still 0\n\
             stacks: {}, as no two local variables are closer than \
             {kib} KiB,\n        and a thread's stack has 2048 KiB\n",
            count + 1
        );
        assert!(text.ends_with(&verdict), "{text}");
        assert!(text.lines().count() <= 20, "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}

#[test]
fn three_threads_by_default() {
    assert_eq!(rows(&text_of(&run(&[])), "thread ").len(), 3);
}

/// Seen from outside: at a terminal the demo pauses, and what it said is in
/// the kernel's list of its threads and mappings, and in its memory.
#[test]
fn another_process_finds_it_all_in_its_memory() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut demo = demo(&["--threads", "8"]);
    let demo = demo.stdin(terminal.slave).spawn().unwrap();
    let mut demo = EndedWithTheTest(demo);
    let demo = &mut demo.0;
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let process = format!("/proc/{}", demo.id());
    // Up to the end, if the pause should be missing.
    let last = format!("In another terminal: cat {process}/maps");
    let before: Vec<String> =
        lines.by_ref().take_while(|line| *line != last).collect();
    let text = before.join("\n");
    assert!(text.ends_with("\n\nThe threads wait. To end them, press Enter."));
    let main = rows(&text, "main  ")[1];
    let threads = rows(&text, "thread ");
    assert_eq!(threads.len(), 8);

    let tasks = fs::read_dir(format!("{process}/task")).unwrap();
    assert_eq!(tasks.count(), 1 + 8);
    let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
    let of_main = mapping_of(main.local_address, &maps);
    assert!(of_main.ends_with("[stack]"), "{maps}");
    let heap = mapping_of(main.heap_address, &maps);
    assert!(heap.contains(" rw-p ") && heap != of_main, "{maps}");
    for row in &threads {
        let mapping = mapping_of(row.local_address, &maps);
        assert!(mapping.contains(" rw-p "), "{mapping}");
        assert!(mapping != of_main && mapping != heap, "{mapping}");
    }

    if let Ok(memory) = File::open(format!("{process}/mem")) {
        let read = |address| {
            let mut bytes = [0; 8];
            memory.read_exact_at(&mut bytes, address).unwrap();
            u64::from_ne_bytes(bytes)
        };
        assert_eq!(read(main.local_address), 0);
        assert_eq!(read(main.heap_address), 8);
        for row in &threads {
            assert_eq!(read(row.local_address), 1, "{text}");
        }
    } else {
        eprintln!("not tested: a parent may not read its child's memory here");
    }
    File::from(terminal.master).write_all(b"\n").unwrap();
    let after: Vec<String> = lines.collect();
    assert!(demo.wait().unwrap().success(), "{after:?}");
    let shown = before.len() + 1 + after.len();
    assert!(shown < 24, "{shown} lines, and one for Enter");
}

/// At a terminal the demo waits for Enter, which a failed test does not press.
struct EndedWithTheTest(Child);

impl Drop for EndedWithTheTest {
    fn drop(&mut self) {
        // An error if it has ended already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The line of /proc/PID/maps with this address.
fn mapping_of(address: u64, maps: &str) -> &str {
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    for line in maps.lines() {
        let range = line.split(' ').next().unwrap();
        let (begin, end) = range.split_once('-').unwrap();
        if (hex(begin)..hex(end)).contains(&address) {
            return line;
        }
    }
    panic!("no memory at {address:x}: {maps}");
}
