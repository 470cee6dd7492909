//! The wish to stop, heard everywhere.

use tokio::sync::watch;

/// Tells that the server stops.
#[derive(Clone)]
pub(crate) struct Stopper(watch::Sender<bool>);

/// Hears that the server stops.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

/// A fresh pair.
pub(crate) fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits until the server stops; a dropped [`Stopper`] is the same wish.
    pub(crate) async fn requested(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|stop| *stop).await;
    }
}
