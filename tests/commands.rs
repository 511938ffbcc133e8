//! The command server against the built program: every command, word for word.

use std::fs;
use std::time::{Duration, SystemTime};

#[path = "common/server.rs"]
mod server;

use server::{BINARY, Client, Server, masked, program};

const INI: &str = "[resources]\n/commands = commands\n/other = commands\n";

fn open(server: &Server) -> Client {
    Client::open(server.address(), "/commands", "")
}

fn ask(client: &mut Client, command: &str) -> String {
    client.say(command);
    client.frame().text().to_owned()
}

/// A server in a time zone, and what the time is there, which is so many seconds from UTC.
fn in_zone(zone: &str) -> Server {
    let mut command = program();
    command.env("TZ", zone);
    Server::start_as(command, INI, "ws://127.0.0.1:0")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a date").as_secs()
}

#[test]
fn each_command_has_its_answer() {
    let server = Server::start(INI);
    let mut client = open(&server);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    for (command, answer) in [
        ("hello", "hello human".to_owned()),
        ("name", format!("My Name is {}", host.trim())),
        ("thanks", "you're welcome".to_owned()),
        ("ping", "pong".to_owned()),
        (" ping\r\n", "pong".to_owned()),
    ] {
        assert_eq!(ask(&mut client, command), answer, "{command}");
    }
    let help = ask(&mut client, "help");
    let listed: Vec<&str> = help.lines().filter_map(|line| line.split(' ').next()).collect();
    for command in
        ["hello", "name", "age", "date", "time", "thanks", "id", "users", "ping", "bye", "temp", "help", "all"]
    {
        assert!(listed.contains(&command), "{command} in {help}");
    }
    let temperature = ask(&mut client, "temp");
    let degrees = temperature.strip_prefix("the temperature is ").and_then(|rest| rest.strip_suffix(" °C"));
    match degrees {
        Some(degrees) => assert!(degrees.parse::<f64>().is_ok(), "{temperature}"),
        None => assert_eq!(temperature, "the temperature can't be read on this machine"),
    }
    assert_eq!(ask(&mut client, "bye"), "bye");
    client.expect_closed(1000);
}

#[test]
fn the_age_is_how_long_the_server_has_been_up() {
    let server = Server::start(INI);
    let mut client = open(&server);
    let seconds = |client: &mut Client| -> u64 {
        let age = ask(client, "age");
        let said = age.strip_prefix("the server has been up for ").and_then(|rest| rest.strip_suffix(" s"));
        said.and_then(|said| said.parse().ok()).unwrap_or_else(|| panic!("{age}"))
    };
    assert!(seconds(&mut client) <= 3);
    server::wait_until("it gets older", || {
        let mut client = open(&server);
        seconds(&mut client) >= 1
    });
}

#[test]
fn date_and_time_are_those_of_the_time_zone() {
    // As POSIX writes zones: hours to add to get UTC. One of the two is in another day than UTC, whenever this runs.
    for (zone, offset) in [("XXX-12", 12 * 3600), ("YYY+12", -12 * 3600), ("UTC0", 0)] {
        let server = in_zone(zone);
        let mut client = open(&server);
        let before = now();
        let (time, date) = (ask(&mut client, "time"), ask(&mut client, "date"));
        let unknown = ask(&mut client, "what now");
        let after = now();
        let moments = (before..=after).map(|second| second.saturating_add_signed(offset));
        let written: Vec<(String, String)> = moments.map(written).collect();
        assert!(written.iter().any(|(_, at)| time == format!("server time is {at}")), "{time} of {written:?}");
        assert!(written.iter().any(|(day, _)| date == format!("today is {day}")), "{date} of {written:?}");
        let is_now = |at: &String| unknown == format!("what now not understood - {at}");
        assert!(written.iter().any(|(_, at)| is_now(at)), "{unknown} of {written:?}");
    }
}

/// The date and the time of day of a second since 1970, reckoned by counting days.
fn written(second: u64) -> (String, String) {
    let (mut day, rest) = (second / 86_400, second % 86_400);
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let time = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    (format!("{year}.{:02}.{:02}", month + 1, day + 1), time)
}

#[test]
fn who_is_here_is_who_is_on_the_same_resource() {
    let server = Server::start(INI);
    let (mut one, mut two) = (open(&server), open(&server));
    let mut other = Client::open(server.address(), "/other", "");
    let uuid = |client: &mut Client| {
        let answer = ask(client, "id");
        let uuid = answer.strip_prefix("your UUID is ").unwrap_or_else(|| panic!("{answer}")).to_owned();
        // Whose it is stands in the log.
        server.wait_for_line(&uuid);
        uuid
    };
    let [first, second, third] = [&mut one, &mut two, &mut other].map(uuid);
    let users = ask(&mut one, "users");
    let mut listed: Vec<&str> = users.split('\n').collect();
    listed.sort_unstable();
    let mut expected = [first.as_str(), second.as_str()];
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(ask(&mut other, "users"), third);
    two.say("all  good morning, ü ");
    one.expect(&["good morning, ü"]);
    two.expect(&["good morning, ü"]);
    assert_eq!(ask(&mut other, "ping"), "pong", "nothing came before");
    two.leave();
    server.wait_for_line(" closed by peer");
    assert_eq!(ask(&mut one, "users"), first);
}

#[test]
fn anything_else_is_not_understood() {
    let server = Server::start(INI);
    let mut client = open(&server);
    for said in ["Hello", "hello there", "all", "allies", "", "help\0", &"x".repeat(100_000)] {
        let answer = ask(&mut client, said);
        let (what, at) = answer.rsplit_once(" - ").expect("a time");
        assert_eq!(what, format!("{said} not understood"));
        assert!(at.len() == 8 && at.split(':').all(|part| part.len() == 2), "{at}");
    }
    client.send(&masked(BINARY, b"hello"));
    assert!(client.frame().text().starts_with("a binary message not understood - "));
    client.expect_silence(Duration::from_millis(1));
}
