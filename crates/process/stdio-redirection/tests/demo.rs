#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::{env, fs, path::PathBuf, process};

fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_stdio-redirection"));
    demo.args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE");
    demo
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into()
}

/// PID and open descriptors of parent, sort and uniq, as printed.
fn tables(text: &str) -> [(String, BTreeMap<i32, String>); 3] {
    let rows: Vec<_> = text
        .lines()
        .skip(2)
        .take_while(|row| !row.is_empty())
        .collect();
    [0, 1, 2].map(|column| {
        let cells = rows
            .iter()
            .map(|row| row.get(26 * column..).unwrap_or_default());
        let cells = cells
            .filter_map(|cell| cell.split("  ").next()?.trim().split_once(' '));
        let cells: Vec<_> = cells.collect();
        let files = cells[1..]
            .iter()
            .map(|(fd, file)| (fd.parse().unwrap(), file.to_string()));
        (cells[0].1.to_string(), files.collect())
    })
}

#[test]
fn each_program_gets_its_ends_and_nothing_else() {
    for args in [&[][..], &["--leak-pipe"]] {
        let text = stdout(&demo(args).stderr(Stdio::null()).output().unwrap());
        let [(_, parent), (_, mut sort), (_, mut uniq)] = tables(&text);
        assert_eq!(parent[&2], "/dev/null");
        let fd = |name: &str| {
            *parent.iter().find(|(_, file)| *file == name).unwrap().0
        };
        let (words, counts) = (fd("words"), fd("counts"));
        assert_eq!(sort.remove(&0).as_ref(), Some(&parent[&words]));
        assert_eq!(uniq.remove(&1).as_ref(), Some(&parent[&counts]));
        let pipe = sort.remove(&1).unwrap();
        assert_eq!(uniq.remove(&0).as_ref(), Some(&pipe));
        assert_eq!(
            parent.values().filter(|file| **file == pipe).count(),
            2,
            "{text}"
        );
        let mut inherited = parent.clone();
        inherited.retain(|fd, file| {
            *fd > 1 && ![words, counts].contains(fd) && *file != pipe
        });
        assert!(sort == inherited && uniq == inherited, "{text}");
        assert!(
            text.contains(
                "\n      2 be\n      1 not\n      1 or\n      2 to\n"
            ),
            "{text}"
        );
        assert_eq!(
            text.contains("uniq sleeps: it gets no end of file"),
            !args.is_empty()
        );
    }
}

/// A folder with a script instead of sort, and one instead of uniq: they find the real ones.
struct Scripts(PathBuf);

impl Scripts {
    fn new(name: &str, sort: &str, uniq: &str) -> Scripts {
        let folder = format!("stdio-redirection-test-{}-{name}", process::id());
        let folder = env::temp_dir().join(folder);
        fs::create_dir_all(folder.join("tmp")).unwrap();
        for (program, script) in [("sort", sort), ("uniq", uniq)] {
            let write = "printf '#!/bin/sh\nPATH=$real\n%s\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
            let mut sh = Command::new("sh");
            sh.args(["-c", write]).arg(folder.join(program)).arg(script);
            assert!(sh.status().unwrap().success());
        }
        Scripts(folder)
    }

    fn run(&self, args: &[&str]) -> Output {
        let real = env::var("PATH").unwrap();
        let mut demo = demo(args);
        demo.env("PATH", format!("{}:{real}", self.0.display()))
            .env("real", real);
        demo.env("TMPDIR", self.0.join("tmp"))
            .env("out", &self.0)
            .output()
            .unwrap()
    }

    fn lines(&self, file: String) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(file)).unwrap();
        text.replace("/memfd:", "")
            .replace(" (deleted)", "")
            .lines()
            .map(String::from)
            .collect()
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const LOOK: &str =
    "(readlink /proc/$$/fd/[0-9] >$out/open-$$); ls $TMPDIR >$out/names-$$";

/// Seen from outside: what the programs themselves find, and who holds the pipe before and after
/// uniq gets its end of file.
#[test]
fn the_kernel_says_the_same() {
    let sort = format!("{LOOK}; exec sort \"$@\"");
    let uniq = format!(
        "{LOOK}; readlink /proc/$PPID/fd/* >$out/before-$$; timeout 20 cat >$out/data-$$
         readlink /proc/$PPID/fd/* >$out/after-$$; exec uniq \"$@\" <$out/data-$$"
    );
    for args in [&[][..], &["--leak-pipe"]] {
        let scripts =
            Scripts::new(&format!("look{}", args.len()), &sort, &uniq);
        let text = stdout(&scripts.run(args));
        let [_, sort, uniq] = tables(&text);
        for (pid, table) in [&sort, &uniq] {
            let printed: Vec<_> =
                table.range(..10).map(|(_, file)| file.clone()).collect();
            assert_eq!(scripts.lines(format!("open-{pid}")), printed, "{text}");
            assert!(
                scripts.lines(format!("names-{pid}")).is_empty(),
                "files with a name"
            );
        }
        let held = |when: &str| {
            let lines = scripts.lines(format!("{when}-{}", uniq.0));
            lines.iter().filter(|file| **file == uniq.1[&0]).count()
        };
        assert_eq!(held("after"), 0, "{text}");
        assert!(args.is_empty() || held("before") == 2, "the leak: {text}");
        assert_eq!(fs::read_dir(scripts.0.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn says_so_where_something_else_happens() {
    for (name, sort, uniq, args, complaint) in [
        (
            "fails",
            "exit 3",
            "exec uniq \"$@\"",
            &[][..],
            "a child failed",
        ),
        (
            "differs",
            "exec sort \"$@\"",
            "timeout 20 cat; echo $$",
            &[],
            "sh has another result",
        ),
        (
            "ends",
            "exec sort \"$@\"",
            "exec head -n 1",
            &["--leak-pipe"],
            "uniq does not hang",
        ),
    ] {
        let output = Scripts::new(name, sort, uniq).run(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(complaint),
            "{output:?}"
        );
    }
    let output = demo(&[]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("sort: ENOENT"),
        "{output:?}"
    );
}

#[test]
fn rejects_bad_arguments() {
    for args in [&["--leak-pipe", "3"][..], &["--leak-pipe=yes"], &["--no"]] {
        let output = demo(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
