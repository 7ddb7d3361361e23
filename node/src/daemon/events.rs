//! The stream of events: what the engine tells, handed to every listener of the local API.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::events::{Event, MAX_BEHIND, MAX_LISTENERS, Told};
use tokio::sync::broadcast;

use super::inputs::EngineHandle;
use crate::engine::Input;

/// First bytes of a stream: a comment, so that a client sees at once that it is heard.
const GREETING: &str = ": listening\n\n";

/// Hands events to listeners. One ring of [`MAX_BEHIND`] events for all: a slow listener loses the oldest, and is told how many.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    listeners: Arc<AtomicUsize>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(MAX_BEHIND), listeners: Arc::default() }
    }
}

impl Events {
    /// Tells every listener.
    pub fn tell(&self, event: Event) {
        // Nobody listening is the usual case.
        let heard = self.sender.send(Arc::new(event));
        drop(heard);
    }

    /// Begins a stream; what the engine takes from now on is heard.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`] when there are [`MAX_LISTENERS`].
    pub async fn listen(&self, engine: &EngineHandle) -> Result<Body, ApiError> {
        let taken = self.listeners.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
            (count < MAX_LISTENERS).then_some(count + 1)
        });
        let before = taken
            .map_err(|count| ApiError::new(ErrorCode::Busy, format!("{count} listen to events already")))?;
        let place = Place { listeners: Arc::clone(&self.listeners), engine: engine.clone() };
        let listener =
            Listener { receiver: self.sender.subscribe(), first: true, over: false, _place: place };
        engine.input(Input::Listeners(before + 1)).await;
        Ok(Body::from_stream(futures_util::stream::unfold(listener, Listener::next)))
    }
}

/// One of the places for listeners, given back when dropped.
struct Place {
    listeners: Arc<AtomicUsize>,
    engine: EngineHandle,
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.listeners.fetch_sub(1, Ordering::SeqCst);
        self.engine.try_input(Input::Listeners(before.saturating_sub(1)));
    }
}

struct Listener {
    receiver: broadcast::Receiver<Arc<Event>>,
    first: bool,
    over: bool,
    _place: Place,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if std::mem::take(&mut self.first) {
            return Some((Ok(GREETING.to_owned()), self));
        }
        if self.over {
            return None;
        }
        let event = match self.receiver.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(count)) => Arc::new(Event::Missed { count }),
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        self.over = *event == Event::Ending;
        Some((Ok(frame(&event)), self))
    }
}

/// An event as a server-sent event. JSON has no line breaks, so one `data` line holds it.
fn frame(event: &Event) -> String {
    let data = serde_json::to_string(&Told::from(event.clone())).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", event.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> (Events, EngineHandle, std::sync::mpsc::Receiver<Input>) {
        let (inputs, receiver) = std::sync::mpsc::sync_channel(256);
        (Events::default(), EngineHandle::new(inputs), receiver)
    }

    fn listener(hub: &Events, engine: &EngineHandle) -> Listener {
        let place = Place { listeners: Arc::clone(&hub.listeners), engine: engine.clone() };
        Listener { receiver: hub.sender.subscribe(), first: false, over: false, _place: place }
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_hears_how_many() {
        let (hub, engine, _inputs) = hub();
        let slow = listener(&hub, &engine);
        for _ in 0..MAX_BEHIND + 10 {
            hub.tell(Event::Sessions);
        }
        hub.tell(Event::Ending);
        let (said, mut slow) = slow.next().await.unwrap();
        assert_eq!(said.unwrap(), "event: missed\ndata: {\"v\":1,\"event\":\"missed\",\"count\":11}\n\n");
        let mut heard = 0;
        while let Some((_, next)) = slow.next().await {
            heard += 1;
            slow = next;
        }
        assert_eq!(heard, MAX_BEHIND);
    }

    #[tokio::test]
    async fn one_listener_too_many_is_refused_until_another_goes() {
        let (hub, engine, inputs) = hub();
        let mut streams = Vec::new();
        for _ in 0..MAX_LISTENERS {
            streams.push(hub.listen(&engine).await.unwrap());
        }
        assert_eq!(hub.listen(&engine).await.unwrap_err().code, ErrorCode::Busy);
        streams.pop();
        streams.push(hub.listen(&engine).await.unwrap());
        drop(streams);
        let counts = inputs.try_iter().map(|input| match input {
            Input::Listeners(count) => count,
            other => panic!("{other:?}"),
        });
        assert_eq!(counts.last(), Some(0));
    }
}
