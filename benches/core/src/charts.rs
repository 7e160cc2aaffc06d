//! Charts as SVG text: geometric means as bars, ratios per row as a heat map. Light background, as viewers show them on dark pages too;
//! blue against orange, which nearly everybody can tell apart, and a number in every cell and at every bar.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::compare::{BASE, Figure, PEAK, TIME, base, contestants, named};
use crate::harness::RowResult;
use crate::{Error, Result};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const LINE: RGBColor = RGBColor(0xCC, 0xCC, 0xCC);
/// kmem, and where kmem is better.
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
/// Where kmem is worse.
const ORANGE: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
const GREY: RGBColor = RGBColor(0xAE, 0xB6, 0xBF);

const SMALL: i32 = 12;
const NORMAL: i32 = 13;
const LARGE: i32 = 17;
/// Width of a character of the small font: a generous guess, since there is no font to ask.
const CHARACTER: i32 = 7;
/// Ratio from which on a cell has its full colour, in either direction.
const FULL: f64 = 3.0;

fn draw(width: i32, height: i32, paint: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        paint(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn failed(error: impl std::fmt::Display) -> Error {
    format!("cannot draw a chart: {error}").into()
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, colour: RGBColor, side: HPos) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(failed)
}

fn fill(area: &Area<'_>, corners: [(i32, i32); 2], colour: RGBColor) -> Result<()> {
    area.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)
}

fn rule(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<()> {
    area.draw(&PathElement::new(vec![from, to], colour.stroke_width(1))).map_err(failed)
}

/// Bars of the geometric means of time and peak memory, one line per contestant, fastest first.
pub(crate) fn means(rows: &[RowResult]) -> Result<String> {
    let mut lines: Vec<_> = contestants(rows).into_iter().filter_map(|alloc| mean_line(rows, alloc)).collect();
    lines.sort_by(|a, b| a.time.total_cmp(&b.time));
    let (names, panel, gap, top, step) = (130, 300, 60, 92, 30);
    let (width, height) = (names + 2 * panel + 2 * gap, top + step * lines.len() as i32 + 22);
    draw(width, height, |area| {
        write(area, "Time and peak memory beside kmem's: lower is better", (16, 24), LARGE, INK, HPos::Left)?;
        let what = format!("Geometric means over {} rows of kmem-bench; kmem = 1", rows.len());
        write(area, &what, (16, 47), SMALL, FAINT, HPos::Left)?;
        for (at, line) in lines.iter().enumerate() {
            write(area, line.alloc, (names - 10, middle(top, step, at)), NORMAL, INK, HPos::Right)?;
        }
        let time: Vec<_> = lines.iter().map(|line| (line.alloc, line.time)).collect();
        let peak: Vec<_> = lines.iter().map(|line| (line.alloc, line.peak)).collect();
        bars(area, "time", &time, (names, top), (panel, step))?;
        bars(area, "peak memory", &peak, (names + panel + gap, top), (panel, step))
    })
}

struct Line<'a> {
    alloc: &'a str,
    time: f64,
    peak: f64,
}

fn mean_line<'a>(rows: &[RowResult], alloc: &'a str) -> Option<Line<'a>> {
    Some(Line { alloc, time: TIME.mean(rows, alloc)?.0, peak: PEAK.mean(rows, alloc)?.0 })
}

const fn middle(top: i32, step: i32, at: usize) -> i32 {
    top + step * at as i32 + step / 2
}

fn bars(area: &Area<'_>, title: &str, values: &[(&str, f64)], (left, top): (i32, i32), (width, step): (i32, i32)) -> Result<()> {
    let most = values.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let scale = |value: f64| left + (f64::from(width) * value / most) as i32;
    let bottom = top + step * values.len() as i32;
    write(area, title, (left, top - 16), NORMAL, INK, HPos::Left)?;
    for (at, (alloc, value)) in values.iter().enumerate() {
        let (from, to) = (top + step * at as i32 + 5, top + step * (at as i32 + 1) - 5);
        fill(area, [(left, from), (scale(*value), to)], if *alloc == BASE { BLUE } else { GREY })?;
        write(area, &format!("{value:.2}"), (scale(*value) + 7, middle(top, step, at)), NORMAL, INK, HPos::Left)?;
    }
    rule(area, (left, top), (left, bottom), FAINT)?;
    rule(area, (scale(1.0), top), (scale(1.0), bottom), BLUE)
}

