//! Real pages: programs and libraries, text, a database file, a process's memory. What is not there is skipped, with a line that says so.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Pages of one kind.
pub(super) struct Corpus {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Corpus {
    pub(super) fn pages(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(PAGE)
    }
}

/// All there are, with about `mib` MiB altogether; complaints about those that are not go to `skipped`.
pub(super) fn all(mib: usize, folder: &Path, skipped: &mut Vec<String>) -> Vec<Corpus> {
    let most = mib << 20;
    let made = [
        ("programs and libraries", files(&["/usr/lib", "/usr/bin"], most / 2, is_program)),
        ("text", files(&["/usr/share", "/usr/lib/python3", "/usr/include"], most / 8, is_text)),
        ("SQLite database", database(most / 8, folder)),
        ("memory of a process", image(most / 4)),
    ];
    let mut all = Vec::new();
    for (name, made) in made {
        match made {
            Ok(bytes) if bytes.len() >= PAGE => all.push(Corpus { name, bytes }),
            Ok(_) => skipped.push(format!("{name}: nothing there")),
            Err(error) => skipped.push(format!("{name}: {error}")),
        }
    }
    all
}

/// Files below `roots` in the order of their names, each from its beginning and at most an eighth of all.
fn files(roots: &[&str], most: usize, wanted: fn(&Path, u64) -> bool) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    roots.iter().for_each(|root| walk(Path::new(root), wanted, 0, &mut found));
    found.sort();
    // Spread over all of them, not the first of the alphabet.
    let mut bytes = Vec::with_capacity(most);
    let step = (found.len() / 64).max(1);
    for path in (0..step).flat_map(|start| found.iter().skip(start).step_by(step)) {
        let room = (most - bytes.len()).min(most / 8) / PAGE * PAGE;
        if room == 0 {
            break;
        }
        if let Ok(file) = File::open(path) {
            let start = bytes.len();
            let _ = file.take(room as u64).read_to_end(&mut bytes);
            bytes.truncate(start + (bytes.len() - start) / PAGE * PAGE);
        }
    }
    Ok(bytes)
}

fn walk(folder: &Path, wanted: fn(&Path, u64) -> bool, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.metadata() else { continue };
        if kind.is_dir() && depth < 5 {
            walk(&entry.path(), wanted, depth + 1, found);
        } else if kind.is_file() && wanted(&entry.path(), kind.len()) {
            found.push(entry.path());
        }
    }
}

fn is_program(path: &Path, len: u64) -> bool {
    let mut magic = [0; 4];
    len >= 64 << 10 && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"\x7fELF"
}

fn is_text(path: &Path, len: u64) -> bool {
    let ends = ["txt", "py", "h", "hpp", "pl", "pm", "md", "html", "xml", "json", "c", "rb", "tcl", "js"];
    len >= 8 << 10 && path.extension().is_some_and(|end| ends.iter().any(|known| end == *known))
}

/// A table with names, numbers and an index.
fn database(most: usize, folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join("pages.sqlite");
    let rows = most / 220;
    let sql = format!(
        "PRAGMA journal_mode=off; CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, mail TEXT, born INTEGER, balance REAL, note TEXT);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows})
         INSERT INTO person SELECT x, 'Person ' || (x * 7919 % 100003), lower(hex(randomblob(6))) || '@example.org', 1930 + x * 31 % 90,
         round(abs(random() % 10000000) / 100.0, 2), 'customer since ' || (1990 + x % 35) || ', ' ||
         substr('pays late, asks often, recommended by others, never complains, wants invoices on paper', 1 + x % 40, 45) FROM n;
         CREATE INDEX by_name ON person(name); CREATE INDEX by_mail ON person(mail);"
    );
    let path_text = path.to_string_lossy().into_owned();
    let python = format!("import sqlite3; c = sqlite3.connect({path_text:?}); c.executescript(\"\"\"{sql}\"\"\"); c.close()");
    let made =
        [("sqlite3", vec![path_text, sql.clone()]), ("python3", vec!["-c".to_owned(), python])].iter().any(|(program, args)| {
            Command::new(program)
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
    if !made {
        return Err("neither sqlite3 nor python3 has made one".into());
    }
    let mut bytes = fs::read(path)?;
    bytes.truncate(most / PAGE * PAGE);
    Ok(bytes)
}

/// What a process of some size has in its writable memory: a python program with a dictionary; or, without python, this process.
fn image(most: usize) -> Result<Vec<u8>> {
    let program = format!(
        "import sys, json
d = {{}}
for i in range({}):
    d['key %d' % i] = json.loads('{{\"name\": \"item %d\", \"price\": %d, \"tags\": [\"a\", \"b%d\"]}}' % (i, i * 17 % 999, i % 50))
print('ready', flush=True)
sys.stdin.read()",
        most / 900
    );
    let child =
        Command::new("python3").arg("-c").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return memory_of("self", most) };
    let ready = wait_for_line(&mut child);
    let image = if ready { memory_of(&child.id().to_string(), most) } else { memory_of("self", most) };
    let _ = child.kill();
    let _ = child.wait();
    image
}

fn wait_for_line(child: &mut Child) -> bool {
    let Some(out) = child.stdout.take() else { return false };
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).is_ok_and(|len| len > 0)
}

/// The writable private memory of a process, as far as it is there.
fn memory_of(process: &str, most: usize) -> Result<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut bytes = Vec::with_capacity(most);
    let mut page = [0; PAGE];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let Some((from, to)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else { continue };
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        for at in (from..to).step_by(PAGE) {
            if bytes.len() + PAGE > most {
                return Ok(bytes);
            }
            if memory.read_exact_at(&mut page, at).is_ok() {
                bytes.extend_from_slice(&page);
            }
        }
    }
    Ok(bytes)
}

/// Compressed objects, one after the other.
#[derive(Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packed {
    pub(super) fn push(&mut self, object: &[u8]) {
        self.bytes.extend_from_slice(object);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    pub(super) fn total(&self) -> usize {
        self.bytes.len()
    }

    /// As a file for the children: each object behind its length.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let mut file = std::io::BufWriter::new(File::create(path)?);
        for object in self.iter() {
            file.write_all(&(object.len() as u16).to_le_bytes())?;
            file.write_all(object)?;
        }
        Ok(file.flush()?)
    }
}

/// Reads what [`Packed::save`] has written, one object at a time.
pub(super) struct Stream {
    file: BufReader<File>,
    object: [u8; PAGE],
}

impl Stream {
    pub(super) fn open(path: &str) -> Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), object: [0; PAGE] })
    }

    pub(super) fn rewind(&mut self) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map(drop).map_err(Into::into)
    }

    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let mut len = [0; 2];
        self.file.read_exact(&mut len).ok()?;
        let object = &mut self.object[..usize::from(u16::from_le_bytes(len))];
        self.file.read_exact(object).ok()?;
        Some(object)
    }
}
