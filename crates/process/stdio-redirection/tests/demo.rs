#![cfg(target_os = "linux")] // elsewhere the demo exits 77

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Command, Output, Stdio};
use std::{env, fs, path::PathBuf, process};

const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The demo, which would not hang for ever.
fn demo(args: &[&str]) -> Command {
    let mut demo = Command::new("timeout");
    demo.args(["30", DEMO])
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE");
    demo
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into()
}

/// One column of the demo's table: a PID, and the open descriptors.
struct Table {
    pid: String,
    files: BTreeMap<i32, String>,
}

fn table(text: &str, process: &str) -> Table {
    let column = match process {
        "parent" => 0,
        "sort" => 1,
        _ => 2,
    };
    let rows = text.lines().skip_while(|row| !row.starts_with("parent"));
    let rows = rows.take_while(|row| !row.is_empty());
    let cells = rows.map(|row| {
        let cell: String = row.chars().skip(26 * column).take(26).collect();
        cell.trim().to_string()
    });
    let mut pid = None;
    let mut files = BTreeMap::new();
    for cell in cells.filter(|cell| !cell.is_empty()) {
        let (number, file) = cell.split_once(' ').unwrap();
        if pid.is_none() {
            assert_eq!(number, process, "{text}");
            pid = Some(file.to_string());
        } else {
            files.insert(number.parse().unwrap(), file.to_string());
        }
    }
    let pid = pid.unwrap();
    Table { pid, files }
}

#[test]
fn each_program_gets_its_ends_and_nothing_else() {
    for args in [&[][..], &["--leak-pipe"]] {
        let text = stdout(&demo(args).stderr(Stdio::null()).output().unwrap());
        assert!(text.starts_with("$ sort < words.txt | uniq -c "), "{text}");
        let parent = table(&text, "parent").files;
        let mut sort = table(&text, "sort").files;
        let mut uniq = table(&text, "uniq").files;
        assert_eq!(parent[&0], "/dev/null");
        assert!(parent[&1].ends_with(" write"), "a pipe: {text}");
        assert_eq!(parent[&2], "/dev/null");
        assert_eq!(sort.remove(&0).as_deref(), Some("words.txt"));
        let sort_output = sort.remove(&1).unwrap();
        let uniq_input = uniq.remove(&0).unwrap();
        let uniq_output = uniq.remove(&1).unwrap();
        let pipe = sort_output.strip_suffix(" write").unwrap();
        let back = uniq_output.strip_suffix(" write").unwrap();
        assert!(pipe != back && pipe.starts_with("pipe:["), "{text}");
        assert_eq!(uniq_input, format!("{pipe} read"));
        let opened = [
            "words.txt",
            &uniq_input,
            &sort_output,
            &format!("{back} read"),
            &uniq_output,
        ];
        for file in opened {
            let held = parent.values().filter(|other| *other == file).count();
            assert_eq!(held, 1, "{file}: {text}");
        }
        let mut inherited = parent.clone();
        inherited.retain(|fd, file| *fd > 1 && !opened.contains(&&file[..]));
        assert!(sort == inherited && uniq == inherited, "{text}");

        let parts: Vec<_> = text.split("\n\n").collect();
        let counts = "      2 be\n      1 not\n      1 or\n      2 to";
        assert_eq!(parts[parts.len() - 2], counts, "{text}");
        let verdict = format!(
            "{pipe} was 1 of sort and 0 of uniq; both exited with 0\n\
             sh -c 'sort < words.txt | uniq -c' gives the same 4 lines\n"
        );
        assert_eq!(parts[parts.len() - 1], verdict, "{text}");

        let (held, _) = parent
            .iter()
            .find(|(_, file)| **file == sort_output)
            .unwrap();
        let leak = format!(
            "sort has ended, the pipe is empty, uniq sleeps: no end of file\n\
             while the parent holds {held}, the write end. It closes it now.\n"
        );
        assert_eq!(text.contains(&leak), !args.is_empty(), "{text}");
        assert_eq!(text.contains("uniq sleeps"), !args.is_empty(), "{text}");
        assert!(text.lines().count() <= 23, "{text}");
    }
}

