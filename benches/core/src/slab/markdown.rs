//! Tables that can be read as they are, and pasted into a page.

use std::fmt::Write;

/// A section with a heading, what it shows in one paragraph, and a table. The first column is text, the others are figures.
pub(crate) fn section(heading: &str, about: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    format!("## {heading}\n\n{about}\n\n{}", table(head, rows))
}

/// The table alone.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    line(&mut text, &widths, head.iter().copied());
    let rules: Vec<_> = widths.iter().enumerate().map(|(column, width)| rule(column, *width)).collect();
    line(&mut text, &widths, rules.iter().map(String::as_str));
    rows.iter().for_each(|row| line(&mut text, &widths, row.iter().map(String::as_str)));
    text
}

fn rule(column: usize, width: usize) -> String {
    if column == 0 { "-".repeat(width) } else { format!("{}:", "-".repeat(width - 1)) }
}

fn line<'a>(text: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    for (column, (cell, width)) in cells.zip(widths).enumerate() {
        let _ = if column == 0 { write!(text, "| {cell:<width$} |") } else { write!(text, " {cell:>width$} |") };
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["8 B".to_owned(), "1.25".to_owned()], vec!["long name".to_owned(), "7".to_owned()]];
        let text = table(&["size", "%"], &rows);
        assert_eq!(text, "| size      |    % |\n| --------- | ---: |\n| 8 B       | 1.25 |\n| long name |    7 |\n");
    }
}
