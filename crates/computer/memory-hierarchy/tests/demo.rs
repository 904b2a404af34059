use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_memory-hierarchy");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Size in KiB, cache, nanoseconds and length of the bar, of every row.
fn rows(output: &Output) -> Vec<(u64, String, f64, usize)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let row = |line: &str| {
        let (numbers, bar) = line.split_once('│')?;
        let words = Vec::from_iter(numbers.split_whitespace());
        let unit = if words[1] == "MiB" { 1024 } else { 1 };
        let (time, cache) =
            (words[words.len() - 1], words[2..words.len() - 1].join(" "));
        Some((
            words[0].parse::<u64>().ok()? * unit,
            cache,
            time.parse().ok()?,
            bar.chars().count(),
        ))
    };
    text.lines().filter_map(row).collect()
}

/// The last line's ratio; where the demo has not shown its point, it is on standard error.
fn ratio(output: &Output) -> f64 {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.rsplit_once(" times")
        .unwrap()
        .0
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn larger_sets_take_longer() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows = rows(&output);
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    assert!(
        (3.0..).contains(&ratio(&output)) && first.0 == 4,
        "{output:?}"
    );
    assert!(
        (last.2 / first.2 / ratio(&output) - 1.0).abs() < 0.1,
        "{output:?}"
    );
    let longest = rows.iter().map(|row| row.2).fold(0.0, f64::max);
    for (i, (size, _, time, bar)) in rows.iter().enumerate() {
        assert_eq!(*size, 4 << (2 * i), "{output:?}");
        assert!(
            (*bar as f64 - 40.0 * time / longest).abs() <= 1.0,
            "{output:?}"
        );
    }
}

#[test]
fn in_order_costs_much_less() {
    let (random, in_order) = (
        run(&["--max-mib", "64"]),
        run(&["--max-mib", "64", "--in-order"]),
    );
    assert_eq!(random.status.code(), Some(0), "{random:?}");
    assert_eq!(in_order.status.code(), Some(0), "{in_order:?}");
    assert_eq!(rows(&random).len(), rows(&in_order).len());
    assert!(
        ratio(&random) > 2.0 * ratio(&in_order),
        "{random:?} {in_order:?}"
    );
}

/// Against lscpu, which reads the sizes for itself.
#[cfg(target_os = "linux")]
#[test]
fn caches_are_those_of_lscpu() {
    let lscpu = Command::new("lscpu")
        .args(["-B", "-C=NAME,ONE-SIZE"])
        .output()
        .unwrap();
    let text = String::from_utf8(lscpu.stdout).unwrap();
    let caches = Vec::from_iter(
        text.lines().skip(1).filter(|line| !line.starts_with("L1i")),
    );
    let size = |line: &str| {
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    };
    for (set, cache, ..) in rows(&run(&["--max-mib", "16"])) {
        let expected = caches.iter().find(|line| set <= size(line));
        let level = expected.map_or("none", |line| &line[..2]);
        assert!(cache.starts_with(level), "{set} KiB: {cache}, {text}");
    }
}

/// Seen from outside: the process has as much memory as its largest set, and not much more.
#[cfg(target_os = "linux")]
#[test]
fn the_memory_is_there() {
    for mib in [16, 64] {
        let mut demo = Command::new(DEMO);
        demo.args(["--max-mib", &mib.to_string()])
            .stdout(std::process::Stdio::null());
        let (mut demo, mut most) = (demo.spawn().unwrap(), 0);
        while demo.try_wait().unwrap().is_none() {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", demo.id()));
            let status = status.unwrap_or_default();
            let peak =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = peak
                .and_then(|kib| kib.split_whitespace().next()?.parse().ok());
            most = most.max(kib.unwrap_or(0) / 1024);
            std::thread::sleep(std::time::Duration::from_millis(1)); // leave the core to the demo
        }
        assert!((mib..mib + 16).contains(&most), "{most} MiB");
    }
}

/// The kernel of another machine says that 300 MiB are free: its file is mounted over this one's.
#[cfg(target_os = "linux")]
#[test]
fn takes_no_more_than_a_quarter_of_the_free_memory() {
    let script = format!(
        "meminfo=$(mktemp); sed 's/^MemAvailable.*/MemAvailable: 307200 kB/' /proc/meminfo >$meminfo
         mount --bind $meminfo /proc/meminfo || exec rm $meminfo; rm $meminfo; exec {DEMO} --max-mib 4096"
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .output();
    let Some(output) = output.ok().filter(|output| !output.stdout.is_empty())
    else {
        return eprintln!("not tested: unshare or mount is refused here");
    };
    assert_eq!(rows(&output).last().unwrap().0, 64 << 10, "{output:?}");
}

#[test]
fn a_larger_set() {
    let output = run(&["--max-mib", "1024"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(rows(&output).last().unwrap().0 <= 1 << 20, "{output:?}");
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--max-mib", "15"][..],
        &["--max-mib", "4097"],
        &["--max-mib", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
