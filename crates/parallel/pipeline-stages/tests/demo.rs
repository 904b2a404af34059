use std::process::{Command, Output};
use std::time::Instant;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// What the demo has printed.
#[derive(Debug)]
struct Seen {
    together: u64, // ms
    busiest: u64,
    took: u64,
    /// For each stage and sentence, its first column and the one after its last
    columns: Vec<Vec<(usize, usize)>>,
}

/// Checks what holds for any arguments.
fn look(output: &Output) -> Seen {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let milliseconds = |before: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(before)).unwrap();
        let number = line[before.len()..].strip_suffix(" ms").unwrap();
        number.parse().unwrap()
    };
    assert!(text.contains("\nwords counted: 272, without a pipeline: 272\n"));

    let mut columns = Vec::new();
    for (row, stage) in ["read", "split", "count"].iter().enumerate() {
        let (name, line) = text.lines().nth(2 + row).unwrap().split_at(7);
        assert_eq!(name.trim_end(), *stage, "{text}");
        let mut of_stage = Vec::new();
        let mut end = 0;
        for digit in '0'..='9' {
            let begin = line.find(digit).unwrap();
            assert!(line[end..begin].trim().is_empty(), "{text}");
            end = 1 + line.rfind(digit).unwrap();
            assert!(line[begin..end].chars().all(|one| one == digit));
            of_stage.push((begin, end));
        }
        assert_eq!(end, line.len(), "{text}");
        columns.push(of_stage);
    }
    // Each sentence goes from stage to stage.
    for (earlier, later) in columns.iter().zip(&columns[1..]) {
        for (one, next) in earlier.iter().zip(later) {
            assert!(one.1 <= next.0, "{text}");
        }
    }
    let seen = Seen {
        together: milliseconds("all its stages together worked "),
        busiest: milliseconds("its busiest stage worked "),
        took: milliseconds("the pipeline took "),
        columns,
    };
    assert!(seen.busiest <= seen.took, "{text}");
    assert!(seen.took <= (seen.busiest + seen.together) / 2, "{text}");

    // The picture shows the same times, each rounded down to 20 ms.
    let mut busiest = 0;
    let mut together = 0;
    for stage in &seen.columns {
        let filled: usize = stage.iter().map(|one| one.1 - one.0).sum();
        busiest = busiest.max(20 * filled as u64);
        together += 20 * filled as u64;
    }
    assert!(busiest.abs_diff(seen.busiest) < 10 * 20, "{seen:?}");
    assert!(together.abs_diff(seen.together) < 30 * 20, "{seen:?}");
    let end = 20 * seen.columns[2][9].1 as u64;
    assert!(end <= seen.took, "{seen:?}");
    seen
}

#[test]
fn the_slowest_stage_decides() {
    for (split, slowest) in [(80, 80), (20, 40), (60, 60)] {
        let mut demo = Command::new(DEMO);
        demo.args(["--split", &split.to_string()]);
        let begin = Instant::now();
        let seen = look(&demo.output().unwrap());
        assert!(seen.took <= begin.elapsed().as_millis() as u64, "{seen:?}");
        assert!(seen.busiest >= 10 * slowest, "{seen:?}");
        assert!(seen.together >= 10 * (40 + split + 20), "{seen:?}");
        // The first sentence has to come in, and the last one out.
        let least = 40 + 10 * split + 20;
        assert!(seen.took >= least.max(10 * 40 + split + 20), "{seen:?}");
    }
}

#[test]
fn by_default_the_second_stage_is_slowest_and_the_first_one_has_to_wait() {
    let seen = look(&Command::new(DEMO).output().unwrap());
    assert!(seen.together >= 10 * (40 + 80 + 20), "{seen:?}");
    let [read, split, _] = &seen.columns[..] else {
        panic!()
    };
    let begins_early = |next: usize| read[next].0 < split[next - 1].1;
    assert!((1..10).any(begins_early), "never at once: {seen:?}");
    // Two sentences are in the channel, one in the hands of split: it has ended
    // its work on the one before.
    for sentence in 4..10 {
        let ended = split[sentence - 4].1;
        assert!(ended <= read[sentence].0, "no back-pressure: {seen:?}");
    }
}

/// Seen from outside: main, and a thread for each stage.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_a_thread_for_each_stage() {
    let mut demo = Command::new(DEMO)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", demo.id());
    let mut most = 0;
    while demo.try_wait().unwrap().is_none() {
        let entries = std::fs::read_dir(&tasks);
        most = most.max(entries.map_or(0, |entries| entries.count()));
    }
    assert!(most > 3, "{most}");
}
