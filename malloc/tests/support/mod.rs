//! Builds the library and the C and C++ programs that test it, and runs them on it.
//!
//! An integration test cannot link a `cdylib`, and a program that is to be tested unmodified should not know of it anyway: so each test
//! compiles a program and starts it with `LD_PRELOAD`. `KMEM_PRELOAD=<path>` tests that library instead, `KMEM_PRELOAD=none` the C
//! library's own allocator, which shows whether a rule is one.
#![allow(dead_code, reason = "each test file uses its part")]

mod library;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The library to preload; none to test the C library's own allocator.
pub(crate) fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| match env::var_os("KMEM_PRELOAD") {
            Some(none) if none == "none" => None,
            Some(path) => Some(path.into()),
            None => Some(library::build()),
        })
        .as_deref()
}

/// True if it is kmem that is tested, and not another library.
pub(crate) fn on_kmem() -> bool {
    library().is_some_and(|path| path.to_string_lossy().contains("libkmem"))
}

/// A compiled C or C++ program, or a shared library.
#[derive(Clone)]
pub(crate) struct Program(pub(crate) PathBuf);

impl Program {
    /// Compiles `tests/c/<source>`; none, with a line that says so, if there is no compiler for it.
    pub(crate) fn build(source: &str) -> Option<Self> {
        Self::build_with(source, &[])
    }

    /// The same with further arguments for the compiler: which are part of the program's name.
    pub(crate) fn build_with(source: &str, arguments: &[&str]) -> Option<Self> {
        let (compiler, standard) = if source.ends_with(".cc") { ("c++", "-std=c++17") } else { ("cc", "-std=gnu11") };
        if Command::new(compiler).arg("--version").output().is_err() {
            eprintln!("skipped: {source}: there is no {compiler}");
            return None;
        }
        let name: String = [source].iter().chain(arguments).flat_map(|text| text.chars()).filter(|c| c.is_alphanumeric()).collect();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Tests of one program run at the same time: it is compiled once, and appears whole, as nobody may write what another runs.
        static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if built.contains(&path) {
            return Some(Self(path));
        }
        let fresh = path.with_extension(std::process::id().to_string());
        let output = Command::new(compiler)
            .args([standard, "-O2", "-ftree-vectorize", "-g", "-fno-builtin", "-pthread", "-o"])
            .arg(&fresh)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source))
            .args(arguments)
            .arg("-ldl")
            .output()
            .expect("the compiler");
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&fresh, &path).expect("the program has a place");
        built.insert(path.clone());
        Some(Self(path))
    }

    /// A run of this program on the library.
    pub(crate) fn run(&self) -> Run {
        Run::new(&self.0)
    }

    /// Runs all rules, or these, and expects that they hold.
    #[track_caller]
    pub(crate) fn holds(&self, rules: &[&str]) {
        self.run().args(rules).expect_ok();
    }
}

/// A process to be, with `LD_PRELOAD` set, a time limit, and a process group of its own.
pub(crate) struct Run {
    command: Command,
    limit: Duration,
    preload: Vec<PathBuf>,
}

impl Run {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_remove("KMEM_CONF");
        Self { command, limit: Duration::from_secs(120), preload: library().map(Path::to_owned).into_iter().collect() }
    }

    pub(crate) fn args(mut self, args: &[impl AsRef<OsStr>]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Preloads another library before kmem.
    pub(crate) fn preload_before(mut self, library: &Path) -> Self {
        self.preload.insert(0, library.to_owned());
        self
    }

    /// Preloads another library after kmem.
    pub(crate) fn preload_after(mut self, library: &Path) -> Self {
        self.preload.push(library.to_owned());
        self
    }

    /// Preloads nothing: the program loads kmem itself.
    pub(crate) fn without_preload(mut self) -> Self {
        self.preload.clear();
        self
    }

    /// Runs it to its end, or kills it, and all that it started, at its limit.
    pub(crate) fn output(mut self) -> Output {
        if !self.preload.is_empty() {
            let list: Vec<_> = self.preload.iter().map(|path| path.to_str().expect("a path of text")).collect();
            self.command.env("LD_PRELOAD", list.join(":"));
        }
        let name = format!("{:?}", self.command);
        let child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
        let out = collect(child.stdout.take().expect("piped"));
        let err = collect(child.stderr.take().expect("piped"));
        let start = Instant::now();
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            if !late && start.elapsed() > self.limit {
                late = true;
                // SAFETY: our own child's group.
                unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            }
            thread::sleep(Duration::from_millis(2));
        };
        let (stdout, stderr) = (out.join().expect("read"), err.join().expect("read"));
        Output { name, status, late, stdout, stderr }
    }

    #[track_caller]
    pub(crate) fn expect_ok(self) -> Output {
        let output = self.output();
        assert!(!output.late && output.status.success(), "{output}");
        for line in output.stderr.lines().filter(|line| line.starts_with("skipped")) {
            eprintln!("{line}");
        }
        assert!(!output.stderr.contains("kmem:"), "{output}");
        output
    }

    /// Expects one line on standard error that matches `line` (a `*` stands for anything), and an abort.
    #[track_caller]
    pub(crate) fn expect_abort(self, line: &str) {
        let output = self.output();
        assert!(!output.late && output.status.signal() == Some(libc::SIGABRT), "wanted an abort and: {line}\n{output}");
        assert!(
            output.stderr.lines().count() == 1 && matches(line, output.stderr.trim_end_matches('\n')),
            "wanted: {line}\n{output}"
        );
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `*` in the pattern stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|text| (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| matches(rest, &text[at..]))),
    }
}

/// What came of a run.
pub(crate) struct Output {
    name: String,
    pub(crate) status: ExitStatus,
    /// It had to be killed.
    pub(crate) late: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let late = if self.late { " (killed at its time limit)" } else { "" };
        write!(f, "{}: {}{late}\n--- stdout\n{}--- stderr\n{}", self.name, self.status, self.stdout, self.stderr)
    }
}

/// An empty directory of the test's own.
pub(crate) fn empty_directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory");
    path
}
