#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const CIRCLE: &str = "
        thread 1 ── waits for ──▶ lock B
           ▲                        │
        held by                  held by
           │                        ▼
        lock A ◀── waits for ── thread 2

";

fn start(demo: &mut Command) -> Child {
    demo.env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it printed, if it ends.
fn output(mut demo: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    while demo.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            demo.kill().unwrap();
            panic!("it hangs: {:?}", demo.wait_with_output());
        }
        sleep(Duration::from_millis(5));
    }
    demo.wait_with_output().unwrap()
}

fn run(args: &[&str]) -> Output {
    output(start(Command::new(DEMO).args(args)))
}

/// A row of the table.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    tid: String,
    cpu_time: u64,
}

/// The rows of both threads. Checks all that is printed of a deadlock after
/// so many rounds.
fn rows(text: &str, rounds: u32) -> [Row; 2] {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "same order: both threads lock A, then B");
    assert_eq!(lines[1], "both threads have ended, after 200000 rounds");
    assert!(lines[3].starts_with("opposite order: thread 1 "), "{text}");
    assert!(lines[4].ends_with("CPU time  50 ms later"), "{text}");
    assert!(text.contains(CIRCLE), "{text}");
    let end = format!(
        "CPU time that both threads have used in 50 ms: 0 ns\n\
         rounds done in opposite order: {rounds} of 200000\n\
         rounds done in the same order: 200000 of 200000\n"
    );
    assert!(text.ends_with(&end), "{text}");
    assert!(lines.len() <= 23, "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    [row(lines[5], "1", "B"), row(lines[6], "2", "A")]
}

fn row(line: &str, number: &str, waits_for: &str) -> Row {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..2], ["thread", number], "{line}");
    let waits = ["S", "(sleeping)", "lock", waits_for];
    assert_eq!(words[3..7], waits, "{line}");
    assert_eq!([words[8], words[10]], ["ns", "ns"], "{line}");
    assert_eq!(words[7], words[9], "it has used CPU time: {line}");
    Row {
        name: format!("thread {number}"),
        tid: words[2].to_string(),
        cpu_time: words[7].parse().unwrap(),
    }
}

#[test]
fn opposite_order_gets_stuck_and_same_order_finishes() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for row in rows(&text, 0) {
        assert!(row.cpu_time > 0, "it has never run: {text}");
    }
}

/// Whether it comes to a deadlock is luck; what is said of it is not.
#[test]
fn without_the_barrier_it_is_luck() {
    for _ in 0..10 {
        let output = run(&["--no-barrier"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let finished = "both threads have ended, after 200000 rounds\n\
                        no deadlock this time\n";
        if text.ends_with(finished) {
            assert!(!text.contains("waits for"), "{text}");
            continue;
        }
        let rounds = text.split("opposite order: ").nth(2).unwrap();
        let rounds = rounds.split(' ').next().unwrap().parse().unwrap();
        assert!(rounds < 200_000, "{text}");
        rows(&text, rounds);
    }
}

/// What /proc tells of a thread.
#[derive(Debug, PartialEq)]
struct Seen {
    row: Row,
    state: String,
    wchan: String,
}

/// The threads 1 and 2 of a process.
fn look(process: u32) -> Vec<Seen> {
    let mut threads = Vec::new();
    let folder = format!("/proc/{process}/task");
    for task in fs::read_dir(folder).into_iter().flatten().flatten() {
        let read = |file| {
            let text = fs::read_to_string(task.path().join(file));
            text.unwrap_or_default()
        };
        let name = read("comm").trim().to_string();
        if !name.starts_with("thread ") {
            continue;
        }
        let stat = read("stat");
        let state = stat.rsplit(") ").next().unwrap().split(' ').next();
        let schedstat = read("schedstat");
        let cpu_time = schedstat.split(' ').next().unwrap();
        let row = Row {
            name,
            tid: task.file_name().into_string().unwrap(),
            cpu_time: cpu_time.parse().unwrap_or_default(),
        };
        threads.push(Seen {
            row,
            state: state.unwrap_or_default().to_string(),
            wchan: read("wchan"),
        });
    }
    threads.sort_by(|one, two| one.row.name.cmp(&two.row.name));
    threads
}

fn sleeps_in_futex(thread: &Seen) -> bool {
    // Some systems hide it from some users.
    let hidden = ["", "0"].contains(&thread.wchan.as_str());
    thread.state == "S" && (hidden || thread.wchan.contains("futex"))
}

/// Seen from outside: both threads sleep in futex(2), and between two looks
/// neither has run. That is the deadlock: a thread that sleeps while the other
/// one works has run before long. It lasts as long as the demo needs to find
/// out, so on a busy machine it may take several to see one.
#[test]
fn the_kernel_sees_two_threads_that_never_run_again() {
    for _ in 0..50 {
        let mut demo = start(&mut Command::new(DEMO));
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut stuck = Vec::new();
        while demo.try_wait().unwrap().is_none() {
            let before = look(demo.id());
            sleep(Duration::from_millis(10)); // nothing happens in this time
            if before.len() == 2
                && before.iter().all(sleeps_in_futex)
                && look(demo.id()) == before
            {
                stuck = before;
            }
            if Instant::now() > deadline {
                demo.kill().unwrap();
            }
        }
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        if !stuck.is_empty() {
            let text = String::from_utf8_lossy(&output.stdout);
            let seen: Vec<Row> =
                stuck.into_iter().map(|thread| thread.row).collect();
            assert_eq!(seen, rows(&text, 0), "not what the demo says");
            return;
        }
    }
    panic!("never seen");
}

/// A thread that only waits for a core is not stuck, however long it takes.
#[test]
fn a_thread_without_a_core_is_not_taken_for_stuck() {
    let loop_for_ever = "ulimit -t 20; while :; do :; done"; // 20 s at most
    let busy = Command::new("taskset")
        .args(["-c", "0", "sh", "-c", loop_for_ever])
        .spawn();
    let Ok(mut busy) = busy else {
        return eprintln!("not tested: needs taskset");
    };
    let mut outputs = Vec::new();
    for _ in 0..5 {
        let mut demo = Command::new("taskset");
        demo.args(["-c", "0", "nice", "-n", "10", DEMO]);
        outputs.push(output(start(&mut demo)));
    }
    let refused = busy.try_wait().unwrap().is_some();
    busy.kill().unwrap();
    busy.wait().unwrap();
    if refused {
        return eprintln!("not tested: core 0 is not for this process");
    }
    for output in outputs {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        rows(&String::from_utf8_lossy(&output.stdout), 0);
    }
}

/// In a name space of its own, over whose /proc an empty folder is mounted.
#[test]
fn says_so_where_there_is_no_proc() {
    let script = "mount -t tmpfs none /proc && exec \"$0\" || exit 99";
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount"]);
    let output = shell.args(["sh", "-c", script, DEMO]).output();
    let Some(output) = output.ok().filter(may_mount) else {
        return eprintln!("not tested: needs unshare, and to be allowed");
    };
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with("cannot run here: it needs /proc/"));
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// unshare ends with 1 if it is refused, and the script with 99.
fn may_mount(output: &Output) -> bool {
    let refused = String::from_utf8_lossy(&output.stderr).contains("unshare");
    !refused && output.status.code() != Some(99)
}
