use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let demo = env!("CARGO_BIN_EXE_pipeline-stages");
    Command::new(demo).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

/// Name of the stage, and the cells of its timeline.
type Row = (String, Vec<char>);

/// Seconds of the pipeline and of one thread, the two most that waited, and the timeline's rows.
fn look(args: &[&str]) -> (f64, f64, [i32; 2], Vec<Row>) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    let numbers = |line: &str| -> Vec<f64> {
        let words = line.split(|c: char| !c.is_ascii_digit() && c != '.');
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let times = numbers(line("pipeline "));
    let most = numbers(line("most items"));
    let rows =
        text.lines().filter(|line| line.ends_with(|c: char| c.is_ascii_digit()) && line.len() > 10);
    let rows = rows.filter(|line| ["read ", "trans", "aggre"].contains(&&line[..5]));
    let rows = rows.map(|row| (row[..9].trim().to_string(), row[10..].chars().collect())).collect();
    (times[0], times[1], [most[0] as i32, most[1] as i32], rows)
}

/// The columns in which `row` has the digit of `item`.
fn columns(row: &[char], item: usize) -> Vec<usize> {
    let digit = char::from_digit(item as u32, 10).unwrap();
    (0..row.len()).filter(|&column| row[column] == digit).collect()
}

#[test]
fn stages_overlap_and_keep_the_order_of_each_item() {
    let (seconds, serial, waited, rows) = look(&[]);
    assert!(
        serial >= 10.0 * 0.035 && seconds >= 10.0 * 0.020,
        "no item goes faster than its stages"
    );
    assert!(waited[0] <= 2 && waited[1] <= 2, "{waited:?}");
    assert_eq!(rows.len(), 3);
    let [read, transform, aggregate] = [0, 1, 2].map(|row| &rows[row].1);
    for item in 0..10 {
        let [read, transform, aggregate] =
            [read, transform, aggregate].map(|row| columns(row, item));
        assert!(read[0] < transform[0] && transform[0] < aggregate[0], "item {item}: {rows:?}");
    }
    let both = read.iter().zip(transform).filter(|(a, b)| **a != ' ' && **b != ' ').count();
    assert!(both > 0, "reading and transforming never overlapped: {rows:?}");
}

#[test]
fn a_second_worker_halves_the_slow_stage() {
    let (seconds, serial, _, rows) = look(&["--workers", "2"]);
    assert!(seconds >= 5.0 * 0.020 && serial >= 10.0 * 0.035, "{seconds} {serial}");
    let workers: Vec<_> = rows.iter().filter(|(name, _)| name == "transform").collect();
    assert_eq!(workers.len(), 2);
    for item in 0..10 {
        let did = workers.iter().filter(|(_, row)| !columns(row, item).is_empty()).count();
        assert_eq!(did, 1, "item {item} is transformed by one of them: {rows:?}");
    }
}

#[test]
fn back_pressure_keeps_the_queues_short() {
    let (_, _, short, _) = look(&["--bound", "1"]);
    assert!(short.iter().all(|&most| most <= 1), "{short:?}");
    let (_, _, long, _) = look(&["--bound", "10"]);
    assert!(long[0] >= 3, "with room for ten, the reader runs ahead: {long:?}");
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--workers", "0"][..], &["--workers", "9"], &["--bound", "0"], &["--no"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
