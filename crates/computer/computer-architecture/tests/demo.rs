#![cfg(target_os = "linux")] // elsewhere there is no /sys to draw from

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(command: &str, args: &[&str]) -> Output {
    Command::new(command)
        .args(args)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

/// The standard output of a command that has succeeded.
fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// That of the demo, which fits the screen.
fn picture(output: &Output) -> String {
    let picture = text(output);
    assert!(picture.lines().count() <= 24, "{picture}");
    for line in picture.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    picture
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// What follows this in its line.
fn after<'a>(picture: &'a str, start: &str) -> &'a str {
    let mut lines = picture.lines();
    lines.find_map(|line| line.strip_prefix(start)).unwrap()
}

/// Against lscpu, which reads the same files for itself.
#[test]
fn threads_cores_and_caches_are_those_of_lscpu() {
    let picture = picture(&run(DEMO, &[]));
    let list = text(&run("lscpu", &["-p=CPU,CORE"]));
    let cpus: Vec<&str> =
        list.lines().filter(|line| !line.starts_with('#')).collect();
    let cores: BTreeSet<&str> = cpus
        .iter()
        .map(|cpu| cpu.split_once(',').unwrap().1)
        .collect();
    let drawn = numbers(after(&picture, "drawn, from /sys:"));
    assert_eq!(drawn, [cpus.len(), cores.len()], "{picture}");
    if !picture.contains("like this") {
        assert_eq!(picture.matches("[thread ").count(), cpus.len());
        assert_eq!(picture.matches("─ core ").count(), cores.len());
    }
    let caches = text(&run("lscpu", &["-B", "-C=NAME,ONE-SIZE"]));
    for cache in caches.lines().skip(1) {
        let (name, bytes) = cache.split_once(' ').unwrap();
        let size = match bytes.trim().parse::<f64>().unwrap() / 1024.0 {
            kib @ 1024.0.. => format!("{} MiB", kib / 1024.0),
            kib => format!("{kib} KiB"),
        };
        let wanted = format!(" {name} {size} ");
        assert!(picture.contains(&wanted), "{wanted}: {picture}");
    }
}

#[test]
fn memory_and_devices_are_those_of_the_kernel() {
    let picture = picture(&run(DEMO, &[]));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let kib = numbers(after(&meminfo, "MemTotal:"))[0];
    let gib = format!("{:.1} GiB", kib as f64 / f64::from(1 << 20));
    let memory = format!("─ memory bus: memory {gib}\n");
    assert!(picture.contains(&memory), "{memory}: {picture}");

    let cut = picture.contains('…') || picture.contains("not drawn");
    for interface in fs::read_dir("/sys/class/net").unwrap() {
        let path = fs::canonicalize(interface.unwrap().path()).unwrap();
        let Ok(below) = path.strip_prefix("/sys/devices") else {
            continue;
        };
        let name = below.file_name().unwrap().display();
        let bus = match below.iter().next().unwrap().to_str().unwrap() {
            "virtual" => "made by the kernel, on no bus: ".to_string(),
            bus => format!("─ bus {bus}: "),
        };
        let line = picture.lines().find(|line| line.contains(&bus));
        let drawn = line.is_some_and(|line| {
            line.split([',', ':'])
                .any(|word| word.trim() == format!("network {name}"))
        });
        assert!(drawn || cut, "{name}, {bus}: {picture}");
    }
}

/// The machine stays as it is; this process may use one thread of it.
#[test]
fn pinned_to_one_thread() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = numbers(after(&status, "Cpus_allowed_list:"))[0].to_string();
    let pinned = picture(&run("taskset", &["-c", &allowed, DEMO]));
    let free = picture(&run(DEMO, &[]));
    let start = "threads that this process may use at once: ";
    assert_eq!(after(&pinned, start), "1");
    let others = |picture: &str| -> Vec<String> {
        let lines = picture.lines().filter(|line| !line.starts_with(start));
        lines.map(str::to_string).collect()
    };
    assert_eq!(others(&pinned), others(&free));
    let parallelism = std::thread::available_parallelism().unwrap();
    assert_eq!(after(&free, start), parallelism.to_string());
}

