//! `docs/faults.md` says of each fault which test shows what becomes of it. Here it is held to that.

use std::fs;
use std::path::Path;

/// Faults that there are.
const FAULTS: usize = 129;

/// How a reason begins, where there is no test.
const REASON: &str = "does not apply: ";

/// A row of the page.
#[derive(Debug)]
struct Row {
    number: usize,
    outcome: String,
    shown_by: String,
}

/// The rows of the page's tables, in their order.
fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, what, outcome, shown_by] = cells[..] else { panic!("four cells: {line}") };
        if number == "#" {
            continue;
        }
        assert!(!what.is_empty(), "{line}");
        let number = number.parse().unwrap_or_else(|_| panic!("a number: {line}"));
        rows.push(Row { number, outcome: outcome.to_owned(), shown_by: shown_by.to_owned() });
    }
    rows
}

/// Whether a file has a test of that name.
fn has_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}()");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&head))
}

/// What is wrong with a row.
fn faults_of(row: &Row) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_reason = row.shown_by.starts_with(REASON) && row.shown_by.len() > REASON.len();
    if is_reason {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    if row.outcome.is_empty() {
        wrong.push(format!("{}: what does the server do?", row.number));
    }
    for test in row.shown_by.split(", ") {
        let named =
            test.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).and_then(|rest| rest.split_once("::"));
        let Some((file, name)) = named else {
            wrong.push(format!("{}: neither a test nor a reason: {test}", row.number));
            continue;
        };
        match fs::read_to_string(root.join(file)) {
            Ok(text) if has_test(&text, name) => {}
            Ok(_) => wrong.push(format!("{}: {file} has no test {name}", row.number)),
            Err(_) => wrong.push(format!("{}: there is no {file}", row.number)),
        }
    }
    wrong
}

#[test]
fn every_fault_has_a_test_that_exists_or_a_reason() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md")).expect("the page");
    let rows = rows(&page);
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=FAULTS).collect::<Vec<_>>(), "each number once, in order");
    let wrong: Vec<String> = rows.iter().flat_map(faults_of).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_can_be_wrong() {
    let row = |shown_by: &str| rows(&format!("| 7 | x | y | {shown_by} |"));
    for wrong in [
        "`tests/faults.rs::no_such_test`",
        "`tests/nothing.rs::the_page_can_be_wrong`",
        // A function that is no test.
        "`tests/faults.rs::rows`",
        "tests/faults.rs::the_page_can_be_wrong",
        "does not apply: ",
        "some day",
        "`tests/faults.rs::the_page_can_be_wrong`, and others",
    ] {
        assert!(!faults_of(&row(wrong)[0]).is_empty(), "{wrong}");
    }
    for right in ["`tests/faults.rs::the_page_can_be_wrong`", "does not apply: it is another's"] {
        assert_eq!(faults_of(&row(right)[0]), [""; 0], "{right}");
    }
}
