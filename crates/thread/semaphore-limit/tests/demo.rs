use std::io;
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use nix::sys::ptrace::{Event, Options, cont, getevent, setoptions, traceme};
#[cfg(target_os = "linux")]
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
#[cfg(target_os = "linux")]
use nix::unistd::Pid;

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo
}

/// What it prints, which is less than a pipe holds. Ends it after a while, if
/// somebody waits for ever.
fn output_of(mut demo: Command) -> io::Result<Output> {
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = demo.spawn()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        sleep(Duration::from_millis(1));
    }
    child.wait_with_output()
}

fn run(args: &[&str]) -> Output {
    output_of(demo(args)).unwrap()
}

/// Checks the timeline against itself, and returns the three numbers of the
/// last line.
fn check(args: &[&str]) -> [usize; 3] {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() <= 23, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80));
    let cells = |line: &str| line.chars().skip(10).collect::<String>();
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("thread "))
        .map(cells)
        .collect();
    let counts = text
        .lines()
        .find(|line| line.starts_with("inside "))
        .map(cells)
        .unwrap();
    let counts: Vec<usize> = counts
        .split(' ')
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(
        counts.len(),
        2 * rows.len(),
        "each thread enters and leaves: {text}"
    );
    for (column, &count) in counts.iter().enumerate() {
        let inside = rows
            .iter()
            .filter(|row| row.chars().nth(2 * column) == Some('█'))
            .count();
        assert_eq!(inside, count, "column {column}: {text}");
    }
    for row in &rows {
        let visits = row
            .split(['·', ' '])
            .filter(|visit| !visit.is_empty())
            .count();
        assert_eq!(visits, 1, "{text}");
    }
    let last = text
        .lines()
        .last()
        .unwrap()
        .split(|sign: char| !sign.is_ascii_digit());
    let last: Vec<_> = last.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(
        (last[1], last[2]),
        (*counts.iter().max().unwrap(), rows.len()),
        "{text}"
    );
    last.try_into().unwrap()
}

#[test]
fn never_more_inside_than_permits_and_exactly_as_many_at_times() {
    assert_eq!(check(&[]), [3, 3, 8]);
    for permits in 1..=9 {
        let args = ["--threads", "9", "--permits", &permits.to_string()];
        assert_eq!(check(&args), [permits, permits, 9]);
    }
}

#[test]
fn with_a_permit_for_each_all_get_inside() {
    assert_eq!(check(&["--permits", "8"]), [8, 8, 8]);
}

#[test]
fn with_one_permit_it_is_a_mutex() {
    assert_eq!(check(&["--permits", "1"]), [1, 1, 8]);
}

#[test]
fn more_permits_than_threads() {
    assert_eq!(check(&["--threads", "2", "--permits", "5"]), [5, 2, 2]);
    assert_eq!(check(&["--threads", "1", "--permits", "1"]), [1, 1, 1]);
}

/// Seen from outside: the kernel lists all threads at once. A run takes a
/// moment only, so that it may be over before it was seen.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_exist() {
    let mut most = 0;
    for _ in 0..1000 {
        let mut demo = demo(&["--permits", "1"]);
        let mut demo = demo.stdout(Stdio::null()).spawn().unwrap();
        let tasks = format!("/proc/{}/task", demo.id());
        while demo.try_wait().unwrap().is_none() {
            let count = std::fs::read_dir(&tasks).map_or(0, Iterator::count);
            most = most.max(count);
        }
        if most == 1 + 8 {
            return;
        }
    }
    panic!("{most} tasks at once");
}

/// The letter that the kernel has for the state of a thread.
#[cfg(target_os = "linux")]
fn state_of(thread: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/stat"));
    let stat = stat.unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.chars().next().unwrap()
}

/// Seen from outside: the main thread is stopped each time that it has started
/// a thread, until that sleeps. If it did not wait for all, it would end.
#[cfg(target_os = "linux")]
#[test]
fn nobody_goes_inside_before_all_threads_exist() {
    let mut demo = demo(&["--permits", "1"]);
    demo.stdout(Stdio::null());
    // SAFETY: traceme is one system call.
    unsafe { demo.pre_exec(|| Ok(traceme()?)) };
    let Ok(mut demo) = demo.spawn() else {
        return eprintln!("not tested: ptrace is not allowed here");
    };
    let main = Pid::from_raw(demo.id().cast_signed());
    let any_task = Some(WaitPidFlag::__WALL);
    waitpid(main, any_task).unwrap(); // it stops at its exec
    let options = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXIT;
    setoptions(main, options | Options::PTRACE_O_EXITKILL).unwrap();
    cont(main, None).unwrap();
    for number in 1..=8 {
        let stopped = waitpid(main, any_task).unwrap();
        let WaitStatus::PtraceEvent(_, _, event) = stopped else {
            panic!("{stopped:?}");
        };
        assert_eq!(event, Event::PTRACE_EVENT_CLONE as i32);
        if number == 8 {
            break;
        }
        let thread = getevent(main).unwrap();
        let thread = Pid::from_raw(i32::try_from(thread).unwrap());
        waitpid(thread, any_task).unwrap(); // a new thread is stopped, too
        cont(thread, None).unwrap();
        loop {
            match state_of(thread) {
                'S' => break, // it sleeps
                't' => panic!("thread {number} of 8 did not wait"),
                _ => std::thread::yield_now(),
            }
        }
        cont(main, None).unwrap();
    }
    demo.kill().unwrap();
    // Not the children of other tests.
    let mine = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    loop {
        let status = waitpid(None, mine).unwrap();
        if matches!(status, WaitStatus::Signaled(task, ..) if task == main) {
            break;
        }
        // It fails if the task has just been killed.
        _ = cont(status.pid().unwrap(), None);
    }
}
