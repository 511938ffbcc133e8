use std::fs;

use super::*;

fn run(line: &[&str]) -> Result<Command, String> {
    parse(line.iter().map(OsString::from)).map_err(|e| e.to_string())
}

/// The arguments of a command line with `|` between them.
fn words(line: &str) -> Vec<&str> {
    if line.is_empty() { Vec::new() } else { line.split('|').collect() }
}

fn defaults() -> ServeArgs {
    ServeArgs { ini: PathBuf::from("websock.ini"), ini_given: false, address: None, log_file: None, console: None }
}

#[test]
fn what_to_serve() {
    let address = |text: &str| ServeArgs { address: Some(text.to_owned()), ..defaults() };
    let log_file = |text: &str| ServeArgs { log_file: Some(PathBuf::from(text)), ..defaults() };
    let console = |on| ServeArgs { console: Some(on), ..defaults() };
    let ini = |text: &str| ServeArgs { ini: PathBuf::from(text), ini_given: true, ..defaults() };
    for (line, expected) in [
        ("", defaults()),
        ("-i|a.ini", ini("a.ini")),
        ("-ia.ini", ini("a.ini")),
        ("-i|websock.ini", ini("websock.ini")),
        ("-i|-", ini("-")),
        ("--address|ws://a:1", address("ws://a:1")),
        ("--address=ws://a:1", address("ws://a:1")),
        ("-address|ws://a:1", address("ws://a:1")),
        ("-adress|ws://a:1", address("ws://a:1")),
        ("-adress=ws://a:1", address("ws://a:1")),
        ("--adress|ws://a:1,b:2", address("ws://a:1,b:2")),
        ("--logfile|a b.log", log_file("a b.log")),
        ("-logfile|a.log", log_file("a.log")),
        ("--logfile=--a.log", log_file("--a.log")),
        ("--logfile|", log_file("")),
        ("--console", console(true)),
        ("-console", console(true)),
        ("-console|false", console(false)),
        ("-console|Off", console(false)),
        ("-console=yes", console(true)),
        ("--console|1", console(true)),
        ("--console=no", console(false)),
    ] {
        assert_eq!(run(&words(line)), Ok(Command::Serve(expected)), "{line}");
    }
    let all = ServeArgs {
        ini: PathBuf::from("x"),
        ini_given: true,
        address: Some("a".to_owned()),
        log_file: Some(PathBuf::from("l")),
        console: Some(true),
    };
    let line = words("-console|-adress|a|--check|-logfile|l|-i|x");
    assert_eq!(run(&line), Ok(Command::Check(all.clone())));
    let line = words("-i|x|--health|-console|-adress|a|-logfile|l");
    assert_eq!(run(&line), Ok(Command::Health(all)));
}

#[test]
fn what_to_send() {
    let send = |to, message| SendArgs { server: ServerArgs::default(), json: false, to, message };
    let text = |text: &str| Message::Text(text.to_owned());
    let id = "2f1c8f0e-5A0b-4b57-9a53-6f0f6d0c1a2b";
    for (line, expected) in [
        (format!("send|--uuid|{id}|hi there"), send(Recipient::Uuid(id.to_owned()), text("hi there"))),
        ("send|hi|--ident=me".to_owned(), send(Recipient::Ident("me".to_owned()), text("hi"))),
        ("send|--broadcast|-".to_owned(), send(Recipient::Broadcast, Message::Lines)),
        ("send|--broadcast|".to_owned(), send(Recipient::Broadcast, text(""))),
        ("send|--broadcast|--|-console".to_owned(), send(Recipient::Broadcast, text("-console"))),
        (
            "send|-i|a.ini|-adress|ws://a:1|--json|--broadcast|{}".to_owned(),
            SendArgs {
                server: ServerArgs { ini: Some(PathBuf::from("a.ini")), address: Some("ws://a:1".to_owned()) },
                json: true,
                to: Recipient::Broadcast,
                message: text("{}"),
            },
        ),
    ] {
        assert_eq!(run(&words(&line)), Ok(Command::Send(expected)), "{line}");
    }
}

