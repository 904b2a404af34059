//! Compiles src/pi.c, with OpenMP if the C compiler has it. Then `cfg(openmp)`
//! is set. If not, the program is built all the same.

use std::env::var;

/// What turns OpenMP on. The first is for gcc and clang. The clang of Apple has
/// no OpenMP library, so the others take the library of Homebrew.
const WAYS: [&str; 3] = [
    "-fopenmp",
    "-Xclang -fopenmp /opt/homebrew/opt/libomp/lib/libomp.dylib",
    "-Xclang -fopenmp /usr/local/opt/libomp/lib/libomp.dylib",
];

fn main() {
    println!("cargo::rerun-if-changed=src/pi.c");
    println!("cargo::rustc-check-cfg=cfg(openmp)");
    let trial = format!("{}/trial.so", var("OUT_DIR").unwrap());

    let mut build = cc::Build::new();
    // Optimised in a debug build, too: a slow loop would say little of OpenMP.
    build.file("src/pi.c").opt_level(2).warnings(false);
    // CFLAGS may ask for -flto, code that rustc's linker does not understand.
    build.flag_if_supported("-ffat-lto-objects");

    let mut found = false;
    for way in WAYS {
        let Some(library) = library_for(way, &build, &trial) else {
            continue;
        };
        for flag in way.split(' ') {
            if flag.starts_with('-') {
                build.flag(flag);
            }
        }
        println!("cargo::rustc-cfg=openmp");
        println!("cargo::rustc-link-arg={library}");
        found = true;
        break;
    }
    if !found {
        // This file is missing, so cargo looks again at the next build.
        println!("cargo::rerun-if-changed={trial}");
    }
    build.compile("pi_openmp");
}

/// The path of the OpenMP library, if this way compiles and links src/pi.c. The
/// linker tells it (-t). rustc needs it in full: its linker may be another one.
fn library_for(way: &str, build: &cc::Build, trial: &str) -> Option<String> {
    if var("CARGO_CFG_TARGET_ENV").ok()? == "musl" {
        return None; // such a program is static, as a rule: it loads no library
    }
    let mut link = build.get_compiler().to_command();
    link.args(way.split(' '));
    link.args(["-shared", "-fPIC", "-Wl,-t", "src/pi.c", "-o", trial]);
    let output = link.output().ok()?;
    if !output.status.success() {
        return None;
    }
    let files = String::from_utf8_lossy(&output.stdout);
    for file in files.split([' ', '(', ')', '\n']) {
        if file.contains("/libomp.") || file.contains("/libgomp.") {
            return Some(file.to_string());
        }
    }
    let last = way.split(' ').next_back()?; // the library of Homebrew
    Some(last.to_string())
}
