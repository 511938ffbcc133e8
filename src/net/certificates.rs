//! The certificate and its key: read, checked to belong together, and read again when their files change.
//!
//! Nobody has to tell the server that a certificate was renewed. It looks at the files once a minute, at most, and only
//! where TLS is spoken; who is connected notices nothing, and new handshakes get the new certificate. What is broken is
//! told once, and the old pair stays. Tickets of before are good after, so that clients resume.
//!
//! It is told what time it is and opens no socket. Only the end of a certificate is a matter of the wall clock.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{error, info, warn};
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use rustls::{InconsistentKeys, ServerConfig};

use super::expiry::{Validity, date};
use crate::clock::Moment;
use crate::config::Config;

#[cfg(test)]
mod tests;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(60);

/// Between two warnings of the end.
const DAY: Duration = Duration::from_secs(86_400);

/// Days left from which on there are warnings.
const WARN_DAYS: u64 = 14;

/// Bytes that a file may have: a chain of dozens.
const FILE_BYTES: u64 = 1 << 20;

/// What is wrong with a file that is to hold a certificate or a key.
#[derive(Debug)]
pub struct CertificateError {
    key: &'static str,
    file: PathBuf,
    trouble: Trouble,
}

#[derive(Debug)]
enum Trouble {
    Unreadable(io::Error),
    TooLarge,
    NotPem(String),
    NoCertificate,
    NotCertificate,
    NoKey,
    Encrypted,
    NotKey(rustls::Error),
    Mismatch(PathBuf),
    Unusable(rustls::Error),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.key, self.file.display())?;
        match &self.trouble {
            Trouble::Unreadable(error) => write!(f, "{error}"),
            Trouble::TooLarge => write!(f, "over {FILE_BYTES} bytes, which no certificate or key has"),
            Trouble::NotPem(what) => write!(f, "broken PEM: {what}"),
            Trouble::NoCertificate => f.write_str("no certificate in it (PEM, -----BEGIN CERTIFICATE-----)"),
            Trouble::NotCertificate => f.write_str("its first certificate is none that can be read"),
            Trouble::NoKey => f.write_str("no private key in it (PEM, -----BEGIN PRIVATE KEY-----)"),
            Trouble::Encrypted => f.write_str(
                "the private key is encrypted, and nobody is there to be asked: \
                 take the passphrase off with openssl pkey -in FILE -out NEW",
            ),
            Trouble::NotKey(error) => write!(f, "a private key that can't be used: {error}"),
            Trouble::Mismatch(certificate) => {
                write!(f, "this is not the key of the certificate in {}", certificate.display())
            }
            Trouble::Unusable(error) => write!(f, "can't be used: {error}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// The files of a certificate and of its key.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Those that a configuration names; it names both or none.
    fn of(config: &Config) -> Option<Self> {
        let (certificate, key) = config.cert_file.clone().zip(config.key_file.clone())?;
        Some(Self { certificate, key })
    }

    /// What tells that a file is another one than before: links are followed, since it is those that renewing changes.
    fn state(&self) -> [Option<State>; 2] {
        [&self.certificate, &self.key].map(|file| {
            let found = fs::metadata(file).ok()?;
            Some(State {
                device: found.dev(),
                inode: found.ino(),
                size: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
            })
        })
    }

    /// The chain and the key, and how long the chain's first certificate is valid.
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Validity), CertificateError> {
        let of_certificate = |trouble| CertificateError { key: "certFile", file: self.certificate.clone(), trouble };
        let of_key = |trouble| CertificateError { key: "pkFile", file: self.key.clone(), trouble };
        let text = read(&self.certificate).map_err(of_certificate)?;
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| of_certificate(Trouble::NotPem(error.to_string())))?;
        let leaf = chain.first().ok_or_else(|| of_certificate(Trouble::NoCertificate))?;
        let validity = Validity::of(leaf).ok_or_else(|| of_certificate(Trouble::NotCertificate))?;
        let text = read(&self.key).map_err(of_key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            of_key(match error {
                _ if is_encrypted(&text) => Trouble::Encrypted,
                pem::Error::NoItemsFound => Trouble::NoKey,
                error => Trouble::NotPem(error.to_string()),
            })
        })?;
        // What openssl wrote before 2010 says so inside of the key.
        if is_encrypted(&text) {
            return Err(of_key(Trouble::Encrypted));
        }
        Ok((chain, key, validity))
    }

    /// A configuration that shows this certificate. `tickets`: what clients resume with, if they may.
    fn load(
        &self,
        tickets: Option<&Arc<dyn ProducesTickets>>,
    ) -> Result<(Arc<ServerConfig>, Validity), CertificateError> {
        let (chain, key, validity) = self.read()?;
        let of_key = |trouble| CertificateError { key: "pkFile", file: self.key.clone(), trouble };
        let of_certificate = |trouble| CertificateError { key: "certFile", file: self.certificate.clone(), trouble };
        let provider = Arc::new(default_provider());
        provider.key_provider.load_private_key(key.clone_key()).map_err(|error| of_key(Trouble::NotKey(error)))?;
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| of_certificate(Trouble::Unusable(error)))?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                of_key(Trouble::Mismatch(self.certificate.clone()))
            }
            error => of_certificate(Trouble::Unusable(error)),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if let Some(tickets) = tickets {
            config.ticketer = Arc::clone(tickets);
        }
        Ok((Arc::new(config), validity))
    }
}

