use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// One demo at a time: each keeps all cores busy.
static ALONE: Mutex<()> = Mutex::new(());

/// What has_gil says of python3
static PYTHON3: LazyLock<Option<bool>> = LazyLock::new(|| has_gil("python3"));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo.stdin(Stdio::null());
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    demo
}

/// What it printed, if it ends.
fn output(mut demo: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    while demo.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            demo.kill().unwrap();
            panic!("it hangs: {:?}", demo.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    demo.wait_with_output().unwrap()
}

fn run(args: &[&str]) -> Output {
    output(demo(args).spawn().unwrap())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// None if this is no Python that the demo can use
fn has_gil(python: &str) -> Option<bool> {
    let ask = "import sys; from threading import get_native_id;\
        print(getattr(sys, '_is_gil_enabled', lambda: True)())";
    let output = Command::new(python).args(["-c", ask]).output().ok()?;
    output.status.success().then(|| output.stdout == b"True\n")
}

/// A program in a folder of its own, which is removed at the end of the test
struct Script {
    folder: PathBuf,
    path: PathBuf,
}

impl Script {
    fn new(name: &str, text: &str) -> Script {
        let unique = format!("python-gil-{}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        let anybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, anybody).unwrap();
        Script { folder, path }
    }

    /// Python itself, which runs these lines and then gil.py
    fn python_that_first(lines: &str) -> Script {
        let text = format!(
            "#!/bin/sh\n\
             # $1 is -I, $2 is -c, $3 is gil.py, $4 the number of workers\n\
             exec python3 \"$1\" \"$2\" \"{lines}\n$3\" \"$4\"\n"
        );
        Script::new("python", &text)
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

struct Row {
    id: u32,
    blocked: f64,
    picture: Vec<char>,
}

/// The threads, or the processes
struct Group {
    milliseconds: f64,
    busy: f64,
    rows: Vec<Row>,
}

fn numbers(line: &str) -> Vec<f64> {
    let words =
        line.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

fn group(text: &str, kind: &str) -> Group {
    let mut lines = text.lines();
    let ruler = format!(" {kind}: ");
    let ruler = lines
        .find(|line| line.contains('├') && line.contains(&ruler))
        .unwrap();
    let [count, milliseconds, busy, 120.0] = numbers(ruler)[..] else {
        panic!("{text}")
    };
    let mut rows = Vec::new();
    for line in lines.take(count as usize) {
        let mut words = line.split_whitespace();
        rows.push(Row {
            id: words.next().unwrap().parse().unwrap(),
            blocked: words.next().unwrap().parse().unwrap(),
            picture: format!("{line:<80}").chars().skip(18).collect(),
        });
    }
    Group {
        milliseconds,
        busy,
        rows,
    }
}

/// All have waited for the answer, for 20 ms at least, and then computed.
fn check_picture(group: &Group, text: &str) {
    let mut drawn = 0;
    for row in &group.rows {
        let (before, after) = row.picture.split_at(10);
        assert!(before.iter().all(|cell| *cell == '·'), "{text}");
        assert!(!after.contains(&'·'), "{text}");
        drawn += after.iter().filter(|cell| **cell != ' ').count();
    }
    assert!(drawn > 0, "{text}");
}

/// The total of the rows, per second of CPU time, is what the verdict says.
fn check_blocked(group: &Group, verdict: f64, text: &str) {
    let total: f64 = group.rows.iter().map(|row| row.blocked).sum();
    let per_second = total / (group.busy * group.milliseconds / 1e3);
    let rounded = 0.005 / group.busy + 0.5 / group.milliseconds;
    let wrong = 0.6 + 1.5 * rounded * per_second;
    assert!(
        (per_second - verdict).abs() <= wrong,
        "{per_second}: {text}"
    );
}

/// Checks a run that has shown its point: who took turns, and who did not.
fn check(output: &Output, workers: usize, gil: bool) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let fits = lines.iter().all(|line| line.chars().count() <= 80);
    assert!(fits && lines.len() == 7 + 2 * workers, "{text}");
    assert_eq!(lines[0].contains(" with the GIL, which a "), gil, "{text}");
    assert_eq!(lines[0].ends_with(" without the GIL"), !gil, "{text}");

    let threads = group(&text, "threads");
    let processes = group(&text, "processes");
    let all = threads.rows.iter().chain(&processes.rows);
    let ids: BTreeSet<u32> = all.map(|row| row.id).collect();
    assert_eq!(ids.len(), 2 * workers, "{text}");
    check_picture(&threads, &text);
    check_picture(&processes, &text);
    assert!(processes.busy < workers as f64 + 0.1, "{text}");

    let verdict = &lines[lines.len() - 2..];
    let [waited, computed, blocked] = numbers(verdict[0])[..] else {
        panic!("{text}")
    };
    assert!(verdict[0].starts_with("threads: at once, "), "{text}");
    assert_eq!(waited, workers as f64, "{text}");
    if gil {
        assert_eq!(computed, 1.0, "{text}");
        assert!(threads.busy < 1.2, "{text}");
        for x in 0..60 {
            let column = threads.rows.iter().map(|row| row.picture[x]);
            let most = column.filter(|cell| *cell == '█').count();
            assert!(most <= 1, "two threads in cell {x}: {text}");
        }
    }
    let [at_work, never] = numbers(verdict[1])[..] else {
        panic!("{text}")
    };
    assert!(verdict[1].starts_with("processes: at once, "), "{text}");
    assert!(at_work > 1.2 && at_work <= workers as f64, "{text}");
    if cfg!(target_os = "linux") {
        assert_eq!(blocked > 20.0, gil, "blocked by the GIL: {text}");
        assert!(never < 20.0, "{text}");
        check_blocked(&threads, blocked, &text);
        check_blocked(&processes, never, &text);
    }
}

#[test]
fn threads_compute_one_at_a_time_and_wait_together() {
    let _alone = ALONE.lock();
    let Some(gil) = *PYTHON3 else {
        return assert_eq!(run(&[]).status.code(), Some(77));
    };
    check(&run(&[]), 2, gil);
    check(&run(&["--workers", "8"]), 8, gil);
}

/// Runs where there is such a build, or where this variable names one.
#[test]
fn without_the_gil_threads_do_not_block_each_other() {
    let _alone = ALONE.lock();
    let named = std::env::var("FREE_THREADED_PYTHON").unwrap_or_default();
    for python in [&named, "python3.13t", "python3.14t", "python3.15t"] {
        if has_gil(python) == Some(false) {
            check(&run(&["--python", python]), 2, false);
        }
    }
}

/// On one core the processes take turns, too. Only the threads are blocked.
#[cfg(target_os = "linux")]
#[test]
fn one_core_shows_it_too() {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    use nix::unistd::Pid;
    let _alone = ALONE.lock();
    let Some(gil) = *PYTHON3 else {
        return;
    };
    let mut one_core = demo(&[]);
    let pin = || {
        let mut cores = CpuSet::new();
        cores.set(sched_getcpu()?)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
    };
    // SAFETY: these are two system calls.
    unsafe { one_core.pre_exec(pin) };
    let output = output(one_core.spawn().unwrap());
    check(&output, 2, gil);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("\nNo two processes computed at once: "),
        "{text}"
    );
    assert!(group(&text, "processes").busy < 1.1, "{text}");
}

/// The children of a process, and its threads
#[cfg(target_os = "linux")]
fn children_and_threads(pid: u32) -> (Vec<u32>, Vec<u32>) {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    let children = list.split_whitespace().flat_map(str::parse).collect();
    let mut threads = Vec::new();
    if let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) {
        for task in tasks.flatten() {
            threads.extend(task.file_name().to_str().unwrap().parse::<u32>());
        }
    }
    (children, threads)
}

/// Seen from outside: the workers are threads and processes of the kernel, and
/// none is left. A threading.py in the current folder changes nothing.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_threads_and_processes() {
    let _alone = ALONE.lock();
    let Some(gil) = *PYTHON3 else {
        return;
    };
    let script = Script::new("threading.py", "raise SystemExit('shadowed')");
    let mut demo = demo(&[]);
    let mut demo = demo.current_dir(&script.folder).spawn().unwrap();
    let mut threads = BTreeSet::new();
    let mut processes = BTreeSet::new();
    while demo.try_wait().unwrap().is_none() {
        for python in children_and_threads(demo.id()).0 {
            let (children, tasks) = children_and_threads(python);
            threads.extend(tasks);
            processes.extend(children);
        }
    }
    let output = demo.wait_with_output().unwrap();
    check(&output, 2, gil);
    let text = String::from_utf8_lossy(&output.stdout);
    for row in group(&text, "threads").rows {
        assert!(threads.contains(&row.id), "{threads:?} {text}");
    }
    for row in group(&text, "processes").rows {
        assert!(processes.contains(&row.id), "{processes:?} {text}");
        assert!(!threads.contains(&row.id), "{threads:?} {text}");
        let gone = !fs::exists(format!("/proc/{}", row.id)).unwrap();
        assert!(gone, "{} outlived the demo", row.id);
    }
}

/// It says that it has no GIL, but its threads take turns: the demo measures.
#[cfg(target_os = "linux")]
#[test]
fn a_build_without_the_gil_is_held_to_its_word() {
    let _alone = ALONE.lock();
    if *PYTHON3 != Some(true) {
        return;
    }
    let liar = Script::python_that_first(
        "import os, signal, sys\n\
         sys._is_gil_enabled = lambda: False\n\
         signal.alarm = lambda seconds: os.write(2, b'alarm %d;' % seconds)",
    );
    let output = run(&["--python", liar.path()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("without the GIL"), "{text}");
    let error = stderr(&output);
    assert!(
        error.contains("no Python without the GIL does that"),
        "{error}"
    );
}

/// Its threads are processes. So it may say that it has no GIL.
#[cfg(target_os = "linux")]
#[test]
fn processes_in_place_of_threads_show_no_gil() {
    let _alone = ALONE.lock();
    if PYTHON3.is_none() {
        return;
    }
    let python = Script::python_that_first(
        "import sys, multiprocessing, threading\n\
         sys._is_gil_enabled = lambda: False\n\
         fork = multiprocessing.get_context('fork')\n\
         threading.Thread = fork.Process",
    );
    check(&run(&["--python", python.path()]), 2, false);
}

/// Threads one after the other, which do not wait: no two can have waited.
#[test]
fn threads_that_do_not_wait_are_not_taken_for_waiting() {
    let _alone = ALONE.lock();
    if PYTHON3.is_none() {
        return;
    }
    let hasty = Script::python_that_first(
        "import os, threading\n\
         os.read = lambda file, count: b'!'\n\
         threading.Thread.start = threading.Thread.run",
    );
    let output = run(&["--python", hasty.path()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = stderr(&output);
    assert!(error.contains("not a question: "), "{error}");
}

/// What a made-up Python says: where exactly the limits are, and the picture.
const THREADS: &str = "
11 waited 99.9 100
12 waited 99.9 100
11 worked 100 100.05
11 computed 100 100.0047
12 computed 100.0052 100.0098
12 worked 100 100.0098
12 computed 100.0510 100.05105
11 computed 100.01 100.05
11 done 0.04 8
12 done 0.01 3
";
const PROCESSES: &str = "
22 waited 199.99 200.0006
21 waited 199.9 200
22 worked 200.0006 200.1
21 worked 200 200.1
22 computed 200.0006 200.1
21 computed 200 200.1
22 done 0.1 0
21 done 0.1 1
";

/// Runs one that takes its answers, tells this, and ends with `end`.
fn run_made_up(gil: &str, threads: &str, processes: &str, end: &str) -> Output {
    let script = Script::new(
        "python",
        &format!(
            "#!/bin/sh\n\
             echo 1 cpython 9.9.9 {gil} 0.005\n\
             printf '11 asks\\n12 asks\\n'\n\
             if [ \"$(head -c 2)\" != '!!' ]; then exit 9; fi\n\
             echo '{}'\n\
             printf '21 asks\\n22 asks\\n'\n\
             if [ \"$(head -c 2)\" != '!!' ]; then exit 9; fi\n\
             echo '{}'\n\
             {end}\n",
            threads.trim(),
            processes.trim()
        ),
    );
    run(&["--python", script.path()])
}

#[test]
fn draws_and_counts_what_the_workers_tell() {
    let _alone = ALONE.lock();
    let output = run_made_up("True", THREADS, PROCESSES, "exit 0");
    let text = String::from_utf8_lossy(&output.stdout);
    let long = "█".repeat(50);
    let expected = format!(
        "\
CPython 9.9.9 with the GIL, which a waiting thread demands after 5 ms
·: waited for the answer, █: computed for most of 2 ms, ░: for less
     ID  blocked ├──────── 2 threads: 50 ms, 1.00 cores busy ──────── 120 ms ┤
     11        8  ··········██░  ████████████████████
     12        3  ··········  ░██
     ID  blocked ├────── 2 processes: 100 ms, 2.00 cores busy ─────── 120 ms ┤
     21        1  ··········{long}
     22        0       ·····{long}
Up to 2 processes computed at once.
threads: at once, 2 waited and 1 computed; blocked 220 times per CPU second
processes: at once, 1.99 were at work on average; blocked 5 times per CPU second
"
    );
    assert_eq!(text, expected, "{output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[cfg(not(target_os = "macos"))] // there, nobody tells how often it was blocked
#[test]
fn the_limits_of_the_verdict() {
    let _alone = ALONE.lock();
    let overlapping = THREADS.replace("100.0052", "100.0045"); // 0.2 ms
    let touching = THREADS.replace("100.0052", "100.00469"); // 0.01 ms
    let in_turn = THREADS.replace("12 waited 99.9 100", "12 waited 101 102");
    let blocked = |first: u32, second: u32| {
        THREADS
            .replace("done 0.04 8", &format!("done 0.5 {first}"))
            .replace("done 0.01 3", &format!("done 0.5 {second}"))
    };
    let waiting = |times: u32| {
        PROCESSES
            .replace("done 0.1 0", &format!("done 0.5 {times}"))
            .replace("done 0.1 1", "done 0.5 10")
    };
    let from = |start: u32| {
        PROCESSES
            .replace("worked 200.0006 200.1", &format!("worked {start} 210"))
            .replace("worked 200 200.1", "worked 200 210")
    };
    let free = overlapping
        .replace("done 0.04 8", "done 0.04 0")
        .replace("done 0.01 3", "done 0.01 0");
    let same = PROCESSES.to_string();
    let one_at_a_time = "threads: at once, 2 waited and 1 computed; ";
    let both = "threads: at once, 2 waited and 2 computed; ";
    for (gil, threads, processes, expected) in [
        ("True", touching.clone(), same.clone(), Ok(one_at_a_time)),
        ("True", overlapping, same.clone(), Err("2 threads computed")),
        ("True", in_turn, same.clone(), Err("of 2 threads, 1 waited")),
        (
            "True",
            blocked(10, 11),
            same.clone(),
            Ok("blocked 21 times"),
        ),
        ("True", blocked(10, 10), same.clone(), Err("20 times")),
        ("True", touching.clone(), waiting(9), Ok("blocked 19 times")),
        (
            "True",
            touching.clone(),
            waiting(10),
            Err("blocked 20 times"),
        ),
        (
            "True",
            touching.clone(),
            from(207),
            Ok(" 1.30 were at work"),
        ),
        (
            "True",
            touching.clone(),
            from(208),
            Err("only 1.20 processes"),
        ),
        (
            "True",
            free.clone(),
            same.clone(),
            Err("no Python with the GIL"),
        ),
        ("False", free, same.clone(), Ok(both)),
        ("False", blocked(10, 10), same.clone(), Ok(one_at_a_time)),
        (
            "False",
            blocked(10, 11),
            same.clone(),
            Err("no Python without the"),
        ),
    ] {
        let output = run_made_up(gil, &threads, &processes, "exit 0");
        let text = String::from_utf8_lossy(&output.stdout);
        let error = stderr(&output);
        let (code, said) = match expected {
            Ok(said) => (0, text.contains(said)),
            Err(said) => (1, error.contains(said) && !text.contains("at once")),
        };
        assert_eq!(output.status.code(), Some(code), "{expected:?} {output:?}");
        assert!(said, "{expected:?} {output:?}");
        assert_eq!(error.lines().count(), code as usize, "{error}");
    }
}

#[test]
fn says_so_if_python_does_not_do_its_work() {
    let _alone = ALONE.lock();
    let ended = PROCESSES.replace("21 done 0.1 1\n", "");
    let strange = PROCESSES.replace("21 done", "21 dreamt");
    let short = PROCESSES.replace("21 done 0.1 1", "21 done");
    for (processes, end, expected) in [
        (PROCESSES, "exit 3", "ended with exit status: 3"),
        (&ended, "exit 0", "Python ended before its work did"),
        (&strange, "exit 0", "not understood: 21 dreamt 0.1 1"),
        (&short, "exit 0", "not understood: 21 done"),
    ] {
        let output = run_made_up("True", THREADS, processes, end);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = stderr(&output);
        assert!(error.contains(expected), "{error}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    // One that is gone when the answer comes is an error, not SIGPIPE's end.
    let script = "#!/bin/sh\n\
        printf '1 cpython 9 True 5\\n1 asks\\n2 asks\\n'\n";
    let gone = Script::new("python", script);
    let output = run(&["--python", gone.path()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).starts_with("Error: Python is gone"));
}

/// A Python whose demo was killed ends, too, with all of its workers.
#[cfg(target_os = "linux")]
#[test]
fn nothing_outlives_a_killed_demo() {
    let _alone = ALONE.lock();
    if PYTHON3.is_none() {
        return;
    }
    let mut demo = demo(&[]).spawn().unwrap();
    let mut left = Vec::new();
    while left.is_empty() {
        assert!(demo.try_wait().unwrap().is_none(), "no process was seen");
        for python in children_and_threads(demo.id()).0 {
            left = children_and_threads(python).0;
            if !left.is_empty() {
                left.push(python);
            }
        }
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Adopted and reaped by init, or by a subreaper that may do so later.
    let is_left = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| !status.contains("Z (zombie)"))
    };
    while left.iter().any(is_left) {
        assert!(Instant::now() < deadline, "{left:?} outlived the demo");
        thread::sleep(Duration::from_millis(10));
    }
    // Nobody has complained of the demo's end.
    let mut errors = String::new();
    demo.stderr.unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn says_what_is_no_python() {
    let _alone = ALONE.lock();
    for (python, expected) in [
        ("/nonexistent", "Error: cannot start /nonexistent"),
        (
            "true",
            "Error: true does not work as CPython 3.8 or newer does",
        ),
    ] {
        let output = run(&["--python", python]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).starts_with(expected), "{output:?}");
    }
}

#[test]
fn cannot_run_without_python3() {
    let _alone = ALONE.lock();
    let mut demo = demo(&[]);
    let output = demo.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let error = stderr(&output);
    assert!(error.starts_with("cannot run here: there is no python3;"));
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// As pyenv's shim, if no version is set: what it says is shown.
#[test]
fn cannot_run_with_a_python3_that_does_not_work() {
    let _alone = ALONE.lock();
    let text = "#!/bin/sh\necho 'pyenv: no version' >&2\nexit 127\n";
    let shim = Script::new("python3", text);
    let mut demo = demo(&[]);
    let output = demo.env("PATH", &shim.folder).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let error = stderr(&output);
    let (python, sentence) = error.split_once('\n').unwrap();
    assert_eq!(python, "pyenv: no version");
    assert!(sentence.starts_with("cannot run here: this python3 is no "));
    assert!(sentence.contains("apt-get"), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{error}");
}
