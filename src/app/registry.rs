//! Who is connected. The loop alone writes it; applications look.
//!
//! Clients stand in one vector by their slot, so that a broadcast walks memory in order: walking the map of UUIDs
//! instead costs 13 % at 5,000 receivers. For look-ups there is a hash table of slots beside it: it doesn't hold the
//! UUIDs again, so it takes eight bytes a client and not forty.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use hashbrown::HashTable;

use crate::id::{ClientId, ConnectionKey};

/// What a client said it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// A page; anything that does not say otherwise.
    Browser,
    /// A backend's script: its handshake carried `Client-Type: php`, and its address is on the allow list.
    Script,
}

impl ClientKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Browser, Self::Script];

    /// The kind in a word, for logs, metrics and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Script => "script",
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a client comes from. Little more than half of a [`SocketAddr`], and every connection holds one.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Address {
    /// As IPv6; an IPv4 address is mapped into it.
    ip: [u8; 16],
    port: u16,
}

impl Address {
    /// An address; `port` is that of the TCP connection itself.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port }
    }

    /// IPv4 where it is IPv4 in any clothing. Behind a trusted proxy, the address that the proxy saw.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// The port of the TCP connection itself; zero on a Unix socket.
    pub const fn port(self) -> u16 {
        self.port
    }

    /// This address with another IP: that of the client for whom a proxy has passed a request on.
    #[must_use]
    pub fn with_ip(self, ip: IpAddr) -> Self {
        Self::new(ip, self.port)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            // By itself, since the library's own way takes three times as long, and every log line has one.
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                write!(f, "{a}.{b}.{c}.{d}:{}", self.port)
            }
            ip => SocketAddr::new(ip, self.port).fmt(f),
        }
    }
}

/// A row of `[resources]`, by its position.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResourceId(pub u8);

/// An application, by its position among those that are in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ApplicationId(pub u8);

/// One upgraded connection, as applications see it.
#[derive(Debug)]
pub struct Client {
    /// The UUID issued to it.
    pub id: ClientId,
    /// Where the loop finds it.
    pub key: ConnectionKey,
    /// Where it comes from.
    pub address: Address,
    /// The path it was opened with.
    pub resource: ResourceId,
    role: Role,
    /// In seconds since 1970.
    connected: NonZeroU32,
    /// Boxed together, since few have any and all would pay for the lengths.
    names: Option<Box<Names>>,
}

/// What serves a client, what kind it is, whether it is a stream of events, and whether it is full. One byte, since every client has one.
#[derive(Clone, Copy, Debug)]
struct Role(u8);

impl Role {
    const SCRIPT: u8 = 1;
    const FULL: u8 = 2;
    const ACKNOWLEDGES: u8 = 4;
    const STREAM: u8 = 8;
    const APPLICATION: u32 = 4;

    const fn new(ApplicationId(application): ApplicationId, kind: ClientKind) -> Self {
        debug_assert!(application < 1 << (u8::BITS - Self::APPLICATION), "there are not so many applications");
        let kind = if matches!(kind, ClientKind::Script) { Self::SCRIPT } else { 0 };
        Self(application << Self::APPLICATION | kind)
    }

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// What a client goes by besides its UUID; empty: nothing.
#[derive(Debug, Default)]
struct Names {
    /// The name by which others may address it.
    ident: Box<str>,
    /// Who is logged in there.
    user: Box<str>,
}

impl Client {
    /// A client that has just come: `connected` in seconds since 1970. Nobody is known to be logged in there.
    pub fn new(
        id: ClientId,
        key: ConnectionKey,
        address: Address,
        (resource, application): (ResourceId, ApplicationId),
        kind: ClientKind,
        ident: &str,
        connected: u32,
    ) -> Self {
        let names = (!ident.is_empty()).then(|| Box::new(Names { ident: ident.into(), ..Names::default() }));
        let connected = NonZeroU32::new(connected).unwrap_or(NonZeroU32::MIN);
        Self { id, key, address, resource, role: Role::new(application, kind), connected, names }
    }

