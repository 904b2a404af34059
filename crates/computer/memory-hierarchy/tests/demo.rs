use std::process::{Command, Output};

/// The demo's own file, so that its chains can be looked at.
#[path = "../src/evidence.rs"]
#[allow(dead_code, reason = "only the chains are needed here")]
mod evidence;

/// As in main.rs.
#[derive(Clone)]
#[repr(align(64))]
struct Cell {
    next: *const Cell,
}

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// A row of the table.
struct Row {
    kib: u64,
    cache: String,
    nanoseconds: f64,
    /// Characters of the bar
    bar: usize,
}

fn rows(output: &Output) -> Vec<Row> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some((left, bar)) = line.split_once('│') else {
            continue;
        };
        let words: Vec<_> = left.split_whitespace().collect();
        let size: u64 = words[0].parse().unwrap();
        let unit = if words[1] == "MiB" { 1024 } else { 1 };
        let time = words[words.len() - 1];
        rows.push(Row {
            kib: size * unit,
            cache: words[2..words.len() - 1].join(" "),
            nanoseconds: time.parse().unwrap(),
            bar: bar.chars().count(),
        });
    }
    rows
}

/// The last line, without the blank one before it. Where the demo has not
/// shown its point, it is on standard error.
fn verdict(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().last().unwrap().to_string()
}

/// How many times as long an access takes, as the last line says.
fn ratio(output: &Output) -> f64 {
    let verdict = verdict(output);
    let (before, _) = verdict.split_once(" times as long").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn larger_sets_take_longer() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows = rows(&output);
    let first = &rows[0];
    let last = &rows[rows.len() - 1];
    assert!(ratio(&output) >= 3.0, "{output:?}");
    let quotient = last.nanoseconds / first.nanoseconds;
    assert!((quotient / ratio(&output) - 1.0).abs() < 0.02, "{output:?}");

    let mut longest: f64 = 0.0;
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row.kib, 4 << (2 * i), "{output:?}");
        longest = longest.max(row.nanoseconds);
    }
    for row in &rows {
        let bar = 40.0 * row.nanoseconds / longest;
        assert!((row.bar as f64 - bar).abs() <= 0.6, "{output:?}");
    }
}

/// What the verdict was judged by: the first row of the table and the last.
#[test]
fn the_last_line_shows_both_times() {
    let output = run(&["--max-mib", "16"]);
    let rows = rows(&output);
    let begin = format!(
        "an access takes {:.2} ns in 4 KiB, {:.2} ns in 16 MiB: ",
        rows[0].nanoseconds,
        rows[rows.len() - 1].nanoseconds
    );
    assert!(verdict(&output).starts_with(&begin), "{output:?}");
}

#[test]
fn in_order_costs_much_less() {
    let random = run(&["--max-mib", "64"]);
    let in_order = run(&["--max-mib", "64", "--in-order"]);
    assert_eq!(random.status.code(), Some(0), "{random:?}");
    assert_eq!(in_order.status.code(), Some(0), "{in_order:?}");
    assert_eq!(rows(&random).len(), rows(&in_order).len());
    assert!(
        ratio(&random) > 2.0 * ratio(&in_order),
        "{random:?} {in_order:?}"
    );
}

const PAGE: usize = 64; // cells

/// The number of each cell of a chain, until it leads to a cell again.
fn walk(memory: &[Cell], first: *const Cell) -> Vec<usize> {
    let begin: *const Cell = &memory[0];
    let mut visited = vec![false; memory.len()];
    let mut order = Vec::new();
    let mut address = first;
    loop {
        let cell = (address.addr() - begin.addr()) / size_of::<Cell>();
        if visited[cell] {
            assert_eq!(address, first, "a chain ends where it begins");
            return order;
        }
        visited[cell] = true;
        order.push(cell);
        address = memory[cell].next;
    }
}

