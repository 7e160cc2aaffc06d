//! Counts its own words.

use std::collections::BTreeMap;

fn main() {
    let words = regex::Regex::new(r"\b[a-z]+\b").unwrap();
    let mut count = BTreeMap::new();
    for word in words.find_iter(include_str!("main.rs")) {
        *count.entry(word.as_str()).or_insert(0) += 1;
    }
    println!("{}", serde_json::to_string_pretty(&count).unwrap());
}
