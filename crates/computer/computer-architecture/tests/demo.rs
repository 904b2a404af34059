#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What follows this in its line.
fn after<'a>(text: &'a str, start: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim_start);
    lines.find_map(|line| line.strip_prefix(start)).unwrap()
}

/// lscpu reads the same files for itself.
#[test]
fn threads_cores_and_caches_are_those_of_lscpu() {
    let picture = run(DEMO, &[]);
    let list = run("lscpu", &["-p=CPU,CORE"]);
    let rows = list.lines().filter(|line| !line.starts_with('#'));
    let (cpus, cores): (Vec<_>, BTreeSet<_>) =
        rows.map(|row| row.split_once(',').unwrap()).unzip();
    let count = cpus.len();
    let counts = format!("threads in /sys: {count}, in /proc: {count}, drawn:");
    assert!(picture.contains(&counts), "{picture}");
    if count <= 24 {
        let boxes = |row| after(&picture, row).matches('│').count() - 1;
        assert_eq!(boxes("thread"), count, "{picture}");
        assert_eq!(boxes("core"), cores.len(), "{picture}");
    }
    let caches = run("lscpu", &["-C=NAME,ONE-SIZE"]);
    for cache in caches.lines().skip(1) {
        let (name, size) = cache.split_once(' ').unwrap();
        let row = after(&picture, name);
        // It rounds 35.75M to 35.8M.
        let whole = size.trim().split(['.', 'K', 'M']).next().unwrap();
        assert!(row.contains(whole) || row.contains('…'), "{picture}");
    }
}

/// The machine stays as it is; this process may use one thread of it.
#[test]
fn pinned_to_one_thread() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = after(&status, "Cpus_allowed_list:\t");
    let first = allowed.split([',', '-']).next().unwrap();
    let pinned = run("taskset", &["-c", first, DEMO]);
    let usable = std::thread::available_parallelism().unwrap();
    let free = format!("process may use: {usable}\n");
    let one = "process may use: 1\n";
    assert!(pinned.contains(one), "{pinned}");
    assert_eq!(pinned.replace(one, &free), run(DEMO, &[]));
}

