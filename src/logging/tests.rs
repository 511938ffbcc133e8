//! The logger without the global one: records go to a logger of the test's own, lines to places in memory.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use env_logger::Logger;
use log::{Log as _, Record};

use super::*;

/// A place that can be looked into, and told what to take.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    calls: usize,
    /// Bytes still taken, after which each write fails with this system error; none: everything is taken.
    full: Option<(usize, i32)>,
}

const ENOSPC: i32 = 28;
const EAGAIN: i32 = 11;

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        state.calls += 1;
        let taken = match &mut state.full {
            None => bytes.len(),
            Some((0, error)) => return Err(io::Error::from_raw_os_error(*error)),
            Some((room, _)) => {
                let taken = bytes.len().min(*room);
                *room -= taken;
                taken
            }
        };
        state.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Place {}

impl Place {
    fn full(&self, full: Option<(usize, i32)>) {
        lock(&self.0).full = full;
    }

    fn calls(&self) -> usize {
        lock(&self.0).calls
    }

    /// What has been written since the last look, without the timestamps.
    fn lines(&self) -> Vec<String> {
        let bytes = mem::take(&mut lock(&self.0).bytes);
        untimed(&String::from_utf8(bytes).unwrap())
    }
}

fn untimed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
}

/// A handle that writes to a place of the test's, and a logger that gathers for it.
fn logging(path: Option<&Path>, console: bool, filter: &str) -> (Place, LogHandle, Logger) {
    let place = Place::default();
    let settings = LogSettings { file: path.map(Path::to_owned), console, ..LogSettings::default() };
    let handle = LogHandle::new(Box::new(place.clone()), settings);
    let logger = line::logger(Box::new(handle.gatherer.clone()), &handle.style, filter);
    (place, handle, logger)
}

fn say(logger: &Logger, level: Level, text: &str) {
    logger.log(&Record::builder().level(level).target("websock::net").args(format_args!("{text}")).build());
}

/// A directory of the test's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("websock-log-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines_of(file: &Path) -> Vec<String> {
    untimed(&fs::read_to_string(file).unwrap())
}

#[test]
fn a_line_has_time_level_and_text() {
    let (place, handle, logger) = logging(None, true, "trace");
    say(&logger, Level::Info, "listening");
    handle.flush();
    let text = String::from_utf8(lock(&place.0).bytes.clone()).unwrap();
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "9999-99-99T99:99:99.999Z INFO  listening\n");
    place.lines();

    for level in [Level::Error, Level::Warn, Level::Debug, Level::Trace] {
        say(&logger, level, "text");
    }
    handle.flush();
    let expected = ["ERROR text", "WARN  text", "DEBUG websock::net: text", "TRACE websock::net: text"];
    assert_eq!(place.lines(), expected);
}