/// What is compared of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A whole file, if it is one: a pipe would stop the loop.
fn read(file: &Path) -> Result<Vec<u8>, Trouble> {
    let read = || -> io::Result<Vec<u8>> {
        if !fs::metadata(file)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let mut bytes = Vec::new();
        File::open(file)?.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(Trouble::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES { Err(Trouble::TooLarge) } else { Ok(bytes) }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let has = |mark: &[u8]| pem.windows(mark.len()).any(|bytes| bytes == mark);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// How long a certificate is still good, as a line of the log.
fn outlook(validity: Validity, now: SystemTime) -> (bool, String) {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let until = date(validity.until);
    if validity.until <= now {
        return (false, format!("has expired on {until}: browsers refuse it"));
    }
    if validity.from > now {
        return (false, format!("is not valid before {}: browsers refuse it", date(validity.from)));
    }
    let days = (validity.until - now) / DAY.as_secs();
    (days >= WARN_DAYS, format!("is valid until {until}, {days} days more"))
}

/// Checks the files that a configuration names, if it names any, and says how long the certificate is good. The flag:
/// whether that is as it should be.
///
/// # Errors
///
/// A file that can't be used, and why.
pub fn check(config: &Config) -> Result<Option<(bool, String)>, CertificateError> {
    let Some(files) = Files::of(config) else { return Ok(None) };
    let (_, validity) = files.load(None)?;
    let (good, outlook) = outlook(validity, SystemTime::now());
    Ok(Some((good, format!("the certificate in {} {outlook}", files.certificate.display()))))
}

/// The certificate that new handshakes get.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Files,
    current: Arc<ServerConfig>,
    validity: Validity,
    tickets: Arc<dyn ProducesTickets>,
    /// The files as they were when they were last read, or complained of.
    seen: [Option<State>; 2],
    /// The files as they were when they were last found broken, without a complaint: they may be about to be replaced,
    /// one after the other.
    doubtful: Option<[Option<State>; 2]>,
    next_look: Moment,
    next_warning: Moment,
}

impl Certificates {
    /// Reads the files that a configuration names. `None`: it names none.
    pub(super) fn load(config: &Config, now: Moment, wall: SystemTime) -> Result<Option<Self>, CertificateError> {
        let Some(files) = Files::of(config) else { return Ok(None) };
        let tickets = Ticketer::new().map_err(|error| CertificateError {
            key: "certFile",
            file: files.certificate.clone(),
            trouble: Trouble::Unusable(error),
        })?;
        let seen = files.state();
        let (current, validity) = files.load(Some(&tickets))?;
        let mut certificates = Self {
            files,
            current,
            validity,
            tickets,
            seen,
            doubtful: None,
            next_look: now.after(LOOK),
            next_warning: now,
        };
        certificates.warn(now, wall);
        Ok(Some(certificates))
    }

    /// What a new handshake is to be done with.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current)
    }

    /// When the certificate that is shown ends, in seconds since 1970.
    pub(super) const fn expires(&self) -> u64 {
        self.validity.until
    }

    /// When [`Certificates::look`] is to be called.
    pub(super) fn deadline(&self) -> Moment {
        self.next_look.min(self.next_warning)
    }

    /// Does what is due: reads the files again if they have changed, and warns of the end.
    pub(super) fn look(&mut self, now: Moment, wall: SystemTime) {
        if self.next_look <= now {
            self.next_look = now.after(LOOK);
            let found = self.files.state();
            if found != self.seen {
                self.renew(found, now, wall);
            }
        }
        self.warn(now, wall);
    }

    /// HUP: reads the files that `config` names, or else the old ones, whether they have changed or not.
    pub(super) fn reload(&mut self, config: Option<&Config>, now: Moment, wall: SystemTime) {
        if let Some(files) = config.and_then(Files::of) {
            self.files = files;
        }
        let found = self.files.state();
        // Whoever asks for it by a signal has put everything in its place.
        self.doubtful = Some(found);
        self.renew(found, now, wall);
        self.next_look = now.after(LOOK);
    }

    fn renew(&mut self, found: [Option<State>; 2], now: Moment, wall: SystemTime) {
        match self.files.load(Some(&self.tickets)) {
            Ok((current, validity)) => {
                self.current = current;
                self.validity = validity;
                self.seen = found;
                self.doubtful = None;
                let (_, outlook) = outlook(validity, wall);
                info!("the certificate in {} was read again and {outlook}", self.files.certificate.display());
                self.next_warning = now;
                self.warn(now, wall);
            }
            Err(_) if self.doubtful != Some(found) => self.doubtful = Some(found),
            Err(trouble) => {
                self.seen = found;
                self.doubtful = None;
                error!("{trouble}; the old certificate stays");
            }
        }
    }

    /// Warns once a day if the end is near.
    fn warn(&mut self, now: Moment, wall: SystemTime) {
        if self.next_warning > now {
            return;
        }
        self.next_warning = now.after(DAY);
        if let (false, outlook) = outlook(self.validity, wall) {
            warn!("the certificate in {} {outlook}", self.files.certificate.display());
        }
    }
}
