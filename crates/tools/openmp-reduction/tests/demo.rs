use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(program: &[&str]) -> Output {
    Command::new(program[0])
        .args(&program[1..])
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The numbers of a row: seconds, computed by main and by others, and the sum.
fn row(text: &str, name: &str) -> [f64; 4] {
    let row = text.lines().find_map(|line| line.strip_prefix(name));
    let words = row.expect(text).split_whitespace();
    let numbers: Vec<f64> =
        words.filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().expect(text)
}

/// Checks what must hold for any number of threads.
#[cfg(openmp)]
fn check(output: &Output, threads: usize) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let [one_seconds, one_main, one_others, one_sum] = row(&text, "1 thread ");
    let name = format!("{threads} threads ");
    let [seconds, main, others, sum] = row(&text, &name);
    // Added in other groups, rounded elsewhere; and it is pi.
    assert_ne!(one_sum, sum, "{text}");
    for pi in [one_sum, sum] {
        assert!((pi - std::f64::consts::PI).abs() < 1e-9, "{text}");
    }
    // No thread computes longer than it takes, and alone it does all.
    assert!(one_others < 0.05 * one_main, "{text}");
    assert!(one_main <= one_seconds + 0.002 && main <= seconds + 0.002);
    assert!(one_main > 0.01 && others > 0.01, "{text}");

    let share = 100.0 * others / (main + others);
    let printed = text.split("than main computed ").nth(1).unwrap();
    let printed = printed.split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!((printed - share).abs() < 2.0, "{text}");
    let fair = 100.0 * (threads - 1) as f64 / threads as f64;
    assert!((share - fair).abs() < 25.0, "{text}");

    let speed_up = one_seconds / seconds;
    let last = text.split("speed-up: ").nth(1).unwrap();
    let last = last.split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!((last / speed_up - 1.0).abs() < 0.05, "{text}");
}

#[test]
fn every_thread_has_its_share_and_the_sums_agree() {
    let output = run(&[DEMO]);
    if !cfg!(openmp) {
        assert_eq!(output.status.code(), Some(77));
        let error = String::from_utf8_lossy(&output.stderr);
        return assert!(error.contains("apt install gcc"), "{error}");
    }
    #[cfg(openmp)]
    {
        let at_once = std::thread::available_parallelism().unwrap().get();
        check(&output, at_once.clamp(2, 8));
        check(&run(&[DEMO, "--threads", "8"]), 8);
    }
}

#[cfg(openmp)]
#[test]
fn threads_that_are_kept_away_are_noticed() {
    for limit in ["OMP_THREAD_LIMIT=1", "OMP_MAX_ACTIVE_LEVELS=0"] {
        let output = run(&["env", limit, DEMO, "--threads", "2"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("an OMP_ variable"), "{error}");
    }
}

/// Two threads take turns on one CPU, and both do their share.
#[cfg(all(openmp, target_os = "linux"))]
#[test]
fn one_cpu_shows_the_threads_too() {
    let pinned =
        "exec taskset -c \"$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')\"";
    let output = run(&["sh", "-c", &format!("{pinned} \"$0\""), DEMO]);
    if output.status.code() != Some(127) {
        check(&output, 2);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("runs at once, for us: 1\n"), "{text}");
    }
}

/// Seen from outside: the kernel lists the threads.
#[cfg(all(openmp, target_os = "linux"))]
#[test]
fn the_kernel_sees_the_threads() {
    // On a busy machine a look may come too late: then once more.
    for _ in 0..20 {
        let mut demo = Command::new(DEMO)
            .args(["--threads", "4"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let tasks = format!("/proc/{}/task", demo.id());
        let mut most = 0;
        while demo.try_wait().unwrap().is_none() {
            let entries = std::fs::read_dir(&tasks);
            most = most.max(entries.map_or(0, |entries| entries.count()));
        }
        if most == 4 {
            return;
        }
    }
    panic!("not all threads were seen in 20 runs");
}