    /// What serves the path that it was opened with.
    pub const fn application(&self) -> ApplicationId {
        ApplicationId(self.role.0 >> Role::APPLICATION)
    }

    /// Browser or script.
    pub const fn kind(&self) -> ClientKind {
        if self.role.has(Role::SCRIPT) { ClientKind::Script } else { ClientKind::Browser }
    }

    /// Since when it is connected, in seconds since 1970.
    pub const fn connected(&self) -> u32 {
        self.connected.get()
    }

    /// The name by which others may address it; `None` where it gave none, or an empty one.
    pub fn ident(&self) -> Option<&str> {
        self.names.as_ref().map(|names| &*names.ident).filter(|ident| !ident.is_empty())
    }

    /// This client, with the user who is logged in there.
    #[must_use]
    pub fn with_user(mut self, user: Box<str>) -> Self {
        self.names.get_or_insert_default().user = user;
        self
    }

    /// Who is logged in there, by the session variable that `[jsauth] user` names; `None` where that is not known.
    pub fn user(&self) -> Option<&str> {
        self.names.as_ref().map(|names| &*names.user).filter(|user| !user.is_empty())
    }

    /// Whether it has said that it confirms messages whose fate somebody waits for.
    pub const fn acknowledges(&self) -> bool {
        self.role.has(Role::ACKNOWLEDGES)
    }

    /// This client, which is a stream of events.
    #[must_use]
    pub const fn as_stream(mut self) -> Self {
        self.role.0 |= Role::STREAM;
        self
    }

    /// Whether it is a stream of events: a browser that only listens, to what all applications have to say to it.
    pub const fn is_stream(&self) -> bool {
        self.role.has(Role::STREAM)
    }

    /// Whether more output waits for it than `maxBacklog` allows, so that nothing further can be handed to it.
    pub const fn is_full(&self) -> bool {
        self.role.has(Role::FULL)
    }
}

/// Everyone who is connected.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Vec<Option<Client>>,
    /// The slots of `clients`, to be found by UUID.
    by_id: HashTable<u32>,
    /// In the order in which they came.
    by_ident: HashMap<Box<str>, Vec<ConnectionKey>>,
    /// Browsers by address; kept only where `maxPerIP` asks for it.
    by_address: Option<HashMap<IpAddr, usize>>,
    /// By resource, then browsers and scripts.
    populations: Vec<[Population; 2]>,
}

/// How many clients of some kind there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Population {
    /// Connected.
    pub now: usize,
    /// Connected, or gone again.
    pub ever: u64,
}

impl Registry {
    /// Nobody is connected. `count_addresses`: see [`Registry::count_from`]. `expected`: how many there may get to be
    /// before memory is allocated again.
    pub fn new(count_addresses: bool, expected: usize) -> Self {
        Self {
            clients: Vec::with_capacity(expected),
            by_address: count_addresses.then(HashMap::new),
            ..Self::default()
        }
    }

    /// Begins to count browsers by address, or stops: see [`Registry::count_from`].
    pub fn count_addresses(&mut self, wanted: bool) {
        if wanted && self.by_address.is_none() {
            let mut counts = HashMap::new();
            for client in self.iter().filter(|client| client.kind() == ClientKind::Browser) {
                *counts.entry(client.address.ip()).or_default() += 1;
            }
            self.by_address = Some(counts);
        } else if !wanted {
            self.by_address = None;
        }
    }

    /// How many clients of a kind a resource has.
    pub fn population(&self, resource: ResourceId, kind: ClientKind) -> Population {
        self.populations.get(usize::from(resource.0)).map_or_else(Population::default, |kinds| kinds[kind as usize])
    }

