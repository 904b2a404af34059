#![cfg(target_os = "linux")] // elsewhere there is no sysfs to check the picture against

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_computer-architecture");

fn run(command: &str, args: &[&str]) -> Output {
    Command::new(command)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Against lscpu, which reads the same files for itself.
#[test]
fn threads_cores_and_caches_are_those_of_lscpu() {
    let picture = text(&run(DEMO, &[]));
    assert!(picture.lines().count() <= 24, "{picture}");
    assert!(
        picture.lines().all(|line| line.chars().count() <= 80),
        "{picture}"
    );
    let list = text(&run("lscpu", &["-p=CPU,CORE"]));
    let cpus =
        Vec::from_iter(list.lines().filter(|line| !line.starts_with('#')));
    let cores =
        BTreeSet::from_iter(cpus.iter().map(|cpu| cpu.split(',').nth(1)));
    let said = numbers(picture.lines().last().unwrap());
    assert_eq!(said[..2], [cpus.len(), cores.len()], "{picture}");
    if !picture.contains("the same") {
        assert_eq!(
            picture.matches("[thread ").count(),
            cpus.len(),
            "{picture}"
        );
        assert_eq!(
            picture.matches("─ core ").count(),
            cores.len(),
            "{picture}"
        );
    }
    for cache in text(&run("lscpu", &["-B", "-C=NAME,ONE-SIZE"]))
        .lines()
        .skip(1)
    {
        let (name, bytes) = cache.split_once(' ').unwrap();
        let size = match bytes.trim().parse::<f64>().unwrap() / 1024.0 {
            kib @ 1024.0.. => format!("{} MiB", kib / 1024.0),
            kib => format!("{kib} KiB"),
        };
        assert!(
            picture.contains(&format!(" {name} {size} ")),
            "{name} {size}: {picture}"
        );
    }
}

#[test]
fn memory_and_devices_are_those_of_the_kernel() {
    let picture = text(&run(DEMO, &[]));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let gib = |name| {
        let kib = numbers(
            meminfo.lines().find(|line| line.starts_with(name)).unwrap(),
        )[0];
        format!("{:.1} GiB", kib as f64 / f64::from(1 << 20))
    };
    let memory =
        format!(": memory {}; swap {}", gib("MemTotal"), gib("SwapTotal"));
    assert!(picture.contains(&memory), "{memory}: {picture}");
    let drawn = Vec::from_iter(
        picture
            .lines()
            .filter_map(|line| line.split_once(": network ")),
    );
    for (bus, name) in &drawn {
        let device =
            fs::canonicalize(format!("/sys/class/net/{name}")).unwrap();
        assert!(
            device.starts_with(bus.replace("  ╟─ ", "/sys/devices/")),
            "{device:?} {bus}"
        );
    }
    let devices = numbers(
        picture
            .lines()
            .find(|line| line.contains("in all"))
            .unwrap(),
    )[0];
    let interfaces = fs::read_dir("/sys/class/net").unwrap().count();
    assert!(
        devices >= interfaces && (devices > 6 || drawn.len() == interfaces),
        "{picture}"
    );
}

/// The machine stays as it is; this process may use one thread of it.
#[test]
fn pinned_to_one_thread() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list"))
        .unwrap();
    let pinned = text(&run(
        "taskset",
        &["-c", &numbers(allowed)[0].to_string(), DEMO],
    ));
    let free = text(&run(DEMO, &[]));
    assert!(pinned.ends_with("; this process may use 1\n"), "{pinned}");
    assert_eq!(
        pinned.rsplit_once(';').unwrap().0,
        free.rsplit_once(';').unwrap().0
    );
}

