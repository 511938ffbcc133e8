//! A proxy as a process: its configuration out of a page, started, reloaded and ended by its id.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::server::Folder;

/// How long a proxy may take to start or to stop, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How to make a page run.
pub(crate) struct Recipe {
    pub(crate) page: &'static str,
    /// What its code block is marked with.
    pub(crate) language: &'static str,
    /// The place where it listens, and what is to stand there; `ADDRESS` and `PORT` become its own.
    pub(crate) listen: (&'static str, &'static str),
    /// What names the server in it.
    pub(crate) upstream: &'static str,
    /// What the page puts there for a Unix socket.
    pub(crate) unix: &'static str,
    /// Times in which a connection may be silent, which become two seconds.
    pub(crate) idle: &'static [&'static str],
    /// Writes the files into a folder and gives the command.
    pub(crate) start: fn(&Path, &str) -> Command,
    pub(crate) reload: fn(&Proxy),
    /// Whether clients stay connected when the proxy reads its configuration again.
    pub(crate) reload_keeps: bool,
}

/// Where the server is.
pub(crate) enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Recipe {
    fn text(&self) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.page);
        fs::read_to_string(path).expect("a page")
    }

    /// The first block of the page that is marked so.
    pub(crate) fn block(&self, language: &str) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("\n```{language}\n")).expect("a block");
        rest.split_once("```").expect("its end").0.to_owned()
    }

    /// The page's configuration with other ports and times.
    pub(crate) fn site(&self, listen: SocketAddr, server: &Upstream) -> String {
        let mut site = self.block(self.language);
        let upstream = match server {
            Upstream::Tcp(address) => self.upstream.replace("127.0.0.1:8096", &address.to_string()),
            Upstream::Unix(path) => {
                assert!(self.text().contains(self.unix), "{} has no {:?}", self.page, self.unix);
                self.unix.replace("/run/websock/websock.sock", &path.display().to_string())
            }
        };
        let replacements = [
            (
                self.listen.0,
                self.listen.1.replace("ADDRESS", &listen.to_string()).replace("PORT", &listen.port().to_string()),
            ),
            (self.upstream, upstream),
        ];
        let idle = self.idle.iter().map(|time| (*time, time.replace("60", "2")));
        for (from, to) in replacements.into_iter().chain(idle) {
            assert!(site.contains(from), "{} has no {from:?}", self.page);
            site = site.replace(from, &to);
        }
        site
    }
}

/// A running proxy. Dropping it ends it.
pub(crate) struct Proxy {
    child: Child,
    address: SocketAddr,
    folder: Folder,
    reload: fn(&Self),
}

impl Proxy {
    /// Starts it in front of `server`, on a port of its own.
    pub(crate) fn start(recipe: &Recipe, server: &Upstream) -> Self {
        // None of them can be given port 0 and asked later, so a free one may have been taken by the time they bind.
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("a bound socket");
            drop(listener);
            let folder = Folder::new();
            let mut command = (recipe.start)(folder.path(), &recipe.site(address, server));
            let log = fs::File::create(folder.path().join("out")).expect("a file");
            command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
            let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            let mut proxy = Self { child, address, folder, reload: recipe.reload };
            if proxy.is_up() {
                return proxy;
            }
            assert!(proxy.said().to_lowercase().contains("in use"), "{}: {}", recipe.page, proxy.said());
        }
        panic!("no port for {}", recipe.page);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it read its configuration again, and waits until it is done where it can be told.
    pub(crate) fn reload(&self) {
        (self.reload)(self);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the proxy is there");
    }

    /// Waits until it takes connections; `false`: it has ended instead.
    fn is_up(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            assert!(Instant::now() < until, "it does not listen: {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("out") + &read("log")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not killed at first: it would leave its workers behind.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx.
pub(crate) fn hang_up(proxy: &Proxy) {
    proxy.signal(Signal::HUP);
}

/// `apachectl graceful`.
pub(crate) fn graceful(proxy: &Proxy) {
    proxy.signal(Signal::USR1);
}

/// HAProxy's master.
pub(crate) fn second_user_signal(proxy: &Proxy) {
    proxy.signal(Signal::USR2);
}

/// Caddy is asked over its administration socket. It takes what has not changed for no change.
pub(crate) fn caddy_reload(proxy: &Proxy) {
    let folder = proxy.folder.path();
    let output = Command::new("caddy")
        .args(["reload", "--force", "--adapter", "caddyfile", "--config", "Caddyfile", "--address"])
        .arg(format!("unix/{}/admin", folder.display()))
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .expect("caddy runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
