use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(program: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).output().unwrap()
}

/// The first number after a label at the beginning of a line.
fn number(text: &str, label: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let mut words = rest.expect(text).split_whitespace();
    words.next().unwrap().parse().unwrap()
}

/// Checks what must hold for any number of threads.
fn check(output: &Output, threads: usize) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(number(&text, "threads of Rayon: "), threads as f64);
    for name in ["serial ", "Rayon "] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let sum = line.split_whitespace().nth(2).unwrap();
        assert!(sum.starts_with("3.141592653"), "{text}");
    }

    // The rows of the threads: their times, and bars of 50 in all.
    let rows = text.lines().skip_while(|line| !line.starts_with("thread "));
    let mut times = Vec::new();
    for row in rows.skip(1).take(threads) {
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[0], times.len().to_string(), "{text}");
        times.push(words[1].parse::<f64>().unwrap());
    }
    let all: f64 = times.iter().sum();
    let bars = text.matches('█').count().abs_diff(50);
    assert!(bars <= threads, "{text}");
    let tenth = 0.1 * all / threads as f64;
    let busy = times.iter().filter(|time| **time > tenth).count();
    let label = format!("threads that computed, of {threads}: ");
    assert_eq!(number(&text, &label), busy as f64, "{text}");
    assert!(busy > 1, "{text}");
    // All threads of Rayon computed, in sum, about what the serial loop takes.
    let serial = number(&text, "serial ");
    let rayon = number(&text, "Rayon ");
    assert!(all < 1.1 * threads as f64 * rayon + 0.05, "{text}");
    let speed_up = number(&text, "speed-up: ");
    assert!((speed_up / (serial / rayon) - 1.0).abs() < 0.05, "{text}");
}

#[test]
fn rayon_spreads_the_loop() {
    let at_once = std::thread::available_parallelism().unwrap().get();
    check(&run(&[DEMO]), at_once.clamp(2, 6));
    check(&run(&[DEMO, "--threads", "8"]), 8);
}

/// Two threads take turns on one CPU, and both compute.
#[cfg(target_os = "linux")]
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

/// Seen from outside: main waits while other threads compute.
#[cfg(target_os = "linux")]
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
        if most == 1 + 4 {
            return;
        }
    }
    panic!("not all threads were seen in 20 runs");
}
