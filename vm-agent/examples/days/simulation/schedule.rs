//! What happens on a day.

use std::time::Duration;

use super::World;
use super::host::{Order, Reach};

/// Seldom or often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Rotation,
    Revocation,
    NewKey,
    KeyWithAnEnd,
    LostConnection,
    Drain,
    ServerDown,
    DatabaseDown,
    ServerMute,
    NetworkHung,
    Suspension,
    Pause,
    Restored,
    Ban,
    Lease,
}

const USUAL: [Event; 19] = [
    Event::Rotation,
    Event::Rotation,
    Event::Rotation,
    Event::Revocation,
    Event::NewKey,
    Event::NewKey,
    Event::KeyWithAnEnd,
    Event::LostConnection,
    Event::Drain,
    Event::ServerDown,
    Event::ServerDown,
    Event::DatabaseDown,
    Event::ServerMute,
    Event::NetworkHung,
    Event::Suspension,
    Event::Pause,
    Event::Restored,
    Event::Ban,
    Event::Lease,
];

const MEANWHILE: [Event; 9] = [
    Event::Rotation,
    Event::Rotation,
    Event::Revocation,
    Event::Revocation,
    Event::NewKey,
    Event::NewKey,
    Event::Suspension,
    Event::Pause,
    Event::Restored,
];

const NAMES: [&str; 5] = ["openai", "anthropic", "groq", "google", "search"];

impl World {
    /// Something, and what follows from it at once.
    pub(super) async fn happen(&mut self) -> Event {
        let event = USUAL[self.pick(USUAL.len())];
        match event {
            Event::Rotation | Event::Revocation | Event::NewKey | Event::KeyWithAnEnd => {
                self.change_a_key(event);
            }
            Event::LostConnection => self.order(Order::HangUp),
            Event::Drain => self.order(Order::Drain),
            Event::ServerDown => self.fail(Reach::Down, 2400.0).await,
            Event::DatabaseDown => self.fail(Reach::Busy, 900.0).await,
            Event::ServerMute => self.mute().await,
            Event::NetworkHung => self.fail(Reach::Hung, 2400.0).await,
            Event::Suspension | Event::Pause | Event::Restored => self.jump(event),
            Event::Ban => self.ban().await,
            Event::Lease => {
                let seconds = self.dice.span(30.0, 1800.0).as_secs();
                self.host
                    .lease(u32::try_from(seconds).expect("half an hour"));
            }
        }
        self.pass(Duration::from_secs(3)).await;
        event
    }

    fn change_a_key(&mut self, event: Event) {
        let name = NAMES[self.pick(NAMES.len())];
        match event {
            Event::Revocation => self.host.revoke(name),
            Event::KeyWithAnEnd => {
                let end = self.machine.wall() + self.dice.span(10.0, 1800.0);
                self.host.put(name, Some(end));
            }
            _ => self.host.put(name, None),
        }
    }

    fn jump(&mut self, event: Event) {
        let span = self.dice.span(5.0, 7200.0);
        match event {
            Event::Suspension => self.machine.suspend(span),
            Event::Pause => self.machine.pause(span),
            _ => self.machine.restore(),
        }
        self.watcher.jumped();
        self.host.records().leased_until = Duration::ZERO;
    }

    fn order(&mut self, order: Order) {
        self.host.order(order);
        self.watcher.disturbed();
    }

    /// The session ends, and no other one gets further than its welcome until the lease is over.
    async fn mute(&mut self) {
        self.host.order(Order::HangUp);
        self.host.set_reach(Reach::Mute);
        let lease = self.host.records().lease;
        self.pass(Duration::from_secs(lease.into()) + A_MINUTE)
            .await;
        self.fail(Reach::Mute, 600.0).await;
    }

    /// While it lasts, people go on.
    async fn fail(&mut self, reach: Reach, longest: f64) {
        self.host.set_reach(reach);
        for _ in 0..=self.pick(3) {
            let span = self.dice.span(1.0, longest) / 2;
            self.pass(span).await;
            match MEANWHILE[self.pick(MEANWHILE.len())] {
                jump @ (Event::Suspension | Event::Pause | Event::Restored) => {
                    self.jump(jump);
                    self.pass(Duration::from_secs(3)).await;
                }
                change => self.change_a_key(change),
            }
        }
        if reach == Reach::Hung && self.pick(2) == 0 {
            self.host.order(Order::Forget);
        }
        self.host.set_reach(Reach::Served);
        self.watcher.disturbed();
    }

    /// The owner cuts the machine off, in touch or not, and later hands out a new ticket.
    async fn ban(&mut self) {
        if self.pick(2) == 0 {
            self.host.set_reach(Reach::Hung);
        }
        self.host.ban();
        let span = self.dice.span(5.0, 2400.0);
        self.pass(span).await;
        self.host.set_reach(Reach::Served);
        let span = self.dice.span(5.0, 600.0);
        self.pass(span).await;
        self.enrol_anew().await;
        self.watcher.disturbed();
    }

    fn pick(&mut self, among: usize) -> usize {
        usize::try_from(self.dice.below(among as u64)).expect("a small number")
    }
}

const A_MINUTE: Duration = Duration::from_secs(60);
