use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

const DEMO: &str = env!("CARGO_BIN_EXE_computer-architecture");

fn run(command: &str, args: &[&str]) -> Output {
    Command::new(command).args(args).env_remove("RUST_BACKTRACE").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn fits_the_projector() {
    let output = run(DEMO, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = text(&output);
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// Against lscpu, which reads the same files for itself.
#[cfg(target_os = "linux")]
#[test]
fn threads_cores_and_caches_are_those_of_lscpu() {
    let picture = text(&run(DEMO, &[]));
    let list = text(&run("lscpu", &["-p=CPU,CORE"]));
    let cpus = Vec::from_iter(list.lines().filter(|line| !line.starts_with('#')));
    let cores = BTreeSet::from_iter(cpus.iter().map(|cpu| cpu.split(',').nth(1)));
    let said = numbers(picture.lines().last().unwrap());
    assert_eq!(said[..2], [cpus.len(), cores.len()], "{picture}");
    if !picture.contains("the same") {
        assert_eq!(picture.matches("[thread ").count(), cpus.len(), "{picture}");
        assert_eq!(picture.matches("─ core ").count(), cores.len(), "{picture}");
    }
    for cache in text(&run("lscpu", &["-B", "-C=NAME,ONE-SIZE"])).lines().skip(1) {
        let (name, bytes) = cache.split_once(' ').unwrap();
        let size = match bytes.trim().parse::<f64>().unwrap() / 1024.0 {
            kib @ 1024.0.. => format!("{} MiB", kib / 1024.0),
            kib => format!("{kib} KiB"),
        };
        assert!(picture.contains(&format!(" {name} {size} ")), "{name} {size}: {picture}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_and_devices_are_those_of_the_kernel() {
    let picture = text(&run(DEMO, &[]));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let kib =
        |name| numbers(meminfo.lines().find(|line| line.starts_with(name)).unwrap())[0] as f64;
    let gib = |name| format!("{:.1} GiB", kib(name) / f64::from(1 << 20));
    let memory = format!("memory {}; swap {}", gib("MemTotal"), gib("SwapTotal"));
    assert!(picture.contains(&memory), "{memory}: {picture}");
    let drawn = Vec::from_iter(picture.lines().filter(|line| line.contains(": network ")));
    for line in &drawn {
        let (bus, name) = line.split_once(": network ").unwrap();
        let link = fs::canonicalize(format!("/sys/class/net/{name}")).unwrap();
        assert!(link.starts_with(format!("/sys/devices/{}", bus.rsplit(' ').next().unwrap())));
    }
    let devices = numbers(picture.lines().find(|line| line.contains("in all")).unwrap())[0];
    let interfaces = fs::read_dir("/sys/class/net").unwrap().count();
    assert!(devices >= interfaces && (devices > 6 || drawn.len() == interfaces), "{picture}");
}

/// The header's Try: the machine stays as it is, the process may use one thread of it.
#[cfg(target_os = "linux")]
#[test]
fn pinned_to_one_thread() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    let pinned = text(&run("taskset", &["-c", &numbers(allowed)[0].to_string(), DEMO]));
    let free = text(&run(DEMO, &[]));
    assert!(pinned.ends_with("; this process may use 1\n"), "{pinned}");
    assert_eq!(pinned.rsplit_once(';').unwrap().0, free.rsplit_once(';').unwrap().0);
}

/// Draws another machine: its files are mounted over this one's, without those named `missing`.
#[cfg(target_os = "linux")]
fn draw(cores: usize, threads_per_core: usize, missing: &str, counted: usize) -> Option<Output> {
    let cpus = cores * threads_per_core;
    let machine = format!("{}-{cores}-{missing}-{counted}", std::process::id());
    let folder = std::env::temp_dir().join(format!("computer-architecture-{machine}"));
    let write = |file: &str, value: &str| {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    };
    let all = format!("0-{}", cpus - 1);
    write("cpu/online", &all);
    for cpu in 0..cpus {
        let core = cpu % cores;
        let siblings = Vec::from_iter((core..cpus).step_by(cores).map(|cpu| cpu.to_string()));
        let (core, siblings) = (core.to_string(), siblings.join(","));
        let mut files = vec![("topology/physical_package_id".to_string(), "0")];
        files.push(("topology/package_cpus_list".into(), &all));
        files.push(("topology/core_id".into(), &core));
        files.push(("topology/core_cpus_list".into(), &siblings));
        let l2 = ["2", "Unified", "1280K", &siblings];
        for (index, cache) in [l2, ["3", "Unified", "36864K", &all]].into_iter().enumerate() {
            for (file, value) in ["level", "type", "size", "shared_cpu_list"].iter().zip(cache) {
                files.push((format!("cache/index{index}/{file}"), value));
            }
        }
        for (file, value) in files.iter().filter(|(file, _)| !file.contains(missing)) {
            write(&format!("cpu/cpu{cpu}/{file}"), value);
        }
    }
    let lines = |count, line: fn(usize) -> String| (0..count).map(line).collect::<String>();
    write("stat", &format!("cpu  1\n{}", lines(cpus, |cpu| format!("cpu{cpu} 1\n"))));
    write("cpuinfo", &lines(counted, |n| format!("physical id : 0\ncore id : {n}\n\n")));
    let mount = "mount --bind cpu /sys/devices/system/cpu && mount --bind stat /proc/stat &&
                 mount --bind cpuinfo /proc/cpuinfo || exit 99; exec ";
    let mut demo = Command::new("unshare");
    demo.args(["-rm", "sh", "-c", &format!("{mount}{DEMO}")]).env_remove("RUST_BACKTRACE");
    let output = demo.current_dir(&folder).output();
    fs::remove_dir_all(&folder).unwrap();
    output.ok().filter(|output| !text(output).is_empty()) // unshare or mount may be refused
}

#[cfg(target_os = "linux")]
#[test]
fn other_machines() {
    let cases = [
        (64, 1, "nothing", "── core 1 ", "│ cores 2-63: the same (62 more) "),
        (6, 2, "nothing", "│ ┌ L2 1.25 MiB ── core 0 ─", "│ │ [thread 1] [thread 7] "),
        (2, 2, "cache", "│ ┌ caches not reported ── core 1 ", "│ │ [thread 1] [thread 3] "),
        (2, 1, "size", "┌ package 0 ── L3 not reported ─", "│ ┌ L2 not reported ── core 0 ─"),
        (2, 1, "shared", "┌ package 0 ─", " L3 not reported ── L2 not reported ─"),
        (3, 1, "/", "┌ package not reported ──", "│ [thread 0] [thread 1] [thread 2] "),
    ];
    for (cores, smt, missing, first, second) in cases {
        let Some(output) = draw(cores, smt, missing, cores) else {
            return eprintln!("not tested: unshare -rm and mount --bind are refused here");
        };
        let text = text(&output);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text.contains(first) && text.contains(second), "{text}");
        let drawn = if missing == "/" { 0 } else { cores };
        assert_eq!(
            numbers(text.lines().last().unwrap())[..4],
            [cores * smt, drawn, cores * smt, cores]
        );
    }
    let output = draw(2, 1, "nothing", 3).unwrap();
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