/// One line per row, one cell per contestant: its figure divided by kmem's. kmem's own figure stands in front.
pub(crate) fn heat_map(rows: &[RowResult], figure: &Figure, show: fn(f64) -> String, unit: &str) -> Result<String> {
    let rows: Vec<_> = rows.iter().filter(|row| figure.is_in(row)).collect();
    let rivals: Vec<_> = contestants(rows.iter().copied()).into_iter().filter(|alloc| *alloc != BASE).collect();
    let longest = rows.iter().map(|row| label(row).chars().count()).max().unwrap_or(0) as i32;
    let widest = rivals.iter().map(|alloc| alloc.chars().count()).max().unwrap_or(0) as i32;
    let (names, own, top, step) = (longest * CHARACTER + 24, 84, 104, 22);
    let (cell, left) = ((widest * CHARACTER + 14).max(64), names + own);
    // The title needs room even if nobody competes.
    let (width, height) = ((left + cell * rivals.len() as i32 + 20).max(640), top + step * rows.len() as i32 + 64);
    draw(width, height, |area| {
        write(area, &format!("{} of every row, divided by kmem's", capital(figure.name)), (16, 24), LARGE, INK, HPos::Left)?;
        write(area, "A lower number is better for the contestant above it.", (16, 47), SMALL, FAINT, HPos::Left)?;
        write(area, &format!("kmem, {unit}"), (left - 12, top - 14), SMALL, BLUE, HPos::Right)?;
        for (at, alloc) in rivals.iter().enumerate() {
            write(area, alloc, (left + cell * at as i32 + cell / 2, top - 14), SMALL, INK, HPos::Center)?;
        }
        for (at, row) in rows.iter().enumerate() {
            let y = middle(top, step, at);
            write(area, &label(row), (names - 8, y), SMALL, INK, HPos::Right)?;
            let figures = base(row).and_then(|entry| figure.median(entry)).map_or("-".to_owned(), show);
            write(area, &figures, (left - 12, y), SMALL, BLUE, HPos::Right)?;
            for (column, alloc) in rivals.iter().enumerate() {
                let ratio = named(row, alloc).and_then(|entry| figure.ratio(row, entry));
                paint_cell(area, ratio, (left + cell * column as i32, top + step * at as i32), (cell, step))?;
            }
        }
        key(area, (names.min(width - 480), top + step * rows.len() as i32 + 34))
    })
}

fn paint_cell(area: &Area<'_>, ratio: Option<f64>, (x, y): (i32, i32), (width, height): (i32, i32)) -> Result<()> {
    let centre = (x + width / 2, y + height / 2);
    let Some(ratio) = ratio else { return write(area, "-", centre, SMALL, FAINT, HPos::Center) };
    let (colour, ink) = shade(ratio);
    fill(area, [(x + 1, y + 1), (x + width - 1, y + height - 1)], colour)?;
    write(area, &format!("{ratio:.2}"), centre, SMALL, ink, HPos::Center)
}

/// Colour of a ratio, white at 1, and an ink that can be read on it.
fn shade(ratio: f64) -> (RGBColor, RGBColor) {
    let depth = (ratio.ln() / FULL.ln()).clamp(-1.0, 1.0);
    let full = if depth < 0.0 { ORANGE } else { BLUE };
    let part = |from: u8| (255.0 + (f64::from(from) - 255.0) * depth.abs()) as u8;
    (RGBColor(part(full.0), part(full.1), part(full.2)), if depth.abs() > 0.6 { WHITE } else { INK })
}

fn key(area: &Area<'_>, (left, y): (i32, i32)) -> Result<()> {
    const SWATCH: i32 = 52;
    let ratios = [0.33, 0.6, 1.0, 1.7, 3.0];
    write(area, "kmem is worse", (left + 92, y), SMALL, FAINT, HPos::Right)?;
    for (at, ratio) in ratios.iter().enumerate() {
        paint_cell(area, Some(*ratio), (left + 104 + SWATCH * at as i32, y - 10), (SWATCH, 20))?;
    }
    let end = left + 104 + SWATCH * ratios.len() as i32;
    rule(area, (left + 104, y + 13), (end, y + 13), LINE)?;
    write(area, "kmem is better", (end + 12, y), SMALL, FAINT, HPos::Left)
}

fn label(row: &RowResult) -> String {
    format!("{}: {}", row.bench, row.row)
}

/// The text with a capital in front.
pub(crate) fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_and_worse_differ_and_the_middle_is_white() {
        assert_eq!(shade(1.0).0, WHITE);
        assert_eq!(shade(10.0), (BLUE, WHITE));
        assert_eq!(shade(0.1), (ORANGE, WHITE));
        assert_eq!(shade(1.1).1, INK);
    }
}
