use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_race-interleavings");

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How many interleavings end at 1, 2 and so on, as the table says.
fn table(text: &str) -> Vec<u64> {
    let rows = text.lines().filter_map(|line| line.split_once(" end at "));
    rows.map(|(count, _)| count.trim().parse().unwrap())
        .collect()
}

/// The same, found in another way: of all sequences of threads, those in which each has its steps.
fn expected(threads: u64, steps: u64) -> Vec<u64> {
    let mut ends = vec![0; threads as usize];
    for code in 0..threads.pow((threads * steps) as u32) {
        let order = (0..threads * steps)
            .map(|i| code / threads.pow(i as u32) % threads);
        let order: Vec<_> = order.map(|thread| thread as usize).collect();
        let (mut done, mut loaded, mut counter) = ([0; 3], [0; 3], 0);
        for &thread in &order {
            done[thread] += 1;
            if done[thread] == 1 {
                loaded[thread] = counter;
            }
            if done[thread] == steps {
                counter = loaded[thread] + 1;
            }
        }
        if done[..threads as usize].iter().all(|&done| done == steps) {
            ends[counter - 1] += 1;
        }
    }
    ends
}

#[test]
fn counts_all_interleavings_and_where_they_end() {
    assert_eq!(table(&stdout(&[])), [18, 2]);
    for (threads, steps, total) in [
        (2, 1, 2),
        (2, 2, 6),
        (2, 3, 20),
        (3, 1, 6),
        (3, 2, 90),
        (3, 3, 1680),
    ] {
        let args = [
            "--threads",
            &threads.to_string(),
            "--steps",
            &steps.to_string(),
        ];
        let (text, ends) = (stdout(&args), expected(threads, steps));
        assert_eq!(table(&text), ends, "{text}");
        assert_eq!(ends.iter().sum::<u64>(), total);
        let exact = *ends.last().unwrap();
        let last = format!(
            "{total} interleavings: {} lose updates; {exact} do not",
            total - exact
        );
        assert!(text.lines().last().unwrap().starts_with(&last), "{text}");
        assert!(
            text.lines()
                .next()
                .unwrap()
                .ends_with(&format!(" = {total}")),
            "{text}"
        );
    }
}

#[test]
fn one_step_loses_nothing() {
    assert_eq!(table(&stdout(&["--steps", "1"])), [0, 2]);
    assert_eq!(
        table(&stdout(&["--threads", "3", "--steps", "1"])),
        [0, 0, 6]
    );
}

/// What is drawn is obeyed once more, line by line, and leads to the same.
#[test]
fn the_timelines_are_right() {
    for threads in [2, 3] {
        let text = stdout(&["--threads", &threads.to_string()]);
        let (_, drawn) = text.split_once("\n\nA").unwrap();
        let (drawn, _) = drawn.split_once("\n\n").unwrap();
        let width = 10 * threads + 7 + 4;
        let mut ends = Vec::new();
        for left in [0, width] {
            let (mut registers, mut counter, mut steps) = ([0; 3], 0, 0);
            for line in drawn.lines().skip(1) {
                let cells = &line[left..(left + width).min(line.len())];
                let thread = (cells.len() - cells.trim_start().len()) / 10;
                let words: Vec<_> = cells.split_whitespace().collect();
                match words[0] {
                    "load" => registers[thread] = counter,
                    "+1" => registers[thread] += 1,
                    "store" => counter = registers[thread],
                    other => panic!("{other}: {text}"),
                }
                let [.., register, after] = words[..] else {
                    panic!("{text}")
                };
                let (register, after): (u32, u32) =
                    (register.parse().unwrap(), after.parse().unwrap());
                assert_eq!(
                    (register, after),
                    (registers[thread], counter),
                    "{text}"
                );
                steps += 1;
            }
            assert_eq!(steps, 3 * threads);
            ends.push(counter as usize);
        }
        assert!(
            ends[0] == threads && ends[1] < threads,
            "one that works, one that loses: {text}"
        );
    }
}

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--threads", "1"][..],
        &["--threads", "4"],
        &["--steps", "0"],
        &["--no"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
