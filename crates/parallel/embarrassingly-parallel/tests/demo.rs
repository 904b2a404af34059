#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::process::{Command, Output, Stdio};
use std::{fs, thread};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// The interval that the random numbers of this demo give, computed apart from
/// it. The median of all data is in it.
const INTERVAL: &str = "299840 to 299870";

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn cores() -> usize {
    thread::available_parallelism().unwrap().get()
}

#[derive(Debug)]
struct Row {
    threads: usize,
    seconds: f64,
    speed_up: f64,
    efficiency: f64,
    busy: f64,
    wanted: f64,
    wanted_as_text: String,
}

/// Checks the text, and returns the rows of the table.
fn rows(output: &Output) -> Vec<Row> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 23, "{text}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
    assert_eq!(text.matches("threads  seconds  speed-up").count(), 1);

    let mut rows: Vec<Row> = Vec::new();
    for line in &lines[1..] {
        if line.is_empty() {
            break;
        }
        let numbers = line.strip_suffix(INTERVAL).expect(line);
        let words: Vec<&str> = numbers.split_whitespace().collect();
        let number = |place: usize| words[place].parse::<f64>().unwrap();
        assert!(words.len() == 7 && words[4] == "%", "{line}");
        rows.push(Row {
            threads: words[0].parse().unwrap(),
            seconds: number(1),
            speed_up: number(2),
            efficiency: number(3),
            busy: number(5),
            wanted: number(6),
            wanted_as_text: words[6].to_string(),
        });
    }

    let mut several = rows[1..].iter().collect::<Vec<_>>();
    several.sort_by(|one, other| one.wanted.total_cmp(&other.wanted));
    let one = format!(
        "cores wanted by 1 thread: {}\n\
         cores wanted by several threads: {} or more\n",
        rows[0].wanted_as_text, several[0].wanted_as_text
    );
    assert!(text.contains(&one), "{text}");
    let last = lines[lines.len() - 1];
    let counts = last.strip_prefix("the same interval in ").expect(last);
    let counts = counts.strip_suffix(" bootstraps").expect(last);
    let (same, all) = counts.split_once(" of ").expect(last);
    assert_eq!(same, all);
    assert!(all.parse::<usize>().unwrap() >= rows.len(), "{text}");
    rows
}

#[test]
fn more_threads_give_the_same_interval() {
    if cores() == 1 {
        assert_eq!(run(&[]).status.code(), Some(77));
        return;
    }
    let mut seconds: Vec<f64> = Vec::new();
    for args in [&[][..], &["--resamples", "1000"]] {
        let rows = rows(&run(args));
        let mut threads = 1;
        for row in &rows {
            assert_eq!(row.threads, threads, "{rows:?}");
            threads = cores().min(2 * threads);

            let speed_up = rows[0].seconds / row.seconds;
            let from = (rows[0].seconds - 0.0005) / (row.seconds + 0.0005);
            let to = (rows[0].seconds + 0.0005) / (row.seconds - 0.0005);
            let rounding = 0.006;
            assert!(row.speed_up > from - rounding, "{speed_up}: {rows:?}");
            assert!(
                row.speed_up < to + rounding || to < 0.0,
                "{speed_up}: {rows:?}"
            );
            let per_thread = 100.0 * row.speed_up / row.threads as f64;
            assert!((per_thread - row.efficiency).abs() < 1.1, "{rows:?}");

            assert!(0.0 < row.busy && row.busy <= row.wanted, "{rows:?}");
            // A time may be seen a few ms late, when the core is busy.
            assert!(row.wanted < 1.3 * row.threads as f64, "{rows:?}");
            if row.threads > 1 {
                assert!(row.wanted > 1.19 * rows[0].wanted, "{rows:?}");
            }
        }
        assert_eq!(rows[rows.len() - 1].threads, cores());
        seconds.push(rows[0].seconds);
    }
    let [many, few] = seconds[..] else { panic!() };
    assert!(many > 3.0 * few, "20 times the work: {many} s, {few} s");
}

/// Seen from outside: the threads of the pool are tasks of the process, and
/// they have used the cores.
#[test]
fn the_kernel_sees_the_threads_work() {
    if cores() == 1 {
        return;
    }
    let mut demo = Command::new(DEMO);
    demo.args(["--resamples", "1000"]).stdout(Stdio::null());
    let mut demo = demo.spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most = 0;
    let mut most_at_work = 0;
    while demo.try_wait().unwrap().is_none() {
        let mut count = 0;
        let mut at_work = 0;
        for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
            count += 1;
            let stat = fs::read_to_string(task.path().join("stat"));
            if stat.is_ok_and(|stat| stat.contains(") R ")) {
                at_work += 1;
            }
        }
        most = count.max(most);
        most_at_work = at_work.max(most_at_work);
    }
    assert_eq!(most, 1 + cores());
    assert!(most_at_work >= 2, "{most_at_work} threads running or ready");
}

#[test]
fn one_core_cannot_show_it() {
    let Ok(output) = Command::new("taskset").args(["-c", "0", DEMO]).output()
    else {
        return eprintln!("not tested: there is no taskset");
    };
    if output.stderr.starts_with(b"taskset") {
        return eprintln!("not tested: core 0 is not ours");
    }
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    let sentence =
        "cannot run here: it needs two cores, and may use one only\n";
    assert_eq!(message, sentence);
}

/// Where /proc is another file system, say.
#[test]
fn says_so_if_the_kernel_does_not_tell() {
    let script = "mount -t tmpfs none /proc && exec \"$0\"";
    let unshare = ["--mount", "sh", "-c", script, DEMO];
    let output = Command::new("unshare").args(unshare).output();
    let Ok(output) = output else {
        return eprintln!("not tested: there is no unshare");
    };
    let message = String::from_utf8_lossy(&output.stderr);
    if message.starts_with("unshare") || message.starts_with("mount") {
        return eprintln!("not tested: {message}");
    }
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(message.starts_with("cannot run here: it needs /proc/"));
}
