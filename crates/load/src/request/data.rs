//! A file of rows that templates take values from: request `n` gets row `n` modulo their number.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::escape::Place;
use crate::limits::DATA_BYTES_MAX;

/// Rows of named columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    columns: Vec<String>,
    cells: Cells,
}

/// Values, row by row, in one piece of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cells {
    columns: usize,
    text: String,
    /// Where each value ends in `text`; it begins where the one before it ends.
    ends: Vec<u32>,
}

const _: () = assert!(DATA_BYTES_MAX <= u32::MAX as usize / 8, "ends are 32 bits, also escaped");

impl Data {
    /// From CSV whose first line names the columns (RFC 4180), or NDJSON, an object a line whose
    /// members are the columns. What begins with `{` is NDJSON.
    ///
    /// # Errors
    /// In words, with the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > DATA_BYTES_MAX {
            let max = DATA_BYTES_MAX >> 20;
            return Err(format!("{} bytes of data are more than {max} MiB", text.len()));
        }
        // Spreadsheets put a byte order mark before the first name.
        let text = text.trim_start_matches('\u{feff}');
        let data = if text.trim_start().starts_with('{') { ndjson(text) } else { csv(text) }?;
        if data.columns.is_empty() || data.cells.rows() == 0 {
            return Err("there is no row of data in it".to_owned());
        }
        Ok(data)
    }

    /// The names of the columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The number of a column.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The values of one column as `place` wants them.
    ///
    /// # Errors
    /// Names the first row with a value that cannot be put there.
    pub(crate) fn cells(&self, column: usize, place: Place) -> Result<Cells, String> {
        let mut cells = Cells::new(1);
        for row in 0..self.cells.rows() {
            let value = self.cells.get(row, column);
            let escaped = place.escape(value).map_err(|why| {
                format!("column `{}` of row {} of the data: {why}", self.columns[column], row + 1)
            })?;
            cells.push(&escaped)?;
        }
        Ok(cells)
    }
}

impl Cells {
    fn new(columns: usize) -> Self {
        Self { columns, text: String::new(), ends: Vec::new() }
    }

    fn push(&mut self, value: &str) -> Result<(), String> {
        self.text.push_str(value);
        let end = u32::try_from(self.text.len()).map_err(|_| "too much data".to_owned())?;
        self.ends.push(end);
        Ok(())
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.ends.len() / self.columns
    }

    /// A value.
    pub(crate) fn get(&self, row: usize, column: usize) -> &str {
        let at = row * self.columns + column;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[at] as usize]
    }

    /// The value of the only column for a request.
    pub(crate) fn for_number(&self, number: u64) -> &str {
        let row = number % self.ends.len() as u64;
        self.get(usize::try_from(row).expect("less than their number"), 0)
    }
}

/// What ends a line.
const ENDS: [char; 2] = ['\r', '\n'];

fn csv(text: &str) -> Result<Data, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let wrong = |error: csv::Error| format!("not CSV: {error}");
    let mut columns: Vec<String> = Vec::new();
    let mut cells = Cells::new(1);
    let mut record = csv::StringRecord::new();
    let mut last = 0;
    while reader.read_record(&mut record).map_err(wrong)? {
        if columns.is_empty() {
            columns = record.iter().map(|name| name.trim().to_owned()).collect();
            cells.columns = columns.len();
        } else {
            record.iter().try_for_each(|value| cells.push(value))?;
        }
        last = record.position().map_or(last, csv::Position::byte);
    }
    // What ends the line before it counts as its beginning.
    let last = text[usize::try_from(last).expect("within the text")..].trim_start_matches(ENDS);
    if is_open(last, columns.len()) {
        let line = text[..text.len() - last.len()].lines().count() + 1;
        return Err(format!("line {line} opens a quote that is never closed"));
    }
    if let Some(twice) = (1..columns.len()).find(|at| columns[..*at].contains(&columns[*at])) {
        return Err(format!("the first line names `{}` twice", columns[twice]));
    }
    Ok(Data { columns, cells })
}

/// Whether a record of CSV ends within quotes, which the reader does not tell: one more value behind
/// it is then none.
fn is_open(record: &str, columns: usize) -> bool {
    let longer = record.trim_end_matches(ENDS).as_bytes().chain(&b",x"[..]);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(longer);
    let mut read = csv::StringRecord::new();
    reader.read_record(&mut read).is_ok_and(|_| read.len() == columns)
}

