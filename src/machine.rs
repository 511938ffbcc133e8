//! What the operating system says of the machine: its name, the time of day where it stands, how warm it is.
//!
//! It refuses to know what time it is: that is told.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The host name, as uname(2) gives it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The date and time of day here, so long after 1970 began in UTC: in the zone of `TZ` or `/etc/localtime`, in UTC where
/// there is neither.
pub fn local_time(since_1970: Duration) -> DateTime {
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    moment.to_zoned(TimeZone::system()).datetime()
}

/// How warm the warmest part is that has a sensor, in degrees Celsius; `None`: no sensor can be read, as in most virtual
/// machines.
pub fn temperature() -> Option<f64> {
    warmest(Path::new("/sys/class/thermal"))
}

/// The kernel has a folder for each zone, with thousandths of a degree in the file `temp`.
fn warmest(folder: &Path) -> Option<f64> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"))
        .filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<i32>().ok())
        .max()
        .map(|thousandths| f64::from(thousandths) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warmest_sensor_that_can_be_read_counts() {
        let folder = std::env::temp_dir().join(format!("websock-thermal-{}", std::process::id()));
        assert_eq!(warmest(&folder), None);
        for (zone, text) in [
            ("thermal_zone0", "41000\n"),
            ("thermal_zone1", "48500\n"),
            ("thermal_zone2", ""),
            ("cooling_device0", "99000\n"),
        ] {
            fs::create_dir_all(folder.join(zone)).unwrap();
            fs::write(folder.join(zone).join("temp"), text).unwrap();
        }
        fs::create_dir(folder.join("thermal_zone3")).unwrap();
        let read = warmest(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read, Some(48.5));
    }

    #[test]
    fn the_machine_has_a_name() {
        assert_eq!(host_name(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    }

    #[test]
    fn no_moment_is_too_late() {
        assert!(local_time(Duration::MAX).year() >= 9999);
    }
}
