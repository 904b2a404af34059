use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Few cores, many ranks: one job at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(program: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(program[0]);
    command
        .args(&program[1..])
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Where there is no mpirun, there are no ranks to look at.
fn cannot_run() -> bool {
    run(&[DEMO], &["--ranks", "1", "--steps", "1000"])
        .status
        .code()
        == Some(77)
}

fn numbers(line: &str) -> Vec<f64> {
    let words = line.split(|sign: char| !"0123456789.e-".contains(sign));
    words
        .filter_map(|word| word.trim_end_matches('.').parse().ok())
        .collect()
}

/// Checks everything that a run prints, and returns the PIDs of the ranks.
fn check(output: &Output, ranks: usize, steps: f64) -> Vec<u32> {
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines.len() <= 24
            && lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    // Rank, host, PID, first step, area of its part, sum
    let rows: Vec<Vec<&str>> = lines[1..=ranks]
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let column =
        |i: usize| rows.iter().map(move |row| row[i].parse::<f64>().unwrap());
    assert!(column(0).eq((0..ranks).map(|rank| rank as f64)), "{text}");
    let ends = column(3).skip(1).chain([steps]);
    for ((first, end), area) in column(3).zip(ends).zip(column(4)) {
        let before = 4.0 * (first / steps).atan();
        let after = 4.0 * (end / steps).atan();
        assert!(
            first < end && (area - (after - before)).abs() < 1e-6,
            "no step twice, none left out: {text}"
        );
    }
    let sums: Vec<f64> = column(5).collect();
    assert!((sums[0] - column(4).sum::<f64>()).abs() < 1e-9, "{text}");
    assert!((sums[0] - std::f64::consts::PI).abs() < 1e-6, "{text}");
    assert!(
        sums[1..].iter().all(|sum| *sum == 0.0),
        "only rank 0 knows the sum: {text}"
    );
    let pids = rows.iter().map(|row| row[2].parse().unwrap()).collect();

    let verdict = lines[lines.len() - 1];
    let last = numbers(verdict);
    assert!(verdict.starts_with("parts added: "), "{text}");
    assert!(verdict.contains("of which know pi: 1"), "{text}");
    assert_eq!(last[0], ranks as f64, "{text}");
    assert!(last[1] < 1e-6, "{text}");
    assert_eq!(last[2..], [ranks as f64, 1.0], "{text}");
    let cost = lines[lines.len() - 2];
    if ranks > 1 {
        let mut medians = Vec::new();
        for (line, bytes) in [(ranks + 2, 8.0), (ranks + 3, 1_048_576.0)] {
            let found = numbers(lines[line]);
            let trips = found[found.len() - 2];
            let micros = found[found.len() - 1];
            assert!(found.contains(&bytes), "{text}");
            assert!((1.0..=1000.0).contains(&trips) && micros > 0.0, "{text}");
            medians.push(micros);
        }
        let cost = numbers(cost);
        let speed = 1048.576 / medians[1]; // rounded: 0.005, and the median
        assert_eq!(cost.len(), 2, "{text}");
        assert_eq!(cost[0], medians[0], "{text}");
        assert!((cost[1] - speed).abs() < 0.006 + speed * 0.01, "{text}");
    } else {
        assert!(cost.contains("nobody to send a message to"), "{text}");
    }
    pids
}

#[test]
fn any_number_of_ranks_makes_pi() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    for ranks in [1, 2, 4] {
        let mut pids =
            check(&run(&[DEMO], &["--ranks", &ranks.to_string()]), ranks, 1e7);
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), ranks, "each rank is a process of its own");
    }
    check(&run(&[DEMO], &["--ranks", "3", "--steps", "1000"]), 3, 1e3);
}

#[test]
fn mpirun_starts_it_too() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    let mut mpirun = Command::new("mpirun");
    for name in [
        "ALLOW_RUN_AS_ROOT",
        "ALLOW_RUN_AS_ROOT_CONFIRM",
        "MCA_rmaps_base_oversubscribe",
    ] {
        // For root, and for one core.
        mpirun.env(format!("OMPI_{name}"), "1");
    }
    mpirun.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    let output = mpirun
        .args(["-n", "2", DEMO, "--ranks", "7"])
        .output()
        .unwrap();
    check(&output, 2, 1e7);
}

#[cfg(target_os = "linux")]
#[test]
fn one_core_is_enough() {
    let _alone = alone();
    let Ok(output) = Command::new("taskset").args(["-c", "0", DEMO]).output()
    else {
        return;
    };
    if output.stderr.starts_with(b"taskset") || output.status.code() == Some(77)
    {
        return; // core 0 is not ours
    }
    check(&output, 2, 1e7);
}

/// From outside: the children of a process.
#[cfg(target_os = "linux")]
fn children_of(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let list = std::fs::read_to_string(task.path().join("children"));
        for pid in list.unwrap_or_default().split_whitespace() {
            children.push(pid.parse().unwrap());
        }
    }
    children
}