#[test]
fn a_chain_has_each_cell_once() {
    let next = std::ptr::null();
    let mut memory = vec![Cell { next }; 1024 * PAGE];
    let pages = evidence::shuffled_pages(&memory);
    for count in [PAGE, 4 * PAGE, 1024 * PAGE] {
        let lowest = evidence::chain_in_order(&mut memory, count);
        let in_order: Vec<_> = (0..count).collect();
        assert_eq!(walk(&memory, lowest), in_order);

        let first = evidence::chain_at_random(&mut memory, count, &pages);
        let random = walk(&memory, first);
        assert_eq!(random.len(), count);
        for i in 1..count {
            let same_page = random[i] / PAGE == random[i - 1] / PAGE;
            assert!(!same_page || count == PAGE, "{i} of {count}");
        }
        // No step is the rule: as random as a shuffled order is.
        let mut same_steps = 0;
        for i in 2..count {
            let step = random[i].wrapping_sub(random[i - 1]);
            let step_before = random[i - 1].wrapping_sub(random[i - 2]);
            same_steps += usize::from(step == step_before);
        }
        assert!(same_steps <= count / 4, "{same_steps} of {count}");
    }
    // The cells of a round are at different places in their pages.
    let first = evidence::chain_at_random(&mut memory, 1024 * PAGE, &pages);
    let random = walk(&memory, first);
    let mut places: Vec<_> = random[..PAGE].to_vec();
    for place in &mut places {
        *place %= PAGE;
    }
    places.sort_unstable();
    assert_eq!(places, (0..PAGE).collect::<Vec<_>>());
}

#[test]
fn the_median_is_in_the_middle() {
    let median = evidence::median(&[5.0, 1.0, 4.0, 2.0, 100.0]);
    assert!((median - 4.0).abs() < 1e-9, "{median}");
}

