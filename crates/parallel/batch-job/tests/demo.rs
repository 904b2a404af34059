use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{SigHandler, Signal, kill};
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const VARIABLES: [&str; 3] =
    ["PBS_ARRAY_INDEX", "PBS_ARRAYID", "SLURM_ARRAY_TASK_ID"];

/// A folder that a test has for itself, and that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir()
            .join(format!("batch-job-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
    fn result(&self, index: u16) -> PathBuf {
        self.0.join(format!("result-{index}.json"))
    }
    fn task(&self, args: &[&str]) -> Output {
        demo(&self.0).args(args).output().unwrap()
    }
    fn merge(&self, indexes: &[u16]) -> Output {
        demo(&self.0)
            .arg("--merge")
            .args(indexes.iter().map(|i| self.result(*i)))
            .output()
            .unwrap()
    }
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn demo(folder: &Path) -> Command {
    let mut demo = Command::new(DEMO);
    for name in VARIABLES {
        demo.env_remove(name);
    }
    demo.current_dir(folder).env_remove("RUST_BACKTRACE");
    demo
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

/// `{"index":I,"points":P,"hits":H}`, read without the library that the demo uses.
fn numbers(json: &str) -> [u64; 3] {
    let names: Vec<_> = json.split('"').skip(1).step_by(2).collect();
    assert_eq!(names, ["index", "points", "hits"]);
    assert!(json.ends_with("}\n") && json.lines().count() == 1);
    let numbers = json
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn the_index_is_the_seed() {
    let folder = Folder::new("seed");
    let result = |index: u16| {
        stdout(&folder.task(&[
            "--index",
            &index.to_string(),
            "--points",
            "50000",
        ]));
        fs::read_to_string(folder.result(index)).unwrap()
    };
    let (one, two, again) = (result(1), result(2), result(1));
    assert_eq!(one, again);
    assert_ne!(numbers(&one)[2], numbers(&two)[2]);
    let [index, points, hits] = numbers(&two);
    assert_eq!([index, points], [2, 50_000]);
    // 10 standard deviations of the binomial distribution
    assert!(
        (hits as f64 - 50_000.0 * std::f64::consts::FRAC_PI_4).abs() < 920.0,
        "{hits}"
    );
    assert_eq!(folder.files(), ["result-1.json", "result-2.json"]);
}

#[test]
fn takes_the_index_from_the_scheduler() {
    let folder = Folder::new("variables");
    for (index, name) in (7..).zip(VARIABLES) {
        let mut task = demo(&folder.0);
        let output = task.env(name, index.to_string()).output().unwrap();
        let said = format!("task {index}: ");
        assert!(stdout(&output).starts_with(&said), "{output:?}");
        let json = fs::read_to_string(folder.result(index)).unwrap();
        assert_eq!(numbers(&json)[0], index.into());
    }
    let mut task = demo(&folder.0);
    task.env("SLURM_ARRAY_TASK_ID", "3").args(["--index", "4"]);
    assert!(stdout(&task.output().unwrap()).starts_with("task 4: "));
}

/// Slurm's own qsub sets a variable of PBS, too.
#[test]
fn variables_that_agree_are_one_that_disagree_are_refused() {
    let folder = Folder::new("two");
    let mut agreed = demo(&folder.0);
    agreed
        .env("PBS_ARRAYID", "3")
        .env("SLURM_ARRAY_TASK_ID", "3");
    assert!(stdout(&agreed.output().unwrap()).starts_with("task 3: "));

    let mut torn = demo(&folder.0);
    torn.env("PBS_ARRAY_INDEX", "1")
        .env("SLURM_ARRAY_TASK_ID", "3");
    let output = torn.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    for word in ["PBS_ARRAY_INDEX is 1", "SLURM_ARRAY_TASK_ID is 3"] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(folder.files(), ["result-3.json"]);
}

#[test]
fn an_index_that_is_none_is_refused() {
    let folder = Folder::new("no-index");
    for value in ["", "x", "-1", "70000"] {
        let mut task = demo(&folder.0);
        let output = task.env("PBS_ARRAYID", value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("--index"), "{error}");
        assert!(
            error.contains(&format!("PBS_ARRAYID is {value:?}")),
            "{error}"
        );
    }
    assert!(folder.files().is_empty());
}

#[test]
fn merges_to_the_interval_that_the_files_give() {
    let folder = Folder::new("merge");
    let mut sums = [0.0, 0.0];
    for index in 0..5 {
        stdout(&folder.task(&["--index", &index.to_string()]));
        let [_, points, hits] =
            numbers(&fs::read_to_string(folder.result(index)).unwrap());
        sums = [sums[0] + points as f64, sums[1] + hits as f64];
    }
    let text = stdout(&folder.merge(&[3, 0, 1, 4, 2]));
    assert_eq!(
        text,
        stdout(&folder.merge(&[0, 1, 2, 3, 4])),
        "the order does not matter"
    );
    let last = text.lines().last().unwrap();
    let words: Vec<f64> = last
        .split([' ', ':'])
        .filter_map(|word| word.parse().ok())
        .collect();
    // The standard error from the sample's variance: what numpy would say of 5,000,000 zeros and fours.
    let mean = 4.0 * sums[1] / sums[0];
    let variance = (sums[1] * (4.0 - mean).powi(2)
        + (sums[0] - sums[1]) * mean.powi(2))
        / sums[0];
    let half = 1.96 * (variance / sums[0]).sqrt();
    assert_eq!(words[0], 5.0);
    assert!(
        (words[1] - mean).abs() < 1e-5 && (words[2] - half).abs() < 1e-5,
        "{last}"
    );
    assert!((mean - std::f64::consts::PI).abs() < 4.0 * half, "{last}");
}

#[test]
fn names_the_missing_and_the_torn() {
    let folder = Folder::new("torn");
    for index in 1..=4 {
        stdout(&folder.task(&["--index", &index.to_string()]));
    }
    let undisturbed = stdout(&folder.merge(&[1, 2, 3, 4]));
    let whole = fs::read(folder.result(2)).unwrap();
    for length in 0..whole.len() - 2 {
        fs::write(folder.result(2), &whole[..length]).unwrap();
        refused(&folder.merge(&[1, 2, 3, 4]), "no result of [2]:");
    }
    fs::write(folder.result(2), vec![0; whole.len()]).unwrap(); // what some file systems leave
    fs::remove_file(folder.result(4)).unwrap();
    refused(&folder.merge(&[1, 2, 3, 4]), "no result of [2, 4]:");
    fs::remove_file(folder.result(2)).unwrap();
    refused(&folder.merge(&[1, 3]), "no result of [2]:"); // as result-*.json would list them
    for index in ["2", "4"] {
        stdout(&folder.task(&["--index", index]));
    }
    assert_eq!(stdout(&folder.merge(&[1, 2, 3, 4])), undisturbed);
}

#[test]
fn refuses_what_is_not_of_this_job() {
    let folder = Folder::new("foreign");
    for index in ["1", "2"] {
        stdout(&folder.task(&["--index", index]));
    }
    refused(&folder.merge(&[1, 2, 1]), "task 1 is there twice");
    fs::copy(folder.result(2), folder.result(3)).unwrap();
    refused(&folder.merge(&[1, 2, 3]), "no result of [3]:");
    stdout(&folder.task(&["--index", "2", "--points", "5000"]));
    refused(&folder.merge(&[1, 2]), "no result of [2]:");
    refused(&folder.task(&["--merge", "result-*.json"]), "has no index");
}

/// Whoever has the old result open keeps reading that one: nothing is written over it.
#[test]
fn replaces_a_result_and_never_overwrites_it() {
    let folder = Folder::new("replace");
    let old = "{\"index\":1,\"points\":1000,\"hits\":1000}\n";
    fs::write(folder.result(1), old).unwrap();
    let mut reader = fs::File::open(folder.result(1)).unwrap();
    stdout(&folder.task(&["--index", "1"]));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, old);
    assert_eq!(
        numbers(&fs::read_to_string(folder.result(1)).unwrap())[1],
        1_000_000
    );
    assert_eq!(folder.files(), ["result-1.json"]);
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_result() {
    let folder = Folder::new("kill");
    let old = "{\"index\":1,\"points\":1000,\"hits\":1000}\n";
    let whole = |text: &str| text == old || numbers(text)[1] == 1000;
    for moment in 0..60 {
        fs::write(folder.result(1), old).unwrap();
        let mut task = demo(&folder.0);
        task.args(["--index", "1", "--points", "1000"])
            .stdout(Stdio::null());
        let mut task = task.spawn().unwrap();
        for _ in 0..moment * 20 {
            assert!(whole(&fs::read_to_string(folder.result(1)).unwrap()));
        }
        task.kill().unwrap();
        task.wait().unwrap();
        assert!(whole(&fs::read_to_string(folder.result(1)).unwrap()));
    }
    stdout(&folder.task(&["--index", "1"]));
    stdout(&folder.merge(&[1])); // what the killed ones may have left is in nobody's way
}

#[test]
fn a_result_that_cannot_be_written_leaves_nothing() {
    let folder = Folder::new("unwritable");
    fs::create_dir(folder.result(1)).unwrap();
    refused(&folder.task(&["--index", "1"]), "cannot write");
    assert_eq!(folder.files(), ["result-1.json"]);
    fs::write(folder.0.join("file"), "").unwrap();
    refused(
        &folder.task(&["--index", "1", "--out", "file"]),
        "cannot write",
    );
}

/// Without an argument, in a folder for itself, of which nothing stays.
#[test]
fn plays_the_scheduler() {
    let folder = Folder::new("local");
    let mut scheduler = demo(&folder.0);
    let output = scheduler.env("TMPDIR", &folder.0).output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("task 2: EOF while parsing"), "{text}");
    assert!(text.contains("run again: [2]"), "{text}");
    for (index, times) in [(1, 1), (2, 2), (3, 1), (4, 1)] {
        let said = format!("task {index}: 78");
        assert_eq!(text.matches(&said).count(), times, "{text}");
    }
    assert!(text.contains("\n4 results merged: "), "{text}");
    assert!(text.ends_with("\ncomputed again: 1 of 4 tasks\n"), "{text}");
    assert!(folder.files().is_empty(), "{:?}", folder.files());
}

#[test]
fn the_try_lines_do_what_they_promise() {
    let folder = Folder::new("try");
    let out = folder.0.join("target/batch-job");
    stdout(&folder.task(&["--index", "5", "--out", "target/batch-job"]));
    assert!(out.join("result-5.json").exists());
    let merge = ["--merge", "target/batch-job/result-5.json"];
    let text = stdout(&folder.task(&merge));
    assert!(text.contains("\n1 results merged: "), "{text}");
}

/// Ctrl-C waits until the folder is removed. On a busy machine the signal may
/// come when all is done: then again.
#[test]
fn an_interrupted_scheduler_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut ended_by = None;
        for _ in 0..20 {
            ended_by = interrupted_scheduler(signal);
            if ended_by.is_some() {
                break;
            }
        }
        assert_eq!(ended_by, Some(signal as i32));
    }
}

/// Sends the signal while the tasks run, and returns which one has ended it.
fn interrupted_scheduler(signal: Signal) -> Option<i32> {
    let folder = Folder::new(&format!("interrupted-{signal}"));
    let mut command = demo(&folder.0);
    command.env("TMPDIR", &folder.0).stdout(Stdio::null());
    command.args(["--points", "10000000"]);
    let default = move || {
        // What runs in the background of a shell ignores SIGINT.
        // SAFETY: the default is set, not a function of this program.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
        Ok(())
    };
    // SAFETY: a program may call signal between fork and exec.
    unsafe { command.pre_exec(default) };
    let mut scheduler = command.spawn().unwrap();
    while folder.files().is_empty() {
        if scheduler.try_wait().unwrap().is_some() {
            return None; // the folder was there, and is removed
        }
    }
    let pid = Pid::from_raw(scheduler.id().cast_signed());
    kill(pid, signal).unwrap();
    let status = scheduler.wait().unwrap();
    assert!(folder.files().is_empty(), "{:?}", folder.files());
    status.signal()
}

/// Seen from outside: the tasks are processes, several of them at one moment.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_tasks() {
    let folder = Folder::new("tasks");
    let mut scheduler = demo(&folder.0);
    scheduler
        .args(["--points", "10000000"])
        .stdout(Stdio::null());
    let mut scheduler = scheduler.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", scheduler.id());
    let mut most = 0;
    let mut all = std::collections::BTreeSet::new();
    while scheduler.try_wait().unwrap().is_none() {
        let list = fs::read_to_string(&children).unwrap_or_default();
        most = most.max(list.split_whitespace().count());
        all.extend(list.split_whitespace().map(str::to_string));
    }
    assert!(scheduler.wait().unwrap().success());
    assert!(most >= 2, "{most} at once");
    assert_eq!(all.len(), 5, "4 tasks and one again: {all:?}");
}
