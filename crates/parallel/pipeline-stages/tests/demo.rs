use std::fs;
use std::io;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Runs it; ends it after 20 s, so that no test waits for ever.
fn run_command(command: &mut Command) -> io::Result<Output> {
    let mut demo = command
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while demo.try_wait()?.is_none() {
        if Instant::now() > deadline {
            demo.kill()?;
            panic!("{command:?} hangs");
        }
        sleep(Duration::from_millis(5)); // nothing else tells of a deadline
    }
    demo.wait_with_output()
}

fn run(args: &[&str]) -> Output {
    run_command(Command::new(DEMO).args(args)).unwrap()
}

/// What the demo has printed.
#[derive(Debug)]
struct Seen {
    /// Seconds of the pipeline, of its busiest thread, of all its threads
    pipeline: f64,
    busiest: f64,
    together: f64,
    /// Most sentences between read and split, and how many are allowed
    most: u32,
    allowed: u32,
    rows: Vec<Row>,
}

/// A thread's row of the timeline.
#[derive(Debug)]
struct Row {
    stage: String,
    columns: Vec<char>,
}

impl Row {
    /// The columns with this sentence.
    fn columns_of(&self, sentence: u32) -> Vec<usize> {
        let digit = char::from_digit(sentence, 10).unwrap();
        let mut places = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            if *column == digit {
                places.push(place);
            }
        }
        places
    }
}

/// What stands in a line of this text between these two.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let mut lines = text.lines();
    let found = lines.find_map(|line| {
        line.strip_prefix(before)?.strip_suffix(after) // one line only
    });
    found.unwrap_or_else(|| panic!("no {before:?} in {text}"))
}

/// Runs the demo, and checks what holds for any arguments.
fn look(args: &[&str]) -> Seen {
    let begin = Instant::now();
    let output = run(args);
    let elapsed = begin.elapsed().as_secs_f64();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() <= 23, "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");

    let seconds = |before| between(&text, before, " s").parse().unwrap();
    let pipeline = seconds("the pipeline took ");
    let busiest = seconds("its busiest thread worked ");
    let together = seconds("all its threads together worked ");
    assert!(elapsed + 0.001 > pipeline, "outside {elapsed} s: {text}");
    assert!(busiest <= pipeline, "{text}");
    assert!(pipeline < (busiest + together) / 2.0, "{text}");
    assert!(
        together >= 10.0 * 0.140,
        "each stage takes its time: {text}"
    );

    let most =
        between(&text, "most sentences read and not yet split: ", " allowed");
    let (most, allowed) = most.split_once(" of ").unwrap();
    assert!(text.contains("\nwords counted: 272, without a pipeline: 272\n"));

    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().skip(2).take_while(|line| !line.is_empty()) {
        let (stage, columns) = line.split_at(7);
        rows.push(Row {
            stage: stage.trim_end().to_string(),
            columns: columns.chars().collect(),
        });
    }
    let seen = Seen {
        pipeline,
        busiest,
        together,
        most: most.parse().unwrap(),
        allowed: allowed.parse().unwrap(),
        rows,
    };
    seen.check_rows();
    seen
}

impl Seen {
    /// Each sentence is in three rows, one of each stage, and its stages do
    /// not overlap. The rows hold as much work as all threads have done.
    fn check_rows(&self) {
        let last = self.rows.len() - 1;
        let mut columns_with_work = 0;
        for (place, row) in self.rows.iter().enumerate() {
            let stage = match place {
                0 => "read",
                _ if place == last => "count",
                _ => "split",
            };
            assert_eq!(row.stage, stage, "{self:?}");
            for column in &row.columns {
                if *column != ' ' {
                    columns_with_work += 1;
                }
            }
        }
        for sentence in 0..10 {
            let mut row_of_stage = Vec::new();
            let mut columns = Vec::new();
            for row in &self.rows {
                let of_row = row.columns_of(sentence);
                if !of_row.is_empty() {
                    row_of_stage.push(&row.stage);
                    columns.push(of_row);
                }
            }
            assert_eq!(row_of_stage, ["read", "split", "count"], "{self:?}");
            for (earlier, later) in columns.iter().zip(&columns[1..]) {
                let end = earlier[earlier.len() - 1];
                assert!(end < later[0], "sentence {sentence}: {self:?}");
            }
        }
        // Each of the 30 pieces of work is rounded to whole columns.
        let seconds = f64::from(columns_with_work) * 0.020;
        let difference = (seconds - self.together).abs();
        assert!(difference < 0.3, "{seconds} s in {self:?}");
    }
}

#[test]
fn the_slowest_stage_decides() {
    let seen = look(&[]);
    assert!(seen.busiest >= 10.0 * 0.080, "{seen:?}");
    // A sentence needs its first and last stage, too.
    assert!(seen.pipeline >= 0.040 + 10.0 * 0.080 + 0.020, "{seen:?}");
    assert_eq!(seen.allowed, 1 + 2 + 1);
    assert!(seen.most <= seen.allowed, "{seen:?}");
    assert_eq!(seen.rows.len(), 3);
    let reading = &seen.rows[0].columns;
    let splitting = &seen.rows[1].columns;
    let mut both = 0;
    for (one, other) in reading.iter().zip(splitting) {
        if *one != ' ' && *other != ' ' {
            both += 1;
        }
    }
    assert!(both > 0, "two stages never worked at once: {seen:?}");
}

#[test]
fn a_second_worker_halves_the_slow_stage() {
    let one = look(&[]);
    let two = look(&["--workers", "2"]);
    assert!(two.pipeline >= 5.0 * 0.080, "{two:?}");
    assert!(two.pipeline < one.pipeline, "{two:?}, one worker: {one:?}");
    assert_eq!(two.rows.len(), 4);
    assert_eq!(two.allowed, 1 + 2 + 2);
}

#[test]
fn back_pressure_keeps_the_channel_short() {
    let short = look(&["--bound", "1"]);
    let long = look(&["--bound", "10"]);
    assert_eq!(short.allowed, 1 + 1 + 1);
    assert_eq!(long.allowed, 1 + 10 + 1);
    assert!(short.most <= short.allowed, "{short:?}");
    assert!(
        long.most > short.allowed,
        "read does not run ahead: {long:?}"
    );
}

/// Seen from outside: main, a thread that reads, and the workers. They have
/// all started before the first of them ends.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_a_thread_for_each_stage() {
    let mut command = Command::new(DEMO);
    command.args(["--workers", "3"]).stdout(Stdio::null());
    let mut demo = command.spawn().unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most = 0;
    while demo.try_wait().unwrap().is_none() {
        let count = fs::read_dir(&tasks).map_or(0, Iterator::count);
        most = most.max(count);
        sleep(Duration::from_millis(5)); // how often it looks
    }
    assert_eq!(most, 1 + 1 + 3);
}

/// The threads wait rather than compute.
#[cfg(target_os = "linux")]
#[test]
fn one_core_is_enough() {
    let mut command = Command::new("taskset");
    let Ok(output) = run_command(command.args(["-c", "0", DEMO])) else {
        return eprintln!("not tested: there is no taskset");
    };
    if output.stderr.starts_with(b"taskset") {
        return eprintln!("not tested: core 0 is not ours");
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