/// Another machine: its files are mounted over this one's, without those named `missing`.
fn machine(
    cores: usize,
    threads_per_core: usize,
    missing: &str,
    counted: usize,
) -> Option<Output> {
    let name = format!(
        "architecture-{}-{cores}-{missing}-{counted}",
        std::process::id()
    );
    let folder = std::env::temp_dir().join(name);
    let write = |file: &str, value: &str| {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    };
    let cpus = cores * threads_per_core;
    let all = format!("0-{}", cpus - 1);
    write("cpu/online", &all);
    for cpu in 0..cpus {
        let core = cpu % cores;
        let siblings = Vec::from_iter(
            (core..cpus).step_by(cores).map(|cpu| cpu.to_string()),
        );
        let (core, siblings) = (&core.to_string(), &siblings.join(","));
        for (file, value) in [
            ("topology/physical_package_id", "0"),
            ("topology/package_cpus_list", &all),
            ("topology/core_id", core),
            ("topology/core_cpus_list", siblings),
            ("cache/index0/level", "2"),
            ("cache/index0/type", "Unified"),
            ("cache/index0/size", "1280K"),
            ("cache/index0/shared_cpu_list", siblings),
            ("cache/index1/level", "3"),
            ("cache/index1/type", "Unified"),
            ("cache/index1/size", "36864K"),
            ("cache/index1/shared_cpu_list", &all),
        ] {
            if !file.contains(missing) {
                write(&format!("cpu/cpu{cpu}/{file}"), value);
            }
        }
    }
    let lines = |count, line: fn(usize) -> String| {
        (0..count).map(line).collect::<String>()
    };
    write(
        "stat",
        &format!("cpu  1\n{}", lines(cpus, |cpu| format!("cpu{cpu} 1\n"))),
    );
    write(
        "cpuinfo",
        &lines(counted, |id| format!("physical id : 0\ncore id : {id}\n\n")),
    );
    let mount = "mount --bind cpu /sys/devices/system/cpu && mount --bind stat /proc/stat &&
                 mount --bind cpuinfo /proc/cpuinfo && exec ";
    let mut demo = Command::new("unshare");
    demo.args(["-rm", "sh", "-c", &format!("{mount}{DEMO}")])
        .env_remove("RUST_BACKTRACE");
    let output = demo.current_dir(&folder).output();
    fs::remove_dir_all(&folder).unwrap();
    output.ok().filter(|output| !output.stdout.is_empty()) // where mounting is refused
}

#[test]
fn other_machines() {
    for (cores, threads_per_core, missing, first, second) in [
        (
            64,
            1,
            "none",
            "── core 1 ",
            "│ cores 2-63: the same (62 more L2) ",
        ),
        (
            6,
            2,
            "none",
            "│ ┌ L2 1.25 MiB ── core 0 ─",
            "│ │ [thread 1] [thread 7] ",
        ),
        (
            2,
            2,
            "cache",
            "│ ┌ caches not reported ── core 1 ",
            "│ │ [thread 1] [thread 3] ",
        ),
        (
            2,
            1,
            "size",
            "┌ package 0 ── L3 not reported ─",
            "│ ┌ L2 not reported ── core 0 ─",
        ),
        (
            2,
            1,
            "shared",
            "┌ package 0 ─",
            " L3 not reported ── L2 not reported ─",
        ),
        (
            3,
            1,
            "",
            "┌ package not reported ── caches",
            "│ [thread 0] [thread 1] [thread 2] ",
        ),
    ] {
        let Some(output) = machine(cores, threads_per_core, missing, cores)
        else {
            return eprintln!("not tested: unshare or mount is refused here");
        };
        let picture = text(&output);
        assert!(
            picture.contains(first) && picture.contains(second),
            "{picture}"
        );
        let (threads, drawn) = (
            cores * threads_per_core,
            if missing.is_empty() { 0 } else { cores },
        );
        let said = numbers(picture.lines().last().unwrap());
        assert_eq!(said[..4], [threads, drawn, threads, cores], "{picture}");
    }
    let output = machine(2, 1, "none", 3).unwrap(); // its kernel counts another core
    assert_eq!(output.status.code(), Some(1));
    let error = "Error: drawn: 2 threads, 2 cores; the kernel counts 2 and 3\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), error);
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--no"][..], &["7"]] {
        let output = run(DEMO, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
