use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_memory-hierarchy");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Bytes of each working set, the cache named beside it, and nanoseconds per access.
fn rows(output: &Output) -> Vec<(u64, String, f64)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let bytes = |number: &str, unit: &str| -> u64 {
        number.parse::<u64>().unwrap() << if unit == "MiB" { 20 } else { 10 }
    };
    let rows = text.lines().filter(|line| line.contains('│')).map(|line| {
        let words: Vec<_> = line.split('│').next().unwrap().split_whitespace().collect();
        let last = words.len() - 1;
        (bytes(words[0], words[1]), words[2..last].join(" "), words[last].parse().unwrap())
    });
    rows.collect()
}

#[test]
fn larger_sets_are_slower() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows = rows(&output);
    assert_eq!(rows[0].0, 4096);
    assert!(rows.windows(2).all(|pair| pair[1].0 == 4 * pair[0].0), "{rows:?}");
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    assert!(last.2 >= 3.0 * first.2, "{rows:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let times = text.rsplit(" takes ").next().unwrap().split_whitespace().next().unwrap();
    let (ratio, rounding) = (last.2 / first.2, 0.06 / first.2); // of the smaller time
    assert!((ratio / times.parse::<f64>().unwrap() - 1.0).abs() < rounding + 0.01, "{text}");
}

/// The control case: the same number of accesses to the same memory, in an order easy to guess.
#[test]
fn in_order_the_same_memory_is_faster() {
    let [random, in_order] = [&[][..], &["--in-order"]].map(|args| rows(&run(args)));
    let (Some(random), Some(in_order)) = (random.last(), in_order.last()) else {
        return; // in order it may exit with 1 before it has printed any row
    };
    assert_eq!(random.0, in_order.0);
    assert!(in_order.2 < random.2, "{in_order:?} {random:?}");
}

#[test]
fn max_mib_bounds_the_set_and_free_memory_does_too() {
    let sets = rows(&run(&["--max-mib", "16"]));
    assert_eq!(sets.last().map(|set| set.0), Some(16 << 20));
    let sets = rows(&run(&["--max-mib", "512"]));
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = free.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10);
    assert!(sets.iter().all(|set| set.0 <= free.unwrap_or(u64::MAX) / 2), "{sets:?}");
}

/// Beside each set stands the smallest cache that holds it, as `getconf -a` reports them.
#[cfg(target_os = "linux")]
#[test]
fn the_caches_are_those_that_the_machine_reports() {
    let getconf = Command::new("getconf").arg("LEVEL1_DCACHE_SIZE").output().unwrap();
    let l1: u64 = String::from_utf8_lossy(&getconf.stdout).trim().parse().unwrap_or(0);
    for (bytes, cache, _) in rows(&run(&["--max-mib", "16"])) {
        if l1 > 0 && cache.starts_with('L') {
            assert_eq!(bytes <= l1, cache.starts_with("L1"), "{bytes} in {cache}");
        }
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--max-mib", "15"][..], &["--max-mib", "4097"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
