#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

struct Row {
    mib: f64,
    cells: f64,
    /// Milliseconds of CPU time
    forks: f64,
}

fn row(text: &str, name: &str) -> Row {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let words: Vec<&str> = rest.expect(text).split_whitespace().collect();
    let [mib, "MiB", "in", "use", bar, forks, "ms"] = words[..] else {
        panic!("{text}");
    };
    Row {
        mib: mib.parse().unwrap(),
        cells: bar.chars().count() as f64,
        forks: forks.parse().unwrap(),
    }
}

/// MiB of a process, by its share in each page; 0 if it is gone.
fn pss(pid: &str) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    let rollup = rollup.unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.unwrap_or("0 kB").trim().strip_suffix(" kB").unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}

/// What the demo prints, and the most MiB that it used, seen from outside.
fn run(args: &[&str]) -> (String, f64) {
    let mut command = Command::new(DEMO);
    let mut demo = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
    let id = demo.id();
    let mut most = 0.0;
    while demo.try_wait().unwrap().is_none() {
        let children = format!("/proc/{id}/task/{id}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let children: Vec<&str> = children.split_whitespace().collect();
        if children.len() == 4 {
            let of_parent = pss(&id.to_string());
            let of_children: f64 = children.into_iter().map(pss).sum();
            most = f64::max(most, of_parent + of_children);
        }
    }
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), most)
}

/// Milliseconds of CPU time that all runs before took.
fn used_by_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3
}

/// By default, and as in the header.
#[test]
fn what_is_loaded_first_is_copied() {
    for (args, mib) in [
        (&[][..], 256.0),
        (&["--mib", "64"], 64.0),
        (&["--mib", "16"], 16.0),
    ] {
        let before = used_by_children();
        let (text, most) = run(args);
        let used = used_by_children() - before;
        let heading = format!("{mib} MiB of data, 4 workers\n");
        assert!(text.starts_with(&heading), "{text}");

        let good = row(&text, "fork, then load: ");
        let bad = row(&text, "load, then fork: ");
        assert!((mib..mib + 6.0).contains(&good.mib), "{text}");
        let copies = bad.mib - good.mib;
        assert!((copies - mib).abs() <= 2.0, "{text}");
        for shown in [&good, &bad] {
            let cells = 12.0 * shown.mib / mib;
            assert!((shown.cells + 0.5 - cells).abs() < 1.3, "{text}");
            // Loading and work are no part of it, and take far more.
            assert!(shown.forks > 0.0, "{text}");
            assert!(shown.forks < 0.15 * used, "{used} ms: {text}");
        }
        // The looks are too few to see each process at the very end. And they
        // come one after another, while pages are copied.
        let seen = 0.7 * bad.mib..1.1 * bad.mib;
        assert!(mib < 256.0 || seen.contains(&most), "{most} MiB: {text}");

        let last = text.lines().last().unwrap();
        let words: Vec<&str> = last.split(' ').collect();
        let [.., "workers", once, "loaded", "first", twice] = words[..] else {
            panic!("{text}");
        };
        let once: f64 = once.trim_end_matches(',').parse().unwrap();
        let twice: f64 = twice.parse().unwrap();
        assert!((once - good.mib / mib).abs() < 0.04, "{text}");
        assert!((twice - bad.mib / mib).abs() < 0.04, "{text}");
    }
}

/// Puts a file in the place of /proc/meminfo.
#[test]
fn four_times_the_data_must_be_free() {
    for (kib, code) in [(262_144, 0), (262_143, 77)] {
        let script = "file=$(mktemp) || exit 99
            printf 'MemTotal: %s kB\nMemFree: %s kB\nMemAvailable: %s kB\n' \
                999999 $1 $1 >$file
            mount --bind $file /proc/meminfo && rm $file || exit 99
            exec \"$0\" --mib 64";
        let output = Command::new("unshare")
            .args(["-r", "-m", "sh", "-c", script, DEMO, &kib.to_string()])
            .output();
        match output {
            Ok(output) if matches!(output.status.code(), Some(0 | 77)) => {
                assert_eq!(output.status.code(), Some(code), "{output:?}");
            }
            _ => eprintln!("not tested: no unshare, or it may mount nothing"),
        }
    }
}
