use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_semaphore-limit");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Checks the timeline against itself, and returns the three numbers of the last line.
fn check(args: &[&str]) -> [usize; 3] {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let row = |line: &str| line.chars().skip(10).collect::<String>();
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("thread "))
        .map(row)
        .collect();
    let counts = text
        .lines()
        .find(|line| line.starts_with("inside "))
        .map(row)
        .unwrap();
    let counts: Vec<usize> = counts
        .split(' ')
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(
        counts.len(),
        2 * rows.len(),
        "each thread enters and leaves: {text}"
    );
    for (column, &count) in counts.iter().enumerate() {
        let inside = rows
            .iter()
            .filter(|row| row.chars().nth(2 * column) == Some('█'))
            .count();
        assert_eq!(inside, count, "column {column}: {text}");
    }
    for row in &rows {
        let visits = row
            .split(['·', ' '])
            .filter(|visit| !visit.is_empty())
            .count();
        assert_eq!(visits, 1, "{text}");
    }
    let last = text
        .lines()
        .last()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit());
    let last: Vec<_> = last.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(
        (last[1], last[2]),
        (*counts.iter().max().unwrap(), rows.len()),
        "{text}"
    );
    last.try_into().unwrap()
}

#[test]
fn never_more_inside_than_permits_and_exactly_as_many_at_times() {
    assert_eq!(check(&[]), [3, 3, 8]);
    for permits in 1..=9 {
        let args = ["--threads", "9", "--permits", &permits.to_string()];
        assert_eq!(check(&args), [permits, permits, 9]);
    }
}

#[test]
fn with_a_permit_for_each_all_get_inside() {
    assert_eq!(check(&["--permits", "8"]), [8, 8, 8]);
}

#[test]
fn with_one_permit_it_is_a_mutex() {
    assert_eq!(check(&["--permits", "1"]), [1, 1, 8]);
}

#[test]
fn more_permits_than_threads() {
    assert_eq!(check(&["--threads", "2", "--permits", "5"]), [5, 2, 2]);
    assert_eq!(check(&["--threads", "1", "--permits", "1"]), [1, 1, 1]);
}

/// Seen from outside: the kernel lists all threads at once. A run takes a moment only, so that it
/// may be over before it was seen.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    let seen = |_| {
        let mut demo = Command::new(DEMO)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let tasks = format!("/proc/{}/task", demo.id());
        let mut most = 0;
        while demo.try_wait().unwrap().is_none() {
            most = most.max(
                std::fs::read_dir(&tasks).map_or(0, |entries| entries.count()),
            );
        }
        most
    };
    assert!((0..1000).map(seen).any(|most| most == 1 + 8));
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "0"][..],
        &["--permits", "10"],
        &["--permits", "x"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
