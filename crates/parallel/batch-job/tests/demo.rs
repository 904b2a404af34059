use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const VARIABLES: [&str; 5] = [
    "SLURM_ARRAY_TASK_ID",
    "PBS_ARRAY_INDEX",
    "PBS_ARRAYID",
    "SGE_TASK_ID",
    "LSB_JOBINDEX",
];

/// An empty folder for a test, in the one that holds what Cargo builds.
fn new_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    folder
}

fn demo(folder: &Path) -> Command {
    let mut demo = Command::new(DEMO);
    for name in VARIABLES {
        demo.env_remove(name);
    }
    demo.current_dir(folder).env_remove("RUST_BACKTRACE");
    demo
}

fn run(folder: &Path, args: &str) -> Output {
    demo(folder).args(args.split(' ')).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Exit code 1, and these words on standard error.
fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(words), "{words}: {error}");
}

/// The hits in a result. Read without the library that the demo uses.
fn hits(folder: &Path, index: usize) -> u64 {
    let file = folder.join(format!("result-{index}.json"));
    let json = fs::read_to_string(file).unwrap();
    let rest = json.strip_prefix("{\"points\":1000000,\"hits\":").unwrap();
    rest.strip_suffix("}\n").unwrap().parse().unwrap()
}

fn row(index: usize, hits: u64) -> String {
    format!("task {index} wrote {{\"points\":1000000,\"hits\":{hits}}}\n")
}

/// Without an index, where the tasks run this script: the scheduler takes its
/// first argument for its own name. sh writes the script, for a file that this
/// process writes might be open in a child of another test, and not be run.
fn play_scheduler(folder: &Path, script: &str) -> Output {
    let write = "printf '#!/bin/sh\n%s\n' \"$0\" >task && chmod +x task";
    let mut sh = Command::new("sh");
    sh.args(["-c", write, script]).current_dir(folder);
    assert!(sh.status().unwrap().success());
    demo(folder)
        .arg0("./task")
        .env("DEMO", DEMO)
        .output()
        .unwrap()
}

#[test]
fn four_tasks_run_at_once_and_one_of_them_again() {
    let folder = new_folder("scheduler");
    // No task goes on before four have started.
    let script = "echo $2 >>log; tries=0
        until [ $(wc -l <log) -ge 4 ]; do
            tries=$((tries + 1)); [ $tries -lt 1000 ] || exit 9; sleep 0.01
        done
        exec \"$DEMO\" \"$@\"";
    let text = stdout(&play_scheduler(&folder, script));
    let log = fs::read_to_string(folder.join("log")).unwrap();
    let (all, again) = log.split_at(8);
    let mut indexes: Vec<&str> = all.lines().collect();
    indexes.sort_unstable();
    assert_eq!(indexes, ["1", "2", "3", "4"]);
    assert_eq!(again, "2\n");

    let mut sum = 0;
    let mut rows = Vec::new();
    for index in 1..=4 {
        stdout(&run(&folder, &format!("--index {index}")));
        let hits = hits(&folder, index);
        sum += hits;
        rows.push(row(index, hits));
    }
    let json = fs::read_to_string(folder.join("result-2.json")).unwrap();
    let half = &json[..json.len() / 2];
    let column = half.len();
    let expected = format!(
        "run [1, 2, 3, 4]\n{}\n\
         the result of task 2 is torn, this is left: {half}\n\n\
         merge 1 to 4\n\
         task 2: EOF while parsing an object at line 1 column {column}\n\n\
         run [2]\n{}\n\
         merge 1 to 4\n\
         4 results merged: {sum} of 4000000 hit, pi is {:.5}\n\n\
         computed again: 1 of 4 tasks\n",
        rows.concat(),
        rows[1],
        sum as f64 / 1_000_000.0
    );
    assert_eq!(text, expected);
    let left = fs::read_dir(folder.join("target/batch-job")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_task_that_fails_or_writes_nothing_is_named() {
    let folder = new_folder("failures");
    for (what, words) in [
        ("[ $2 != 3 ] || exit 5", "task 3 failed: exit status: 5"),
        (
            "[ $2 != 3 ] || exit 0",
            "task 2 should run again, not [2, 3]",
        ),
        ("mkdir $2 || exit 0", "still no result of [2]"),
    ] {
        let script = format!("{what}; exec \"$DEMO\" \"$@\"");
        refused(&play_scheduler(&folder, &script), words);
    }
}

#[test]
fn each_scheduler_says_the_index_which_is_the_seed() {
    let folder = new_folder("index");
    let run_with = |name: &str, value: &str| {
        demo(&folder).env(name, value).output().unwrap()
    };
    let mut all = Vec::new();
    for (index, name) in (1..).zip(VARIABLES) {
        let text = stdout(&run_with(name, &index.to_string()));
        let hits = hits(&folder, index);
        assert_eq!(text, row(index, hits));
        assert_eq!(stdout(&run(&folder, &format!("--index {index}"))), text);
        // 10 standard deviations of the binomial distribution
        assert!(hits.abs_diff(785_398) < 4100, "{hits}");
        assert!(!all.contains(&hits), "{hits} {all:?}");
        all.push(hits);
        refused(&run_with(name, "4x"), &format!("Error: {name} is \"4x\""));
    }
    // Their words for a job that is no array
    for (name, value) in [("SGE_TASK_ID", "undefined"), ("LSB_JOBINDEX", "0")] {
        let text = stdout(&run_with(name, value));
        assert!(text.starts_with("run [1, 2, 3, 4]\n"), "{text}");
    }
    assert!(stdout(&run_with("PBS_ARRAYID", "0")).starts_with("task 0 wrote"));
    let mut task = demo(&folder);
    task.env("PBS_ARRAYID", "3").args(["--index", "5"]);
    let text = stdout(&task.output().unwrap());
    assert!(text.starts_with("task 5 wrote "), "{text}");
}

#[test]
fn the_merge_names_what_is_missing_or_torn() {
    let folder = new_folder("merge");
    for index in 1..=4 {
        stdout(&run(&folder, &format!("--index {index}")));
    }
    let before = stdout(&run(&folder, "--merge 4"));
    let file = folder.join("result-2.json");
    let whole = fs::read(&file).unwrap();
    for length in 0..whole.len() - 1 {
        fs::write(&file, &whole[..length]).unwrap();
        refused(&run(&folder, "--merge 4"), "Error: no result of [2]: ");
    }
    fs::remove_file(folder.join("result-4.json")).unwrap();
    refused(&run(&folder, "--merge 4"), "Error: no result of [2, 4]: ");
    for index in ["2", "4"] {
        stdout(&run(&folder, &format!("--index {index}")));
    }
    assert_eq!(stdout(&run(&folder, "--merge 4")), before);

    // The Try lines
    stdout(&run(&folder, "--index 1 --out target"));
    assert_eq!(hits(&folder, 1), hits(&folder.join("target"), 1));
    refused(&run(&folder, "--merge 2 --out target"), "no result of [2]");
}

/// Who has opened the old result keeps it: nothing is written over it.
#[test]
fn a_result_is_replaced_in_one_step() {
    let folder = new_folder("replace");
    let file = folder.join("result-1.json");
    fs::write(&file, "old").unwrap();
    let mut reader = fs::File::open(&file).unwrap();
    stdout(&run(&folder, "--index 1"));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert!(hits(&folder, 1) > 0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}
