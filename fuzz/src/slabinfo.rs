//! The table of caches: any bytes as a line of it, or as the line that tunes a cache.

use arbitrary::{Arbitrary, Unstructured};
use kmem_base::slabinfo::{HEADER, Row, Tuning};

/// Reads `data` as text, and as the numbers of a row that is written and read back.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().chain([text.as_ref()]) {
        row(line);
        assert_eq!(Tuning::parse(line), expected(line), "{line:?}");
    }
    let mut u = Unstructured::new(data);
    if let (Ok(numbers), Ok(name)) = (<[u32; 11]>::arbitrary(&mut u), <&str>::arbitrary(&mut u)) {
        written(name, numbers.map(|number| number as usize));
    }
}

/// What is read as a row is the same row when written again, whatever spaces and columns it had.
fn row(line: &str) {
    let Some(row) = Row::parse(line) else { return };
    assert!(!row.name.is_empty() && !row.name.starts_with('#') && !row.name.contains(char::is_whitespace));
    assert_eq!(Row::parse(&row.to_string()), Some(row), "{line:?}");
    assert_eq!(numbers_of(line)[..8], numbers_of(&row.to_string())[..8], "{line:?}");
}

/// A row of any numbers, whose name is a word, survives being written.
fn written(name: &str, numbers: [usize; 11]) {
    let [
        active_objs,
        num_objs,
        objsize,
        objperslab,
        pagesperslab,
        limit,
        batchcount,
        sharedfactor,
        active_slabs,
        num_slabs,
        sharedavail,
    ] = numbers;
    let word = name.split_whitespace().next().filter(|word| !word.starts_with('#')).unwrap_or("cache");
    // A name that is a column's end would be one.
    let name = if word == ":" { "cache" } else { word };
    let row = Row {
        name,
        active_objs,
        num_objs,
        objsize,
        objperslab,
        pagesperslab,
        limit,
        batchcount,
        sharedfactor,
        active_slabs,
        num_slabs,
        sharedavail,
    };
    let text = format!("{HEADER}{row}\n");
    assert_eq!(text.lines().filter_map(Row::parse).collect::<Vec<_>>(), [row]);
    let (limit, batchcount, sharedfactor) = (limit as u32, batchcount as u32, sharedfactor as u32);
    let line = format!("{name} {limit} {batchcount} {sharedfactor}\n");
    assert_eq!(Tuning::parse(&line), Some(Tuning { name, limit, batchcount, sharedfactor }));
}

/// What a line tunes, said in another way: four words, of which three are numbers.
fn expected(line: &str) -> Option<Tuning<'_>> {
    let words: Vec<_> = line.split_whitespace().collect();
    let &[name, limit, batchcount, sharedfactor] = words.as_slice() else { return None };
    let number = |word: &str| word.parse::<u32>().ok();
    Some(Tuning { name, limit: number(limit)?, batchcount: number(batchcount)?, sharedfactor: number(sharedfactor)? })
}

/// The numbers among a line's words behind the name.
fn numbers_of(line: &str) -> Vec<usize> {
    line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect()
}
