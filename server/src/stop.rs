//! The wish to stop, heard everywhere, in two steps: first no new work is invited, then none is taken.

use tokio::sync::watch;

/// Tells that the server stops.
#[derive(Clone)]
pub(crate) struct Stopper(watch::Sender<Phase>);

/// Hears that the server stops.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<Phase>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Serving,
    Draining,
    Stopping,
}

/// A fresh pair.
pub(crate) fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// From now on the server asks everyone to go to another one, and serves those who come.
    pub(crate) fn drain(&self) {
        self.0.send_replace(Phase::Draining);
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(Phase::Stopping);
    }
}

impl Stop {
    /// Waits until the server stops; a dropped [`Stopper`] is the same wish.
    pub(crate) async fn requested(&self) {
        self.reached(Phase::Stopping).await;
    }

    /// Waits until everyone is to go to another server.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Whether everyone is to go to another server.
    pub(crate) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    async fn reached(&self, wanted: Phase) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|phase| *phase >= wanted).await;
    }
}
