use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

const DEMO: &str = env!("CARGO_BIN_EXE_mpi-reduction");

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
    let words = line.split(|c: char| !"0123456789.e-".contains(c));
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
        let [a, b] = [first, end].map(|i| 4.0 * (i / steps).atan());
        assert!(
            first < end && (area - (b - a)).abs() < 1e-6,
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

    let last = numbers(lines[lines.len() - 1]);
    assert_eq!(last[0], ranks as f64);
    if ranks > 1 {
        for (line, bytes) in [(ranks + 2, 8.0), (ranks + 3, 1_048_576.0)] {
            let [trips, micros] =
                numbers(lines[line])[numbers(lines[line]).len() - 2..]
            else {
                panic!("{text}")
            };
            assert!(numbers(lines[line]).contains(&bytes), "{text}");
            assert!((1.0..=1000.0).contains(&trips) && micros > 0.0, "{text}");
        }
        assert!(last.len() == 4 && last[2] > 0.0 && last[3] > 0.0, "{text}");
    } else {
        assert!(text.contains("nobody to send a message to"), "{text}");
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
        mpirun.env(format!("OMPI_{name}"), "1"); // the Try line's options, for any MPI
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

/// From outside: the children of `parent` that are the demo, each with its clock ticks of work.
#[cfg(target_os = "linux")]
fn ranks_of(parent: u32) -> std::collections::BTreeMap<u32, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|t| {
        std::fs::read_to_string(t.path().join("children")).ok()
    });
    let pids: Vec<u32> = lists
        .flat_map(|l| {
            l.split_whitespace()
                .flat_map(str::parse)
                .collect::<Vec<_>>()
        })
        .collect();
    let stat = |pid| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
    };
    let stats = pids.into_iter().map(|pid| (pid, stat(pid)));
    let demos = stats.filter(|(_, stat)| stat.contains("(mpi-reduction)"));
    demos
        .map(|(pid, stat)| {
            (pid, stat.split(' ').nth(13).unwrap().parse().unwrap())
        })
        .collect()
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

/// Started by another MPI's launcher, each rank is alone, and is told that it is not.
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

#[test]
fn rejects_bad_arguments() {
    for args in [
        &["--ranks", "0"][..],
        &["--ranks", "17"],
        &["--steps", "999"],
        &["--no"],
    ] {
        let output = run(&[DEMO], args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
