use std::process::{Command, Output};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// What the demo says of one run of the loop.
#[derive(Debug)]
struct Part {
    seconds: f64,
    sum: f64,
    sum_text: String,
    threads: Vec<Row>,
    /// Of the verdict: seconds that threads wanted a core, and cores
    wanted_seconds: f64,
    wanted: f64,
}

#[derive(Debug)]
struct Row {
    id: String,
    computed: f64,
    waited: f64,
    /// Characters
    computed_bar: usize,
    waited_bar: usize,
}

/// The words of a line, without what stands at the end of a word.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .map(|word| word.trim_end_matches([',', ':']))
        .collect()
}

fn number(word: &str) -> f64 {
    word.parse().unwrap()
}

fn part(text: &str, name: &str) -> Part {
    let begin = format!("{name}: ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&begin));
    let head = words(lines.next().unwrap());
    let [_, _, seconds, "s", "sum", sum] = head[..] else {
        panic!("{text}");
    };
    let columns = words(lines.next().unwrap());
    assert_eq!(columns[..3], ["thread", "computed", "waited"], "{text}");
    let mut threads = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let row = words(line);
        assert!(row[2] == "s" && row[4] == "s", "{line}");
        threads.push(Row {
            id: row[0].to_string(),
            computed: number(row[1]),
            waited: number(row[3]),
            computed_bar: line.matches('█').count(),
            waited_bar: line.matches('░').count(),
        });
    }
    let verdict_of = format!("{name} ");
    let mut verdicts = text.lines().filter(|line| {
        line.starts_with(&verdict_of) && line.contains(" wanted ")
    });
    let verdict = words(verdicts.next().unwrap());
    let [
        _,
        _,
        "wanted",
        wanted_seconds,
        "s",
        "in",
        same_seconds,
        "s",
        ..,
    ] = verdict[..]
    else {
        panic!("{text}");
    };
    assert_eq!(seconds, same_seconds, "{text}");
    let [.., wanted, "cores"] = verdict[..] else {
        panic!("{text}");
    };
    Part {
        seconds: number(seconds),
        sum: number(sum),
        sum_text: sum.to_string(),
        threads,
        wanted_seconds: number(wanted_seconds),
        wanted: number(wanted),
    }
}

/// Checks what must hold for any number of threads; returns the second part.
fn check(output: &Output, threads: usize) -> Part {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let one = part(&text, "1 thread");
    let several = part(&text, &format!("{threads} threads"));
    let mut scale = 0.0; // seconds of one thread
    for row in &one.threads {
        scale += row.computed + row.waited;
    }
    for part in [&one, &several] {
        assert!((part.sum - std::f64::consts::PI).abs() < 1e-9, "{part:?}");
        let mut wanted = 0.0;
        for row in &part.threads {
            wanted += row.computed + row.waited;
            assert!(row.computed > 0.0 && row.waited >= 0.0, "{part:?}");
            let bar = (36.0 * row.computed / scale).min(36.0);
            assert!((row.computed_bar as f64 - bar).abs() < 2.0, "{text}");
            let rest = (36.0 * row.waited / scale).min(36.0 - bar);
            assert!((row.waited_bar as f64 - rest).abs() < 2.0, "{text}");
        }
        let rounded = 0.001 * (1 + part.threads.len()) as f64;
        assert!((part.wanted_seconds - wanted).abs() < rounded, "{part:?}");
        let cores = part.wanted_seconds / part.seconds;
        assert!((part.wanted / cores - 1.0).abs() < 0.03, "{part:?}");
    }
    assert!(
        one.wanted < 1.3 && several.wanted > 1.2 * one.wanted - 0.02,
        "{output:?}"
    );

    // Added in another order, rounded elsewhere.
    let same = one.sum_text.chars().zip(several.sum_text.chars());
    let same = same.take_while(|(left, right)| left == right).count() - 1;
    let claim = format!("The sums agree in {same} of 16 digits.");
    assert!((9..16).contains(&same) && text.contains(&claim), "{text}");

    assert!(text.lines().count() <= 15 + threads, "{text}");
    let last = words(text.lines().last().unwrap());
    let speed_up = one.seconds / several.seconds;
    assert_eq!(last[0], "speed-up");
    assert!((number(last[1]) / speed_up - 1.0).abs() < 0.05, "{text}");

    if cfg!(target_os = "linux") {
        assert_eq!(one.threads.len(), 1, "{text}");
        assert_eq!(several.threads.len(), threads, "{text}");
        let main = &one.threads[0].id;
        let works = several.threads.iter().any(|row| row.id == *main);
        assert!(works, "main works, too: {text}");
        let mut cpu = 0.0;
        for row in &several.threads {
            cpu += row.computed;
        }
        let fair = cpu / threads as f64;
        for row in &several.threads {
            assert!(row.computed > fair / 3.0, "{text}");
        }
    }
    several
}

fn default_threads() -> usize {
    std::thread::available_parallelism()
        .unwrap()
        .get()
        .clamp(2, 8)
}

#[test]
fn every_thread_has_its_share_and_the_sums_agree() {
    let output = run(&[DEMO], &[]);
    if !cfg!(openmp) {
        assert_eq!(output.status.code(), Some(77));
        return assert!(
            String::from_utf8_lossy(&output.stderr).contains("apt install gcc")
        );
    }
    check(&output, default_threads());
}

#[cfg(openmp)]
#[test]
fn more_threads_than_cores_and_more_work() {
    let cpu =
        |part: Part| part.threads.iter().map(|row| row.computed).sum::<f64>();
    let short = cpu(check(&run(&[DEMO], &["--threads", "8"]), 8));
    let long = cpu(check(
        &run(&[DEMO], &["--threads", "3", "--steps", "400"]),
        3,
    ));
    assert!(
        long > 2.0 * short,
        "four times the steps: {short} and {long} CPU seconds"
    );
}

#[cfg(all(openmp, target_os = "linux"))]
#[test]
fn a_limit_of_one_thread_is_noticed() {
    let output = run(&["env", "OMP_THREAD_LIMIT=1", DEMO], &["--threads", "2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("was told to use 2 threads, the kernel counts 1"),
        "{error}"
    );
}

/// Two threads take turns on one core: both want it, and both do their share.
#[cfg(all(openmp, target_os = "linux"))]
#[test]
fn one_core_shows_the_threads_too() {
    let output = run(&["taskset", "-c", "0", DEMO], &[]);
    if !output.stderr.starts_with(b"taskset") {
        let part = check(&output, 2);
        let busy = part.threads.iter().map(|row| row.computed).sum::<f64>();
        assert!(busy / part.seconds < 1.1, "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("cores that this process may use: 1\n"));
    }
}

/// Seen from outside: the kernel lists the threads, and has several of them
/// running or ready.
#[cfg(all(openmp, target_os = "linux"))]
#[test]
fn the_kernel_sees_the_threads_work() {
    let mut demo = Command::new(DEMO);
    let demo = demo
        .args(["--threads", "4"])
        .stdout(std::process::Stdio::null());
    let mut demo = demo.spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let (mut most, mut at_work) = (0, 0);
    while demo.try_wait().unwrap().is_none() {
        let entries: Vec<_> = std::fs::read_dir(&tasks)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        most = most.max(entries.len());
        let states = entries.iter().filter_map(|task| {
            std::fs::read_to_string(task.path().join("stat")).ok()
        });
        at_work =
            at_work.max(states.filter(|stat| stat.contains(") R ")).count());
    }
    assert_eq!(most, 4);
    assert!(
        at_work >= 2,
        "never more than {at_work} threads running or ready"
    );
}
