use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo
}

fn run(args: &[&str]) -> Output {
    demo(args).stdin(Stdio::null()).output().unwrap()
}

/// What it prints; it must fit the screen.
fn stdout(args: &[&str]) -> String {
    text_of(run(args))
}

fn text_of(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() <= 23, "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{text}");
    }
    text
}

/// All sequences of letters in which each thread has so many steps, in the
/// order of the alphabet.
fn orders(threads: usize, steps: usize) -> Vec<String> {
    let letters = &['A', 'B', 'C'][..threads];
    let mut orders = vec![String::new()];
    for _ in 0..threads * steps {
        let mut longer = Vec::new();
        for order in &orders {
            for letter in letters {
                longer.push(format!("{order}{letter}"));
            }
        }
        orders = longer;
    }
    orders.retain(|order| {
        let steps_of = |letter: &char| order.matches(*letter).count();
        letters.iter().all(|letter| steps_of(letter) == steps)
    });
    orders
}

/// Where the counter ends: the first step of a thread loads, the last stores.
fn end_of(order: &str, steps: usize) -> usize {
    let mut counter = 0;
    let mut loaded = [0; 3];
    let mut done = [0; 3];
    for letter in order.bytes() {
        let thread = usize::from(letter - b'A');
        done[thread] += 1;
        if done[thread] == 1 {
            loaded[thread] = counter;
        }
        if done[thread] == steps {
            counter = loaded[thread] + 1;
        }
    }
    counter
}

/// How many end at 1, 2 and so on.
fn ends(threads: usize, steps: usize) -> Vec<usize> {
    let mut ends = vec![0; threads];
    for order in orders(threads, steps) {
        ends[end_of(&order, steps) - 1] += 1;
    }
    ends
}

/// The same, as the bars say, and the length of each.
fn bars(text: &str) -> Vec<(usize, usize)> {
    let mut bars = Vec::new();
    for line in text.lines() {
        if let Some((count, bar)) = line.split_once(" end at ") {
            let count = count.trim().parse().unwrap();
            bars.push((count, bar.matches('█').count()));
        }
    }
    bars
}

const CONFIGURATIONS: [(usize, usize, usize); 6] = [
    (2, 1, 2),
    (2, 2, 6),
    (2, 3, 20),
    (3, 1, 6),
    (3, 2, 90),
    (3, 3, 1680),
];

#[test]
fn counts_all_interleavings_and_where_they_end() {
    for (threads, steps, total) in CONFIGURATIONS {
        let text = stdout(&[
            "--threads",
            &threads.to_string(),
            "--steps",
            &steps.to_string(),
        ]);
        let expected = ends(threads, steps);
        assert_eq!(expected.iter().sum::<usize>(), total);
        let bars = bars(&text);
        assert_eq!(bars.len(), threads, "{text}");
        for (i, (count, length)) in bars.into_iter().enumerate() {
            assert_eq!(count, expected[i], "{text}");
            let share = 60.0 * count as f64 / total as f64;
            assert_eq!(length, share.ceil() as usize, "{text}");
        }
        let formula = format!("({threads} x {steps})! / ({steps}!)^{threads}");
        let head = format!(
            "threads: {threads}, steps of each: {steps}\n\
             interleavings: {formula} = {total}\n\n"
        );
        assert!(text.starts_with(&head), "{text}");
        let exact = expected[threads - 1];
        let lossy = total - exact;
        let verdict = format!(
            "\n\n{total} interleavings executed: {lossy} lose updates\n\
             lose none: {exact}, those with one thread after the other\n"
        );
        assert!(text.ends_with(&verdict), "{text}");
    }
}

#[test]
fn without_arguments_18_of_20_lose_an_update() {
    assert_eq!(bars(&stdout(&[])), [(18, 54), (2, 6)]);
}

#[test]
fn one_step_loses_nothing() {
    assert_eq!(ends(2, 1), [0, 2]);
    let text = stdout(&["--steps", "1"]);
    assert_eq!(bars(&text), [(0, 0), (2, 60)]);
    assert!(text.contains(": 0 lose updates\nlose none: 2, "), "{text}");
    assert_eq!(text.matches("no update is lost").count(), 1, "{text}");
    assert!(!text.contains("←"), "{text}");
}

