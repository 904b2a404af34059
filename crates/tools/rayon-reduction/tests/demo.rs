use std::process::{Command, Output};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const COMPARES: bool =
    cfg!(openmp) && cfg!(target_os = "linux") && !cfg!(debug_assertions);

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The numbers in the line that begins so.
fn numbers(text: &str, begin: &str) -> Option<Vec<f64>> {
    let line = text.lines().find(|line| line.starts_with(begin))?;
    Some(
        line.split(' ')
            .filter_map(|word| word.parse().ok())
            .collect(),
    )
}

/// Checks what must hold for any number of threads.
fn check(output: &Output, threads: usize) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    // Name, then seconds, CPU seconds, sum
    let [serial, rayon] =
        ["serial ", "Rayon  "].map(|name| numbers(&text, name).unwrap());
    for row in [&serial, &rayon] {
        assert!(
            (row[2] - std::f64::consts::PI).abs() < 1e-9 && row[1] > 0.0,
            "{text}"
        );
    }
    assert!(
        serial[1] < 1.1 * serial[0],
        "one thread keeps one core busy at most: {text}"
    );
    assert_ne!(
        serial[2], rayon[2],
        "added up in another order, rounded elsewhere"
    );

    let shares = text.lines().find(|line| line.contains('█')).unwrap();
    let drawn = shares.split('█').filter(|part| part.contains('░')).count()
        + shares.split('░').filter(|part| part.contains('█')).count();
    assert!(
        drawn <= threads && shares.chars().count().abs_diff(70) <= threads,
        "{text}"
    );
    let last = text.lines().last().unwrap();
    let verdict = "threads that had a tenth of it or more: ";
    let (computed, all) = last
        .strip_prefix(verdict)
        .unwrap()
        .split_once(" of ")
        .unwrap();
    let computed: usize = computed.parse().unwrap();
    assert_eq!(all, threads.to_string(), "{text}");
    assert!((2..=threads).contains(&computed) && drawn >= 2, "{text}");
    // Rayon's threads computed in five rounds, and the fastest one is printed.
    // So they had more than twice of that, all together.
    let share = numbers(&text, "an equal share: ").unwrap()[0];
    assert!(share * threads as f64 > 2.0 * rayon[1], "{text}");
    let speed_up = numbers(&text, "speed-up: ").unwrap()[0];
    assert!(
        (speed_up / (serial[0] / rayon[0]) - 1.0).abs() < 0.1,
        "{text}"
    );

    match numbers(&text, "OpenMP  ") {
        None => assert!(
            !COMPARES && text.contains("not compared to OpenMP: "),
            "{text}"
        ),
        Some(openmp) => {
            assert!((openmp[2] - std::f64::consts::PI).abs() < 1e-9, "{text}");
            let ratio = numbers(&text, "Rayon took ").unwrap()[0];
            assert!(
                COMPARES && (ratio / (rayon[0] / openmp[0]) - 1.0).abs() < 0.1,
                "{text}"
            );
            let of_cpu = numbers(&text, "and ").unwrap()[0];
            let of_rows = rayon[1] / openmp[1];
            assert!((of_cpu / of_rows - 1.0).abs() < 0.1, "{text}");
            assert_eq!(numbers(&text, "Rayon:").unwrap()[0], threads as f64);
            assert_eq!(numbers(&text, "OpenMP:").unwrap()[0], threads as f64);
            let of = |name| {
                let mut lines = text.lines();
                let line = lines.find(|line| line.starts_with(name)).unwrap();
                line.split(' ').next_back().unwrap()
            };
            assert_eq!(of("Rayon:"), of("OpenMP:"), "{text}");
        }
    }
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

/// Seen from outside: main waits while Rayon's threads compute; OpenMP's are
/// main and three more.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_threads_work() {
    let mut demo = Command::new(DEMO);
    let demo = demo
        .args(["--threads", "4"])
        .stdout(std::process::Stdio::null());
    let mut demo = demo.spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let (mut most, mut without_main) = (0, 0);
    while demo.try_wait().unwrap().is_none() {
        let entries = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let stats = entries.filter_map(|task| {
            std::fs::read_to_string(task.path().join("stat")).ok()
        });
        let stats: Vec<_> = stats.collect();
        most = most.max(stats.len());
        let (main, others): (Vec<_>, Vec<_>) = stats
            .iter()
            .partition(|stat| stat.starts_with(&format!("{} ", demo.id())));
        if main.iter().all(|stat| stat.contains(") S ")) {
            let computing = others.iter().filter(|stat| stat.contains(") R "));
            without_main = without_main.max(computing.count());
        }
    }
    let of_openmp = if COMPARES { 3 } else { 0 };
    assert_eq!(most, 1 + 4 + of_openmp);
    assert!(
        without_main >= 2,
        "never more than {without_main} threads beside a sleeping main"
    );
}

/// OMP_PROC_BIND binds main to a core, and Rayon's threads, which it starts.
/// OpenMP's threads have a core each: one core would be compared to two.
#[cfg(target_os = "linux")]
#[test]
fn other_cores_are_no_comparison() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for setting in ["OMP_PROC_BIND=true", "GOMP_CPU_AFFINITY=0-1"] {
        let output = run(&["env", setting, DEMO], &["--threads", "2"]);
        if cores == 1 || !COMPARES {
            check(&output, 2);
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("one thread may use core "), "{error}");
        assert!(error.contains("unset OMP_PROC_BIND"), "{error}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("Rayon took"), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn other_numbers_of_threads_are_no_comparison() {
    let limit = ["env", "OMP_THREAD_LIMIT=2", DEMO];
    let output = run(&limit, &["--threads", "3"]);
    if !COMPARES {
        return check(&output, 3);
    }
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("3 threads of Rayon, 2 of OpenMP"), "{error}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Rayon took"), "{text}");
}