/// Another machine: a folder with its /sys, and some files of its /proc. They
/// are mounted over this machine's, where only the demo can see them.
struct Machine(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A CPU, such as: package "0 0-3", core "0 0,2", caches "3 Unified 512K 0-3".
/// What is empty is not reported.
struct Cpu {
    number: usize,
    package: String,
    core: String,
    caches: Vec<String>,
}

impl Machine {
    fn new(online: &str, cpus: &[Cpu]) -> Machine {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("architecture-{}-{next}", std::process::id());
        let machine = Machine(std::env::temp_dir().join(name));
        machine.write("sys/devices/system/cpu/online", online);
        machine.write("proc/swaps", "Filename Type Size Used Priority\n");
        machine.write("proc/meminfo", "MemTotal: 1048576 kB");
        let mut stat = "cpu  1\n".to_string();
        let mut cpuinfo = String::new();
        for (i, cpu) in cpus.iter().enumerate() {
            let folder = format!("sys/devices/system/cpu/cpu{}", cpu.number);
            let (package, core) = (&cpu.package, &cpu.core);
            for (id, list, value) in [
                ("physical_package_id", "package_cpus_list", package),
                ("core_id", "core_cpus_list", core),
            ] {
                if let Some((number, members)) = value.split_once(' ') {
                    machine.write(&format!("{folder}/topology/{id}"), number);
                    let list = format!("{folder}/topology/{list}");
                    machine.write(&list, members);
                }
            }
            for (index, cache) in cpu.caches.iter().enumerate() {
                let files = ["level", "type", "size", "shared_cpu_list"];
                for (file, value) in files.iter().zip(cache.split(' ')) {
                    if !value.is_empty() {
                        let folder = format!("{folder}/cache/index{index}");
                        machine.write(&format!("{folder}/{file}"), value);
                    }
                }
            }
            // A container's /proc may number its CPUs from 0.
            stat += &format!("cpu{i} 1\n");
            let package = package.split(' ').next().unwrap();
            let core = core.split(' ').next().unwrap();
            cpuinfo += &format!(
                "processor\t: {i}\nmodel name\t: Made-up CPU\n\
                 physical id\t: {package}\ncore id\t\t: {core}\n\n"
            );
        }
        machine.write("proc/stat", &stat);
        machine.write("proc/cpuinfo", &cpuinfo);
        machine
    }

    fn write(&self, file: &str, value: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{value}\n")).unwrap();
    }

    /// A link in a folder of /sys to what is below /sys/devices.
    fn link(&self, folder: &str, device: &str) {
        let folder = self.0.join("sys").join(folder);
        fs::create_dir_all(&folder).unwrap();
        let target = Path::new("/sys/devices").join(device);
        let name = target.file_name().unwrap();
        symlink(&target, folder.join(name)).unwrap();
        fs::create_dir_all(self.0.join("sys/devices").join(device)).unwrap();
    }

    /// A disk of that many sectors of 512 bytes.
    fn disk(&self, device: &str, sectors: u64) {
        self.link("block", device);
        self.link("class/block", device);
        let size = format!("sys/devices/{device}/size");
        self.write(&size, &sectors.to_string());
    }

    /// What the demo says of it; None where mounting is refused.
    fn run(&self) -> Option<Output> {
        let script = "mount --bind sys /sys || exit
                      for file in proc/*; do
                          mount --bind $file /$file || exit
                      done
                      : > mounted; exec \"$0\"";
        let output = Command::new("unshare")
            .args(["-rm", "sh", "-c", script, DEMO])
            .env_remove("RUST_BACKTRACE")
            .current_dir(&self.0)
            .output();
        if !self.0.join("mounted").exists() {
            eprintln!("not tested: unshare or mount is refused here");
            return None;
        }
        Some(output.unwrap())
    }

    /// Demands these lines, one after the other, of what it says.
    fn shows(&self, wanted: &str) {
        let Some(output) = self.run() else {
            return;
        };
        let picture = picture(&output);
        for line in picture.lines() {
            let in_frame = line.starts_with(['┌', '│', '└']);
            assert!(!in_frame || line.chars().count() == 80, "{picture}");
        }
        let shown = format!("\n{}\n", short(&picture));
        let lines = format!("\n{}\n", short(wanted));
        assert!(shown.contains(&lines), "{picture}\nlacks\n{lines}");
    }

    /// Demands this exit code and error, and no verdict.
    fn fails(&self, code: i32, error: &str) {
        let Some(output) = self.run() else {
            return;
        };
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), error);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(!printed.contains("drawn, from /sys"), "{printed}");
        assert!(code == 1 || printed.is_empty(), "{printed}");
    }
}

/// Each line without blanks at its ends, and one blank or dash for many.
fn short(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.trim().lines() {
        let mut kept = String::new();
        for letter in line.trim().chars() {
            if !" ─".contains(letter) || !kept.ends_with(letter) {
                kept.push(letter);
            }
        }
        lines.push(kept);
    }
    lines.join("\n")
}

/// A CPU in package 0 of CPUs 0-7, alone in its core, with caches as said.
fn plain_cpu(number: usize, caches: &[&str]) -> Cpu {
    Cpu {
        number,
        package: "0 0-7".to_string(),
        core: format!("{number} {number}"),
        caches: caches.iter().map(|cache| cache.to_string()).collect(),
    }
}

/// Each core has two threads, n and n + 16; a package and an L3 eight cores.
#[test]
fn a_server_of_two_packages() {
    let mut cpus = Vec::new();
    for number in 0..32 {
        let core = number % 16;
        let package = core / 8;
        let first = 8 * package;
        let members =
            format!("{first}-{},{}-{}", first + 7, first + 16, first + 23);
        let pair = format!("{core},{}", core + 16);
        cpus.push(Cpu {
            number,
            package: format!("{package} {members}"),
            core: format!("{} {pair}", core % 8),
            caches: vec![
                format!("1 Data 48K {pair}"),
                format!("1 Instruction 32K {pair}"),
                format!("2 Unified 1280K {pair}"),
                format!("3 Unified 36864K {members}"),
            ],
        });
    }
    let machine = Machine::new("0-31", &cpus);
    machine.shows(
        "processor: Made-up CPU
        ┌ package 0 ─ L3 36 MiB ─┐
        │ ┌ L2 1.25 MiB ─ L1i 32 KiB ─ L1d 48 KiB ─ core 0 ─┐ │
        │ │ [thread 0] [thread 16] │ │
        │ └─┘ │
        │ 7 more like this: threads 1-7,17-23 │
        └─┘
        1 more like this: threads 8-15,24-31",
    );
    machine.shows("threads in a core: 2; cores share: L3 36 MiB");
    machine.shows(
        "drawn, from /sys:  threads 32, cores 16
        counted, in /proc: threads 32, cores 16",
    );
}

/// As some virtual machines report it: one L3 for all packages.
#[test]
fn an_l3_that_spans_the_packages_stands_around_them() {
    let mut cpus = Vec::new();
    for number in 0..4 {
        let caches = [format!("2 Unified 1023K {number}")];
        cpus.push(Cpu {
            number,
            package: format!("{number} {number}"),
            core: format!("0 {number}"),
            caches: [&caches[..], &["3 Unified 1024K 0-3".to_string()]]
                .concat(),
        });
    }
    Machine::new("0-3", &cpus).shows(
        "processor: Made-up CPU
        ┌ L3 1 MiB ─┐
        │ ┌ package 0 ─ L2 1023 KiB ─ core 0 ─┐ │
        │ │ [thread 0] │ │
        │ └─┘ │
        │ ┌ package 1 ─ L2 1023 KiB ─ core 0 ─┐ │
        │ │ [thread 1] │ │
        │ └─┘ │
        │ 2 more like this: threads 2-3 │
        └─┘
        ╟─ memory bus: memory 1.0 GiB",
    );
}

/// It has CPUs 8, 9, 24 and 25 of a host; /proc numbers them from 0.
#[test]
fn a_container_with_some_of_the_cpus() {
    let mut cpus = Vec::new();
    for number in [8, 9, 24, 25] {
        let members = if number < 16 { "0-15" } else { "16-31" };
        cpus.push(Cpu {
            number,
            package: format!("{} {members}", number / 16),
            core: format!("{number} {number}"),
            caches: vec![format!("3 Unified 32768K {members}")],
        });
    }
    let machine = Machine::new("8-9,24-25", &cpus);
    machine.shows(
        "┌ package 0 ─ L3 32 MiB ─┐
        │ ┌ core 8 ─┐ │
        │ │ [thread 8] │ │
        │ └─┘ │
        │ 1 more like this: thread 9 │
        └─┘
        1 more like this: threads 24-25",
    );
    machine.shows("counted, in /proc: threads 4, cores 4");
}

/// Threads are offline; the numbers of those that are left have gaps.
#[test]
fn a_list_with_gaps_is_no_range() {
    let cpus = [0, 2, 4, 6, 7].map(|number| plain_cpu(number, &[]));
    Machine::new("0,2,4,6-7", &cpus).shows(
        "┌ package 0 ─┐
        │ ┌ core 0 ─┐ │
        │ │ [thread 0] │ │
        │ └─┘ │
        │ ┌ core 2 ─┐ │
        │ │ [thread 2] │ │
        │ └─┘ │
        │ 3 more like this: threads 4,6-7 │
        └─┘
        not reported: caches",
    );
}

/// Twelve lines are for the processor: four cores of three lines.
#[test]
fn as_many_cores_as_fit() {
    for (count, last) in [(4, "[thread 3]"), (5, "[thread 1]")] {
        let mut cpus = Vec::new();
        for number in 0..count {
            let mut cpu = plain_cpu(number, &[]);
            cpu.package = String::new();
            cpus.push(cpu);
        }
        let more = if count == 4 {
            ""
        } else {
            "3 more like this: threads 2-4\n"
        };
        let machine = Machine::new(&format!("0-{}", count - 1), &cpus);
        machine.shows(&format!(
            "│ {last} │\n└─┘\n{more}not reported: packages, caches"
        ));
    }
}

/// Cores that differ are all drawn: two threads, or caches of their own.
#[test]
fn cores_of_two_kinds() {
    let mut cpus = Vec::new();
    for number in 0..8 {
        cpus.push(if number < 4 {
            let pair = format!("{0}-{1}", number / 2 * 2, number / 2 * 2 + 1);
            let mut cpu = plain_cpu(number, &["3 Unified 8192K 0-7"]);
            cpu.core = format!("{} {pair}", number / 2);
            cpu.caches.push(format!("2 Unified 2048K {pair}"));
            cpu
        } else {
            plain_cpu(number, &["3 Unified 8192K 0-7", "2 Unified 2048K 4-7"])
        });
    }
    let machine = Machine::new("0-7", &cpus);
    machine.shows(
        "┌ package 0 ─ L3 8 MiB ─┐
        │ ┌ L2 2 MiB ─ core 0 ─┐ │
        │ │ [thread 0] [thread 1] │ │
        │ └─┘ │
        │ 1 more like this: threads 2-3 │
        │ ┌ L2 2 MiB ─┐ │
        │ │ ┌ core 4 ─┐ │ │
        │ │ │ [thread 4] │ │ │
        │ │ └─┘ │ │
        │ │ 3 more like this: threads 5-7 │ │
        │ └─┘ │
        └─┘",
    );
    machine.shows("threads in a core: 1 or 2; cores share: L3 8 MiB, L2 2 MiB");
}

/// Caches make cores differ by their size, and by the CPUs that share them.
#[test]
fn cores_with_different_caches_are_not_alike() {
    let mut cpus = Vec::new();
    for (number, cache) in [
        "2 Unified 512K 0",
        "2 Unified 256K 1",
        "2 Unified 256K 2-3",
        "2 Unified 256K 2-3",
    ]
    .iter()
    .enumerate()
    {
        cpus.push(plain_cpu(number, &[cache]));
    }
    // Here CPU 1 belongs to no core.
    cpus[1].core = String::new();
    let machine = Machine::new("0-3", &cpus);
    machine.shows(
        "┌ package 0 ─┐
        │ ┌ L2 512 KiB ─ core 0 ─┐ │
        │ │ [thread 0] │ │
        │ └─┘ │
        │ ┌ L2 256 KiB ─┐ │
        │ │ [thread 1] │ │
        │ └─┘ │
        │ ┌ L2 256 KiB ─┐ │
        │ │ ┌ core 2 ─┐ │ │
        │ │ │ [thread 2] │ │ │
        │ │ └─┘ │ │
        │ │ 1 more like this: thread 3 │ │
        │ └─┘ │
        └─┘
        not reported: cores",
    );
    machine.shows("counted, in /proc: threads 4, cores not compared");
}

/// Six pairs of CPUs: three are cores, three differ from these in one way.
#[test]
fn only_neighbours_that_are_alike_are_counted_together() {
    for (difference, wanted) in [
        ("size of a cache", "2 more like this: threads 8-11"),
        ("threads", "5 more like this: threads 7-11"),
        ("a cache inside", "2 more like this: threads 8-11"),
        ("a package", "2 more like this: threads 8-11"),
    ] {
        let mut cpus = Vec::new();
        for number in 0..12 {
            let pair = format!("0 {}-{}", number / 2 * 2, number / 2 * 2 + 1);
            let mut cpu = plain_cpu(number, &[]);
            cpu.package = String::new();
            cpu.core = pair.clone();
            let differs = number >= 6;
            match difference {
                "size of a cache" => {
                    let kib = if differs { 512 } else { 256 };
                    let cache =
                        pair.replacen('0', &format!("2 Data {kib}K"), 1);
                    cpu.caches.push(cache);
                }
                "threads" if differs => cpu.core = format!("0 {number}"),
                "a cache inside" if differs => {
                    cpu.caches.push(format!("1 Data 32K {number}"));
                }
                "a package" if differs => {
                    cpu.package = pair;
                    cpu.core = String::new();
                }
                _ => {}
            }
            cpus.push(cpu);
        }
        let machine = Machine::new("0-11", &cpus);
        machine.shows("2 more like this: threads 2-5");
        machine.shows(wanted);
    }
}

/// Virtual machines may report an L1 for each thread of a core.
#[test]
fn a_cache_inside_a_core() {
    let mut cpus = Vec::new();
    for number in 0..2 {
        let mut cpu = plain_cpu(number, &[]);
        cpu.core = "0 0-1".to_string();
        cpu.caches.push(format!("1 Data 32K {number}"));
        cpus.push(cpu);
    }
    let machine = Machine::new("0-1", &cpus);
    machine.shows(
        "┌ package 0 ─ core 0 ─┐
        │ ┌ L1d 32 KiB ─┐ │
        │ │ [thread 0] │ │
        │ └─┘ │
        │ ┌ L1d 32 KiB ─┐ │
        │ │ [thread 1] │ │
        │ └─┘ │
        └─┘
        ╟─ memory bus: memory 1.0 GiB",
    );
    machine.shows("threads in a core: 2; cores share: none");
}

/// All that a CPU has stands in the title of one frame, if that has room.
#[test]
fn a_single_cpu_with_long_names() {
    let caches = |l3: &str| {
        plain_cpu(
            0,
            &[
                "1 Data 48K 0",
                "1 Instruction 32K 0",
                "2 Unified 2560K 0",
                &format!("3 Unified {l3} 0"),
            ],
        )
    };
    Machine::new("0", &[caches("36352K")]).shows(
        "┌ package 0 ─ L3 35.5 MiB ─ L2 2.5 MiB ─ \
            L1i 32 KiB ─ L1d 48 KiB ─ core 0 ┐
        │ [thread 0] │
        └─┘",
    );
    Machine::new("0", &[caches("36608K")]).shows(
        "┌ package 0 ─ L3 35.75 MiB ─ L2 2.5 MiB ─ L1i 32 KiB ─ L1d 48 KiB ─┐
        │ ┌ core 0 ─┐ │
        │ │ [thread 0] │ │
        │ └─┘ │
        └─┘",
    );
}

#[test]
fn what_is_not_reported_is_said() {
    let no_sizes = ["2 Unified  0-1".to_string()];
    let mut cpus = Vec::new();
    for number in 0..2 {
        cpus.push(Cpu {
            number,
            package: "-1 0-1".to_string(),
            core: format!("0 {number}"), // a core's number is one in a package
            caches: no_sizes.to_vec(),
        });
    }
    let machine = Machine::new("0-1", &cpus);
    machine.shows(
        "processor: Made-up CPU
        ┌ L2 ? KiB ─┐
        │ ┌ core 0 ─┐ │
        │ │ [thread 0] │ │
        │ └─┘ │
        │ ┌ core 0 ─┐ │
        │ │ [thread 1] │ │
        │ └─┘ │
        └─┘
        not reported: packages, sizes of caches (?)",
    );
    machine.shows(
        "drawn, from /sys:  threads 2, cores 2
        counted, in /proc: threads 2, cores not compared",
    );

    // Such as on ARM: nothing that tells the cores apart.
    machine.write("proc/cpuinfo", "processor : 0\n\nprocessor : 1\n");
    machine.shows("processor: not reported");
    let name = "x".repeat(80 - "processor: ".len());
    let cpuinfo = "vendor_id\t: Made-up\nmodel name\t: ";
    for (more, shown) in [("", &name[..]), ("yz", &format!("{}…", &name[1..]))]
    {
        let cpuinfo = format!("processor\t: 0\n{cpuinfo}{name}{more}\n");
        machine.write("proc/cpuinfo", &cpuinfo);
        machine.shows(&format!("processor: {shown}"));
    }
    let mut pair = [plain_cpu(0, &[]), plain_cpu(1, &[])];
    for cpu in &mut pair {
        cpu.core = "0 0-1".to_string();
    }
    let arm = Machine::new("0-1", &pair);
    arm.write("proc/cpuinfo", "processor : 0\n\nprocessor : 1\n");
    arm.shows("threads in a core: 2; cores share: not reported");
    arm.shows(
        "drawn, from /sys:  threads 2, cores 1
        counted, in /proc: threads 2, cores not compared",
    );
}

/// No topology at all: a box for each thread, as many as fit.
#[test]
fn a_machine_without_topology() {
    let mut cpus = Vec::new();
    for number in 0..128 {
        let mut cpu = plain_cpu(number, &[]);
        cpu.package = String::new();
        cpu.core = String::new();
        cpus.push(cpu);
    }
    let machine = Machine::new("0-127", &cpus);
    machine.shows(
        "[thread 42] [thread 43] [thread 44] [thread 45] [thread 46] [thread 47]
        and threads 48-127
        not reported: packages, caches, cores",
    );
    machine.shows("threads in a core: not reported; cores share: not reported");
    let smaller = Machine::new("0-48", &cpus[..49]);
    smaller.shows("and thread 48");
    for cpu in &mut cpus {
        cpu.caches.push("3 Unified 32768K 0-127".to_string());
    }
    let cached = Machine::new("0-127", &cpus);
    cached.shows("threads in a core: not reported; cores share: not reported");
}

#[test]
fn a_kernel_that_counts_otherwise_elsewhere() {
    let cpus = [plain_cpu(0, &[]), plain_cpu(1, &[])];
    let machine = Machine::new("0-1", &cpus);
    let core = "physical id : 0\ncore id : ";
    machine.write("proc/cpuinfo", &format!("{core}0\n\n{core}1\n\n{core}2"));
    machine.fails(
        1,
        "Error: drawn, from /sys: threads 2, cores 2; \
         counted, in /proc: threads 2, cores 3\n",
    );
    let other = Machine::new("0-1", &cpus);
    other.write("proc/stat", "cpu  1\ncpu0 1\ncpu1 1\ncpu2 1");
    other.fails(
        1,
        "Error: drawn, from /sys: threads 2, cores 2; \
         counted, in /proc: threads 3, cores 2\n",
    );
}

#[test]
fn a_kernel_that_reports_nothing() {
    Machine::new("", &[]).fails(
        77,
        "cannot run here: there is no /sys/devices/system/cpu/online \
         (Linux has it)\n",
    );
    for file in ["stat", "meminfo"] {
        let machine = Machine::new("0", &[plain_cpu(0, &[])]);
        machine.write(&format!("proc/{file}"), "");
        machine.fails(
            77,
            "cannot run here: /proc/stat or /proc/meminfo is missing\n",
        );
    }
}

/// Whole disks, on the bus that their path names; not what is mounted.
#[test]
fn devices_and_their_buses() {
    let machine = Machine::new("0", &[plain_cpu(0, &[])]);
    machine.shows(
        "╟─ memory bus: memory 1.0 GiB
        ╙─ devices not reported
        swap: none",
    );
    machine.disk("pci0000:00/0000:00:1f.2/block/sda", 1 << 22);
    machine.disk("pci0000:00/0000:00:1f.2/block/sr0", 0); // no disk in it
    machine.link("class/net", "pci0000:00/0000:00:03.0/net/eth0");
    machine.disk("platform/soc/block/mmcblk0", 1 << 21);
    machine.disk("virtual/block/dm-0", 1 << 20);
    machine.disk("virtual/block/loop0", 0);
    machine.link("class/net", "virtual/net/lo");
    machine.write("sys/class/net/bonding_masters", "");
    machine.write("sys/class/net/eth1/mtu", "1500"); // no link
    machine.shows(
        "╟─ memory bus: memory 1.0 GiB
        ╟─ bus not reported: network eth1
        ╟─ bus pci0000:00: disk sda 2.0 GiB, network eth0
        ╙─ bus platform: disk mmcblk0 1.0 GiB
        made by the kernel, on no bus: disk dm-0 0.5 GiB, network lo
        swap: none",
    );
    // Too many for a line, and for the lines that there are.
    for i in 0..10 {
        machine.disk(&format!("pci0000:00/block/sd{i}"), 1 << 22);
    }
    machine.disk("pci0000:80/block/sdx", 1 << 22);
    machine.shows("╙─ 2 more buses, not drawn");
    machine.shows(
        "╟─ bus pci0000:00: disk sd0 2.0 GiB, disk sd1 2.0 GiB, \
            disk sd2 2.0 GiB, disk…",
    );
}

/// Swap is where its device is: on a disk, or, with zram, in memory.
#[test]
fn where_swap_lives() {
    let machine = Machine::new("0", &[plain_cpu(0, &[])]);
    let disk = "pci0000:00/0000:00:1f.2/block/sda";
    machine.disk(disk, 1 << 22);
    machine.disk("virtual/block/zram0", 1 << 22);
    machine.disk("virtual/block/dm-0", 1 << 20);
    for partition in ["sda2", "sda3"] {
        let partition = format!("{disk}/{partition}");
        machine.link("class/block", &partition);
        machine.write(&format!("sys/devices/{partition}/partition"), "2");
    }
    // dm-0 is a volume in partition sda3.
    machine.link("devices/virtual/block/dm-0/slaves", &format!("{disk}/sda3"));
    let table = "Filename Type Size Used Priority
        /dev/sda2   partition  2097152 0 -2
        /dev/zram0  partition  4194304 0 100
        /dev/dm-0   partition   524288 0 -3
        /no/such    file       1048576 0 -4";
    machine.write("proc/swaps", table);
    machine.shows(
        "╙─ bus pci0000:00: disk sda 2.0 GiB
        made by the kernel, on no bus: disk dm-0 0.5 GiB, disk zram0 2.0 GiB
        swap: 2.0 GiB in /dev/sda2, on disk sda
        swap: 4.0 GiB in /dev/zram0, in memory, compressed
        swap: 0.5 GiB in /dev/dm-0, on disk sda
        swap: 1.0 GiB in /no/such, disk not reported",
    );
}

/// A swap file is on the disk of its file system.
#[test]
fn where_a_swap_file_lives() {
    let machine = Machine::new("0", &[plain_cpu(0, &[])]);
    let binary = fs::canonicalize(DEMO).unwrap();
    let wanted = fs::metadata(&binary).unwrap().dev();
    let mut disk = None;
    // Here each partition of this machine is a disk of the other one.
    for entry in fs::read_dir("/sys/class/block").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        machine.disk(&format!("pci0000:00/block/{name}"), 1 << 22);
        let device = fs::metadata(format!("/dev/{name}"));
        if device.is_ok_and(|device| device.rdev() == wanted) {
            disk = Some(name);
        }
    }
    let Some(disk) = disk else {
        return eprintln!("not tested: no block device has this file");
    };
    let file = machine.0.join("swap");
    symlink(&binary, &file).unwrap();
    let file_name = file.display();
    let table = format!("Filename Type\n{file_name} file 1048576 0 -2");
    machine.write("proc/swaps", &table);
    machine.shows(&format!("swap: 1.0 GiB in {file_name}, on disk {disk}"));
}