/// Obeys what is drawn, line by line: title, heading, and the rows. Returns
/// the order of the letters, and where the counter ends.
fn replay(drawn: &[&str], threads: usize, steps: usize) -> (String, usize) {
    let text = drawn.join("\n");
    let width = 10 * threads;
    let heading = "A         B         C         ";
    assert_eq!(drawn[1], format!("{}counter", &heading[..width]));
    assert_eq!(drawn[2], format!("{:width$}0", ""));
    let mut order = String::new();
    let mut registers = [0; 3];
    let mut counter = 0;
    let mut lost = 0;
    for line in &drawn[3..] {
        let (step, after) = line.split_at(width);
        let thread = (step.len() - step.trim_start().len()) / 10;
        order.push(['A', 'B', 'C'][thread]);
        let before = counter;
        let register = &mut registers[thread];
        let step: Vec<&str> = step.split_whitespace().collect();
        let shown = match step[..] {
            ["load", shown] => {
                *register = counter;
                shown.to_string()
            }
            ["+1", "=", shown] => {
                *register += 1;
                shown.to_string()
            }
            ["store", shown] => {
                counter = *register;
                shown.to_string()
            }
            ["+1,", "store"] => {
                *register += 1;
                counter = *register;
                counter.to_string()
            }
            ["fetch_add"] => {
                counter += 1;
                *register = counter;
                counter.to_string()
            }
            _ => panic!("{text}"),
        };
        assert_eq!(shown, register.to_string(), "{text}");
        let stores = ["store", "fetch_add"];
        let grown = usize::from(stores.iter().any(|name| step.contains(name)));
        let lost_now = before + grown - counter;
        lost += lost_now;
        let expected = match lost_now {
            0 => format!("{counter}"),
            _ => format!("{counter} ← {lost_now} lost"),
        };
        assert_eq!(after.trim(), expected, "{text}");
    }
    assert_eq!(order.len(), threads * steps, "{text}");
    assert_eq!(counter, end_of(&order, steps), "{text}");
    assert_eq!(lost, threads - counter, "{text}");
    let title = match lost {
        0 => format!("{order}: no update is lost"),
        1 => format!("{order}: an update is lost"),
        _ => format!("{order}: {lost} updates are lost"),
    };
    assert_eq!(drawn[0], title, "{text}");
    (order, counter)
}

/// What is drawn leads to what is said of it.
#[test]
fn the_timelines_are_right() {
    for (threads, steps, _) in CONFIGURATIONS {
        let text = stdout(&[
            "--threads",
            &threads.to_string(),
            "--steps",
            &steps.to_string(),
        ]);
        let drawn = text.split("\n\n").nth(2).unwrap();
        let width = 10 * threads + 10;
        let mut left = Vec::new();
        let mut right = Vec::new();
        for line in drawn.lines() {
            left.push(line.get(..width).unwrap_or(line).trim_end());
            right.extend(line.get(width..));
        }
        let all = orders(threads, steps);
        let ends = |order: &&String| end_of(order, steps);
        let exact = all.iter().find(|order| ends(order) == threads).unwrap();
        let lossy = all.iter().find(|order| ends(order) < threads);
        assert_eq!(replay(&left, threads, steps).0, *exact);
        match lossy {
            Some(lossy) => {
                assert_eq!(replay(&right, threads, steps).0, *lossy);
            }
            None => assert!(right.is_empty(), "{text}"),
        }
    }
}

/// The two lines that follow an interleaving.
fn verdict(order: &str, threads: usize, steps: usize) -> String {
    let end = end_of(order, steps);
    let ends = ends(threads, steps);
    let total: usize = ends.iter().sum();
    format!(
        "\n\n{order}: expected {threads}, counted {end}: {} lost\n\
         of all {total} interleavings, {} end at {end}, like this one\n",
        threads - end,
        ends[end - 1]
    )
}

#[test]
fn executes_any_order_of_two_threads() {
    let all = orders(2, 3);
    assert_eq!(all.len(), 20);
    for order in all {
        let text = stdout(&["--order", &order]);
        let verdict = verdict(&order, 2, 3);
        assert!(text.ends_with(&verdict), "{text}");
        let drawn = text.strip_suffix(&verdict).unwrap();
        let drawn: Vec<&str> = drawn.lines().collect();
        assert_eq!(replay(&drawn, 2, 3), (order.clone(), end_of(&order, 3)));
        let lower_case = stdout(&["--order", &order.to_lowercase()]);
        assert_eq!(lower_case, text);
    }
}

#[test]
fn executes_orders_of_other_threads_and_steps() {
    for (order, end, threads, steps) in [
        ("CCCAAABBB", 3, 3, 3),
        ("AAABCBCBC", 2, 3, 3),
        ("ABBBCCCAA", 1, 3, 3), // one store overwrites two updates
        ("BABA", 1, 2, 2),
        ("BBAA", 2, 2, 2),
        ("BA", 2, 2, 1),
        ("CAB", 3, 3, 1),
    ] {
        let text = stdout(&[
            "--order",
            order,
            "--threads",
            &threads.to_string(),
            "--steps",
            &steps.to_string(),
        ]);
        let verdict = verdict(order, threads, steps);
        assert!(text.ends_with(&verdict), "{text}");
        let drawn = text.strip_suffix(&verdict).unwrap();
        let drawn: Vec<&str> = drawn.lines().collect();
        let seen = replay(&drawn, threads, steps);
        assert_eq!(seen, (order.to_string(), end));
    }
}