fn ndjson(text: &str) -> Result<Data, String> {
    type Row = BTreeMap<String, serde_json::Value>;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut columns: Vec<String> = Vec::new();
    let mut cells = Cells::new(1);
    for (number, line) in lines {
        let line_number = number + 1;
        let row: Row = serde_json::from_str(line)
            .map_err(|error| format!("line {line_number} is not a JSON object: {error}"))?;
        if columns.is_empty() {
            columns = row.keys().cloned().collect();
            cells.columns = columns.len().max(1);
        }
        if let Some(other) = row.keys().find(|name| !columns.contains(name)) {
            return Err(format!("line {line_number} has `{other}`, which the first line has not"));
        }
        for column in &columns {
            match row.get(column) {
                Some(serde_json::Value::String(value)) => cells.push(value)?,
                Some(other) => cells.push(&other.to_string())?,
                None => return Err(format!("line {line_number} has no `{column}`")),
            }
        }
    }
    Ok(Data { columns, cells })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(data: &Data) -> Vec<Vec<&str>> {
        let row = |row| (0..data.columns.len()).map(|c| data.cells.get(row, c)).collect();
        (0..data.cells.rows()).map(row).collect()
    }

    #[test]
    fn rows_are_read() {
        let check = |text: &str, columns: &[&str], expected: &[&[&str]]| {
            let data = Data::parse(text).expect(text);
            assert_eq!(data.columns(), columns);
            assert_eq!(rows(&data), expected);
        };
        check(
            "id,name\n1,Ann\n2,\"Bo, \"\"B\"\"\"\n",
            &["id", "name"],
            &[&["1", "Ann"], &["2", "Bo, \"B\""]],
        );
        check("\u{feff}id\r\n1\r\n\r\n2\r\n", &["id"], &[&["1"], &["2"]]);
        check("id,x\n,\n", &["id", "x"], &[&["", ""]]);
        check("id\n\"a\n\"\n", &["id"], &[&["a\n"]]);
        check("id\na\"\n\"\"\n", &["id"], &[&["a\""], &[""]]);
        check(
            "{\"b\":1,\"a\":\"x\"}\n\n{\"a\":null,\"b\":[1, 2]}",
            &["a", "b"],
            &[&["x", "1"], &["null", "[1,2]"]],
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let check = |text: &str, expected: &str| {
            let error = Data::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        check("", "no row");
        check("id\n", "no row");
        check("{}\n{}", "no row");
        check("a,b,a\n1,2,3", "names `a` twice");
        check("a,b\n1\n", "line: 2");
        check("a,b\n1,2\n3,\"4\n5,6\n", "line 3 opens a quote");
        check("a,\"b\n1,2\n", "line 1 opens a quote");
        check("a\n\"", "line 2 opens a quote");
        check("a\r\n\"x", "line 2 opens a quote");
        check("a\r\n\r\n1\r\n\"x\r\n", "line 4 opens a quote");
        check("a\n\"x\"\"\n", "line 2 opens a quote");
        check("{\"a\":1}\n{\"a\":2", "line 2");
        check("{\"a\":1}\n{\"b\":2}", "has `b`");
        check("{\"a\":1,\"b\":1}\n{\"a\":1}", "line 2 has no `b`");
        check(&format!("a\n{}", "x".repeat(DATA_BYTES_MAX)), "more than 64 MiB");
    }

    #[test]
    fn requests_take_rows_in_turn() {
        let cells = Data::parse("a,b\n1,x\n2,y\"\n3,z").unwrap().cells(1, Place::JsonBody).unwrap();
        let taken: Vec<&str> = (2..6).map(|number| cells.for_number(number)).collect();
        assert_eq!(taken, ["z", "x", "y\\\"", "z"]);
        let error = Data::parse("a\nok\n\"a\r\nb\"").unwrap().cells(0, Place::Header).unwrap_err();
        assert!(error.contains("column `a` of row 2"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows_in in prop::collection::vec(("[^\0]*", ".*"), 1..8)) {
            let mut lines = String::new();
            for (a, b) in &rows_in {
                lines += &serde_json::json!({ "a": a, "b": b }).to_string();
                lines.push('\n');
            }
            let data = Data::parse(&lines).expect("NDJSON");
            let expected: Vec<Vec<&str>> = rows_in.iter().map(|(a, b)| vec![a.as_str(), b]).collect();
            prop_assert_eq!(rows(&data), expected.clone());
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b"]).expect("memory");
            for row in &expected {
                writer.write_record(row).expect("memory");
            }
            let text = String::from_utf8(writer.into_inner().expect("memory")).expect("text");
            let data = Data::parse(&text).expect("CSV");
            prop_assert_eq!(rows(&data), expected);
        }

        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = Data::parse(&text);
        }
    }
}
