//! Who may edit which form: a lock belongs to its connection and goes with it, at once or after a while in which the
//! holder may come back with its token.
//!
//! Every acquisition has a number that is higher than that of any before it, of any form. Whoever stores what was edited
//! can so tell a late comer from the present holder. The numbers go on from the time of day, in milliseconds, so that
//! they rise over restarts of the server as well.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use crate::clock::Moment;
use crate::id::ConnectionKey;

/// Most forms that one client can hold.
pub(super) const MAX_OF_ONE: usize = 1000;

/// Most forms that can be locked at all: those that are kept for who has gone belong to nobody's account.
pub(super) const MAX_LOCKS: usize = 100_000;

/// Bytes of memory that a lock takes, roughly, without the name of its form.
pub(super) const LOCK_SIZE: usize = 400;

/// A form: a topic in a realm.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct FormId {
    pub(super) realm: Rc<str>,
    pub(super) topic: Rc<str>,
}

/// What shows who holds a lock, wherever it is shown. Never logged.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Token(String);

impl Token {
    fn draw(random: fn(&mut [u8])) -> Self {
        let mut bytes = [0; 16];
        random(&mut bytes);
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Somebody who asks for a lock.
#[derive(Clone, Debug)]
pub(super) struct Editor {
    pub(super) client: ConnectionKey,
    pub(super) session: u64,
    pub(super) user: Option<Box<str>>,
}

/// A form that is locked.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) holder: Editor,
    pub(super) token: Token,
    pub(super) fence: u64,
    /// In seconds since 1970.
    pub(super) since: u64,
    /// Until when it is kept for a holder who has gone; [`Moment::NEVER`]: the holder is here.
    until: Moment,
}

impl Lock {
    /// Whether its holder's connection has ended, and it is kept for a while.
    pub(super) fn is_kept(&self) -> bool {
        self.until != Moment::NEVER
    }
}

/// Why a form can't be locked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Denied {
    /// Somebody holds it.
    Locked,
    /// The client holds as many as one may, or there are as many as there may be.
    TooMany,
}

/// All forms that are locked.
#[derive(Debug, Default)]
pub(super) struct Forms {
    locks: BTreeMap<FormId, Lock>,
    /// Of those who are here.
    by_holder: HashMap<ConnectionKey, BTreeSet<FormId>>,
    /// Those that are kept for who has gone.
    kept: BTreeSet<(Moment, FormId)>,
    last_fence: u64,
    /// How long a lock is kept; zero: not at all.
    pub(super) grace: Duration,
}

impl Forms {
    /// Locks a form, or gives a lock back to whoever shows its token. `true`: it was free. `time`: since 1970.
    pub(super) fn lock(
        &mut self,
        form: &FormId,
        editor: Editor,
        token: Option<&str>,
        time: Duration,
        random: fn(&mut [u8]),
    ) -> Result<(&Lock, bool), Denied> {
        let full = self.count_of(editor.client) >= MAX_OF_ONE;
        if let Some(lock) = self.locks.get_mut(form) {
            if !token.is_some_and(|token| lock.token.is(token)) {
                return Err(Denied::Locked);
            }
            // Its own counts already.
            if full && (lock.is_kept() || lock.holder.client != editor.client) {
                return Err(Denied::TooMany);
            }
            if lock.is_kept() {
                self.kept.remove(&(lock.until, form.clone()));
            } else {
                let former = lock.holder.client;
                forget(&mut self.by_holder, former, form);
            }
            self.by_holder.entry(editor.client).or_default().insert(form.clone());
            lock.holder = editor;
            lock.until = Moment::NEVER;
        } else {
            if self.locks.len() >= MAX_LOCKS || full {
                return Err(Denied::TooMany);
            }
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.last_fence = millis.max(self.last_fence + 1);
            self.by_holder.entry(editor.client).or_default().insert(form.clone());
            let lock = Lock {
                holder: editor,
                token: Token::draw(random),
                fence: self.last_fence,
                since: time.as_secs(),
                until: Moment::NEVER,
            };
            self.locks.insert(form.clone(), lock);
            return self.locks.get(form).map(|lock| (lock, true)).ok_or(Denied::TooMany);
        }
        self.locks.get(form).map(|lock| (lock, false)).ok_or(Denied::Locked)
    }