#[test]
fn what_to_ask_why_about() {
    let uuid = "2f1c8f0e-5A0b-4b57-9a53-6f0f6d0c1a2b";
    let why = |server, subject: &str| Command::Why(WhyArgs { server, subject: subject.to_owned() });
    let ini = ServerArgs { ini: Some(PathBuf::from("a.ini")), address: None };
    assert_eq!(run(&words(&format!("why|{uuid}"))), Ok(why(ServerArgs::default(), uuid)));
    assert_eq!(run(&words("why|-i|a.ini|0123456789abcdef")), Ok(why(ini, "0123456789abcdef")));
    for line in ["why", "why|x", "why|0123456789abcdef|0123456789abcdef", "why|--json|0123456789abcdef", "--check|why"]
    {
        assert!(run(&words(line)).is_err(), "{line}");
    }
}

#[test]
fn help_and_version_come_before_what_is_wrong_after_them() {
    for (line, expected) in [
        ("--help", Command::Help(HELP)),
        ("-h|--bogus", Command::Help(HELP)),
        ("--version", Command::Version),
        ("-V", Command::Version),
        ("send|--help", Command::Help(SEND_HELP)),
        ("send|--broadcast|-h", Command::Help(SEND_HELP)),
        ("why|-h", Command::Help(WHY_HELP)),
    ] {
        assert_eq!(run(&words(line)), Ok(expected), "{line}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    for (line, expected) in [
        ("--adres|x", "--adres is not an option here, did you mean --address?"),
        ("--zzz", "--zzz is not an option here"),
        ("-x", "-x is not an option here"),
        ("-logs|x", "-l is not an option here"),
        ("foo", "\"foo\" is one argument too many"),
        ("--|-console", "\"-console\" is one argument too many"),
        ("--check|send", "send must be the first argument"),
        ("-i", "-i needs a value"),
        ("-i|--check", "-i needs a value"),
        ("-i|", "-i needs the name of a file"),
        ("-adress", "--address needs a value"),
        ("-logfile|-console", "--logfile needs a value"),
        ("-i|a|-i|b", "-i is given twice"),
        ("-adress|a|--address|b", "--address is given twice"),
        ("-console|--console", "--console is given twice"),
        ("--console=maybe", "--console takes true or false, not \"maybe\""),
        ("--console=", "--console takes true or false, not \"\""),
        ("-console|maybe", "\"maybe\" is one argument too many"),
        ("--check|--health", "only one of --check and --health can be given, once"),
        ("--helth", "--helth is not an option here, did you mean --health?"),
        ("--check=yes", "unexpected argument for option '--check': \"yes\""),
    ] {
        assert_eq!(run(&words(line)), Err(format!("{expected}; see websock --help")), "{line}");
    }
    for (line, expected) in [
        ("send", "nobody to send to: one of --uuid U, --ident I and --broadcast is needed"),
        ("send|hi", "nobody to send to: one of --uuid U, --ident I and --broadcast is needed"),
        ("send|--broadcast", "there is no MESSAGE"),
        ("send|--broadcast|hi|there", "there is more than one MESSAGE: quote it to make it one"),
        ("send|--broadcast|--ident|a|hi", "only one of --uuid, --ident and --broadcast can be given, once"),
        ("send|--ident|a|--ident|b|hi", "only one of --uuid, --ident and --broadcast can be given, once"),
        ("send|--ident||hi", "--ident needs a name that isn't empty"),
        ("send|--uuid|7|hi", "--uuid: found \"7\", expected a UUID like 2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2b"),
        (
            "send|--uuid|2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2g|hi",
            "--uuid: found \"2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2g\", \
             expected a UUID like 2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2b",
        ),
        ("send|--broadcast|-console", "--console is not an option here"),
        ("send|--address|a:x|--broadcast|hi", "--address: found \"a:x\", expected a port from 0 to 65535"),
    ] {
        assert_eq!(run(&words(line)), Err(format!("{expected}; see websock send --help")), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn bytes_that_are_not_utf8_are_for_files_only() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(b"a\xff".to_vec());
    let run = |args: Vec<OsString>| parse(args).map_err(|e| e.to_string());
    match run(vec!["--logfile".into(), bytes()]) {
        Ok(Command::Serve(args)) => assert_eq!(args.log_file, Some(PathBuf::from(bytes()))),
        other => panic!("{other:?}"),
    }
    let error = run(vec!["--address".into(), bytes()]).unwrap_err();
    assert_eq!(error, "the value of --address is not UTF-8; see websock --help");
    let error = run(vec!["send".into(), "--broadcast".into(), bytes()]).unwrap_err();
    assert_eq!(error, "MESSAGE is not UTF-8; see websock send --help");
}

#[test]
fn the_help_fits_a_terminal() {
    for help in [HELP, SEND_HELP, WHY_HELP] {
        assert!(help.lines().count() < 32);
        assert!(help.lines().all(|line| line.chars().count() <= 90), "{help}");
    }
    for option in
        ["-i ", "--address", "--logfile", "--console", "--check", "--health", "--help", "--version", "-adress"]
    {
        assert!(HELP.contains(option), "{option}");
    }
    for option in ["-i ", "--address", "--json", "--uuid", "--ident", "--broadcast", "--help"] {
        assert!(SEND_HELP.contains(option), "{option}");
    }
}

#[test]
fn the_command_line_overrules_the_file() {
    let mut config = Config { log_file: Some(PathBuf::from("a.log")), ..Config::default() };
    defaults().apply(&mut config).unwrap();
    assert_eq!(config, Config { log_file: Some(PathBuf::from("a.log")), ..Config::default() });

    let args = ServeArgs {
        address: Some("127.0.0.1:0, [::1]:0".to_owned()),
        log_file: Some(PathBuf::new()),
        console: Some(false),
        ..defaults()
    };
    args.apply(&mut config).unwrap();
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["ws://127.0.0.1:0", "ws://[::1]:0"]);
    assert_eq!((config.log_file, config.console), (None, false));
}

#[test]
fn the_command_line_is_checked_like_the_file() {
    for (address, expected) in [
        ("", "--address: found nothing, expected an address like ws://localhost:8096"),
        (
            "a:x, b, c:y",
            "--address: found \"a:x\", expected a port from 0 to 65535; found \"c:y\", expected a port from 0 to 65535",
        ),
        ("a:1,a:1", "--address: found ws://a:1 twice, expected each address once"),
        (
            "wss://a:1",
            "--address: found wss://a:1 and no certificate, expected certFile and pkFile to be set for wss://",
        ),
    ] {
        let args = ServeArgs { address: Some(address.to_owned()), ..defaults() };
        let error = args.apply(&mut Config::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("{expected}; see websock --help"));
    }
}

#[test]
fn settings_are_loaded_or_the_reason_is_told() {
    let directory = std::env::temp_dir().join(format!("websock-cli-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let ini = directory.join("a.ini");

    let missing = ServeArgs { ini: ini.clone(), ..defaults() };
    assert_eq!(
        missing.load(&["relay"]).unwrap_err().to_string(),
        "there is no websock.ini in the current directory: name a file with -i FILE, \
         or copy the websock.ini shipped along here; see websock --help"
    );
    let args = ServeArgs { ini_given: true, console: Some(true), ..missing.clone() };
    let named = format!("{}: found ", ini.display());
    assert!(args.load(&["relay"]).unwrap_err().to_string().starts_with(&named));

    fs::write(&ini, "console = no\n[develop]\n").unwrap();
    let (config, notices) = args.load(&["relay"]).unwrap();
    assert!(config.console);
    assert_eq!(notices.len(), 1);

    fs::write(&ini, "console = maybe\nlogfil = x\n").unwrap();
    let error = missing.load(&["relay"]).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 2, "{error}");
    let args = ServeArgs { address: Some("a:x".to_owned()), ..missing };
    fs::write(&ini, "").unwrap();
    assert!(matches!(args.load(&["relay"]), Err(LoadError::Usage(_))));
    fs::remove_dir_all(&directory).unwrap();
}
