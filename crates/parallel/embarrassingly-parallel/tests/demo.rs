use std::process::{Command, Output};
use std::thread::available_parallelism;
use std::time::Instant;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Computed apart from the demo, by a program in Python that makes the same
/// random numbers. The median of the data is in it.
const INTERVAL: &str = "299840 to 299870";

/// Checks what was printed for pools of up to so many threads. Returns the
/// seconds of all bootstraps, at least.
fn look(output: &Output, most_threads: usize, at_once_here: usize) -> f64 {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let first =
        format!("100 jobs; threads that can run at once here: {at_once_here}");
    assert_eq!(text.lines().next(), Some(&*first));

    let mut seconds = Vec::new();
    for line in text.lines().filter(|line| line.ends_with(INTERVAL)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| words[place].parse::<f64>().unwrap();
        seconds.push(number(1));
        let threads = seconds.len();
        assert_eq!(number(0), threads as f64, "{text}");

        let rounded = 0.0005; // seconds have three decimals
        let from = (seconds[0] - rounded) / (number(1) + rounded);
        let to = (seconds[0] + rounded) / (number(1) - rounded);
        assert!(number(2) > from - 0.006, "speed-up {from} to {to}: {text}");
        assert!(
            number(2) < to + 0.006 || to < 0.0,
            "speed-up {from} to {to}: {text}"
        );
    }
    assert_eq!(seconds.len(), most_threads, "{text}");
    let (_, end) = text.split_once("at once, at most: ").unwrap();
    let (at_once, end) = end.split_once('\n').unwrap();
    let at_once: usize = at_once.parse().unwrap();
    assert!((2..=most_threads).contains(&at_once), "{text}");
    let same = format!(
        "with 1 to {most_threads} threads the same 5000 medians as without\n"
    );
    assert_eq!(end, same, "{text}");
    3.0 * seconds.iter().sum::<f64>()
}

#[test]
fn any_number_of_threads_gives_the_same_result() {
    let at_once = available_parallelism().unwrap().get();
    let begin = Instant::now();
    let output = Command::new(DEMO)
        .args(["--threads", "8"])
        .output()
        .unwrap();
    let seconds = look(&output, 8, at_once);
    assert!(seconds < begin.elapsed().as_secs_f64(), "{output:?}");
}

/// Threads that take turns on one core have several jobs under way, too.
#[test]
fn one_core_is_enough_for_the_same_result() {
    let Ok(output) = Command::new("taskset").args(["-c", "0", DEMO]).output()
    else {
        return eprintln!("not tested: there is no taskset");
    };
    if output.stderr.starts_with(b"taskset") {
        return eprintln!("not tested: core 0 is not ours");
    }
    look(&output, 4, 1);
}

/// Seen from outside: three threads, main not counted, compute at the same time
/// or wait for a core.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_threads_work() {
    use std::fs;
    let mut demo = Command::new(DEMO)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let main = demo.id().to_string();
    let tasks = format!("/proc/{main}/task");
    let mut at_work = 0;
    while at_work < 3 && demo.try_wait().unwrap().is_none() {
        at_work = 0;
        for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("stat"));
            let runs = stat.is_ok_and(|stat| stat.contains(") R "));
            if runs && task.file_name() != *main {
                at_work += 1;
            }
        }
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(at_work >= 3, "{at_work} threads at work");
}
