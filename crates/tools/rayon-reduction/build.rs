//! Compiles src/pi.c, which Rayon is compared to, with the compiler's OpenMP flag.
//! Where the compiler has no OpenMP the demo builds all the same, without `cfg(openmp)`.

use std::env::var;

/// What turns OpenMP on: for gcc and clang; for Apple's clang, which has no flag of its own for
/// it and no library, with Homebrew's.
const WAYS: [&str; 3] = [
    "-fopenmp",
    "-Xclang -fopenmp /opt/homebrew/opt/libomp/lib/libomp.dylib",
    "-Xclang -fopenmp /usr/local/opt/libomp/lib/libomp.dylib",
];

fn main() {
    println!("cargo::rerun-if-changed=src/pi.c");
    println!("cargo::rustc-check-cfg=cfg(openmp)");
    let mut kernel = cc::Build::new();
    // Optimised in a debug build, too: a slow loop would say nothing about OpenMP.
    kernel.file("src/pi.c").opt_level(2).warnings(false);

    let trial = format!("{}/trial.so", var("OUT_DIR").unwrap());
    // A flag that compiles is not enough: the library must be there. The linker tells where (-t),
    // as rustc's linker may belong to another compiler.
    let library = |way: &&str| {
        let mut link = kernel.get_compiler().to_command();
        link.args(way.split(' '))
            .args(["-shared", "-fPIC", "-Wl,-t", "src/pi.c", "-o", &trial]);
        let output = link
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let files = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut files = files.split([' ', '(', ')', '\n']);
        let found = files.find(|file| {
            file.contains("/libomp.") || file.contains("/libgomp.")
        });
        Some((
            way.to_string(),
            found.or(way.split(' ').next_back())?.to_string(),
        ))
    };
    if let Some((way, library)) = WAYS.iter().find_map(library) {
        way.split(' ')
            .filter(|flag| flag.starts_with('-'))
            .for_each(|flag| _ = kernel.flag(flag));
        println!("cargo::rustc-cfg=openmp");
        println!("cargo::rustc-link-arg={library}");
    } else {
        println!("cargo::rerun-if-changed={trial}"); // is not there: look again at the next build
    }
    kernel.define("pi", "pi_openmp").compile("pi_openmp");
}
