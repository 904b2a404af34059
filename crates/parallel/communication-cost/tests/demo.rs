use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Runs it; ends it after 20 s, so that no test waits for ever.
fn run_command(command: &mut Command) -> std::io::Result<Output> {
    let mut demo = command
        .env_remove("RUST_BACKTRACE")
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
    let mut demo = Command::new(DEMO);
    run_command(demo.args(args).stdout(Stdio::piped())).unwrap()
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    trips_per_second: f64,
    sleeps_per_trip: f64,
    /// The numbers as they are printed
    rate_as_text: String,
    sleeps_as_text: String,
}

fn row(text: &str, way: &str) -> Row {
    let rows = text.lines().filter_map(|line| line.strip_prefix(way));
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.len(), 1, "{text}");
    let words: Vec<&str> = rows[0].split_whitespace().collect();
    let row = Row {
        trips_per_second: words[0].parse().unwrap(),
        sleeps_per_trip: words[1].parse().unwrap(),
        rate_as_text: words[0].to_string(),
        sleeps_as_text: words[1].to_string(),
    };
    // A box more for each 1.8 times the trips
    let boxes = words.get(2).map_or(0, |bar| bar.chars().count());
    let expected = 4.0 * (row.trips_per_second / 100.0).log10();
    assert_eq!(boxes, expected.max(0.0) as usize, "{text}");
    row
}

/// Checks what holds on one core and on many. Returns the rows of the pipe and
/// of shared memory.
fn check(output: &Output) -> [Row; 2] {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    assert_eq!(lines.len(), 8, "{text}");

    let pipe = row(&text, "processes, pipe ");
    let channel = row(&text, "threads, channel ");
    let memory = row(&text, "threads, shared memory ");
    // At most both sides, and at most twice each: to send, and to receive.
    for row in [&pipe, &channel] {
        assert!(row.trips_per_second > 0.0, "{text}");
        assert!(row.sleeps_per_trip < 4.5, "{text}");
    }
    assert!(pipe.sleeps_per_trip >= 0.5, "{text}");
    assert!(channel.sleeps_per_trip >= 0.1, "{text}");

    let fastest = lines[5].strip_prefix("the fastest way: ").unwrap();
    let mut best = ("processes, pipe", &pipe);
    let others = [
        ("threads, channel", &channel),
        ("threads, shared memory", &memory),
    ];
    for other in others {
        if other.1.trips_per_second > best.1.trips_per_second {
            best = other;
        }
    }
    let (way, row) = best;
    assert_eq!(
        fastest,
        format!("{way}, {} round trips/s", row.rate_as_text)
    );
    let waiting = format!(
        "sleeps per round trip: {} at the pipe, {} at the channel",
        pipe.sleeps_as_text, channel.sleeps_as_text
    );
    assert_eq!(lines[6], waiting);

    let last = lines[7].strip_prefix("sleeps at shared memory: ").unwrap();
    let last = last.strip_suffix(" round trips").unwrap();
    let (sleeps, trips) = last.split_once(" in ").unwrap();
    let sleeps: f64 = sleeps.parse().unwrap();
    let trips: f64 = trips.parse().unwrap();
    assert!(sleeps < 30.0, "{text}");
    assert!(
        (sleeps / trips - memory.sleeps_per_trip).abs() < 0.006,
        "{text}"
    );
    // It takes 0.3 s, or more if the last of the trips take long.
    assert!(trips > 0.29 * memory.trips_per_second, "{text}");
    [pipe, memory]
}

#[test]
fn a_side_sleeps_at_pipe_and_channel_only() {
    for looks in ["1", "200", "10000"] {
        check(&run(&["--looks", looks]));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_one_core_looking_long_is_slower_than_a_pipe() {
    for looks in ["200", "10000"] {
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", "0", DEMO, "--looks", looks]);
        let Ok(output) = run_command(taskset.stdout(Stdio::piped())) else {
            return eprintln!("not tested: there is no taskset");
        };
        if output.stderr.starts_with(b"taskset") {
            return eprintln!("not tested: core 0 is not ours");
        }
        let [pipe, memory] = check(&output);
        if looks == "10000" {
            let slower = memory.trips_per_second < pipe.trips_per_second;
            assert!(slower, "{output:?}");
        }
    }
}

#[cfg(target_os = "linux")]
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default() // empty: it is gone
}

/// Seen from outside: cat, which ends with the demo even if that is killed,
/// and the other thread.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_partners() {
    for kill in [false, true] {
        let mut demo =
            Command::new(DEMO).stdout(Stdio::null()).spawn().unwrap();
        let tasks = format!("/proc/{}/task", demo.id());
        let children = format!("{tasks}/{}/children", demo.id());
        let mut most_threads = 0;
        let mut cat = None;
        while demo.try_wait().unwrap().is_none() {
            let threads = fs::read_dir(&tasks).map_or(0, Iterator::count);
            most_threads = most_threads.max(threads);
            for pid in read(&children).split_whitespace() {
                if read(&format!("/proc/{pid}/comm")) == "cat\n" {
                    cat = Some(pid.to_string());
                    if kill {
                        demo.kill().unwrap();
                    }
                }
            }
        }
        let cat = cat.expect("no child was seen");
        // When the second thread starts, the first one may just be ending.
        assert!(kill || most_threads == 2 || most_threads == 3);
        // A demo that is killed does not wait for cat, and nobody else tells
        // of its end.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let stat = read(&format!("/proc/{cat}/stat"));
            // A zombie waits for whoever adopts orphans here.
            if !stat.contains("(cat) ") || stat.contains("(cat) Z") {
                break;
            }
            assert!(Instant::now() < deadline, "cat {cat} outlived the demo");
            yield_now();
        }
    }
}