/// The class's own order, from the header.
#[test]
fn aabbab_loses_an_update() {
    let text = stdout(&["--order", "AABBAB"]);
    let last = "AABBAB: expected 2, counted 1: 1 lost\n\
         of all 20 interleavings, 18 end at 1, like this one\n";
    assert!(text.ends_with(last), "{text}");
}

#[test]
fn refuses_an_order_that_is_none() {
    let two = "AAABBB";
    for (args, order, reason, possible) in [
        (&[][..], "AAAABB", "A has no step left", two),
        (&[], "AAABBBA", "A has no step left", two),
        (&[], "BBBB", "B has no step left", two),
        (&[], "AAABB", "B has steps left", two),
        (&[], "BBAB", "A has steps left", two),
        (&[], "", "A has steps left", two),
        (&[], "ABXABAB", "there is no thread 'X'", two),
        (&[], "AABBAC", "there is no thread 'C'", two),
        (&[], "AAB BAB", "there is no thread ' '", two),
        (&[], "AA\u{1b}", "there is no thread '\\u{1b}'", two),
        (&["--steps", "1"], "AA", "A has no step left", "AB"),
        (&["--steps", "2"], "AAABBB", "A has no step left", "AABB"),
        (
            &["--threads", "3"],
            "AAABBB",
            "C has steps left",
            "AAABBBCCC",
        ),
    ] {
        let args = [args, &["--order", order]].concat();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        let expected = format!(
            "error: --order {order:?}: {reason}\n\
             possible is {possible}, and these letters in any other order\n"
        );
        assert!(message.starts_with(&expected), "{message}");
    }
}

/// Types this into a pipe.
fn play(args: &[&str], typed: &[u8]) -> String {
    let mut demo = demo(&[&["--play"], args].concat());
    demo.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = demo.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended before it has read all.
    if let Err(error) = stdin.write_all(typed) {
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    drop(stdin);
    text_of(child.wait_with_output().unwrap())
}

/// A played screen: the timeline without questions, the questions with their
/// answers, and what follows.
struct Screen<'a> {
    drawn: Vec<&'a str>,
    questions: Vec<&'a str>,
    end: &'a str,
}

fn screen(text: &str, threads: usize) -> Screen<'_> {
    let (head, rest) = text.split_once("\n\n").unwrap();
    assert!(head.starts_with("You are the scheduler."), "{text}");
    let (rows, end) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let mut drawn = Vec::new();
    let mut questions = Vec::new();
    for line in rows.lines() {
        let Some((left, question)) = line.split_once("next step: ") else {
            drawn.push(line);
            continue;
        };
        // All questions stand in one column.
        assert_eq!(left.chars().count(), 10 * threads + 12, "{text}");
        drawn.push(left.trim_end());
        questions.push(question);
    }
    Screen {
        drawn,
        questions,
        end,
    }
}

#[test]
fn plays_any_order_and_counts_those_that_end_alike() {
    for order in orders(2, 3) {
        let mut lines = String::new();
        for letter in order.chars() {
            lines.push(letter);
            lines.push('\n');
        }
        let text = play(&[], lines.as_bytes());
        let screen = screen(&text, 2);
        let title = match end_of(&order, 3) {
            2 => format!("{order}: no update is lost"),
            _ => format!("{order}: an update is lost"),
        };
        let mut drawn = vec![title.as_str()];
        drawn.extend(screen.drawn);
        replay(&drawn, 2, 3);
        assert_eq!(screen.questions.len(), 6, "{text}");
        for (i, letter) in order.char_indices() {
            let left = |other: char| order[..i].matches(other).count() < 3;
            let choice = match (left('A'), left('B')) {
                (true, true) => "A or B",
                (true, false) => "A",
                _ => "B",
            };
            assert_eq!(screen.questions[i], format!("{choice}? {letter}"));
        }
        let verdict = verdict(&order, 2, 3);
        assert_eq!(screen.end, verdict.trim_start(), "{text}");
    }
}

#[test]
fn plays_other_threads_and_steps() {
    let text = play(&["--threads", "3"], b"abbbcccaa");
    assert!(
        text.contains("next step: A or B or C? abbbcccaa\n"),
        "{text}"
    );
    assert!(text.contains("next step: A or C? c\n"), "{text}");
    assert!(text.contains("1 ← 2 lost\n"), "{text}");
    assert!(text.ends_with(&verdict("ABBBCCCAA", 3, 3)), "{text}");
    let one_step = play(&["--steps", "1"], b"b\na\n");
    assert!(one_step.ends_with(&verdict("BA", 2, 1)), "{one_step}");
}

