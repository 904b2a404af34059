use std::process::Command;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const KIB: usize = 1024;

fn run(arguments: &[&str], stack_size: Option<&str>) -> String {
    let mut demo = Command::new(DEMO);
    demo.args(arguments).env_remove("RUST_MIN_STACK");
    if let Some(bytes) = stack_size {
        demo.env("RUST_MIN_STACK", bytes);
    }
    let output = demo.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Checks all that the demo says of so many threads, and gives the number of
/// bytes between the two local variables that are closest to each other.
fn check(text: &str, count: usize) -> usize {
    let (table, verdict) = text.split_once("\n\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(rows.len(), count, "{text}");
    let mut stacks = Vec::new();
    let mut heaps = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let words: Vec<&str> = row.split_whitespace().collect();
        let address = |word| usize::from_str_radix(word, 16).unwrap();
        assert_eq!(words[1], (index + 1).to_string(), "{text}");
        assert_eq!(words[3], "1", "{text}");
        assert_eq!(words[5], count.to_string(), "{text}");
        stacks.push(address(words[2]));
        heaps.push(address(words[4]));
    }
    heaps.dedup();
    assert_eq!(heaps.len(), 1, "{text}");

    stacks.sort_unstable();
    let pairs = stacks.windows(2);
    let closest = pairs.map(|pair| pair[1] - pair[0]).min().unwrap();
    let expected = format!(
        "heap:   {count} threads added 1 to one number: all see {count}\n\
         stacks: {count} threads added 1 to their own: all see 1\n        \
         the nearest two of these are {} KiB apart\n",
        closest / KIB
    );
    assert_eq!(verdict, expected);
    closest
}

#[test]
fn each_thread_has_its_own_stack_and_all_share_the_heap() {
    for count in [2, 3, 8] {
        let text = run(&["--threads", &count.to_string()], None);
        assert!(check(&text, count) >= 2048 * KIB, "{text}");
    }
}

/// The local variables are on the stacks: larger stacks keep them apart.
#[test]
fn by_default_four_threads_and_their_stacks_have_the_size_asked_for() {
    assert!(check(&run(&[], None), 4) < 99_000_000);
    assert!(check(&run(&[], Some("99000000")), 4) >= 99_000_000);
}
