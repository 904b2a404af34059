use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

/// Few cores, many ranks: one job at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(args: &[&str]) -> Output {
    Command::new(DEMO)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// Where there is no mpirun, there are no ranks to look at.
fn cannot_run() -> bool {
    run(&["--ranks", "1", "--rows-per-rank", "100"])
        .status
        .code()
        == Some(77)
}

struct Fit {
    /// By rank: PID, first row, rows, bytes held, bytes given to all-reduce.
    ranks: Vec<[u64; 5]>,
    /// Truth, gradient descent, closed form.
    coefficients: Vec<[f64; 3]>,
    last_line: String,
}

fn fit(output: &Output) -> Fit {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 80),
        "{text}"
    );
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_ranks = rows
        .clone()
        .filter(|words| words.len() == 7 && words[0].parse::<u8>().is_ok());
    let of_fit =
        rows.filter(|words| words.len() == 4 && words[0].starts_with('b'));
    Fit {
        ranks: of_ranks
            .map(|words| [2, 3, 4, 5, 6].map(|i| words[i].parse().unwrap()))
            .collect(),
        coefficients: of_fit
            .map(|words| [1, 2, 3].map(|i| words[i].parse().unwrap()))
            .collect(),
        last_line: text.lines().last().unwrap_or_default().into(),
    }
}

fn shown(args: &[&str]) -> Fit {
    let output = run(args);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let fit = fit(&output);
    assert_eq!(fit.coefficients.len(), 2);
    for [truth, descent, exact] in &fit.coefficients {
        assert!(
            (descent - exact).abs() < 1e-6 && (exact - truth).abs() < 0.5,
            "{output:?}"
        );
    }
    fit
}

/// What the shard of each rank must be: so many rows, all in all without gap
/// or overlap.
fn check_shards(fit: &Fit, ranks: u64, rows: u64, steps: u64) {
    assert_eq!(fit.ranks.len() as u64, ranks);
    for (rank, [_, first, own, held, sent]) in (0..).zip(&fit.ranks) {
        assert_eq!([*first, *own], [rank * rows, rows]);
        assert_eq!([*held, *sent], [16 * rows, 16 * steps]);
    }
    let mut pids: Vec<u64> = fit.ranks.iter().map(|rank| rank[0]).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(
        pids.len() as u64,
        ranks,
        "each rank is a process of its own"
    );
}

#[test]
fn any_number_of_ranks_fits_the_same_line() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    let fits =
        [(1, 200_000), (2, 100_000), (4, 50_000)].map(|(ranks, rows)| {
            let fit = shown(&[
                "--ranks",
                &ranks.to_string(),
                "--rows-per-rank",
                &rows.to_string(),
            ]);
            check_shards(&fit, ranks, rows, 40);
            let words = [
                format!("{ranks} x {rows} rows"),
                format!("held {} bytes", 16 * rows),
            ];
            assert!(
                words.iter().all(|words| fit.last_line.contains(words)),
                "{}",
                fit.last_line
            );
            fit.coefficients
        });
    for (j, one) in fits[0].iter().enumerate() {
        for fit in &fits[1..] {
            assert!(
                (one[1] - fit[j][1]).abs() < 1e-9
                    && (one[2] - fit[j][2]).abs() < 1e-9
            );
        }
    }
}

#[test]
fn more_rows_need_more_memory_and_no_more_messages() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    let small = shown(&[]);
    check_shards(&small, 2, 100_000, 40);
    let large = shown(&["--rows-per-rank", "1000000"]);
    check_shards(&large, 2, 1_000_000, 40);
    assert!(
        small.coefficients != large.coefficients,
        "other rows, another line"
    );
    check_shards(&shown(&["--steps", "80"]), 2, 100_000, 80);
    check_shards(&shown(&["--ranks", "4"]), 4, 100_000, 40);
}

#[test]
fn too_few_steps_are_told() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    let output = run(&["--steps", "10"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.starts_with("Error: after 10 steps off the closed form by "),
        "{error}"
    );
    assert!(
        fit(&output)
            .coefficients
            .iter()
            .any(|[_, found, exact]| (found - exact).abs() > 1e-6)
    );
}

/// Seen from outside: each child of mpirun, which is the demo's child, needs
/// memory for its shard, none for all four.
#[cfg(target_os = "linux")]
#[test]
fn no_rank_holds_the_whole() {
    let _alone = alone();
    if cannot_run() {
        return;
    }
    let args = ["--ranks", "4", "--rows-per-rank", "2000000", "--steps", "4"];
    let null = std::process::Stdio::null;
    let mut demo = Command::new(DEMO)
        .args(args)
        .stdout(null())
        .stderr(null())
        .spawn()
        .unwrap();
    let children = |pid: &str| {
        let file = format!("/proc/{pid}/task/{pid}/children");
        std::fs::read_to_string(file).unwrap_or_default()
    };
    let pid = demo.id().to_string();
    let mut peaks = std::collections::BTreeMap::new();
    while demo.try_wait().unwrap().is_none() {
        let mpirun = children(&pid);
        for rank in children(mpirun.trim()).split_whitespace() {
            let status =
                std::fs::read_to_string(format!("/proc/{rank}/status"));
            let status = status.unwrap_or_default();
            let peak =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            if let Some(peak) =
                peak.filter(|_| status.contains("mpi-sharded-reg"))
            {
                let kilobytes: u64 =
                    peak.trim().trim_end_matches(" kB").parse().unwrap();
                peaks.insert(rank.to_string(), 1024 * kilobytes);
            }
        }
    }
    let shard = 16 * 2_000_000;
    assert_eq!(peaks.len(), 4, "{peaks:?}");
    assert!(
        peaks.values().all(|peak| (shard..3 * shard).contains(peak)),
        "{shard}: {peaks:?}"
    );
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
    assert!(output.status.success(), "{output:?}");
    check_shards(&fit(&output), 2, 100_000, 40);
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
    let name = format!("mpi-sharded-{name}-{}", std::process::id());
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
