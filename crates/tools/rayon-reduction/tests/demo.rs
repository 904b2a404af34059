use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_rayon-reduction");
const COMPARES: bool = cfg!(openmp) && !cfg!(debug_assertions);

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

    // Name, then seconds, cores busy, sum
    let [serial, rayon] =
        ["serial ", "Rayon  "].map(|name| numbers(&text, name).unwrap());
    for row in [&serial, &rayon] {
        assert!(
            (row[2] - std::f64::consts::PI).abs() < 1e-9 && row[1] > 0.0,
            "{text}"
        );
    }
    assert!(
        serial[1] < 1.1,
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
    let computed: usize = last.split(' ').next().unwrap().parse().unwrap();
    assert!((2..=threads).contains(&computed) && drawn >= 2, "{text}");

    match numbers(&text, "OpenMP ") {
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

/// Seen from outside: main waits while Rayon's threads compute; OpenMP's are main and three more.
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
        let stats = entries.filter_map(|e| {
            std::fs::read_to_string(e.path().join("stat")).ok()
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
    assert_eq!(most, 1 + 4 + if COMPARES { 3 } else { 0 });
    assert!(
        without_main >= 2,
        "never more than {without_main} threads beside a sleeping main"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "1"][..],
        &["--threads", "33"],
        &["--steps", "4"],
        &["--no"],
    ] {
        let output = run(&[DEMO], args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
