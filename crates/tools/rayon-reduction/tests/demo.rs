use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_rayon-reduction");
const COMPARES: bool = cfg!(openmp) && !cfg!(debug_assertions);

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

fn numbers(line: &str) -> Vec<f64> {
    line.split([' ', ',', ';', ':']).filter_map(|word| word.parse().ok()).collect()
}

/// What the demo says of one way to run the loop.
#[derive(Debug)]
struct Part {
    seconds: f64,
    wanted: f64,
    sum: f64,
    /// Number and CPU seconds of each thread
    threads: Vec<[f64; 2]>,
}

fn part(text: &str, name: &str) -> Option<Part> {
    let mut lines = text.lines().skip_while(|line| {
        !line.strip_prefix(name).is_some_and(|rest| rest.contains(" s, cores busy "))
    });
    let head = numbers(lines.next()?);
    let rows = lines.take_while(|line| line.contains(" s ")).map(numbers);
    let threads: Vec<_> = rows.map(|row| row.try_into().unwrap()).collect();
    let part = Part { seconds: head[0], wanted: head[2], sum: head[3], threads };
    assert!((part.sum - std::f64::consts::PI).abs() < 1e-9, "{part:?}");
    assert!(0.0 < head[1] && head[1] <= head[2] + 0.1 && !part.threads.is_empty(), "{part:?}");
    Some(part)
}

/// Checks what must hold for any number of threads.
fn check(output: &Output, threads: usize) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let [serial, rayon] = ["serial", "Rayon"].map(|name| part(&text, name).unwrap());
    assert_ne!(serial.sum, rayon.sum, "added up in another order, rounded elsewhere");
    assert!(serial.wanted < 1.3 && rayon.wanted > 1.2 * serial.wanted - 0.02, "{text}");

    let linux = cfg!(target_os = "linux");
    if linux {
        let main = serial.threads[0][0];
        assert!(serial.threads.len() == 1 && rayon.threads.len() <= threads, "{text}");
        assert!(rayon.threads.iter().all(|thread| thread[0] != main), "main only waits: {text}");
    }
    let Some(openmp) = part(&text, "OpenMP") else {
        assert!(!COMPARES && text.contains("not compared to OpenMP: "), "{text}");
        return;
    };
    assert!(COMPARES && (!linux || openmp.threads.len() == threads), "{text}");
    let took = numbers(text.lines().find(|line| line.starts_with("Rayon took ")).unwrap());
    assert!((took[0] / (rayon.seconds / openmp.seconds) - 1.0).abs() < 0.1, "{text}");
    assert!((0.1..2.0).contains(&took[1]), "{text}");
}

#[test]
fn rayon_spreads_the_loop() {
    let cores = std::thread::available_parallelism().unwrap().get();
    check(&run(&[DEMO], &[]), cores.clamp(2, 6));
}

#[test]
fn more_threads_than_cores() {
    check(&run(&[DEMO], &["--threads", "8"]), 8);
}

#[cfg(target_os = "linux")]
#[test]
fn one_core_shows_the_threads_too() {
    let output = run(&["taskset", "-c", "0", DEMO], &[]);
    if !output.stderr.starts_with(b"taskset") {
        check(&output, 2);
    }
}

/// Seen from outside: beside main the kernel lists Rayon's threads, and those that OpenMP adds.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_threads_work() {
    let mut demo = Command::new(DEMO);
    let demo = demo.args(["--threads", "4"]).stdout(std::process::Stdio::null());
    let mut demo = demo.spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let (mut most, mut at_work) = (0, 0);
    while demo.try_wait().unwrap().is_none() {
        let entries: Vec<_> = std::fs::read_dir(&tasks).into_iter().flatten().flatten().collect();
        most = most.max(entries.len());
        let states =
            entries.iter().filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok());
        at_work = at_work.max(states.filter(|stat| stat.contains(") R ")).count());
    }
    assert_eq!(most, 1 + 4 + if COMPARES { 3 } else { 0 });
    assert!(at_work >= 2, "never more than {at_work} threads running or ready");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--threads", "1"][..], &["--threads", "33"], &["--steps", "4"], &["--no"]] {
        let output = run(&[DEMO], args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
