//! Which path is served by which application, and the applications themselves.

use super::outbox::Outbox;
use super::registry::{ApplicationId, Client, ResourceId};
use super::{Application, Context, Exchange, HANDLERS, Handler, Opening, World, admin};
use crate::clock::Moment;
use crate::config::Config;
use crate::proto::session::End;

/// Which application serves which path.
#[derive(Debug)]
pub struct Routes {
    paths: Vec<(String, ApplicationId)>,
    applications: Vec<(&'static str, Box<dyn Application>)>,
    /// The live page's, which is always there.
    feed: ApplicationId,
}

impl Routes {
    /// The routes of `[resources]` to the applications of the house.
    pub fn new(config: &Config) -> Self {
        Self::with(HANDLERS, config)
    }

    /// The routes of `[resources]` to these applications, and the live page's feed. One application serves all paths that
    /// name it, so that its clients meet.
    pub fn with(handlers: &[Handler], config: &Config) -> Self {
        let mut routes = Self { paths: Vec::new(), applications: Vec::new(), feed: ApplicationId(u8::MAX) };
        for row in &config.resources {
            let id = routes.service(&row.handler).or_else(|| {
                // The configuration has been checked against the same table.
                let (name, make) = handlers.iter().find(|(name, _)| *name == row.handler)?;
                routes.applications.push((name, make(config)));
                routes.service(name)
            });
            routes.paths.push((row.path.clone(), id.unwrap_or(ApplicationId(u8::MAX))));
        }
        // Behind those of the file, which come first.
        routes.feed = ApplicationId(u8::try_from(routes.applications.len()).unwrap_or(u8::MAX));
        let feed = admin::Feed::new(config, routes.service("relay"));
        routes.applications.push((admin::NAME, Box::new(feed)));
        routes.paths.push((admin::PATH.to_owned(), routes.feed));
        routes
    }

    /// Whether a resource is the live page's feed.
    pub fn is_feed(&self, (_, application): (ResourceId, ApplicationId)) -> bool {
        application == self.feed
    }

    /// Tells all applications of a configuration read again.
    pub fn configure(&mut self, config: &Config) {
        for (_, application) in &mut self.applications {
            application.configure(config);
        }
    }

    /// Whether a path of `application` is a stream of events.
    pub fn is_stream(&self, application: ApplicationId) -> bool {
        self.applications.get(usize::from(application.0)).is_some_and(|(_, application)| application.is_stream())
    }

    /// Whether any path is a stream of events.
    pub fn have_streams(&self) -> bool {
        self.applications.iter().any(|(_, application)| application.is_stream())
    }

    /// Tells the application of a client, or all where it is a stream of events, that it has come.
    pub fn on_open(&mut self, client: &Client, world: World<'_>, outbox: &mut Outbox, opening: &Opening<'_>) {
        let mut ctx = Context::new(client, world, outbox);
        self.application_mut(client.application()).on_open(&mut ctx, opening);
        if client.is_stream() {
            self.applications.iter_mut().for_each(|(_, application)| application.on_stream(&mut ctx, opening));
        }
    }

    /// Tells them that it has gone.
    pub fn on_close(&mut self, client: &Client, world: World<'_>, outbox: &mut Outbox, end: &End) {
        let mut ctx = Context::new(client, world, outbox);
        self.application_mut(client.application()).on_close(&mut ctx, end);
        if client.is_stream() {
            self.applications.iter_mut().for_each(|(_, application)| application.on_stream_end(&mut ctx));
        }
    }

    /// Bytes of memory that applications keep on behalf of a client.
    pub fn held_for(&self, client: &Client) -> usize {
        if client.is_stream() {
            return self.applications.iter().map(|(_, application)| application.held_for(client.key)).sum();
        }
        self.application(client.application()).held_for(client.key)
    }

    /// When the first application is due.
    pub fn due(&self) -> Moment {
        self.applications.iter().map(|(_, application)| application.due()).min().unwrap_or(Moment::NEVER)
    }

    /// Runs the applications that are due.
    pub fn on_time(&mut self, world: World<'_>, outbox: &mut Outbox) {
        for (id, application) in self.each_mut() {
            if application.due() <= world.now {
                application.on_time(&mut Exchange::new(id, world, outbox));
            }
        }
    }

    /// All applications, to be run.
    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = (ApplicationId, &mut Box<dyn Application>)> {
        (0..).map(ApplicationId).zip(self.applications.iter_mut().map(|(_, application)| application))
    }

    /// What serves `path`.
    pub fn find(&self, path: &str) -> Option<(ResourceId, ApplicationId)> {
        let index = self.paths.iter().position(|(known, _)| known == path)?;
        Some((ResourceId(u8::try_from(index).ok()?), self.paths[index].1))
    }

    /// The paths there are, in the order of the configuration.
    pub fn paths(&self) -> impl Iterator<Item = (ResourceId, &str)> {
        let ids = (0..=u8::MAX).map(ResourceId);
        ids.zip(self.paths.iter().map(|(path, _)| path.as_str()))
    }

    /// The application that `[resources]` calls `name`, where some path has it.
    pub fn service(&self, name: &str) -> Option<ApplicationId> {
        self.position(|known, _| known == name)
    }

    /// The application that has `name` among its [`Application::services`].
    pub fn further_service(&self, name: &str) -> Option<ApplicationId> {
        self.position(|_, application| application.services().contains(&name))
    }

    fn position(&self, is_it: impl Fn(&str, &dyn Application) -> bool) -> Option<ApplicationId> {
        let index = self.applications.iter().position(|(name, application)| is_it(name, application.as_ref()))?;
        u8::try_from(index).ok().map(ApplicationId)
    }

    /// The path of a resource.
    pub fn path(&self, resource: ResourceId) -> &str {
        self.paths.get(usize::from(resource.0)).map_or("?", |(path, _)| path)
    }

    /// An application, to look at.
    pub fn application(&self, id: ApplicationId) -> &dyn Application {
        self.applications[usize::from(id.0)].1.as_ref()
    }

    /// An application, to be run.
    pub fn application_mut(&mut self, id: ApplicationId) -> &mut dyn Application {
        self.applications[usize::from(id.0)].1.as_mut()
    }
}
