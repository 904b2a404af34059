use std::process::Command;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Each row: a thread, what it does, a box for each one that is inside then.
#[test]
fn as_many_are_inside_as_there_are_permits_and_never_more() {
    for permits in 1..=8 {
        let output = Command::new(DEMO)
            .args(["--permits", &permits.to_string()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let first = format!("8 threads, {permits} permits; ");
        assert!(text.starts_with(&first), "{text}");

        let mut inside: Vec<&str> = Vec::new();
        let mut have_left = Vec::new();
        let mut most = 0;
        for line in text.lines().filter(|line| line.starts_with("thread ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = words[1];
            if words[2] == "enters" {
                assert!(!have_left.contains(&number), "{text}");
                inside.push(number);
            } else {
                assert_eq!(words[2], "leaves", "{text}");
                assert!(inside.contains(&number), "{text}");
                inside.retain(|other| *other != number);
                have_left.push(number);
            }
            assert_eq!(line.matches('█').count(), inside.len(), "{text}");
            assert!(inside.len() <= permits, "{text}");
            most = most.max(inside.len());
        }
        assert_eq!(most, permits, "{text}");
        assert_eq!(have_left.len(), 8, "{text}");
        let end = format!(
            "\npermits: {permits}; inside at once, at most: {permits} of 8\n"
        );
        assert!(text.ends_with(&end), "{text}");
    }
}

/// Seen from outside: the kernel lists all threads, those that wait as well.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    // On a busy machine a look may come too late: then once more.
    for _ in 0..20 {
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
        if most > 8 {
            return;
        }
    }
    panic!("not all threads were seen in 20 runs");
}
