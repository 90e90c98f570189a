//! Tables for people.

use super::{Text, Tone, cut, one_line};

/// Rows of columns; the last column takes what is left of the line.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Characters between two columns.
const GAP: usize = 2;
/// The last column is never cut below this.
const LAST_MIN: usize = 20;

impl Table {
    /// A table without rows.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with as many cells as the head has.
    pub(crate) fn row(&mut self, cells: &[String]) {
        // Cells come from models and sandboxes: a cell is one line.
        self.rows.push(
            cells
                .iter()
                .map(|cell| one_line(cell, usize::MAX))
                .collect(),
        );
    }

    /// The table as lines, cut to a width if there is one.
    pub(crate) fn render(&self, width: Option<usize>) -> Vec<Text> {
        let last = self.head.len().saturating_sub(1);
        let widths: Vec<usize> = (0..last)
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells
                    .chain([self.head[column].len()])
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let used: usize = widths.iter().map(|width| width + GAP).sum();
        let room = width.map(|width| width.saturating_sub(used).max(LAST_MIN));
        let line = |cells: &[String], tone: Tone| {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let blank = width + GAP - cell.chars().count();
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', blank));
            }
            let cell = cells.last().map(String::as_str).unwrap_or_default();
            line.push_str(&room.map_or_else(|| cell.to_owned(), |room| cut(cell, room)));
            Text::new().with(tone, line.trim_end())
        };
        let head: Vec<String> = self.head.iter().map(|&cell| cell.to_owned()).collect();
        let rows = self.rows.iter().map(|row| line(row, Tone::Plain));
        std::iter::once(line(&head, Tone::Dim))
            .chain(rows)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_is_cut() {
        let mut table = Table::new(&["NAME", "N", "DESCRIPTION"]);
        table.row(&["a".into(), "10".into(), "short".into()]);
        table.row(&[
            "longer".into(),
            "9".into(),
            "many words\nthat go on and on".into(),
        ]);
        let render = |width: Option<usize>| {
            let lines = table
                .render(width)
                .into_iter()
                .map(|line| line.render(false, true));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            render(Some(34)),
            [
                "NAME    N   DESCRIPTION",
                "a       10  short",
                "longer  9   many words that go on…",
            ]
        );
        assert!(render(None)[2].ends_with("go on and on"));
        assert!(render(Some(5))[2].chars().count() > LAST_MIN);
    }
}