    /// Releases a form for its holder, or for whoever shows its token.
    ///
    /// # Errors
    ///
    /// `Some`: another holds it. `None`: nobody does.
    pub(super) fn release(
        &mut self,
        form: &FormId,
        client: ConnectionKey,
        token: Option<&str>,
    ) -> Result<(), Option<Denied>> {
        let lock = self.locks.get(form).ok_or(None)?;
        let holds = !lock.is_kept() && lock.holder.client == client;
        if !holds && !token.is_some_and(|token| lock.token.is(token)) {
            return Err(Some(Denied::Locked));
        }
        self.remove(form);
        Ok(())
    }

    /// A client has gone: its locks go, or are kept for a while. Gives those that have gone.
    pub(super) fn leave(&mut self, client: ConnectionKey, now: Moment) -> Vec<FormId> {
        let held: Vec<FormId> = self.by_holder.remove(&client).into_iter().flatten().collect();
        if self.grace.is_zero() {
            held.iter().for_each(|form| self.remove(form));
            return held;
        }
        for form in held {
            if let Some(lock) = self.locks.get_mut(&form) {
                lock.until = now.after(self.grace);
                self.kept.insert((lock.until, form));
            }
        }
        Vec::new()
    }

    /// When the first lock is not kept any longer.
    pub(super) fn due(&self) -> Moment {
        self.kept.first().map_or(Moment::NEVER, |(until, _)| *until)
    }

    /// Releases a lock that has been kept long enough.
    pub(super) fn expire(&mut self, now: Moment) -> Option<FormId> {
        let (_, form) = self.kept.first().filter(|(until, _)| *until <= now)?;
        let form = form.clone();
        self.remove(&form);
        Some(form)
    }

    pub(super) fn get(&self, form: &FormId) -> Option<&Lock> {
        self.locks.get(form)
    }

    /// The lock on a form, where `token` is its token.
    pub(super) fn held_with(&self, form: &FormId, token: &str) -> Option<&Lock> {
        self.locks.get(form).filter(|lock| lock.token.is(token))
    }

    /// How many forms a client holds. Asked whenever something has happened to one.
    pub(super) fn count_of(&self, client: ConnectionKey) -> usize {
        self.by_holder.get(&client).map_or(0, BTreeSet::len)
    }

    fn remove(&mut self, form: &FormId) {
        if let Some(lock) = self.locks.remove(form) {
            forget(&mut self.by_holder, lock.holder.client, form);
            self.kept.remove(&(lock.until, form.clone()));
        }
    }
}

