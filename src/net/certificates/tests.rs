//! Files that change, in virtual time.

use super::*;

/// 2030-01-01, at midnight.
const NEW_YEAR: u64 = 1_893_456_000;

/// A directory with a pair of files, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("websock-certificates-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self) -> Config {
        let file = |name| Some(self.0.join(name));
        Config { cert_file: file("cert.pem"), key_file: file("key.pem"), ..Config::default() }
    }

    /// Puts a file in its place as certbot does: a link to one that is new.
    fn link(&self, name: &str, version: usize, text: &str) {
        let target = self.0.join(format!("{name}.{version}"));
        fs::write(&target, text).unwrap();
        let new = self.0.join("new");
        std::os::unix::fs::symlink(&target, &new).unwrap();
        fs::rename(new, self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate that ends on the first of January, and its key.
fn pair(year: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn wall(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Minutes, and a second that is none.
fn minute(count: u64) -> Moment {
    Moment::from_millis(count * 60_000 + 1)
}

#[test]
fn links_that_point_elsewhere_are_followed_within_a_minute() {
    let folder = Folder::new("links");
    let now = wall(NEW_YEAR - 100 * 86_400);
    let (first, second) = (pair(2030), pair(2031));
    folder.link("cert.pem", 1, &first.0);
    folder.link("key.pem", 1, &first.1);
    let mut certificates = Certificates::load(&folder.config(), Moment::START, now).unwrap().unwrap();
    assert_eq!(certificates.expires(), NEW_YEAR);
    let before = certificates.current();
    assert_eq!(certificates.deadline(), Moment::from_millis(60_000));
    certificates.look(minute(1), now);
    assert!(Arc::ptr_eq(&before, &certificates.current()), "nothing has changed");

    folder.link("cert.pem", 2, &second.0);
    folder.link("key.pem", 2, &second.1);
    certificates.look(Moment::from_millis(100_000), now);
    assert!(Arc::ptr_eq(&before, &certificates.current()), "no look within the minute");
    certificates.look(minute(2), now);
    assert_eq!(certificates.expires(), NEW_YEAR + 365 * 86_400);
    assert!(!Arc::ptr_eq(&before, &certificates.current()));
    assert!(Arc::ptr_eq(&before.ticketer, &certificates.current().ticketer), "tickets stay good");
    // The content alone, under the same name.
    let third = pair(2032);
    fs::write(folder.0.join("cert.pem.2"), &third.0).unwrap();
    fs::write(folder.0.join("key.pem.2"), &third.1).unwrap();
    certificates.look(minute(3), now);
    assert_eq!(certificates.expires(), NEW_YEAR + 730 * 86_400);
}

#[test]
fn a_pair_half_replaced_is_looked_at_again_before_it_is_called_broken() {
    let folder = Folder::new("half");
    let now = wall(NEW_YEAR - 100 * 86_400);
    let (first, second) = (pair(2030), pair(2031));
    folder.link("cert.pem", 1, &first.0);
    folder.link("key.pem", 1, &first.1);
    let mut certificates = Certificates::load(&folder.config(), Moment::START, now).unwrap().unwrap();
    folder.link("cert.pem", 2, &second.0);
    let half = certificates.files.state();
    certificates.look(minute(1), now);
    assert_eq!((certificates.expires(), certificates.doubtful), (NEW_YEAR, Some(half)), "no complaint yet");
    // The other half comes: all is well.
    folder.link("key.pem", 2, &second.1);
    certificates.look(minute(2), now);
    assert_eq!((certificates.expires(), certificates.doubtful), (NEW_YEAR + 365 * 86_400, None));
    // It never comes: that is told once, and no more until something changes.
    folder.link("cert.pem", 3, &first.0);
    let half = certificates.files.state();
    certificates.look(minute(3), now);
    assert_eq!(certificates.doubtful, Some(half));
    certificates.look(minute(4), now);
    assert_eq!((certificates.seen, certificates.doubtful), (half, None));
    certificates.look(minute(5), now);
    assert_eq!((certificates.seen, certificates.doubtful), (half, None));
    assert_eq!(certificates.expires(), NEW_YEAR + 365 * 86_400, "the old one stays");
    folder.link("key.pem", 3, &first.1);
    certificates.look(minute(6), now);
    assert_eq!(certificates.expires(), NEW_YEAR);
}

#[test]
fn files_that_vanish_and_come_back_disturb_nobody() {
    let folder = Folder::new("vanish");
    let now = wall(NEW_YEAR - 100 * 86_400);
    let first = pair(2030);
    folder.link("cert.pem", 1, &first.0);
    folder.link("key.pem", 1, &first.1);
    let mut certificates = Certificates::load(&folder.config(), Moment::START, now).unwrap().unwrap();
    fs::remove_file(folder.0.join("cert.pem")).unwrap();
    for count in 1..5 {
        certificates.look(minute(count), now);
        assert_eq!(certificates.expires(), NEW_YEAR);
    }
    assert_eq!(certificates.seen[0], None);
    folder.link("cert.pem", 2, &pair(2031).0);
    folder.link("key.pem", 2, &first.1);
    certificates.look(minute(5), now);
    assert!(certificates.doubtful.is_some());
    // Whoever sends a signal has put everything in its place.
    certificates.reload(None, minute(5), now);
    assert_eq!((certificates.doubtful, certificates.expires()), (None, NEW_YEAR));
    // Another place in the settings.
    let other = Folder::new("elsewhere");
    let second = pair(2031);
    other.link("cert.pem", 1, &second.0);
    other.link("key.pem", 1, &second.1);
    certificates.reload(Some(&other.config()), minute(6), now);
    assert_eq!(certificates.expires(), NEW_YEAR + 365 * 86_400);
    certificates.reload(Some(&Config::default()), minute(7), now);
    assert_eq!(certificates.expires(), NEW_YEAR + 365 * 86_400, "settings that name none change nothing");
}

#[test]
fn the_end_is_told_from_two_weeks_before_once_a_day() {
    let validity = Validity { from: NEW_YEAR - 90 * 86_400, until: NEW_YEAR };
    let told = |seconds: u64| outlook(validity, wall(seconds));
    assert_eq!(told(NEW_YEAR - 14 * 86_400), (true, "is valid until 2030-01-01, 14 days more".to_owned()));
    assert_eq!(told(NEW_YEAR - 14 * 86_400 + 1), (false, "is valid until 2030-01-01, 13 days more".to_owned()));
    assert_eq!(told(NEW_YEAR - 1), (false, "is valid until 2030-01-01, 0 days more".to_owned()));
    assert_eq!(told(NEW_YEAR), (false, "has expired on 2030-01-01: browsers refuse it".to_owned()));
    assert!(!told(NEW_YEAR - 91 * 86_400).0, "it has not begun");

    let folder = Folder::new("end");
    let first = pair(2030);
    folder.link("cert.pem", 1, &first.0);
    folder.link("key.pem", 1, &first.1);
    let now = wall(NEW_YEAR - 20 * 86_400);
    let mut certificates = Certificates::load(&folder.config(), Moment::START, now).unwrap().unwrap();
    let day = Moment::START.after(DAY);
    assert_eq!(certificates.next_warning, day);
    certificates.look(minute(1), now);
    assert_eq!(certificates.next_warning, day, "not before the day is over");
    certificates.look(day, now);
    assert_eq!(certificates.next_warning, day.after(DAY));
}

#[test]
fn without_files_there_is_nothing_to_check() {
    assert!(check(&Config::default()).unwrap().is_none());
    assert!(Certificates::load(&Config::default(), Moment::START, SystemTime::now()).unwrap().is_none());
}