/// The ranks are the children of mpirun, which is the child of the demo; each
/// with its clock ticks of work.
#[cfg(target_os = "linux")]
fn ranks_of(demo: u32) -> std::collections::BTreeMap<u32, u64> {
    let mut ranks = std::collections::BTreeMap::new();
    for mpirun in children_of(demo) {
        for pid in children_of(mpirun) {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            let stat = stat.unwrap_or_default();
            if stat.contains("(mpi-reduction)") {
                let ticks = stat.split(' ').nth(13).unwrap().parse().unwrap();
                ranks.insert(pid, ticks);
            }
        }
    }
    ranks
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_sees_the_ranks_work() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    let mut command = Command::new(DEMO);
    command
        .args(["--ranks", "4", "--steps", "100000000"])
        .stdout(std::process::Stdio::piped());
    let mut demo = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = std::collections::BTreeMap::new();
    while demo.try_wait().unwrap().is_none() {
        for (pid, ticks) in ranks_of(demo.id()) {
            let most = seen.entry(pid).or_insert(0);
            *most = ticks.max(*most);
        }
    }
    let mut pids = check(&demo.wait_with_output().unwrap(), 4, 1e8);
    pids.sort_unstable();
    assert_eq!(
        pids,
        seen.keys().copied().collect::<Vec<_>>(),
        "children of mpirun"
    );
    assert!(
        seen.values().all(|&ticks| ticks > 0),
        "each has worked: {seen:?}"
    );
}

/// Even mpirun's sudden death ends the ranks.
#[cfg(target_os = "linux")]
#[test]
fn no_rank_outlives_mpirun() {
    use std::time::{Duration, Instant};
    let _alone = alone();
    if cannot_run() {
        return;
    }
    // Open MPI has no chance to remove its files then: let them be ours.
    let folder = std::env::temp_dir()
        .join(format!("mpi-reduction-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(DEMO);
    command
        .args(["--steps", "1000000000"])
        .env("TMPDIR", &folder);
    for name in [
        "OMPI_MCA_btl_vader_backing_directory",
        "OMPI_MCA_btl_sm_backing_directory",
    ] {
        command.env(name, &folder);
    }
    let mut demo = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut ranks = ranks_of(demo.id());
    while ranks.len() < 2 || ranks.values().any(|&ticks| ticks < 5) {
        assert!(demo.try_wait().unwrap().is_none(), "it has ended early");
        ranks = ranks_of(demo.id());
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    let killed = Instant::now();
    let is_there =
        |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    while ranks.keys().any(is_there)
        && killed.elapsed() < Duration::from_secs(10)
    {
        std::thread::yield_now();
    }
    let left: Vec<_> = ranks.keys().filter(|pid| is_there(pid)).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(left.is_empty(), "still there after 10 s: {left:?}");
}

#[test]
fn without_mpirun_it_says_what_to_install() {
    let output = Command::new(DEMO)
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("apt install openmpi-bin")
    );
    assert!(output.stdout.is_empty());
}

/// Started by another MPI's launcher, each rank is alone, and is told that it
/// is not.
#[test]
fn ranks_that_never_meet_are_a_failure() {
    let version = Command::new("mpirun").arg("--version").output();
    if !version.is_ok_and(|it| {
        String::from_utf8_lossy(&it.stdout).contains("Open MPI")
    }) {
        return; // of MPICH these are its own variables
    }
    let mut rank = Command::new(DEMO);
    let rank = rank
        .env("PMI_RANK", "0")
        .env("PMI_SIZE", "2")
        .env_remove("RUST_BACKTRACE");
    let output = rank.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("each rank is alone"),
        "{output:?}"
    );
}

/// An outer launcher, srun --pty say, leaves these variables behind.
#[test]
fn one_rank_alone_is_not_many() {
    let version = Command::new("mpirun").arg("--version").output();
    if !version.is_ok_and(|it| {
        String::from_utf8_lossy(&it.stdout).contains("Open MPI")
    }) {
        return; // of MPICH these are its own variables
    }
    let _alone = alone();
    for (ranks, code) in [("1", 0), ("2", 1), ("4", 1)] {
        let mut demo = Command::new(DEMO);
        demo.args(["--ranks", ranks]);
        demo.env("PMI_RANK", "0").env("PMI_SIZE", "1");
        let output = demo.env_remove("RUST_BACKTRACE").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(error.contains("one rank alone"), code == 1, "{error}");
        assert_eq!(output.stdout.is_empty(), code == 1, "{output:?}");
    }
}

/// A folder with an mpirun that never ends, deaf to all signals but SIGKILL.
#[cfg(target_os = "linux")]
fn deaf_mpirun(name: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let name = format!("mpi-reduction-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("mpirun");
    let script = "#!/bin/sh\ntrap '' INT TERM HUP\necho deaf\n\
                  exec /bin/sleep 60\n";
    std::fs::write(&file, script).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&file, mode).unwrap();
    folder
}

#[cfg(target_os = "linux")]
#[test]
fn an_mpirun_that_never_ends_is_ended() {
    let folder = deaf_mpirun("late");
    let mut demo = Command::new(DEMO);
    demo.env("PATH", &folder).env("MPIEXEC_TIMEOUT", "1");
    let output = demo.env_remove("RUST_BACKTRACE").output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    // output() returned: the fake mpirun, which has the same pipe, is gone.
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(error, "Error: no end after 1 s: mpirun was ended\n");
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_even_a_deaf_mpirun() {
    use std::io::{BufRead, BufReader};
    let folder = deaf_mpirun("int");
    let mut demo = Command::new(DEMO);
    demo.env("PATH", &folder).env_remove("RUST_BACKTRACE");
    demo.stdout(std::process::Stdio::piped());
    demo.stderr(std::process::Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "deaf");
    let pid = demo.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
    let output = demo.wait_with_output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    // The signal came before or after the demo got ready to wait for it.
    if let Some(code) = output.status.code() {
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code, 1, "{output:?}");
        assert_eq!(error, "Error: interrupted by SIGINT: mpirun was ended\n");
    }
}
