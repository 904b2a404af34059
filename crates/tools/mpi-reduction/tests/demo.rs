use std::collections::BTreeSet;
use std::f64::consts::PI;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio, id};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(DEMO);
    demo.args(args).env_remove("RUST_BACKTRACE");
    demo
}

/// Checks all that a run printed.
fn check(output: &Output, ranks: usize) {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), ranks + 4, "{text}");

    let mut pids = BTreeSet::new();
    let mut sum_of_areas = 0.0;
    let mut first_sum = "";
    for (rank, line) in lines[1..=ranks].iter().enumerate() {
        // Rank, host, PID, first step, area of its part, sum
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], rank.to_string());
        pids.insert(words[2]);

        let first = 10_000_000 * rank / ranks;
        assert_eq!(words[3], first.to_string());
        let from = rank as f64 / ranks as f64;
        let to = (rank + 1) as f64 / ranks as f64;
        let expected = 4.0 * to.atan() - 4.0 * from.atan();
        let area: f64 = words[4].parse().unwrap();
        assert!((area - expected).abs() < 1e-6, "{expected}: {text}");
        sum_of_areas += area;
        if rank == 0 {
            first_sum = words[5];
        } else {
            assert_eq!(words[5], "0.000000000000", "only rank 0 has the sum");
        }
    }
    assert_eq!(pids.len(), ranks, "each rank is a process: {text}");
    let sum: f64 = first_sum.parse().unwrap();
    assert!((sum - sum_of_areas).abs() < 1e-9, "{text}");

    let start = format!("sum on rank 0: {first_sum}, off pi by ");
    let off = lines[ranks + 2].strip_prefix(&start).unwrap();
    let off: f64 = off.parse().unwrap();
    assert!((off - (sum - PI).abs()).abs() < 1e-11, "{text}");
    let expected = format!("processes: {ranks}, of which know pi: 1");
    assert_eq!(lines[ranks + 3], expected);
}

#[test]
fn any_number_of_ranks_makes_pi() {
    check(&demo(&[]).output().unwrap(), 2);
    for ranks in [1, 3, 4] {
        let args = ["--ranks", &ranks.to_string()];
        check(&demo(&args).output().unwrap(), ranks);
    }
}

#[test]
fn mpirun_starts_it_too() {
    let mut mpirun = Command::new("mpirun");
    // For root, and for one core. Other MPIs than Open MPI ignore them.
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    mpirun.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    mpirun.args(["-n", "2", DEMO, "--ranks", "7"]);
    check(&mpirun.output().unwrap(), 2);
}

/// Puts another mpirun into PATH, which tells what it was started with.
#[test]
fn it_becomes_mpirun() {
    let folder = std::env::temp_dir().join(format!("mpirun-{}", id()));
    fs::create_dir(&folder).unwrap();
    let mpirun = folder.join("mpirun");
    fs::write(&mpirun, "#!/bin/sh\necho $$ $*\nexit 3\n").unwrap();
    let run = |mode| {
        fs::set_permissions(&mpirun, fs::Permissions::from_mode(mode)).unwrap();
        let mut demo = demo(&["--ranks", "5"]);
        demo.env("PATH", &folder);
        demo.stdout(Stdio::piped()).stderr(Stdio::piped());
        let demo = demo.spawn().unwrap();
        (demo.id(), demo.wait_with_output().unwrap())
    };
    let (pid, started) = run(0o755);
    let (_, refused) = run(0o644);
    fs::remove_file(&mpirun).unwrap();
    let missing = demo(&[]).env("PATH", &folder).output().unwrap();
    fs::remove_dir(&folder).unwrap();

    let text = String::from_utf8_lossy(&started.stdout);
    assert_eq!(text, format!("{pid} -n 5 {DEMO} --ranks 5\n"));
    assert_eq!(started.status.code(), Some(3), "{started:?}");

    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert!(complaint.contains("mpirun does not start"), "{complaint}");

    assert_eq!(missing.status.code(), Some(77), "{missing:?}");
    let advice = String::from_utf8_lossy(&missing.stderr);
    assert!(advice.contains("no mpirun (apt install"), "{advice}");
}

/// Started by the launcher of another MPI, each rank finds itself alone.
#[test]
fn a_rank_alone_is_not_several() {
    for (ranks, code) in [("1", 0), ("2", 1)] {
        let mut demo = demo(&["--ranks", ranks]);
        let output = demo.env("PMI_RANK", "0").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(error.contains("one rank alone"), code == 1, "{error}");
    }
}