/// Runs the demo on a made-up machine: /sys, and some of /proc, that nothing
/// else sees. Demands this exit code, and these lines of what it prints.
fn test_on(machine: &str, code: i32, wanted: &str) {
    let script = r#"
        # cpu NUMBER PACKAGE ITS_CPUS CORE ITS_CPUS [LEVEL TYPE SIZE CPUS]...
        cpu() {
            folder=/sys/devices/system/cpu/cpu$1
            echo cpu$1 1 >>/sys/stat
            mkdir -p $folder/topology; cd $folder/topology
            echo $2 >physical_package_id; echo $3 >package_cpus_list
            [ $4 = ? ] || { echo $4 >core_id; echo $5 >core_cpus_list; }
            shift 5
            while [ $# -gt 0 ]; do
                cache=$folder/cache/index$(($# / 4))
                mkdir -p $cache; cd $cache
                echo $1 >level; echo $2 >type; echo $4 >shared_cpu_list
                [ $3 = ? ] || echo $3 >size
                shift 4
            done
        }
        mount -t tmpfs none /sys && mkdir -p /sys/block /sys/class/net || exit
        cd /sys/class/net; touch bonding_masters
        ln -s ../devices/pci0/0000:00:02.0/block/vda /sys/block
        ln -s ../../devices/pci0/0000:00:03.0/net/eth0 .
        ln -s ../../devices/virtual/net/lo .
        echo MemTotal: 1048576 kB >/sys/meminfo; echo cpu 1 >/sys/stat
        eval "$1"
        echo $online >/sys/devices/system/cpu/online
        mount --bind /sys/stat /proc/stat || exit
        mount --bind /sys/meminfo /proc/meminfo || exit
        echo mounted; exec "$0" 2>&1"#;
    let mut demo = Command::new("unshare");
    demo.args(["-rm", "sh", "-c", script, DEMO, machine]);
    let output = demo.env_remove("RUST_BACKTRACE").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if !text.starts_with("mounted\n") {
        return eprintln!("not tested: unshare or mount is refused here");
    }
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(wanted), "{text}lacks\n{wanted}");
}

/// Even threads are in package 0, odd ones in package 1. Cores have two.
#[test]
fn of_28_threads_the_first_12_are_drawn() {
    let machine = "online=0-27
        for n in $(seq 0 27); do
            own=$(seq -s , $((n % 2)) 2 27)
            cpu $n $((n % 2)) $own $((n % 14)) $((n % 14)),$((n % 14 + 14))
        done";
    let wanted = "
package│                                   0                                   …
   core│     0     │     2     │     4     │     6     │     8     │    10     …
 thread│  0  │ 14  │  2  │ 16  │  4  │ 18  │  6  │ 20  │  8  │ 22  │ 10  │ 24  …
";
    test_on(machine, 0, wanted);
    let counts = "\nthreads in /sys: 28, in /proc: 28, drawn: 12\n";
    test_on(machine, 0, counts);
}

/// A virtual machine: its L3 spans two packages, with cores of two kinds.
#[test]
fn twenty_four_threads_and_an_l3_that_spans_packages() {
    let machine = "online=0-23; l3='3 Unified 32768K 0-23'
        for n in $(seq 0 15); do
            pair=$((n / 2 * 2))-$((n / 2 * 2 + 1))
            cpu $n 0 0-15 $((n / 2)) $pair 1 Data 48K $pair \
                1 Instruction 1023K $pair 2 Unified 1280K $pair $l3
        done
        for n in $(seq 16 23); do
            four=$((n / 4 * 4))-$((n / 4 * 4 + 3))
            cpu $n 1 16-23 $n $n 1 Data 32K $n \
                1 Instruction 64K $n 2 Unified 1024K $four $l3
        done";
    let wanted = "\
package│                       0                       │           1           │
   core│  0  │  1  │  2  │  3  │  4  │  5  │  6  │  7  │16│17│18│19│20│21│22│23│
 thread│0 │1 │2 │3 │4 │5 │6 │7 │8 │9 │10│11│12│13│14│15│16│17│18│19│20│21│22│23│
    L1d│ 48K │ 48K │ 48K │ 48K │ 48K │ 48K │ 48K │ 48K │… │… │… │… │… │… │… │… │
    L1i│1023K│1023K│1023K│1023K│1023K│1023K│1023K│1023K│… │… │… │… │… │… │… │… │
     L2│1.25M│1.25M│1.25M│1.25M│1.25M│1.25M│1.25M│1.25M│    1M     │    1M     │
     L3│                                  32M                                  │
 memory│                                 1.0G                                  │
    bus pci0: disk vda, network eth0
";
    test_on(machine, 0, wanted);
}

/// It has CPUs 8, 9, 24 and 25 of a host, and is not told all of them.
#[test]
fn a_container_with_some_of_the_cpus() {
    let machine = "online=8-9,24-25
        for n in 8 9; do cpu $n 3 0-15 0 $n 3 Unified ? 0-15; done
        for n in 24 25; do cpu $n -1 16-31 ? ?; done
        touch /sys/cpuinfo; mount --bind /sys/cpuinfo /proc/cpuinfo";
    let wanted = "
processor: not reported

package│                 3                 │           not reported            │
   core│        0        │        0        │           not reported            │
 thread│        8        │        9        │       24        │       25        │
    L1d│                             not reported                              │
    L1i│                             not reported                              │
     L2│                             not reported                              │
     L3│                 ?                 │           not reported            │
 memory│                                 1.0G                                  │
";
    test_on(machine, 0, wanted);

    let miscounted = format!("{machine}; echo cpu4 1 >>/sys/stat");
    let error = "
threads in /sys: 4, in /proc: 5, drawn: 4
Error: /sys and /proc do not agree
";
    test_on(&miscounted, 1, error);
}

/// Some containers hide one of these files. No memory would be wrong.
#[test]
fn a_kernel_that_reports_half() {
    let cpu = "cpu 0 0 0 0 0";
    let error = "\ncannot run here: ";
    test_on(&format!("online=; {cpu}"), 77, error);
    test_on(&format!("online=0; {cpu}; : >/sys/meminfo"), 77, error);
}
