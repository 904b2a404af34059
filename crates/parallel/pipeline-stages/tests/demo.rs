use std::process::{Command, Output};
use std::time::Instant;

fn run(args: &[&str]) -> Output {
    let demo = env!("CARGO_BIN_EXE_pipeline-stages");
    Command::new(demo)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Name of the stage, and the cells of its timeline.
type Row = (String, Vec<char>);

/// Seconds of the pipeline and of its busiest thread, the most items between the first two stages
/// and their limit, and the timeline's rows.
fn look(args: &[&str]) -> ([f64; 2], [u32; 2], Vec<Row>) {
    let begin = Instant::now();
    let output = run(args);
    let elapsed = begin.elapsed().as_secs_f64();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = |start: &str| -> Vec<f64> {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap();
        let words = line.split(|c: char| !c.is_ascii_digit() && c != '.');
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let (times, most) = (numbers("pipeline "), numbers("most items"));
    let [seconds, busiest, sum] = times.try_into().unwrap();
    assert!(
        elapsed + 0.001 >= seconds,
        "seen from outside: {elapsed} s: {text}"
    );
    assert!(
        sum >= 10.0 * 0.140,
        "no item goes faster than its stages: {text}"
    );
    assert!(
        busiest <= seconds && seconds < (busiest + sum) / 2.0,
        "{text}"
    );
    let rows = text.lines().filter_map(|line| {
        let name = ["read", "transform", "aggregate"]
            .into_iter()
            .find(|n| line.starts_with(n))?;
        Some((name.to_string(), line[10..].chars().collect()))
    });
    (
        [seconds, busiest],
        [most[0] as u32, most[1] as u32],
        rows.collect(),
    )
}

/// The columns in which `row` has the digit of `item`.
fn columns(row: &[char], item: usize) -> Vec<usize> {
    let digit = char::from_digit(item as u32, 10).unwrap();
    (0..row.len())
        .filter(|&column| row[column] == digit)
        .collect()
}

#[test]
fn stages_overlap_and_keep_the_order_of_each_item() {
    let ([seconds, busiest], [most, limit], rows) = look(&[]);
    assert!(
        seconds >= busiest && busiest >= 10.0 * 0.080,
        "{seconds} s, {busiest} s"
    );
    assert!(limit == 1 + 2 + 1 && most <= limit, "{most}, {limit}");
    assert_eq!(rows.len(), 3);
    let [read, transform, aggregate] = [0, 1, 2].map(|row| &rows[row].1);
    for item in 0..10 {
        let [read, transform, aggregate] =
            [read, transform, aggregate].map(|row| columns(row, item));
        assert!(
            read[0] < transform[0] && transform[0] < aggregate[0],
            "item {item}: {rows:?}"
        );
    }
    let both = read
        .iter()
        .zip(transform)
        .filter(|(a, b)| **a != ' ' && **b != ' ')
        .count();
    assert!(
        both > 0,
        "reading and transforming never overlapped: {rows:?}"
    );
}

#[test]
fn a_second_worker_halves_the_slow_stage() {
    let ([one, _], ..) = look(&[]);
    let ([two, _], _, rows) = look(&["--workers", "2"]);
    assert!(
        two >= 5.0 * 0.080 && two < one,
        "{two} s, with one worker {one} s"
    );
    let workers: Vec<_> = rows
        .iter()
        .filter(|(name, _)| name == "transform")
        .collect();
    assert_eq!(workers.len(), 2);
    for item in 0..10 {
        let did = workers
            .iter()
            .filter(|(_, row)| !columns(row, item).is_empty())
            .count();
        assert_eq!(
            did, 1,
            "item {item} is transformed by one of them: {rows:?}"
        );
    }
}

#[test]
fn back_pressure_keeps_the_queues_short() {
    let (_, [short, limit], _) = look(&["--bound", "1"]);
    assert!(limit == 1 + 1 + 1 && short <= limit, "{short}, {limit}");
    let (_, [long, _], _) = look(&["--bound", "10"]);
    assert!(
        long > short,
        "with room for ten the reader runs ahead: {long}, {short}"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--workers", "0"][..],
        &["--workers", "9"],
        &["--bound", "0"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
