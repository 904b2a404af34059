use std::io::{BufRead, BufReader, PipeWriter, pipe};
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

#[test]
fn each_preparation_has_its_effect() {
    let output = Command::new(DEMO).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let expected = "\
default: sends itself SIGUSR1
handled: SIGUSR1 sent                  handler runs: 1
ignored: SIGUSR1 sent, then a handler  handler runs: 0
blocked: SIGUSR1 sent                  handler runs: 0
blocked: unblocked                     handler runs: 1
refused: a handler for SIGKILL? sigaction says Err(EINVAL)
refused: sends itself SIGKILL

3 of 5 survived: handled, ignored, blocked
2 of 5 were killed: default by SIGUSR1, refused by SIGKILL
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// The other side: whoever starts the demo prepares for SIGUSR1 by ignoring it.
/// A child inherits that.
#[test]
fn says_so_where_the_default_child_survives() {
    let mut demo = Command::new("sh");
    demo.args(["-c", "trap '' USR1; exec \"$0\"", DEMO]);
    let output = demo.env_remove("RUST_BACKTRACE").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("default: still runs\n"), "{text}");
    assert!(
        text.contains("\n4 of 5 survived: default, handled, "),
        "{text}"
    );
    assert!(text.ends_with("\n1 of 5 were killed: refused by SIGKILL\n"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.starts_with("Error: these should be killed:"),
        "{error}"
    );
}

/// The demo with --wait. It is ended where a test fails, too.
struct Waiting(Child);

impl Waiting {
    fn start(stdout: PipeWriter) -> Waiting {
        let mut demo = Command::new(DEMO);
        Waiting(demo.arg("--wait").stdout(stdout).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Seen from outside: the kernel lists a handler for SIGINT, two of them leave
/// the demo alive, and the third is counted before it ends by itself.
#[test]
fn three_interrupts_are_handled() {
    let (reader, writer) = pipe().unwrap();
    let mut demo = Waiting::start(writer);
    let pid = demo.pid();
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    assert_eq!(
        lines.next().unwrap(),
        format!("PID {pid}: press Ctrl-C three times (or: kill -INT {pid})")
    );
    #[cfg(target_os = "linux")]
    assert!(status_has(pid, "SigCgt", Signal::SIGINT));
    for count in 1..=3 {
        let ended = demo.0.try_wait().unwrap();
        assert_eq!(ended, None, "it ended before the third signal");
        kill(pid, Signal::SIGINT).unwrap();
        let line = lines.next().unwrap();
        assert_eq!(line, format!("handler runs: {count} of 3"));
    }
    kill(pid, Signal::SIGINT).unwrap(); // comes too late to be counted
    assert_eq!(lines.next(), None);
    assert!(demo.0.wait().unwrap().success());
}

/// A full pipe holds the demo up in its first println. A Ctrl-C that comes
/// there is not missed by suspend, which comes later.
#[cfg(target_os = "linux")]
#[test]
fn no_interrupt_is_missed() {
    use nix::fcntl::{FcntlArg, fcntl};
    use std::io::Write;
    use std::time::Instant;

    let (reader, mut writer) = pipe().unwrap();
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let size = usize::try_from(size).unwrap();
    writer.write_all(&vec![b'\n'; size]).unwrap();
    let demo = Waiting::start(writer);
    let begin = Instant::now();
    while !status_has(demo.pid(), "SigBlk", Signal::SIGINT) {
        assert!(begin.elapsed().as_secs() < 30, "SIGINT is not blocked");
    }
    kill(demo.pid(), Signal::SIGINT).unwrap();
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    let said: Vec<String> = lines.skip(size).take(2).collect();
    assert_eq!(said[1], "handler runs: 1 of 3");
}

/// Whether a signal is in a set in /proc/PID/status.
#[cfg(target_os = "linux")]
fn status_has(pid: Pid, set: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.unwrap();
    let mut lines = status.lines();
    let line = lines.find(|line| line.starts_with(set)).unwrap();
    let (_, bits) = line.split_once('\t').unwrap();
    let bits = u64::from_str_radix(bits, 16).unwrap();
    (bits >> (signal as u32 - 1)) & 1 == 1
}
