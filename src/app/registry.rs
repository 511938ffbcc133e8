//! Who is connected. The loop alone writes it; applications look.
//!
//! Clients stand in one vector by their slot, so that a broadcast walks memory in order: walking the map of UUIDs
//! instead costs 13 % at 5,000 receivers. The map holds four bytes beside each UUID and is for look-ups alone.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::id::{BuildClientIdHasher, ClientId, ConnectionKey};

/// What a client said it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// A page; anything that does not say otherwise.
    Browser,
    /// A backend's script: its handshake carried `Client-Type: php`, and its address is on the allow list.
    Script,
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Browser => "browser",
            Self::Script => "script",
        })
    }
}

/// Where a client comes from. A third smaller than a [`SocketAddr`], which every client would otherwise hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    /// IPv4 where it is IPv4 in any clothing. Behind a trusted proxy, the address that the proxy saw.
    pub ip: IpAddr,
    /// The port of the TCP connection itself.
    pub port: u16,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip().to_canonical(), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
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
    /// What serves that path.
    pub application: ApplicationId,
    /// Browser or script.
    pub kind: ClientKind,
    /// The name by which others may address it; `None` where it gave none, or an empty one.
    pub ident: Option<Box<str>>,
    /// More output waits for it than `maxBacklog` allows: nothing further can be handed to it.
    full: bool,
}

impl Client {
    /// A client that has just come.
    pub const fn new(
        id: ClientId,
        key: ConnectionKey,
        address: Address,
        (resource, application): (ResourceId, ApplicationId),
        kind: ClientKind,
        ident: Option<Box<str>>,
    ) -> Self {
        Self { id, key, address, resource, application, kind, ident, full: false }
    }

    /// Whether messages can still be handed to it.
    pub const fn is_full(&self) -> bool {
        self.full
    }
}

/// Everyone who is connected.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Vec<Option<Client>>,
    by_id: HashMap<ClientId, u32, BuildClientIdHasher>,
    /// In the order in which they came.
    by_ident: HashMap<Box<str>, Vec<ConnectionKey>>,
    /// Browsers by address; kept only where `maxPerIP` asks for it.
    by_address: Option<HashMap<IpAddr, usize>>,
}

impl Registry {
    /// Nobody is connected. `count_addresses`: see [`Registry::count_from`].
    pub fn new(count_addresses: bool) -> Self {
        Self { by_address: count_addresses.then(HashMap::new), ..Self::default() }
    }

    /// Begins to count browsers by address, or stops: see [`Registry::count_from`].
    pub fn count_addresses(&mut self, wanted: bool) {
        if wanted && self.by_address.is_none() {
            let mut counts = HashMap::new();
            for client in self.iter().filter(|client| client.kind == ClientKind::Browser) {
                *counts.entry(client.address.ip).or_default() += 1;
            }
            self.by_address = Some(counts);
        } else if !wanted {
            self.by_address = None;
        }
    }

    /// Enters a client. Its slot must be free, which the loop sees to.
    pub fn insert(&mut self, client: Client) -> &Client {
        let slot = client.key.slot as usize;
        if slot >= self.clients.len() {
            self.clients.resize_with(slot + 1, || None);
        }
        debug_assert!(self.clients[slot].is_none(), "a slot has one client");
        self.by_id.insert(client.id, client.key.slot);
        if let Some(ident) = &client.ident {
            self.by_ident.entry(ident.clone()).or_default().push(client.key);
        }
        if let (Some(counts), ClientKind::Browser) = (&mut self.by_address, client.kind) {
            *counts.entry(client.address.ip).or_default() += 1;
        }
        self.clients[slot].insert(client)
    }

    /// Strikes a client out and gives it back.
    pub fn remove(&mut self, key: ConnectionKey) -> Option<Client> {
        self.get(key)?;
        let client = self.clients.get_mut(key.slot as usize)?.take()?;
        self.by_id.remove(&client.id);
        if let Some(ident) = &client.ident
            && let Some(keys) = self.by_ident.get_mut(ident)
        {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_ident.remove(ident);
            }
        }
        if let (Some(counts), ClientKind::Browser) = (&mut self.by_address, client.kind)
            && let Some(count) = counts.get_mut(&client.address.ip)
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client.address.ip);
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
        self.clients.get(*self.by_id.get(&id)? as usize)?.as_ref()
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

    /// Notes whether further messages can be handed to a client.
    pub fn set_full(&mut self, key: ConnectionKey, full: bool) {
        if let Some(client) = self.clients.get_mut(key.slot as usize).and_then(Option::as_mut)
            && client.key == key
        {
            client.full = full;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(slot: u32, serial: u32, ident: Option<&str>, kind: ClientKind) -> Client {
        let mut random = [7; 16];
        random[8..12].copy_from_slice(&slot.to_ne_bytes());
        random[12..].copy_from_slice(&serial.to_ne_bytes());
        Client::new(
            ClientId::from_random(random),
            ConnectionKey { slot, serial },
            Address { ip: Ipv4Addr::LOCALHOST.into(), port: 1 },
            (ResourceId(0), ApplicationId(0)),
            kind,
            ident.map(Into::into),
        )
    }

    #[test]
    fn a_key_resolves_to_its_own_connection_only() {
        let mut registry = Registry::new(false);
        let old = registry.insert(client(3, 1, None, ClientKind::Browser)).key;
        assert!(registry.remove(old).is_some());
        let new = registry.insert(client(3, 2, None, ClientKind::Browser)).key;
        assert!(registry.get(old).is_none());
        assert!(registry.remove(old).is_none());
        registry.set_full(old, true);
        assert!(!registry.get(new).unwrap().is_full());
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn the_longest_connected_of_an_ident_comes_first() {
        let mut registry = Registry::new(false);
        let first = registry.insert(client(9, 1, Some("worker"), ClientKind::Script)).key;
        let second = registry.insert(client(2, 2, Some("worker"), ClientKind::Script)).key;
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
        let mut registry = Registry::new(true);
        let ip = Ipv4Addr::LOCALHOST.into();
        let browser = registry.insert(client(0, 1, None, ClientKind::Browser)).key;
        registry.insert(client(1, 2, None, ClientKind::Browser));
        registry.insert(client(2, 3, None, ClientKind::Script));
        assert_eq!(registry.count_from(ip), 2);
        registry.remove(browser);
        assert_eq!(registry.count_from(ip), 1);
        registry.count_addresses(false);
        assert_eq!(registry.count_from(ip), 0);
        registry.count_addresses(true);
        assert_eq!(registry.count_from(ip), 1, "those who are here already count");
    }

    #[test]
    fn a_uuid_finds_its_client() {
        let mut registry = Registry::new(false);
        let id = registry.insert(client(5, 1, None, ClientKind::Browser)).id;
        assert_eq!(registry.by_id(id).map(|client| client.key.slot), Some(5));
        assert!(registry.by_id(ClientId::from_random([1; 16])).is_none());
    }
}