    /// Enters a client. Its slot must be free, which the loop sees to.
    pub fn insert(&mut self, client: Client) {
        let slot = client.key.slot as usize;
        if slot >= self.clients.len() {
            self.clients.resize_with(slot + 1, || None);
        }
        debug_assert!(self.clients[slot].is_none(), "a slot has one client");
        if let Some(ident) = client.ident() {
            self.by_ident.entry(ident.into()).or_default().push(client.key);
        }
        if let (Some(counts), ClientKind::Browser) = (&mut self.by_address, client.kind()) {
            *counts.entry(client.address.ip()).or_default() += 1;
        }
        let resource = usize::from(client.resource.0);
        if resource >= self.populations.len() {
            self.populations.resize_with(resource + 1, Default::default);
        }
        let population = &mut self.populations[resource][client.kind() as usize];
        population.now += 1;
        population.ever += 1;
        let (id, slot) = (client.id, client.key.slot);
        self.clients[slot as usize] = Some(client);
        let clients = &self.clients;
        self.by_id.insert_unique(id.hash(), slot, |slot| hash_of(clients, *slot));
    }

    /// Strikes a client out and gives it back.
    pub fn remove(&mut self, key: ConnectionKey) -> Option<Client> {
        self.get(key)?;
        let client = self.clients.get_mut(key.slot as usize)?.take()?;
        self.populations[usize::from(client.resource.0)][client.kind() as usize].now -= 1;
        if let Ok(entry) = self.by_id.find_entry(client.id.hash(), |slot| *slot == key.slot) {
            entry.remove();
        }
        if let Some(ident) = client.ident()
            && let Some(keys) = self.by_ident.get_mut(ident)
        {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_ident.remove(ident);
            }
        }
        if let (Some(counts), ClientKind::Browser) = (&mut self.by_address, client.kind())
            && let Some(count) = counts.get_mut(&client.address.ip())
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client.address.ip());
            }
        }
        Some(client)
    }

    /// The client with this key, unless it has gone.
    pub fn get(&self, key: ConnectionKey) -> Option<&Client> {
        self.clients.get(key.slot as usize)?.as_ref().filter(|client| client.key == key)
    }

    /// The client with this UUID.
    pub fn by_id(&self, id: ClientId) -> Option<&Client> {
        let at = |slot: &u32| self.clients.get(*slot as usize).and_then(Option::as_ref);
        self.by_id.find(id.hash(), |slot| at(slot).is_some_and(|client| client.id == id)).and_then(at)
    }

    /// The clients with this ident, the one connected longest first.
    pub fn by_ident(&self, ident: &str) -> impl Iterator<Item = &Client> {
        self.by_ident.get(ident).into_iter().flatten().filter_map(|key| self.get(*key))
    }

    /// Everyone, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().flatten()
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many browsers are connected from `ip`; zero where addresses are not counted.
    pub fn count_from(&self, ip: IpAddr) -> usize {
        self.by_address.as_ref().and_then(|counts| counts.get(&ip)).copied().unwrap_or(0)
    }

    /// Notes that a client confirms messages whose fate somebody waits for.
    pub fn set_acknowledges(&mut self, key: ConnectionKey) {
        if let Some(client) = self.clients.get_mut(key.slot as usize).and_then(Option::as_mut)
            && client.key == key
        {
            client.role.0 |= Role::ACKNOWLEDGES;
        }
    }

    /// Notes whether further messages can be handed to a client.
    pub fn set_full(&mut self, key: ConnectionKey, full: bool) {
        if let Some(client) = self.clients.get_mut(key.slot as usize).and_then(Option::as_mut)
            && client.key == key
            && client.is_full() != full
        {
            client.role.0 = if full { client.role.0 | Role::FULL } else { client.role.0 & !Role::FULL };
        }
    }
}