#[test]
fn a_record_is_one_line_whatever_is_in_it() {
    let (place, handle, logger) = logging(None, true, "info");
    say(&logger, Level::Info, "a\r\nb\tc\u{1b}[2Jd\u{7f}\u{85}\u{2028}\0 ü \\ \"€\"\n");
    handle.flush();
    assert_eq!(place.lines(), [r#"INFO  a\r\nb\tc\u{1b}[2Jd\u{7f}\u{85}\u{2028}\u{0} ü \ "€"\n"#]);
}

#[test]
fn a_turn_is_one_call_and_a_silent_one_is_none() {
    let (place, handle, logger) = logging(None, true, "info");
    for text in ["one", "two", "three"] {
        say(&logger, Level::Info, text);
    }
    say(&logger, Level::Debug, "not asked for");
    assert_eq!(place.calls(), 0, "nothing is written before the flush");
    handle.flush();
    assert_eq!(place.calls(), 1);
    assert_eq!(place.lines(), ["INFO  one", "INFO  two", "INFO  three"]);
    handle.flush();
    assert_eq!(place.calls(), 1);
}

#[test]
fn with_neither_file_nor_console_warnings_remain() {
    let (place, handle, logger) = logging(None, false, "trace");
    for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
        say(&logger, level, "text");
    }
    handle.flush();
    assert_eq!(place.lines(), ["ERROR text", "WARN  text"]);
}

#[test]
fn lines_go_to_the_file_the_console_or_both() {
    let directory = Directory::new();
    let file = directory.0.join("log");
    fs::write(&file, "earlier line\n").unwrap();
    for (console, expected) in [(true, vec!["INFO  text"]), (false, vec![])] {
        let (place, handle, logger) = logging(Some(&file), console, "info");
        say(&logger, Level::Info, "text");
        handle.flush();
        assert_eq!(place.lines(), expected);
    }
    assert_eq!(lines_of(&file), ["line", "INFO  text", "INFO  text"]);
}

#[test]
fn lost_lines_are_counted_and_told_once() {
    let (place, handle, logger) = logging(None, true, "info");
    place.full(Some((0, ENOSPC)));
    for round in 0..3 {
        for _ in 0..4 {
            say(&logger, Level::Info, "lost");
        }
        handle.flush();
        assert_eq!(place.calls(), round + 1, "a failed write is not tried again in its turn");
    }
    assert_eq!(handle.flush().lost, 12);
    place.full(None);
    say(&logger, Level::Info, "back");
    handle.flush();
    assert_eq!(place.calls(), 4, "the count goes out with the lines");
    assert_eq!(place.lines(), ["WARN  log: 12 lines lost: No space left on device", "INFO  back"]);
    say(&logger, Level::Info, "on");
    handle.flush();
    assert_eq!(place.lines(), ["INFO  on"]);
    assert_eq!(handle.flush().lost, 12);
}

#[test]
fn a_torn_line_is_lost_and_ends_before_the_next() {
    let (place, handle, logger) = logging(None, true, "info");
    say(&logger, Level::Info, "whole");
    say(&logger, Level::Info, "torn");
    say(&logger, Level::Info, "gone");
    let line = "2026-11-20T13:15:51.123Z INFO  whole\n".len();
    place.full(Some((line + 29, ENOSPC)));
    handle.flush();
    assert_eq!(handle.flush().lost, 2);
    assert_eq!(place.lines(), ["INFO  whole", "INFO"]);
    say(&logger, Level::Info, "too");
    // Room for the missing line end and no more.
    place.full(Some((1, ENOSPC)));
    handle.flush();
    assert_eq!(handle.flush().lost, 3);
    place.full(None);
    say(&logger, Level::Info, "back");
    handle.flush();
    assert_eq!(place.lines(), ["", "WARN  log: 3 lines lost: No space left on device", "INFO  back"]);
}

#[test]
fn one_place_that_fails_does_not_cost_the_other_its_lines() {
    let directory = Directory::new();
    let file = directory.0.join("log");
    let (place, handle, logger) = logging(Some(&file), true, "info");
    place.full(Some((0, ENOSPC)));
    say(&logger, Level::Info, "text");
    handle.flush();
    assert_eq!(lines_of(&file), ["INFO  text"]);
    assert_eq!(handle.flush().lost, 1);
}

#[test]
fn what_gathers_is_bounded() {
    let (place, handle, logger) = logging(None, true, "info");
    let text = "x".repeat(1000);
    for _ in 0..2000 {
        say(&logger, Level::Info, &text);
    }
    handle.flush();
    assert_eq!(place.calls(), 1);
    let lines = place.lines();
    let kept = lines.len() - 1;
    assert!(kept * 1032 <= GATHERED && (kept + 1) * 1032 > GATHERED, "{kept} lines");
    let lost = 2000 - kept;
    assert_eq!(lines[kept], format!("WARN  log: {lost} lines lost: more than 1048576 bytes at once"));
    assert_eq!(handle.flush().lost, lost as u64);
    for _ in 0..2 {
        handle.flush();
        assert!(lock(&handle.outlets).batch.capacity() <= KEPT, "a burst's memory is given back");
    }
}

#[test]
fn reopening_follows_a_rotation() {
    let directory = Directory::new();
    let (file, rotated) = (directory.0.join("log"), directory.0.join("log.1"));
    let (place, handle, logger) = logging(Some(&file), false, "info");
    say(&logger, Level::Info, "old");
    fs::rename(&file, &rotated).unwrap();
    handle.reopen();
    say(&logger, Level::Info, "new");
    handle.flush();
    assert_eq!(lines_of(&rotated), ["INFO  old"]);
    assert_eq!(lines_of(&file), ["INFO  new"]);
    assert!(place.lines().is_empty());
}

#[test]
fn a_file_that_cannot_be_opened_leaves_the_log_on_standard_error() {
    let directory = Directory::new();
    let below = directory.0.join("below");
    let file = below.join("log");
    let (place, handle, logger) = logging(Some(&file), false, "info");
    let complaint =
        format!("ERROR log: can't open {}: No such file or directory; the log goes on here", file.display());
    assert_eq!(place.lines(), [complaint.as_str()]);
    say(&logger, Level::Info, "here");
    handle.flush();
    assert_eq!(place.lines(), ["INFO  here"]);
    handle.reopen();
    assert_eq!(place.lines(), [complaint]);

    fs::create_dir(&below).unwrap();
    handle.reopen();
    say(&logger, Level::Info, "there");
    handle.flush();
    assert!(place.lines().is_empty());
    assert_eq!(lines_of(&file), ["INFO  there"]);
}

#[test]
fn losses_outlive_a_reopening() {
    let directory = Directory::new();
    let file = directory.0.join("log");
    let (_, handle, logger) = logging(Some(&file), false, "info");
    let full = Place::default();
    full.full(Some((0, ENOSPC)));
    lock(&handle.outlets).file = Some(Outlet::new(Box::new(full)));
    say(&logger, Level::Info, "lost");
    handle.flush();
    handle.reopen();
    say(&logger, Level::Info, "back");
    handle.flush();
    assert_eq!(lines_of(&file), ["WARN  log: 1 lines lost: No space left on device", "INFO  back"]);
}

#[test]
fn dropping_the_handle_writes_the_rest() {
    let (place, handle, logger) = logging(None, true, "info");
    say(&logger, Level::Info, "last words");
    drop(handle);
    assert_eq!(place.lines(), ["INFO  last words"]);
}

fn say_about(logger: &Logger, level: Level, about: &[(&str, &str)], text: &str) {
    let record = format_args!("{text}");
    logger.log(&Record::builder().level(level).target("websock::net").key_values(&about).args(record).build());
}

#[test]
fn whom_a_line_is_about_stands_in_front() {
    let (place, handle, logger) = logging(None, true, "trace");
    let all = [("client", "UUID"), ("address", "1.2.3.4:5"), ("path", "/a\n")];
    say_about(&logger, Level::Info, &all, "opened");
    say_about(&logger, Level::Info, &all[1..], "refused");
    say_about(&logger, Level::Debug, &[all[1], ("path", "")], "lost");
    say_about(&logger, Level::Info, &[("other", "x")], "nobody's");
    handle.flush();
    let expected = [
        r"INFO  UUID 1.2.3.4:5 /a\n opened",
        r"INFO  - 1.2.3.4:5 /a\n refused",
        "DEBUG websock::net: - 1.2.3.4:5 - lost",
        "INFO  nobody's",
    ];
    assert_eq!(place.lines(), expected);
}

#[test]
fn a_line_of_json_is_an_object() {
    let (place, handle, logger) = logging(None, false, "trace");
    handle.configure(LogSettings { console: true, format: LogFormat::Json, ..LogSettings::default() });
    let all = [("client", "UUID"), ("address", "1.2.3.4:5"), ("path", "/\"")];
    say_about(&logger, Level::Warn, &all, "a \"quoted\" \\ line\r\n\u{2028}\u{7f}\u{1b}ü€😀");
    say_about(&logger, Level::Debug, &[all[1], ("path", "")], "lost");
    handle.flush();
    let text = String::from_utf8(mem::take(&mut lock(&place.0).bytes)).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once("Z\"").unwrap().1).collect();
    let expected = [
        concat!(
            r#","level":"warn","message":"a \"quoted\" \\ line\u000d\u000a\u2028\u007f\u001bü€😀","#,
            r#""client":"UUID","address":"1.2.3.4:5","path":"/\""}"#
        ),
        r#","level":"debug","message":"lost","address":"1.2.3.4:5","target":"websock::net"}"#,
    ];
    assert_eq!(lines, expected);
    let time = text.split('"').nth(3).unwrap();
    assert!(text.starts_with(r#"{"time":"2"#) && time.len() == 24 && time.as_bytes()[10] == b'T', "{time}");
}

#[test]
fn what_is_not_taken_now_waits_and_keeps_its_order() {
    let (place, handle, logger) = logging(None, true, "info");
    say(&logger, Level::Info, "first");
    say(&logger, Level::Info, "second");
    let line = "2026-11-20T13:15:51.123Z INFO  first\n".len();
    place.full(Some((line + 29, EAGAIN)));
    assert_eq!(handle.flush(), LogState { lost: 0, retry: Some(STUCK) });
    say(&logger, Level::Info, "third");
    assert_eq!(handle.flush(), LogState { lost: 0, retry: Some(STUCK) });
    place.full(Some((10, EAGAIN)));
    assert_eq!(handle.flush(), LogState { lost: 0, retry: Some(MOVING) });
    place.full(None);
    assert_eq!(handle.flush(), LogState::default());
    assert_eq!(place.lines(), ["INFO  first", "INFO  second", "INFO  third"]);
    let calls = place.calls();
    handle.flush();
    assert_eq!(place.calls(), calls);
}

#[test]
fn so_much_waits_and_no_more_and_what_is_lost_is_lost_in_one_run() {
    let (place, handle, logger) = logging(None, true, "info");
    place.full(Some((0, EAGAIN)));
    let text = "x".repeat(10_000);
    let mut lost = 0;
    for number in 0..300 {
        say(&logger, Level::Info, &format!("{number} {text}"));
        let state = handle.flush();
        assert_eq!(state.retry, Some(STUCK));
        lost = state.lost;
    }
    // A short one would fit, and is not to come before those that are missing.
    say(&logger, Level::Info, "300 short");
    assert_eq!(handle.flush().lost, lost + 1);
    assert!(lock(&handle.outlets).stderr.waiting() <= 1 << 20);
    place.full(None);
    assert_eq!(handle.flush(), LogState { lost: lost + 1, retry: None });
    say(&logger, Level::Info, "301 back");
    handle.flush();
    let lines = place.lines();
    let kept = 300 - usize::try_from(lost).unwrap();
    assert!(kept > 90, "{kept}");
    for (number, line) in lines[..kept].iter().enumerate() {
        assert!(line.starts_with(&format!("INFO  {number} x")), "{}", &line[..20]);
    }
    assert_eq!(lines[kept], format!("WARN  log: {} lines lost: nobody took them", lost + 1));
    assert_eq!(lines[kept + 1..], ["INFO  301 back"]);
}

#[test]
fn what_waits_for_a_place_that_fails_is_lost_and_counted() {
    let (place, handle, logger) = logging(None, true, "info");
    place.full(Some((5, EAGAIN)));
    for _ in 0..3 {
        say(&logger, Level::Info, "waits");
    }
    handle.flush();
    place.full(Some((0, ENOSPC)));
    say(&logger, Level::Info, "comes on top");
    assert_eq!(handle.flush(), LogState { lost: 4, retry: None });
    place.full(Some((2, EAGAIN)));
    say(&logger, Level::Info, "the count does not get through");
    handle.flush();
    place.full(None);
    say(&logger, Level::Info, "back");
    handle.flush();
    let lines = place.lines();
    assert_eq!(lines.last().map(String::as_str), Some("INFO  back"));
    assert_eq!(lines[lines.len() - 2], "WARN  log: 5 lines lost: nobody took them");
    assert_eq!(lines.len(), 4, "and two that are torn: {lines:?}");
}

#[test]
fn settings_change_while_it_runs() {
    let directory = Directory::new();
    let (one, two) = (directory.0.join("one"), directory.0.join("two"));
    let settings = |file: Option<&PathBuf>, console| LogSettings { file: file.cloned(), console, ..Default::default() };
    let (place, handle, logger) = logging(None, false, "info");
    say(&logger, Level::Info, "quiet");
    for (number, settings) in
        [settings(Some(&one), false), settings(Some(&two), true), settings(None, false)].into_iter().enumerate()
    {
        handle.configure(settings);
        say(&logger, Level::Info, &number.to_string());
    }
    say(&logger, Level::Warn, "loud");
    handle.flush();
    assert_eq!((lines_of(&one), lines_of(&two)), (vec!["INFO  0".to_owned()], vec!["INFO  1".to_owned()]));
    assert_eq!(place.lines(), ["INFO  1", "WARN  loud"]);
}