/// A long path is cut at its beginning, so that the file's name is seen.
#[test]
fn the_table_fits_80_columns() {
    let folder = format!("stdio-redirection-{}-{}", process::id(), "long/");
    let folder = env::temp_dir().join(folder + &"x".repeat(200));
    fs::create_dir_all(&folder).unwrap();
    for (name, seen) in
        [("y".repeat(60), "y".repeat(21)), ("z".into(), "z".into())]
    {
        let file = fs::File::create(folder.join(&name)).unwrap();
        let output = demo(&[]).stderr(file).output().unwrap();
        let text = stdout(&output);
        for process in ["parent", "sort", "uniq"] {
            let error = &table(&text, process).files[&2];
            assert!(error.starts_with('…'), "{text}");
            assert!(error.ends_with(&seen), "{text}");
            assert_eq!(error.chars().count(), 22, "{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
    fs::remove_dir_all(folder.parent().unwrap()).unwrap();
}

/// A folder with a script instead of sort, and one instead of uniq: they find
/// the real ones.
struct Scripts(PathBuf);

impl Scripts {
    fn new(name: &str, sort: &str, uniq: &str) -> Scripts {
        let folder = format!("stdio-redirection-test-{}-{name}", process::id());
        let folder = env::temp_dir().join(folder);
        fs::create_dir_all(folder.join("tmp")).unwrap();
        for (program, script) in [("sort", sort), ("uniq", uniq)] {
            let write = "printf '#!/bin/sh\nPATH=$real\n%s\n' \"$1\" >\"$0\"
                         chmod 755 \"$0\"";
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
        let text = text.replace(&format!("{FOLDER}/"), "");
        text.lines().map(String::from).collect()
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The name that /proc gives, without which end of the pipe it is.
fn name(file: &str) -> String {
    let file = file.trim_end_matches(" read");
    file.trim_end_matches(" write").to_string()
}

/// Seen from outside: what the programs themselves find, and who holds the
/// pipe before and after uniq gets its end of file.
#[test]
fn the_kernel_says_the_same() {
    let before = shipped();
    let look = "readlink /proc/$$/fd/[0-9] >$out/open-$$";
    let sort_script = format!("({look}); exec sort \"$@\"");
    let uniq_script = format!(
        "({look}); readlink /proc/$PPID/fd/* >$out/before-$$
         timeout 20 cat >$out/data-$$
         readlink /proc/$PPID/fd/* >$out/after-$$
         exec uniq \"$@\" <$out/data-$$"
    );
    for args in [&[][..], &["--leak-pipe"]] {
        let scripts = Scripts::new(
            &format!("look{}", args.len()),
            &sort_script,
            &uniq_script,
        );
        let text = stdout(&scripts.run(args));
        let sort = table(&text, "sort");
        let uniq = table(&text, "uniq");
        for table in [&sort, &uniq] {
            let printed = table.files.range(..10).map(|(_, file)| name(file));
            let open = scripts.lines(format!("open-{}", table.pid));
            assert_eq!(open, printed.collect::<Vec<_>>(), "{text}");
        }
        let pipe = name(&uniq.files[&0]);
        let held = |when: &str| {
            let lines = scripts.lines(format!("{when}-{}", uniq.pid));
            lines.iter().filter(|file| **file == pipe).count()
        };
        assert_eq!(held("after"), 0, "{text}");
        assert!(args.is_empty() || held("before") == 2, "the leak: {text}");
        assert_eq!(fs::read_dir(scripts.0.join("tmp")).unwrap().count(), 0);
    }
    assert_eq!(shipped(), before);
}

/// The files beside main.rs.
fn shipped() -> Vec<OsString> {
    let entries = fs::read_dir(FOLDER).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// Ten seconds after its start, a child is gone. Perl can ask for that alarm.
#[test]
fn no_child_lives_for_ever() {
    let script = |program: &str| {
        format!(
            "command -v perl >/dev/null || exec {program} \"$@\"
             exec perl -e 'open my $file, \">\", \"$ENV{{out}}/alarm-$$\";
             print $file alarm 0; close $file; exec \"{program}\", @ARGV' \
             -- \"$@\""
        )
    };
    let scripts = Scripts::new("alarm", &script("sort"), &script("uniq"));
    let text = stdout(&scripts.run(&[]));
    let sh = ["-c", "command -v perl >/dev/null"];
    if !Command::new("sh").args(sh).status().unwrap().success() {
        return;
    }
    for process in ["sort", "uniq"] {
        let pid = table(&text, process).pid;
        let left = scripts.lines(format!("alarm-{pid}"));
        let seconds: u32 = left[0].parse().unwrap();
        assert!((1..=10).contains(&seconds), "{process}: {seconds} s");
    }
}

const SORT: &str = "exec sort \"$@\"";
const UNIQ: &str = "exec uniq \"$@\"";

/// With these programs, the demo must exit with 1 and say this.
fn complains(name: &str, sort: &str, uniq: &str, args: &[&str], error: &str) {
    let output = Scripts::new(name, sort, uniq).run(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(error), "{name}: {output:?}");
}

#[test]
fn says_so_where_something_else_happens() {
    let failed = "a child failed: Exited";
    complains("sort-fails", "sort; exit 3", UNIQ, &[], failed);
    complains("uniq-fails", SORT, "uniq -c; exit 3", &[], failed);
    let other = "timeout 20 cat; echo $$";
    complains("differs", SORT, other, &[], "sh has another result");
}

#[test]
fn says_so_if_uniq_ends_too_early() {
    let early = "exec head -n 1";
    complains("early", SORT, early, &["--leak-pipe"], "uniq does not hang");
}

#[test]
fn says_so_if_uniq_waits_for_sort_itself() {
    let late = "sort; exec sleep 9 2>/dev/null";
    complains("late", late, UNIQ, &["--leak-pipe"], "uniq does not hang");
}

#[test]
fn says_so_where_there_are_no_such_programs() {
    let output = Command::new(DEMO).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    for complaint in ["sort: ENOENT", "uniq: ENOENT", "Error: "] {
        let said = error.lines().any(|line| line.starts_with(complaint));
        assert!(said, "{complaint}: {output:?}");
    }
}