/// The hash of the client in a slot, for a table that grows.
fn hash_of(clients: &[Option<Client>], slot: u32) -> u64 {
    clients.get(slot as usize).and_then(Option::as_ref).map_or(0, |client| client.id.hash())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(slot: u32, serial: u32, ident: Option<&str>, kind: ClientKind) -> Client {
        let mut random = [7; 16];
        random[..4].copy_from_slice(&serial.to_ne_bytes());
        random[12..].copy_from_slice(&slot.to_ne_bytes());
        Client::new(
            ClientId::from_random(random),
            ConnectionKey { slot, serial },
            Address::new(Ipv4Addr::LOCALHOST.into(), 1),
            (ResourceId(0), ApplicationId(0)),
            kind,
            ident.unwrap_or_default(),
            1_700_000_000,
        )
    }

    fn add(registry: &mut Registry, client: Client) -> (ClientId, ConnectionKey) {
        let names = (client.id, client.key);
        registry.insert(client);
        names
    }

    #[test]
    fn a_key_resolves_to_its_own_connection_only() {
        let mut registry = Registry::new(false, 0);
        let old = add(&mut registry, client(3, 1, None, ClientKind::Browser)).1;
        assert!(registry.remove(old).is_some());
        let new = add(&mut registry, client(3, 2, None, ClientKind::Browser)).1;
        assert!(registry.get(old).is_none());
        assert!(registry.remove(old).is_none());
        registry.set_full(old, true);
        assert!(!registry.get(new).unwrap().is_full());
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn the_longest_connected_of_an_ident_comes_first() {
        let mut registry = Registry::new(false, 0);
        let first = add(&mut registry, client(9, 1, Some("worker"), ClientKind::Script)).1;
        let second = add(&mut registry, client(2, 2, Some("worker"), ClientKind::Script)).1;
        let found = |registry: &Registry| registry.by_ident("worker").map(|client| client.key).collect::<Vec<_>>();
        assert_eq!(found(&registry), [first, second]);
        registry.remove(first);
        assert_eq!(found(&registry), [second]);
        registry.remove(second);
        assert!(found(&registry).is_empty());
        assert!(registry.by_ident.is_empty(), "no memory of idents that are gone");
    }

    #[test]
    fn browsers_are_counted_by_address_and_scripts_are_not() {
        let mut registry = Registry::new(true, 0);
        let ip = Ipv4Addr::LOCALHOST.into();
        let browser = add(&mut registry, client(0, 1, None, ClientKind::Browser)).1;
        add(&mut registry, client(1, 2, None, ClientKind::Browser));
        add(&mut registry, client(2, 3, None, ClientKind::Script));
        assert_eq!(registry.count_from(ip), 2);
        registry.remove(browser);
        assert_eq!(registry.count_from(ip), 1);
        registry.count_addresses(false);
        assert_eq!(registry.count_from(ip), 0);
        registry.count_addresses(true);
        assert_eq!(registry.count_from(ip), 1, "those who are here already count");
    }

    #[test]
    fn a_client_may_have_an_ident_and_a_user_and_pays_for_neither_where_it_has_none() {
        let names = |client: &Client| (client.ident().map(str::to_owned), client.user().map(str::to_owned));
        let plain = || client(0, 1, None, ClientKind::Browser);
        assert_eq!(names(&plain()), (None, None));
        assert!(plain().names.is_none());
        assert_eq!(names(&plain().with_user("kim".into())), (None, Some("kim".to_owned())));
        let both = client(0, 1, Some("tab"), ClientKind::Browser).with_user("kim".into());
        assert_eq!(names(&both), (Some("tab".to_owned()), Some("kim".to_owned())));
        let mut registry = Registry::new(false, 0);
        add(&mut registry, plain().with_user("kim".into()));
        assert!(registry.by_ident.is_empty(), "a user is no ident");
        #[cfg(target_pointer_width = "64")]
        assert_eq!(size_of::<Option<Client>>(), 56, "what every client costs");
    }

    #[test]
    fn a_uuid_finds_its_client() {
        let mut registry = Registry::new(false, 0);
        let ids: Vec<_> = (0..500).map(|slot| add(&mut registry, client(slot, 1, None, ClientKind::Browser))).collect();
        for (id, key) in &ids {
            assert_eq!(registry.by_id(*id).map(|client| client.key), Some(*key));
        }
        for (id, key) in &ids {
            assert!(registry.remove(*key).is_some());
            assert!(registry.by_id(*id).is_none());
        }
        assert!(registry.by_id(ClientId::from_random([1; 16])).is_none());
    }
}