/// A client doesn't hold a form any more.
fn forget(by_holder: &mut HashMap<ConnectionKey, BTreeSet<FormId>>, client: ConnectionKey, form: &FormId) {
    if let Some(forms) = by_holder.get_mut(&client) {
        forms.remove(form);
        if forms.is_empty() {
            by_holder.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn form(topic: &str) -> FormId {
        FormId { realm: "r".into(), topic: topic.into() }
    }

    fn editor(slot: u32) -> Editor {
        Editor { client: ConnectionKey { slot, serial: slot }, session: slot.into(), user: None }
    }

    fn random(bytes: &mut [u8]) {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        bytes.fill(NEXT.fetch_add(1, Ordering::Relaxed));
    }

    /// Locks at so many milliseconds after 1970, and gives the token, the fencing number and whether it was free.
    fn lock(forms: &mut Forms, topic: &str, slot: u32, token: Option<&str>, time: u64) -> Option<(String, u64, bool)> {
        let time = Duration::from_millis(time);
        let (lock, fresh) = forms.lock(&form(topic), editor(slot), token, time, random).ok()?;
        Some((lock.token.as_str().to_owned(), lock.fence, fresh))
    }

    fn check(forms: &Forms) {
        let kept = forms.locks.values().filter(|lock| lock.is_kept()).count();
        assert_eq!(forms.kept.len(), kept);
        assert_eq!(forms.by_holder.values().map(BTreeSet::len).sum::<usize>(), forms.locks.len() - kept);
        assert!(forms.by_holder.values().all(|held| !held.is_empty()));
    }

    #[test]
    fn one_editor_at_a_time_and_the_numbers_rise() {
        let mut forms = Forms::default();
        let (token, first, fresh) = lock(&mut forms, "form.a", 1, None, 5000).unwrap();
        assert!(fresh && first == 5000 && token.len() == 32);
        assert_eq!(lock(&mut forms, "form.a", 2, None, 5001), None);
        assert_eq!(lock(&mut forms, "form.a", 1, None, 5001), None, "the token shows the holder, and nothing else");
        assert_eq!(lock(&mut forms, "form.a", 2, Some("x"), 5001), None);
        let (_, second, _) = lock(&mut forms, "form.b", 2, None, 4000).unwrap();
        assert_eq!(second, 5001, "above the last, although the clock was set back");
        assert_eq!(forms.release(&form("form.a"), editor(2).client, None), Err(Some(Denied::Locked)));
        assert_eq!(forms.release(&form("form.a"), editor(1).client, None), Ok(()));
        assert_eq!(forms.release(&form("form.a"), editor(1).client, None), Err(None));
        assert!(forms.held_with(&form("form.a"), &token).is_none(), "a token is worth nothing after that");
        let (again, third, _) = lock(&mut forms, "form.a", 2, None, 9000).unwrap();
        assert!(third == 9000 && again != token);
        check(&forms);
    }

    #[test]
    fn a_lock_goes_with_its_holder() {
        let mut forms = Forms::default();
        lock(&mut forms, "form.a", 1, None, 1).unwrap();
        lock(&mut forms, "form.b", 1, None, 1).unwrap();
        lock(&mut forms, "form.c", 2, None, 1).unwrap();
        let gone = forms.leave(editor(1).client, Moment::START);
        assert_eq!(gone, [form("form.a"), form("form.b")]);
        assert!(forms.get(&form("form.c")).is_some());
        assert_eq!(forms.due(), Moment::NEVER);
        check(&forms);
    }

    #[test]
    fn a_holder_may_come_back_for_a_while() {
        let mut forms = Forms { grace: Duration::from_secs(5), ..Forms::default() };
        let (token, fence, _) = lock(&mut forms, "form.a", 1, None, 1).unwrap();
        lock(&mut forms, "form.b", 1, None, 1).unwrap();
        assert!(forms.leave(editor(1).client, Moment::from_millis(1000)).is_empty());
        check(&forms);
        assert_eq!(forms.due(), Moment::from_millis(6000));
        assert_eq!(lock(&mut forms, "form.a", 2, None, 1), None, "it is kept");
        assert_eq!(lock(&mut forms, "form.a", 3, Some(&token), 1), Some((token.clone(), fence, false)));
        assert_eq!(forms.expire(Moment::from_millis(5999)), None);
        assert_eq!(forms.expire(Moment::from_millis(6000)), Some(form("form.b")));
        assert_eq!(forms.expire(Moment::from_millis(9999)), None, "the one that was taken back stays");
        assert_eq!(forms.held_with(&form("form.a"), &token).map(|lock| lock.holder.session), Some(3));
        check(&forms);
        // Where the old connection is only believed to be there, the token moves the lock all the same.
        assert_eq!(lock(&mut forms, "form.a", 4, Some(&token), 1), Some((token.clone(), fence, false)));
        assert!(forms.leave(editor(3).client, Moment::START).is_empty());
        assert_eq!(forms.count_of(editor(4).client), 1);
        assert_eq!(forms.release(&form("form.a"), editor(9).client, Some(&token)), Ok(()));
        check(&forms);
    }

    #[test]
    fn one_client_holds_only_so_many() {
        let mut forms = Forms::default();
        for number in 0..MAX_OF_ONE {
            lock(&mut forms, &format!("form.{number}"), 1, None, 1).unwrap();
        }
        let denied = forms.lock(&form("form.x"), editor(1), None, Duration::ZERO, random).map(|_| ());
        assert_eq!(denied, Err(Denied::TooMany));
        let (token, fence, _) = lock(&mut forms, "form.x", 2, None, 1).unwrap();
        // Nor by what another has given it, whether that one is here or gone.
        forms.grace = Duration::from_secs(5);
        for _ in 0..2 {
            let denied = forms.lock(&form("form.x"), editor(1), Some(&token), Duration::ZERO, random).map(|_| ());
            assert_eq!(denied, Err(Denied::TooMany));
            forms.leave(editor(2).client, Moment::START);
        }
        check(&forms);
        let own = forms.get(&form("form.7")).map(|lock| lock.token.as_str().to_owned()).unwrap();
        assert!(lock(&mut forms, "form.7", 1, Some(&own), 1).is_some(), "its own are its own");
        assert_eq!(forms.release(&form("form.8"), editor(1).client, None), Ok(()));
        assert_eq!(lock(&mut forms, "form.x", 1, Some(&token), 1), Some((token, fence, false)), "there is room");
        check(&forms);
    }
}