/// Letters may come all in a line, in lower case, and without its end.
#[test]
fn letters_may_share_a_line() {
    for typed in ["AABBAB\n", " aabb\r\nab", "A\nABBAB\nAAA\nx"] {
        let text = play(&[], typed.as_bytes());
        assert!(text.ends_with(&verdict("AABBAB", 2, 3)), "{text}");
        assert_eq!(text.matches("next step: ").count(), 6, "{text}");
    }
}

#[test]
fn a_mistyped_letter_asks_again() {
    let text = play(&[], b"A\nxB\n\nC\nA\nA\n1\nA\n\xff\nB\nB\nB\n");
    let screen = screen(&text, 2);
    assert_eq!(screen.end, verdict("AAABBB", 2, 3).trim_start());
    let mut complaints = Vec::new();
    for line in screen.drawn {
        if line.contains(" no ") {
            complaints.push(line.trim());
        }
    }
    assert_eq!(
        complaints,
        [
            "there is no thread 'x'", // and what came with it is forgotten
            "there is no thread '\\n'",
            "there is no thread 'C'",
            "there is no thread '1'",
            "A has no step left",
            "there is no thread '\u{fffd}'",
        ]
    );
    assert_eq!(screen.questions.len(), 6 + complaints.len(), "{text}");
}

#[test]
fn an_early_end_of_the_input_is_no_failure() {
    for (typed, done) in [("", 0), ("A\n", 1), ("AABBA", 5), ("AAAA", 3)] {
        let text = play(&[], typed.as_bytes());
        let end = format!("? \nThe input has ended after {done} of 6 steps.\n");
        assert!(text.ends_with(&end), "{text}");
        assert!(!text.contains("expected"), "{text}");
    }
    let text = play(&["--threads", "3", "--steps", "2"], b"");
    assert!(text.ends_with("after 0 of 6 steps.\n"), "{text}");
}

#[test]
fn says_so_if_the_input_cannot_be_read() {
    let folder = File::open(std::env::temp_dir()).unwrap();
    let output = demo(&["--play"]).stdin(folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with("Error: cannot read whose step is next\n"));
}

/// A demo whose standard input and output are a terminal.
struct Terminal {
    demo: Child,
    keyboard: File,
    shown: Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    fn open(args: &[&str]) -> Terminal {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut demo = demo(args);
        demo.stdin(terminal.slave.try_clone().unwrap());
        demo.stdout(terminal.slave);
        let running = demo.spawn().unwrap();
        drop(demo); // and with it this process's copies of the slave
        let keyboard = File::from(terminal.master);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, shown) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 1000];
            // At the end of the demo Linux says EIO.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal {
            demo: running,
            keyboard,
            shown,
            text: String::new(),
        }
    }

    /// Waits for the next question, and answers it.
    fn answer(&mut self, typed: &str) {
        while !self.text.ends_with("? ") {
            self.read();
        }
        self.keyboard.write_all(typed.as_bytes()).unwrap();
        self.read(); // the terminal shows what was typed
    }

    fn read(&mut self) {
        let bytes = self.shown.recv_timeout(Duration::from_secs(60));
        let bytes = bytes.unwrap_or_else(|_| {
            self.demo.kill().unwrap();
            panic!("no question came: {}", self.text)
        });
        self.text += &String::from_utf8(bytes).unwrap();
    }

    /// All that was shown, once the demo has ended.
    fn close(mut self) -> String {
        while let Ok(bytes) = self.shown.recv_timeout(Duration::from_secs(60)) {
            self.text += &String::from_utf8(bytes).unwrap();
        }
        let ended = self.demo.try_wait().unwrap();
        if ended.is_none() {
            self.demo.kill().unwrap();
        }
        assert!(self.demo.wait().unwrap().success(), "{}", self.text);
        self.text.replace("\r\n", "\n")
    }
}

/// Somebody types, and sees the same as is printed into a pipe.
#[test]
fn plays_at_a_terminal() {
    let mut terminal = Terminal::open(&["--play"]);
    for typed in ["A\n", "a\n", "x\n", "\n", "bb\n", "A\n", "B\n"] {
        terminal.answer(typed);
    }
    let text = terminal.close();
    assert!(text.ends_with(&verdict("AABBAB", 2, 3)), "{text}");
    assert!(text.contains("there is no thread 'x' "), "{text}");
    assert_eq!(text, play(&[], b"A\na\nx\n\nbb\nA\nB\n"));
}

/// Control-D is the end of the input.
#[test]
fn control_d_ends_quietly() {
    let mut terminal = Terminal::open(&["--play"]);
    terminal.answer("A\n");
    terminal.answer("\u{4}");
    let text = terminal.close();
    let end = "? \nThe input has ended after 1 of 6 steps.\n";
    assert!(text.ends_with(end), "{text}");
}
