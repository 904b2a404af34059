use std::process::Command;
use std::sync::LazyLock;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

struct Run {
    rows: Vec<Row>,
    /// As the last line says
    times_as_long: f64,
    /// Nanoseconds that the whole process computed, as the kernel says
    cpu_time: f64,
}

/// A row of the table.
struct Row {
    kib: u64,
    /// Such as L1, and its size in KiB
    cache: Option<(String, u64)>,
    nanoseconds: f64,
    /// Characters of the bar
    bar: f64,
}

/// One run in random order and one in order, for all tests, so that each has
/// the caches for itself.
static RUNS: LazyLock<[Run; 2]> =
    LazyLock::new(|| [run(&[]), run(&["--in-order"])]);

fn run(args: &[&str]) -> Run {
    let before = cpu_time_of_children();
    let output = Command::new(DEMO).args(args).output().unwrap();
    let cpu_time = cpu_time_of_children() - before;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}"); // seen if a test fails

    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some((left, bar)) = line.split_once('│') {
            let words: Vec<_> = left.split_whitespace().collect();
            let mut cache = None;
            if words[2] != "none" {
                cache = Some((words[2].to_string(), kib(&words[3..])));
            }
            rows.push(Row {
                kib: kib(&words),
                cache,
                nanoseconds: words[words.len() - 1].parse().unwrap(),
                bar: bar.chars().count() as f64,
            });
        }
    }
    let last = text.lines().last().unwrap();
    let judged = format!(
        "an access takes {:.2} ns in 4 KiB, {:.2} ns in 256 MiB: ",
        rows[0].nanoseconds, rows[8].nanoseconds
    );
    let ratio = last.strip_prefix(&judged).expect(&text);
    let ratio = ratio.strip_suffix(" times as long").expect(&text);
    Run {
        rows,
        times_as_long: ratio.parse().unwrap(),
        cpu_time,
    }
}

/// Of words such as 16 MiB
fn kib(words: &[&str]) -> u64 {
    let number: u64 = words[0].parse().unwrap();
    if words[1] == "MiB" {
        1024 * number
    } else {
        number
    }
}

fn cpu_time_of_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    time.num_microseconds() as f64 * 1000.0
}

#[test]
fn larger_sets_take_longer_if_the_order_is_random() {
    let [random, in_order] = &*RUNS;
    assert!(random.times_as_long >= 3.0);
    assert!(random.times_as_long > 2.0 * in_order.times_as_long);
    for run in [random, in_order] {
        let ratio = run.rows[8].nanoseconds / run.rows[0].nanoseconds;
        assert!((ratio / run.times_as_long - 1.0).abs() < 0.06);
    }
}

#[test]
fn a_bar_is_as_long_as_its_access_takes() {
    for run in &*RUNS {
        let times = run.rows.iter().map(|row| row.nanoseconds);
        let longest = times.fold(0.0, f64::max);
        for (i, row) in run.rows.iter().enumerate() {
            assert_eq!(row.kib, 4 << (2 * i));
            assert!((row.bar - 40.0 * row.nanoseconds / longest).abs() < 0.6);
        }
    }
}

/// Seen from outside: a million accesses in each set, and shuffling.
#[test]
fn the_times_are_those_that_the_process_took() {
    let random = &RUNS[0];
    let times = random.rows.iter().map(|row| row.nanoseconds);
    let accesses = times.sum::<f64>() * 1e6;
    let all = random.cpu_time;
    assert!(
        accesses < 1.3 * all && accesses > 0.2 * all,
        "{accesses} {all}"
    );
}

/// Seen from outside: the largest set, and the order of its cells.
#[cfg(target_os = "linux")]
#[test]
fn the_memory_is_there() {
    assert_eq!(RUNS[0].rows.len(), 9);
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let mib = usage.max_rss() / 1024;
    assert!((256 + 32..256 + 64).contains(&mib), "{mib} MiB");
}

/// Against lscpu, which reads the sizes for itself.
#[cfg(target_os = "linux")]
#[test]
fn caches_are_those_of_lscpu() {
    let rows = &RUNS[0].rows;
    let mut lscpu = Command::new("lscpu");
    let output = lscpu.args(["-B", "-C=NAME,ONE-SIZE"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut caches = Vec::new();
    for line in text.lines().skip(1) {
        let (name, bytes) = line.split_once(' ').unwrap();
        if name != "L1i" {
            let kib = bytes.trim().parse::<u64>().unwrap() / 1024;
            caches.push((name[..2].to_string(), kib));
        }
    }
    for row in rows {
        let fitting = caches.iter().find(|(_, kib)| row.kib <= *kib);
        assert_eq!(row.cache.as_ref(), fitting, "{} KiB: {text}", row.kib);
    }
}