/// Both sides of the verdict, and where it is: at 3 times as long.
#[test]
fn three_times_as_long_is_the_least() {
    let rows = |longest| {
        [(4096, 1.0), (4 << 20, longest)].map(|(working_set, nanoseconds)| {
            evidence::Row {
                working_set,
                nanoseconds,
            }
        })
    };
    assert!(evidence::judge(&rows(3.0), false).is_ok());
    assert!(evidence::judge(&rows(2.9), true).is_ok());
    let error = evidence::judge(&rows(2.9), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an access takes 1.00 ns in 4 KiB, 2.90 ns in 4 MiB: \
         2.9 times as long"
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
    // Name and size in KiB, as the demo prints it.
    let mut caches = Vec::new();
    for line in text.lines().skip(1) {
        let (name, bytes) = line.split_once(' ').unwrap();
        let kib = bytes.trim().parse::<u64>().unwrap() / 1024;
        if name != "L1i" {
            caches.push((&name[..2], kib));
        }
    }
    for row in rows(&run(&["--max-mib", "16"])) {
        let expected = caches.iter().find(|(_, kib)| row.kib <= *kib);
        let said = match expected {
            Some((name, kib)) if kib % 1024 == 0 => {
                format!("{name} {} MiB", kib / 1024)
            }
            Some((name, kib)) => format!("{name} {kib} KiB"),
            None => "none reported".to_string(),
        };
        assert_eq!(row.cache, said, "{} KiB: {text}", row.kib);
    }
}

/// Seen from outside: the process has as much memory as its largest set,
/// and not much more.
#[cfg(target_os = "linux")]
#[test]
fn the_memory_is_there() {
    for mib in [16, 64] {
        let mut demo = Command::new(DEMO);
        demo.args(["--max-mib", &mib.to_string()])
            .stdout(std::process::Stdio::null());
        let mut demo = demo.spawn().unwrap();
        let mut most = 0;
        while demo.try_wait().unwrap().is_none() {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", demo.id()));
            let status = status.unwrap_or_default();
            let peak =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = peak
                .and_then(|kib| kib.split_whitespace().next()?.parse().ok());
            most = most.max(kib.unwrap_or(0) / 1024);
            // Leaves the core to the demo.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!((mib..mib + 16).contains(&most), "{most} MiB");
    }
}

/// The demo on a machine that has so many KiB free: its /proc/meminfo says
/// so. None where it is refused to mount a file over that one.
#[cfg(target_os = "linux")]
fn run_with_free(kib: u64) -> Option<Output> {
    let script = format!(
        "meminfo=$(mktemp)
         sed 's/^MemAvailable.*/MemAvailable: {kib} kB/' \
            /proc/meminfo >$meminfo
         mount --bind $meminfo /proc/meminfo || exec rm $meminfo
         rm $meminfo; echo mounted; exec \"$0\" --max-mib 4096"
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script, DEMO])
        .output();
    let output = output.ok().filter(|output| !output.stdout.is_empty());
    if output.is_none() {
        eprintln!("not tested: unshare or mount is refused here");
    }
    output
}

#[cfg(target_os = "linux")]
#[test]
fn takes_no_more_than_a_quarter_of_the_free_memory() {
    if let Some(output) = run_with_free(300 * 1024) {
        let last = rows(&output).pop().unwrap();
        assert_eq!(last.kib, 64 * 1024, "{output:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn says_that_there_is_too_little_memory() {
    if let Some(output) = run_with_free(4095) {
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        let sentence = "cannot run here: \
                        4095 KiB of memory are free, 4 MiB needed";
        assert_eq!(verdict(&output), sentence);
    }
    if let Some(output) = run_with_free(4096) {
        let last = rows(&output).pop().unwrap();
        assert_eq!(last.kib, 1024, "{output:?}");
    }
}

#[test]
fn a_larger_set() {
    let output = run(&["--max-mib", "1024"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let last = rows(&output).pop().unwrap();
    assert!(last.kib <= 1024 * 1024, "{output:?}");
}

/// The demo in a control group, below one that may use so many MiB. None where
/// no group can be made: that needs root.
#[cfg(target_os = "linux")]
fn run_with_limit(mib: u64) -> Option<Output> {
    let script = "
        outer=/sys/fs/cgroup/memory/memory-hierarchy-$$ limit=memory.limit_in_bytes
        if [ ! -d /sys/fs/cgroup/memory ]; then # version 2
            outer=/sys/fs/cgroup/memory-hierarchy-$$ limit=memory.max
        fi
        mkdir -p $outer/inner && echo $1 >$outer/$limit || exit 99
        if [ $limit = memory.max ]; then
            echo +memory >$outer/cgroup.subtree_control || exit 99
        fi
        sh -c 'echo $$ >$1/inner/cgroup.procs && exec \"$0\"' \"$0\" $outer
        code=$?
        rmdir $outer/inner $outer
        exit $code";
    let bytes = (mib * 1024 * 1024).to_string();
    let output = Command::new("sh")
        .args(["-c", script, DEMO, &bytes])
        .output()
        .unwrap();
    if output.status.code() == Some(99) {
        eprintln!("not tested: no control group can be made here");
        return None;
    }
    Some(output)
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_an_outer_control_group_counts() {
    if let Some(output) = run_with_limit(128) {
        let text = String::from_utf8_lossy(&output.stdout);
        let said = "MiB of memory are free; this uses a quarter of that\n";
        assert!(text.contains(said), "{text}");
        let last = rows(&output).pop().unwrap();
        assert!(last.kib <= 32 * 1024, "{output:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_the_process_counts() {
    for option in ["-v", "-d"] {
        let script = format!("ulimit {option} 131072; exec \"$0\"");
        let mut demo = Command::new("sh");
        let output = demo.args(["-c", &script, DEMO]).output().unwrap();
        let last = rows(&output).pop().unwrap();
        assert!(last.kib <= 32 * 1024, "{output:?}");
    }
}
