//! The local API's server: HTTP/1.1 on a Unix socket, every request handed to the engine.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::events::EVENTS_PATH;
use penpal_local_api::home::Home;
use penpal_local_api::method::ApiSchema;
use penpal_local_api::methods::Call;
use penpal_local_api::{API_HEADER, API_NUMBER, SHAPE_VERSION};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

use super::events::Events;
use super::inputs::EngineHandle;

/// Longest request body, in bytes: the longest text, every byte escaped, and its evidence.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Listens on the home's socket; a stale socket of a node that died is replaced. The caller holds the node's lock.
///
/// # Errors
/// What the file system says; a folder for short socket paths that belongs to somebody else.
pub fn listen(home: &Home) -> io::Result<UnixListener> {
    let socket = home.socket();
    if home.has_short_socket() {
        prepare_short_folder(&home.short_socket_folder())?;
    }
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether a node listens on the home's socket.
#[must_use]
pub fn answers(home: &Home) -> bool {
    std::os::unix::net::UnixStream::connect(home.socket()).is_ok()
}

fn prepare_short_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = std::fs::symlink_metadata(folder)?;
    let ours = found.is_dir()
        && found.uid() == rustix::process::getuid().as_raw()
        && found.mode().trailing_zeros() >= 6;
    if ours {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder for sockets is not ours alone"))
    }
}

/// Serves until `stop` resolves, then lets running requests finish.
///
/// # Errors
/// What the socket says.
pub async fn serve(
    listener: UnixListener,
    engine: EngineHandle,
    events: Events,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route(EVENTS_PATH, get(stream_events))
        .route("/v1/schema", get(schema))
        .route("/v1/{*name}", post(call))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Served { engine, events });
    axum::serve(OwnUser(listener), router).with_graceful_shutdown(stop).await
}

/// Accepts connections of this node's own user only.
struct OwnUser(UnixListener);

impl axum::serve::Listener for OwnUser {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        let own = rustix::process::getuid().as_raw();
        loop {
            match self.0.accept().await {
                Ok((stream, address)) if may_call(stream.peer_cred().ok().map(|peer| peer.uid()), own) => {
                    return (stream, address);
                }
                Ok((stream, _)) => drop(stream),
                // Out of descriptors or the like: give others time to finish.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a local connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Whether a process may call: only one of the node's own user. A process whose user the system does not tell may not.
fn may_call(peer: Option<u32>, own: u32) -> bool {
    peer == Some(own)
}

/// What requests are served from.
#[derive(Debug, Clone)]
struct Served {
    engine: EngineHandle,
    events: Events,
}

/// Refuses a program that is too old for this node, or newer: it takes the node's place and asks again, and nothing must
/// have been done by then.
fn known_api(headers: &HeaderMap) -> Result<(), ApiError> {
    let number = headers
        .get(API_HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u32>().ok());
    if number.is_some_and(|number| number < API_NUMBER) {
        let message = format!("this program is older than the node, which speaks API {API_NUMBER}");
        return Err(ApiError::new(ErrorCode::OlderClient, message));
    }
    if number.is_some_and(|number| number > API_NUMBER) {
        let message = format!("this program is newer than the node, which speaks API {API_NUMBER}");
        return Err(ApiError::new(ErrorCode::OlderNode, message));
    }
    Ok(())
}

async fn stream_events(State(Served { engine, events }): State<Served>, headers: HeaderMap) -> Response {
    if let Err(error) = known_api(&headers) {
        return answer(Err(error));
    }
    match events.listen(&engine).await {
        Ok(stream) => {
            let mut response = stream.into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(HeaderName::from_static(API_HEADER), HeaderValue::from(API_NUMBER));
            response
        }
        Err(error) => answer(Err(error)),
    }
}

async fn schema() -> Response {
    answer(serde_json::to_vec(&ApiSchema::present()).map_err(|error| {
        ApiError::new(ErrorCode::Internal, format!("the schemas cannot be written: {error}"))
    }))
}

async fn call(
    State(Served { engine, .. }): State<Served>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // Ending the node works across all versions: that is how a newer program takes over.
    if name != "daemon/stop"
        && let Err(error) = known_api(&headers)
    {
        return answer(Err(error));
    }
    answer(match Call::parse(&name, &body) {
        None => Err(ApiError::new(ErrorCode::Usage, format!("no method {name:?}"))),
        Some(Err(error)) => {
            Err(ApiError::new(ErrorCode::Usage, format!("request of {name:?} cannot be read: {error}")))
        }
        Some(Ok(call)) => engine.call(call).await.map_err(|error| named(&name, error)),
    })
}

/// Gives a failure that is nobody's wish a name, and the log a line with it.
fn named(method: &str, error: ApiError) -> ApiError {
    if error.request.is_some() || error.code != ErrorCode::Internal {
        return error;
    }
    let name = format!("{:08x}", getrandom::u32().unwrap_or_default());
    tracing::error!(request = name, method, "a call failed: {}", error.message);
    error.request(Some(name))
}

fn answer(outcome: Result<Vec<u8>, ApiError>) -> Response {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            let status = if error.code == ErrorCode::Internal {
                StatusCode::INTERNAL_SERVER_ERROR
            } else if error.code == ErrorCode::Usage {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::UNPROCESSABLE_ENTITY
            };
            let shape = serde_json::json!({ "v": SHAPE_VERSION, "error": error });
            (status, shape.to_string().into_bytes())
        }
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static(API_HEADER), HeaderValue::from(API_NUMBER));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_nodes_own_user_may_call() {
        assert!(may_call(Some(1000), 1000));
        assert!(may_call(Some(0), 0));
        // Not even the system's administrator: root can read the files anyway and needs no second way.
        assert!(!may_call(Some(0), 1000));
        assert!(!may_call(Some(1001), 1000));
        assert!(!may_call(None, 1000));
    }

    #[test]
    fn nothing_is_done_for_a_program_of_another_api() {
        let asks = |number: u32| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(API_HEADER), HeaderValue::from(number));
            known_api(&headers).map_err(|error| error.code)
        };
        assert_eq!(asks(API_NUMBER), Ok(()));
        assert_eq!(asks(API_NUMBER + 1), Err(ErrorCode::OlderNode));
        assert_eq!(asks(API_NUMBER - 1), Err(ErrorCode::OlderClient));
        assert_eq!(known_api(&HeaderMap::new()).map_err(|error| error.code), Ok(()));
    }
}
