//! The logger as the process has it. A file of its own, since a process has one logger for good.

use std::fs;

use websock::logging::{LogSettings, LogState, init};

#[test]
fn the_process_logs_to_its_file() {
    let directory = std::env::temp_dir().join(format!("websock-logger-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (first, second) = (directory.join("first"), directory.join("second"));

    let handle = init(LogSettings { file: Some(first.clone()), ..LogSettings::default() });
    log::error!("one {}", 1);
    assert_eq!(fs::read_to_string(&first).unwrap(), "", "lines wait for the flush");
    handle.flush();
    let text = fs::read_to_string(&first).unwrap();
    assert!(text.ends_with("Z ERROR one 1\n"), "{text}");

    let late = init(LogSettings { file: Some(second.clone()), ..LogSettings::default() });
    log::error!("two");
    late.flush();
    handle.flush();
    assert_eq!(fs::read_to_string(&second).unwrap(), "");
    assert_eq!(fs::read_to_string(&first).unwrap().lines().count(), 2);
    assert_eq!((handle.flush(), late.flush()), (LogState::default(), LogState::default()));
    fs::remove_dir_all(&directory).unwrap();
}
