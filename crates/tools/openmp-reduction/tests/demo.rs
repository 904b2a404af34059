use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_openmp-reduction");

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
    busy: f64,
    wanted: f64,
    sum: f64,
    /// Number and CPU seconds of each thread
    threads: Vec<[f64; 2]>,
}

fn part(output: &Output, name: &str) -> Part {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("{name} ")));
    let numbers = |line: &str| -> Vec<f64> {
        line.split([' ', ',', ';'])
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let head = numbers(lines.next().unwrap());
    let rows = lines.take_while(|line| line.contains('█')).map(numbers);
    let threads: Vec<_> = rows.map(|row| row.try_into().unwrap()).collect();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    Part {
        busy: head[1],
        wanted: head[2],
        sum: head[3],
        threads,
    }
}

/// Checks what must hold for any number of threads; returns the OpenMP part.
fn check(output: &Output, threads: usize) -> Part {
    let (serial, openmp) = (part(output, "serial"), part(output, "OpenMP"));
    for part in [&serial, &openmp] {
        assert!((part.sum - std::f64::consts::PI).abs() < 1e-9, "{part:?}");
        assert!(0.0 < part.busy && part.busy <= part.wanted, "{part:?}");
    }
    // Added up in another order, rounded elsewhere: had it been the same loop, so would the sum be.
    assert_ne!(serial.sum, openmp.sum);
    assert!(
        serial.wanted < 1.3 && openmp.wanted > 1.2 * serial.wanted - 0.02,
        "{output:?}"
    );
    if cfg!(target_os = "linux") {
        assert_eq!(
            (serial.threads.len(), openmp.threads.len()),
            (1, threads),
            "{output:?}"
        );
        let main = serial.threads[0][0];
        assert!(
            openmp.threads.iter().any(|thread| thread[0] == main),
            "main works, too"
        );
        let cpu: f64 = openmp.threads.iter().map(|thread| thread[1]).sum();
        let fair = cpu / threads as f64;
        assert!(
            openmp.threads.iter().all(|thread| thread[1] > fair / 3.0),
            "{output:?}"
        );
    }
    openmp
}

fn default_threads() -> usize {
    std::thread::available_parallelism()
        .unwrap()
        .get()
        .clamp(2, 16)
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
        |part: Part| part.threads.iter().map(|thread| thread[1]).sum::<f64>();
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
        error.contains("was to use 2 threads, the kernel counts 1"),
        "{error}"
    );
}

/// Two threads take turns on one core: both want it, and both do their share.
#[cfg(all(openmp, target_os = "linux"))]
#[test]
fn one_core_shows_the_threads_too() {
    let output = run(&["taskset", "-c", "0", DEMO], &[]);
    if !output.stderr.starts_with(b"taskset") {
        assert!(check(&output, 2).busy < 1.1, "{output:?}");
    }
}

/// Seen from outside: the kernel lists the threads, and has several of them running or ready.
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
        let states = entries.iter().filter_map(|e| {
            std::fs::read_to_string(e.path().join("stat")).ok()
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

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "1"][..],
        &["--threads", "65"],
        &["--steps", "19"],
        &["--no"],
    ] {
        let output = run(&[DEMO], args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
